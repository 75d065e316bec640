"""Log lines of our own processes: stdlib logging, JSON or for human eyes, with request and run ids.

Importing this module touches nothing; `configure` is called once by an entry point that owns its process,
never by the library inside somebody else's.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

request_id: ContextVar[str] = ContextVar("mlspine_request_id", default="")
run_id: ContextVar[str] = ContextVar("mlspine_run_id", default="")

# What every LogRecord carries anyway; the rest came in by `extra={...}`.
_ORDINARY = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(
    *, process: str, level: int = logging.INFO, stream: TextIO | None = None, as_json: bool | None = None
) -> None:
    """Send this process's log lines to `stream` (default: stderr), once, whatever was set up before.

    process: its name, on every line. as_json: None writes JSON unless the stream is a terminal.
    """
    stream = sys.stderr if stream is None else stream
    as_json = not stream.isatty() if as_json is None else as_json
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(process) if as_json else HumanLines(process))
    root = logging.getLogger()
    for old in [each for each in root.handlers if getattr(each, "mlspine", False)]:
        root.removeHandler(old)
    handler.mlspine = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(level)


@contextlib.contextmanager
def bind(*, request: str = "", run: str = "") -> Iterator[None]:
    """Put these ids on every line logged inside the block, in this context only."""
    tokens = [(var, var.set(value)) for var, value in ((request_id, request), (run_id, run)) if value]
    try:
        yield
    finally:
        for var, token in reversed(tokens):
            var.reset(token)


class JsonLines(logging.Formatter):
    """One JSON object per line: at, level, logger, process, event, ids, then the fields given by `extra`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class HumanLines(logging.Formatter):
    """`12:03:04.567 control WARNING event  field=value`, with the traceback below where there is one."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields = "  ".join(f"{key}={value}" for key, value in _fields(record).items())
        line = f"{_at(record)[11:23]} {self._process} {record.levelname} {record.getMessage()}"
        line = f"{line}  {fields}" if fields else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _at(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    ids = {"request_id": request_id.get(), "run_id": run_id.get()}
    given = {key: value for key, value in record.__dict__.items() if key not in _ORDINARY}
    return {**{key: value for key, value in ids.items() if value}, **given}
