"""Answers of a server, on their way from its requests to whoever keeps them: a bounded queue and one thread.

Nothing here raises into the server. What cannot be read or handed on is counted, and logged once.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from mlspine.core.errors import Unavailable
from mlspine.serving.request_id import new_request_id
from mlspine.watching.spec import Spec

log = logging.getLogger(__name__)

DRAIN_EVERY_S = 0.25
CLOSE_WITHIN_S = 5.0
HAND_ON_ROWS = 1_000
LONGEST_PAUSE_S = 30.0
_OVERHEAD_BYTES = 300  # of one exchange beside its bodies

Rows = Callable[[Any], Sequence[Any]]


class Exchange(NamedTuple):
    """One request and its answer, as bytes."""

    request: bytes
    response: bytes
    received_at_ms: int
    latency_s: float


class Counters(msgspec.Struct):
    """What became of answers so far. rows: handed on. dropped_rows: lost, because nothing could take them in time.
    unreadable: exchanges that are no rows with answers. failure: why nothing can be handed on now, "" when it can."""

    rows: int = 0
    dropped_rows: int = 0
    unreadable: int = 0
    failure: str = ""


class Answered(NamedTuple):
    """Rows of one exchange with their answers, as `answers.given_rows` reads them, and when they were answered."""

    rows: list[dict[str, Any]]
    request_id: str
    received_at_ms: int
    latency_s: float


class Reader:
    """Bytes of exchanges to rows."""

    def __init__(self, endpoint: str, rows: Rows, answers: Rows) -> None:
        self._endpoint = endpoint
        self._rows = rows
        self._answers = answers

    def read(self, exchange: Exchange, spec: Spec | None) -> Answered:
        """Raises ValueError for what is no rows with as many answers; whatever an extractor raises, too."""
        rows = self._rows(msgspec.json.decode(exchange.request))
        answers = self._answers(msgspec.json.decode(exchange.response))
        if len(rows) != len(answers):
            raise ValueError(f"{len(rows)} rows were asked and {len(answers)} answered")
        told = [_row(row, answer, spec) for row, answer in zip(rows, answers, strict=True)]
        at_ms = exchange.received_at_ms
        return Answered(told, new_request_id(at_ms), at_ms, exchange.latency_s)


class Sink(Protocol):
    """Where rows go."""

    def spec(self) -> Spec | None:
        """What is known of the endpoint here."""
        ...

    def put(self, given: list[Answered], *, dropped_rows: int) -> None:
        """Hand rows on. Raises OSError or Unavailable where trying again may help, anything else where it will not."""
        ...


class Line:
    """Exchanges on their way: a bounded queue, and a thread that empties it."""

    def __init__(self, reader: Reader, sink: Sink, *, max_waiting_bytes: int) -> None:
        self._reader = reader
        self._sink = sink
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[Exchange] = deque()
        self._waiting_bytes = 0
        self._held: list[Answered] = []
        self._untold_rows = 0
        self._lock = threading.Lock()
        self._busy = threading.Lock()
        self._wake = threading.Event()
        self._pid = 0
        self._logged: set[str] = set()
        self.counters = Counters()

    def add(self, exchange: Exchange) -> None:
        """Take note of one exchange; the oldest go beyond the bound."""
        with self._lock:
            self._waiting.append(exchange)
            self._waiting_bytes += _size(exchange)
            while self._waiting_bytes > self._max_waiting_bytes and len(self._waiting) > 1:
                lost = self._waiting.popleft()
                self._waiting_bytes -= _size(lost)
                self._lose(1)
        if self._pid != os.getpid():
            self._start()

    def flush(self, timeout_s: float) -> bool:
        """Whether nothing waits any more."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._drain()
            if not self._waiting and not self._held:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()  # a forked worker has no thread of its parent's
            threading.Thread(target=self._run, name="mlspine-monitor", daemon=True).start()
            atexit.register(self.flush, CLOSE_WITHIN_S)

    def _run(self) -> None:
        pause_s = DRAIN_EVERY_S
        while True:
            self._wake.wait(pause_s)
            well = self._drain()
            pause_s = DRAIN_EVERY_S if well else min(pause_s * 2, LONGEST_PAUSE_S)

    def _drain(self) -> bool:
        """Hand on everything there is; False where it has to be tried again."""
        with self._busy:
            try:
                return self._pass_on()
            except Exception as exc:  # noqa: BLE001 (an answer must never fail for being watched)
                self._give_up(exc)
                return True

    def _pass_on(self) -> bool:
        spec = self._sink.spec()
        with self._lock:
            taken, self._waiting = list(self._waiting), deque()
            self._waiting_bytes = 0
        for exchange in taken:
            try:
                self._held.append(self._reader.read(exchange, spec))
            except Exception as exc:  # noqa: BLE001 (extractors are somebody else's code)
                self.counters.unreadable += 1
                self._log_once("an exchange is not monitored: it is no rows with their answers", exc)
        self._bound()
        while self._held:
            part = _first(self._held)
            rows = sum(len(each.rows) for each in part)
            try:
                self._sink.put(part, dropped_rows=self._untold_rows)
            except (OSError, Unavailable) as exc:
                self.counters.failure = str(exc)
                self._log_once("answers wait: they cannot be handed on", exc)
                return False
            except Exception as exc:  # noqa: BLE001 (trying again would fail for ever)
                self._give_up(exc, rows)
            else:
                self.counters.rows += rows
                self.counters.failure = ""
                self._untold_rows = 0
            del self._held[: len(part)]
        return True

    def _bound(self) -> None:
        """Rows read and not handed on count at a rough size: as many bytes as values of eight."""
        most = self._max_waiting_bytes // _OVERHEAD_BYTES
        while sum(len(each.rows) for each in self._held) > most and len(self._held) > 1:
            self._lose(len(self._held.pop(0).rows))

    def _give_up(self, exc: Exception, rows: int = 0) -> None:
        self._lose(rows)
        self.counters.failure = str(exc)
        self._log_once("answers are not monitored", exc)

    def _lose(self, rows: int) -> None:
        self.counters.dropped_rows += rows
        self._untold_rows += rows

    def _log_once(self, what: str, exc: Exception) -> None:
        if what in self._logged:
            return
        self._logged.add(what)
        why = "; ".join(filter(None, [str(exc), getattr(exc, "hint", "")]))
        log.error("%s: %s", what, why or type(exc).__name__)


