"""Staying in the foreground: the one process that a terminal, a service manager or a container sees."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import click

POLL_EVERY_S = 0.3
STOPPED_AFTER_S = 2.0  # `mlspine down` elsewhere, unless something starts again at once
GONE_AFTER_S = 10.0  # nothing lives and nobody asked for it; a restart under way may take this long


class StopSignals:
    """Remembers SIGTERM and SIGINT instead of dying of them, so that starting is never cut in half."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        for each in (signal.SIGTERM, signal.SIGINT):
            self._before[each] = signal.signal(each, self._take)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def stay(directory: Path, signals: StopSignals) -> None:
    """Print what the processes log, and stay until they have ended; a signal ends all of them.

    Returns when somebody wanted the end. Raises Unavailable when control and inference are gone and neither is
    left to start the other: then a supervisor starts everything again.
    """
    from mlspine.core.errors import Unavailable
    from mlspine.running import anything_runs, stop_everything

    run = directory / "run"
    offsets = {file: file.stat().st_size for file in _logs(run)}
    gone = GoneFor(time.monotonic)
    while not signals.asked:
        _print_all(run, offsets)
        _bury_orphans()
        gone_s = gone.seconds(alive=anything_runs(directory))
        if gone_s > STOPPED_AFTER_S and (run / "stopping").exists():
            break
        if gone_s > GONE_AFTER_S:
            raise Unavailable("control and inference have ended", hint=f"their last words: {run / 'control.log'}")
        time.sleep(POLL_EVERY_S)
    else:
        stop_everything(directory)
    _print_all(run, offsets)
    click.echo("stopped")


class GoneFor:
    """For how long nothing has lived."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._since = timer()

    def seconds(self, *, alive: bool) -> float:
        """Look once.

        >>> times = iter([0.0, 1.0, 2.0, 4.5])
        >>> gone = GoneFor(lambda: next(times))
        >>> gone.seconds(alive=True), gone.seconds(alive=True), gone.seconds(alive=False)
        (0.0, 0.0, 2.5)
        """
        now = self._timer()
        if alive:
            self._since = now
        return now - self._since


def _bury_orphans() -> None:
    """Take the exit codes of children that ended: as the first process of a container, of every lost process."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _logs(run: Path) -> list[Path]:
    """The log of control and those of all inference processes; there may be more of these later."""
    return sorted([*run.glob("control.log"), *run.glob("inference-*.log")])


def _print_all(run: Path, offsets: dict[Path, int]) -> None:
    for file in _logs(run):
        offsets[file] = _print_new(file, offsets.get(file, 0))


def _print_new(file: Path, offset: int) -> int:
    if not file.exists():
        return 0
    with file.open("rb") as source:
        source.seek(offset)
        data = source.read()
    if data:
        click.echo(data.decode(errors="replace"), nl=False)
    return offset + len(data)
