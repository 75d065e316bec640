"""The metrics of all inference processes of a port in one text.

A scrape of the port reaches one process, another one each time; counters of single processes would jump. So
whichever it is asks the others, and every series says in the label `process` whose it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mlspine.core.errors import MlspineError
from mlspine.core.messages import call, socket_path

log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 1.0  # of each other process; one that hangs is left out, and restarted by others


class Exposition:
    """What `/metrics` of the predictions' port says. own: the text of this process. others: names of the rest."""

    def __init__(
        self, run: Path, process: str, own: Callable[[], str], others: Callable[[], Iterable[str]] = tuple
    ) -> None:
        self._run = run
        self._process = process
        self._own = own
        self._others = others

    async def read(self) -> str:
        """The text of all processes that answer."""
        others = list(self._others())
        told = await asyncio.gather(*(asyncio.to_thread(self._ask, each) for each in others))
        texts = {self._process: self._own()} | {name: text for name, text in zip(others, told, strict=True) if text}
        return together({name: texts[name] for name in sorted(texts)})

    def _ask(self, process: str) -> str:
        try:
            text: str = call(socket_path(self._run, process), "metrics", timeout_s=ASK_TIMEOUT_S)
        except MlspineError as exc:
            log.warning("a process does not tell its metrics", extra={"who": process, "why": str(exc)})
            return ""
        return text


def together(texts: Mapping[str, str]) -> str:
    r"""One text of several, by process; each family is told once, as the format asks.

    >>> one, other = ("# HELP up Runs.\n# TYPE up gauge\n" + line for line in ("up 1\n", 'up{who="a"} 2\n'))
    >>> print(together({"inference-0": one, "inference-1": other}), end="")
    # HELP up Runs.
    # TYPE up gauge
    up{process="inference-0"} 1
    up{who="a",process="inference-1"} 2
    """
    families: dict[str, list[str]] = {}  # by HELP line, in order of appearance
    for process, text in texts.items():
        family: list[str] = []
        for line in text.splitlines():
            if line.startswith("# HELP "):
                family = families.setdefault(line, [])
            elif line.startswith("#"):
                if line not in family:
                    family.append(line)
            else:
                family.append(_labelled(line, process))
    return "".join(f"{help_line}\n" + "".join(f"{line}\n" for line in lines) for help_line, lines in families.items())


def _labelled(sample: str, process: str) -> str:
    """A sample line with one label more; values hold no blank or brace, label values may."""
    series, _, value = sample.rpartition(" ")
    if series.endswith("}"):
        return f'{series[:-1]},process="{process}"}} {value}'
    return f'{series}{{process="{process}"}} {value}'
