"""What was answered, on its way to the spool: one list append per model call, all else off the path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import concat
from mlspine.core.plan import LogSettings
from mlspine.core.types import Columns
from mlspine.predictions.spool import Batch, SpoolWriter, encode_column, encode_columns
from mlspine.registry.flavors import Array
from mlspine.serving.request import Answered, Request, Rows

log = logging.getLogger(__name__)

DRAIN_EVERY_S = 0.25
RETRY_EVERY_S = 1.0
SLICE_CALLS = 64  # calls turned into one batch of the spool ...
SLICE_ROWS = 1024  # ... or about so many rows: well under a millisecond for 30 numeric columns
FRAME_BYTES = 4 * 1024 * 1024  # batches written as one frame, about
MAX_BACKLOG_BYTES = 64 * 1024 * 1024
_OBJECT_BYTES = 64  # what one value of an object column takes, roughly


class Source(NamedTuple):
    """Who answered, and what of it may be written."""

    endpoint: str
    release_hash: str
    version: int
    revision: int
    columns: tuple[str, ...]  # the model's inputs
    time_column: str
    key_column: str
    log: LogSettings
    log_first: bool = False
    path: str = "live"
    unfold: Callable[[Array], Columns] | None = None  # the matrix a model was given, as columns


class Call(NamedTuple):
    """One model call as the answering path leaves it."""

    source: Source
    requests: Sequence[Request]
    rows: Rows
    answered: Answered


class _Waiting(NamedTuple):
    batch: Batch
    rows: int
    size_bytes: int
    may_drop: bool


class Recorder:
    """Collects model calls and writes them to the spool at least every DRAIN_EVERY_S.

    Few calls at a time are turned into a batch, while what they hold is still in the processor's cache; a quarter of
    a second's worth at once takes several times as long, and stops the loop for as long.

    Serving wins over logging: when the disk is full or slow the oldest unwritten rows are dropped beyond
    MAX_BACKLOG_BYTES, and counted in `dropped_rows`. Not so for sources with `log_first`: their rows are kept,
    and whoever answers for them asks `is_full` first and refuses. drained: called after each round, when few
    requests are held.
    """

    def __init__(
        self,
        writer: SpoolWriter,
        *,
        max_backlog_bytes: int = MAX_BACKLOG_BYTES,
        drained: Callable[[], None] = lambda: None,
    ) -> None:
        self._writer = writer
        self._drained = drained
        self._max_backlog_bytes = max_backlog_bytes
        self._calls: list[Call] = []
        self._backlog: deque[_Waiting] = deque()
        self._backlog_bytes = 0
        self._lost: dict[str, int] = {}  # rows by endpoint that no batch has told of yet
        self._writing: list[_Waiting] = []
        self._singly = 0  # so many of the next batches are written each for itself: one of them cannot be encoded
        self._rows = 0  # in `_calls`
        self._collecting = False  # it is arranged
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._due = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.dropped_rows = 0
        self.failure = ""  # why the last write failed, "" when it did not

    # ------------------------------------------------------------ on the answering path

    def recording(self, source: Source) -> Callable[[Sequence[Request], Rows, Answered], None]:
        """The function that takes note of this source's model calls."""
        if not source.log.enabled:
            return lambda requests, rows, answered: None
        calls = self._calls

        def record(requests: Sequence[Request], rows: Rows, answered: Answered) -> None:
            calls.append(Call(source, requests, rows, answered))
            self._rows += len(answered.predictions)
            if not self._collecting and (self._rows >= SLICE_ROWS or len(calls) >= SLICE_CALLS):
                self._collecting = True
                asyncio.get_running_loop().call_soon(self._collect)

        return record

    def is_full(self) -> bool:
        """Whether rows recorded now would be dropped, or push out others."""
        return self._backlog_bytes >= self._max_backlog_bytes

    # ------------------------------------------------------------ off it

    @property
    def unwritten_rows(self) -> int:
        """Rows answered and not yet in the spool."""
        calls = sum(len(call.answered.predictions) for call in self._calls)
        writing = sum(waiting.rows for waiting in self._writing)
        return calls + writing + sum(waiting.rows for waiting in self._backlog)

    def start(self) -> None:
        """Begin draining; belongs to the running loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._collect_regularly()), loop.create_task(self._write_regularly())]

    async def flush(self, timeout_s: float = 10.0) -> int:
        """Write everything recorded so far; returns the rows still unwritten (a disk that takes nothing)."""
        self._collect()
        self._due.set()
        last = next(iter((*reversed(self._backlog), *reversed(self._writing))), None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while last is not None and (last in self._writing or last in self._backlog) and not self.failure:
                    self._changed.clear()
                    await self._changed.wait()
        return self.unwritten_rows

    async def stop(self) -> None:
        """Flush and end."""
        left = await self.flush()
        if left:
            self.dropped_rows += left
            log.error("rows are lost because the log cannot be written", extra={"rows": left, "why": self.failure})
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.shutdown(wait=True)
        self._writer.close()

    async def _collect_regularly(self) -> None:
        while True:
            await asyncio.sleep(DRAIN_EVERY_S)
            self._collect()
            self._due.set()
            self._drained()

    def _collect(self) -> None:
        """Turn the calls so far into batches."""
        self._collecting, self._rows = False, 0
        calls, self._calls[:] = self._calls[::-1], []
        while calls:
            part = _slice_off(calls)
            try:
                self._add(part)
            except Exception:  # noqa: BLE001 (_give_up logs it)
                self._give_up(sum(len(call.answered.predictions) for call in part))

    def _add(self, calls: Sequence[Call]) -> None:
        batch = make_batch(calls)
        batch = msgspec.structs.replace(batch, dropped_rows=self._lost.pop(batch.endpoint, 0))
        size = sum(_size_bytes(column.data) for column in batch.inputs) + 80 * len(batch.request_ids)
        self._backlog.append(_Waiting(batch, batch.rows, size, not calls[0].source.log_first))
        self._backlog_bytes += size
        while self._backlog_bytes > self._max_backlog_bytes and len(self._backlog) > 1:
            oldest = next((waiting for waiting in self._backlog if waiting.may_drop), None)
            if oldest is None or oldest is self._backlog[-1]:
                break
            self._backlog.remove(oldest)
            self._backlog_bytes -= oldest.size_bytes
            self.dropped_rows += oldest.rows
            self._tell_of_loss(oldest.batch.endpoint, oldest.rows + oldest.batch.dropped_rows)
        if self._backlog_bytes >= FRAME_BYTES:
            self._due.set()

    def _tell_of_loss(self, endpoint: str, rows: int) -> None:
        """Let the endpoint's next batch that reaches the disk say how many rows before it did not."""
        for at, waiting in enumerate(self._backlog):
            if waiting.batch.endpoint == endpoint:
                batch = msgspec.structs.replace(waiting.batch, dropped_rows=waiting.batch.dropped_rows + rows)
                self._backlog[at] = waiting._replace(batch=batch)
                return
        self._lost[endpoint] = self._lost.get(endpoint, 0) + rows

    async def _write_regularly(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._due.wait()
            self._due.clear()
            while self._backlog:
                self._writing = self._taken()
                try:
                    await loop.run_in_executor(
                        self._thread, self._writer.append, [waiting.batch for waiting in self._writing]
                    )
                except OSError as exc:
                    self._put_back(exc)
                    await asyncio.sleep(RETRY_EVERY_S)
                    continue
                except Exception:  # noqa: BLE001 (_give_up logs it)
                    if len(self._writing) > 1:  # one of them is at fault: find it
                        self._singly = len(self._writing)
                        self._put_back()
                        continue
                    self._give_up(self._writing[0].rows)
                else:
                    self.failure = ""
                written, self._writing = self._writing, []
                self._backlog_bytes -= sum(waiting.size_bytes for waiting in written)
                self._changed.set()

    def _taken(self) -> list[_Waiting]:
        """The batches of the next frame, oldest first."""
        taken = [self._backlog.popleft()]
        if self._singly:
            self._singly -= 1
            return taken
        size = taken[0].size_bytes
        while self._backlog and size < FRAME_BYTES:
            taken.append(self._backlog.popleft())
            size += taken[-1].size_bytes
        return taken

    def _give_up(self, rows: int) -> None:
        """Rows that cannot be encoded would fail again for ever, and hold up all that come after them."""
        self.dropped_rows += rows
        log.exception("answered rows cannot be encoded and are left out of the log", extra={"rows": rows})

    def _put_back(self, exc: OSError | None = None) -> None:
        if exc is not None:
            if not self.failure:
                log.error("the spool cannot be written; answering goes on", extra={"why": str(exc)})
            self.failure = str(exc)
        self._backlog.extendleft(reversed(self._writing))
        self._writing = []
        self._changed.set()


def make_batch(calls: Sequence[Call]) -> Batch:
    """Consecutive model calls of one source as one batch of the spool, redacted columns left out."""
    source = calls[0].source
    requests = [request for call in calls for request in call.requests]
    keep = [name for name in source.columns if name not in source.log.redact]
    logged = [name for name in (source.time_column, source.key_column) if name and name not in source.log.redact]
    columns = _columns(calls, {*keep, *logged})
    counts = [request.table.size for request in requests]
    scores = [call.answered.score for call in calls if call.answered.score is not None]
    prediction = np.concatenate([call.answered.outputs.prediction for call in calls])
    return Batch(
        endpoint=source.endpoint,
        release_hash=source.release_hash,
        version=source.version,
        revision=source.revision,
        request_ids=[request.request_id for request in requests],
        row_counts=counts,
        received_at_ms=[request.received_at_ms for request in requests],
        latency_s=[request.latency_s for request in requests],
        inputs=encode_columns({name: columns[name] for name in keep}),
        prediction=encode_column("prediction", prediction),
        score=np.concatenate(scores).astype("<f8").tobytes() if len(scores) == len(calls) else b"",
        event_at_ms=_event_times(requests, columns.get(source.time_column)),
        keys=_keys(requests, columns.get(source.key_column)),
        path=source.path,
    )


def _columns(calls: Sequence[Call], names: Collection[str]) -> Columns:
    """What the calls were given, under one another."""
    unfold = calls[0].source.unfold
    matrices = [call.rows for call in calls if isinstance(call.rows, np.ndarray)]
    if unfold is not None and len(matrices) == len(calls):
        return {name: values for name, values in unfold(np.concatenate(matrices)).items() if name in names}
    tables = [call.rows if isinstance(call.rows, dict) else (unfold or _refuse)(call.rows) for call in calls]
    return concat([{name: table[name] for name in names} for table in tables])


def _refuse(rows: Array) -> Columns:
    raise ValueError("a matrix was recorded by a source that cannot unfold it")


def _event_times(requests: Sequence[Request], column: np.ndarray[Any, Any] | None) -> list[int]:
    """Per row: the time column, else the request's header, else the time of receipt; [] if all are that."""
    if column is None and all(request.event_at_ms is None for request in requests):
        return []
    of_request = [
        request.received_at_ms if request.event_at_ms is None else request.event_at_ms for request in requests
    ]
    per_row = np.repeat(np.array(of_request, dtype=np.int64), [request.table.size for request in requests])
    if column is not None and column.dtype.kind == "M":
        told = column.astype("datetime64[ms]").astype(np.int64)
        per_row = np.where(np.isnat(column), per_row, told)
    elif column is not None and column.dtype.kind in "if":
        # A time column that is a plain number holds milliseconds since 1970.
        known = ~np.isnan(column.astype(np.float64))
        per_row = np.where(known, np.where(known, column, 0).astype(np.int64), per_row)
    times: list[int] = per_row.tolist()
    return times


def _keys(requests: Sequence[Request], column: np.ndarray[Any, Any] | None) -> list[str | None]:
    """Per row: the key column, else the request's header; [] when there is no key at all."""
    if column is None and all(request.key is None for request in requests):
        return []
    of_request = [request.key for request in requests for _ in range(request.table.size)]
    if column is None:
        return of_request
    told: list[Any] = column.tolist()
    return [
        other if value is None or value != value else _key(value) for value, other in zip(told, of_request, strict=True)
    ]


def _key(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value)


def _slice_off(calls: list[Call]) -> list[Call]:
    """The next calls of one source, up to SLICE_CALLS or about SLICE_ROWS rows; `calls` is in reverse order."""
    part = [calls.pop()]
    rows = len(part[0].answered.predictions)
    while calls and rows < SLICE_ROWS and len(part) < SLICE_CALLS and calls[-1].source is part[0].source:
        part.append(calls.pop())
        rows += len(part[-1].answered.predictions)
    return part


def _size_bytes(data: bytes | list[Any]) -> int:
    return len(data) if isinstance(data, bytes) else _OBJECT_BYTES * len(data)