# ---------------------------------------------------------------- rows

_SPELT = {"prediction": "prediction", "predicted_label": "prediction", "label": "prediction", "class": "prediction"}
_SPELT |= {"score": "score", "probability": "score", "proba": "score"}


def _row(row: Any, answer: Any, spec: Spec | None) -> dict[str, Any]:
    """A row as it was sent and its answer, as one row of the log."""
    told: dict[str, Any] = {}
    if isinstance(row, list) and spec is not None and len(row) == len(spec.inputs.names):
        row = dict(zip(spec.inputs.names, row, strict=True))
    if not isinstance(row, Mapping):
        raise ValueError(f"a row is {type(row).__name__}, not an object; say rows=")
    features = row.get("features")
    told["features"] = features if isinstance(features, dict) else row
    if spec is not None:
        side = {"event_time": spec.names.get("time", ""), "key": spec.names.get("key", "")}
        told |= {role: row[name] for role, name in side.items() if name and row.get(name) is not None}
    if isinstance(answer, Mapping):
        told |= {_SPELT[name]: value for name, value in answer.items() if name in _SPELT}
    elif isinstance(answer, float) and spec is not None and spec.task == "binary":
        told["score"] = answer
    else:
        told["prediction"] = answer
    return told


def _first(held: list[Answered]) -> list[Answered]:
    """As many as are handed on at once."""
    rows, part = 0, []
    for each in held:
        part.append(each)
        rows += len(each.rows)
        if rows >= HAND_ON_ROWS:
            break
    return part


def _size(exchange: Exchange) -> int:
    return len(exchange.request) + len(exchange.response) + _OVERHEAD_BYTES
