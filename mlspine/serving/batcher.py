"""One model call for the requests that arrive together; the answers split back to each.

No timers. In the event loop the first arrival of a turn schedules the call for the next one, so whatever
arrived meanwhile goes along. For a model in a worker, requests gather while a call is under way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlspine.core.columns import take
from mlspine.core.errors import Invalid, MlspineError, Unavailable
from mlspine.core.types import Columns, Task
from mlspine.registry.flavors import Outputs, score_of
from mlspine.serving.rows import RowCodec, Table

log = logging.getLogger(__name__)

MAX_CALL_ROWS = 1024  # rows the model is given at once, so that one large request does not stop the loop
MAX_QUEUE_ROWS = 100_000


class Request:
    """One request on its way through the model. `began_s` is by `time.perf_counter`."""

    __slots__ = (
        "began_s",
        "event_at_ms",
        "future",
        "key",
        "latency_s",
        "received_at_ms",
        "request_id",
        "table",
    )

    def __init__(
        self,
        table: Table,
        request_id: str,
        *,
        received_at_ms: int,
        began_s: float,
        event_at_ms: int | None = None,
        key: str | None = None,
    ) -> None:
        self.table = table
        self.request_id = request_id
        self.received_at_ms = received_at_ms
        self.began_s = began_s
        self.event_at_ms = event_at_ms
        self.key = key
        self.latency_s = 0.0
        self.future: asyncio.Future[Answer]


class Answered:
    """The rows of one model call, with what came out as Python values."""

    __slots__ = ("outputs", "predictions", "score", "scores")

    def __init__(self, outputs: Outputs, task: Task) -> None:
        self.outputs = outputs
        self.score = score_of(outputs, task)
        self.predictions: list[Any] = outputs.prediction.tolist()
        self.scores: list[float] | None = None if self.score is None else self.score.tolist()


class Answer(NamedTuple):
    """One request's share of a model call: rows `start` to `stop` of `call`."""

    call: Answered
    start: int
    stop: int


class Record(Protocol):
    """Takes note of one model call; must be quick and never raise."""

    def __call__(self, requests: Sequence[Request], columns: Columns, answered: Answered, /) -> None: ...


class Batcher:
    """What both kinds share: the queue with its bound, and splitting answers back."""

    def __init__(
        self,
        *,
        codec: RowCodec,
        task: Task,
        record: Record,
        max_queue_rows: int = MAX_QUEUE_ROWS,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._codec = codec
        self._task: Task = task
        self._record = record
        self._max_queue_rows = max_queue_rows
        self._timer = timer
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Request] = deque()
        self._queued_rows = 0

    def submit(self, request: Request) -> asyncio.Future[Answer]:
        """Put a request in the queue; its future resolves to the answer or to an error of the family.

        Raises Unavailable at once when more rows wait than the bound allows.
        """
        rows = request.table.size
        if self._queued_rows + rows > self._max_queue_rows and self._queue:
            raise Unavailable(
                f"{self._queued_rows} rows are waiting for the model already",
                hint="send again in a second, or fewer rows at once",
            )
        request.future = self._loop.create_future()
        self._queue.append(request)
        self._queued_rows += rows
        self._wake()
        return request.future

    def _wake(self) -> None:
        raise AssertionError("a batcher of one of the two kinds wakes itself")

    def _take(self) -> list[Request]:
        """The next requests for one model call: all that wait, or as many as fit."""
        if self._queued_rows <= MAX_CALL_ROWS:
            requests, self._queue = list(self._queue), deque()
            self._queued_rows = 0
            return requests
        requests, rows = [], 0
        while self._queue and (not requests or rows + self._queue[0].table.size <= MAX_CALL_ROWS):
            requests.append(self._queue.popleft())
            rows += requests[-1].table.size
        self._queued_rows -= rows
        return requests

    def _resolve(self, requests: Sequence[Request], columns: Columns, outputs: Outputs) -> None:
        answered = Answered(outputs, self._task)
        ended, start = self._timer(), 0
        for request in requests:
            stop = start + request.table.size
            request.latency_s = ended - request.began_s
            if not request.future.done():  # its caller may have hung up
                request.future.set_result(Answer(answered, start, stop))
            start = stop
        self._record(requests, columns, answered)

    def _fail(self, requests: Sequence[Request], exc: Exception) -> None:
        for request in requests:
            if not request.future.done():
                request.future.set_exception(exc)


class LoopBatcher(Batcher):
    """For a model called in the event loop."""

    def __init__(self, predict: Callable[[Columns], Outputs], *, canned: Callable[[], bool], **rest: Any) -> None:
        super().__init__(**rest)
        self._predict = predict
        self._canned = canned
        self._scheduled = False

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        requests = self._take()
        if len(requests) == 1 and requests[0].table.size > MAX_CALL_ROWS:
            task = self._loop.create_task(self._answer_large(requests[0]))
            requests[0].future.add_done_callback(lambda _: task.done())  # keeps the task referenced
        elif requests:
            self._answer(requests)
        if self._queue:
            self._wake()

    def _answer(self, requests: list[Request]) -> None:
        try:
            columns = self._codec.columns([request.table for request in requests])
            self._resolve(requests, columns, _checked(self._predict(columns), requests))
        except MlspineError as exc:
            self._fail(requests, exc)
        except Exception as exc:  # noqa: BLE001 (a model may raise anything; refusal() tells or logs it)
            if len(requests) > 1:
                half = len(requests) // 2
                self._answer(requests[:half])
                self._answer(requests[half:])
            else:
                self._fail(requests, refusal(exc, healthy=self._canned()))

    async def _answer_large(self, request: Request) -> None:
        """A request beyond one call's rows, in slices with the loop free in between."""
        try:
            columns = self._codec.columns([request.table])
            parts = []
            for start in range(0, request.table.size, MAX_CALL_ROWS):
                parts.append(self._predict(take(columns, slice(start, start + MAX_CALL_ROWS))))
                await asyncio.sleep(0)
            self._resolve([request], columns, _checked(join(parts), [request]))
        except MlspineError as exc:
            self._fail([request], exc)
        except Exception as exc:  # noqa: BLE001 (a model may raise anything; refusal() tells or logs it)
            self._fail([request], refusal(exc, healthy=self._canned()))


class WorkerBatcher(Batcher):
    """For a model in a process of its own: one call at a time, requests gather meanwhile."""

    def __init__(
        self,
        predict: Callable[[Columns], Awaitable[Outputs]],
        *,
        canned: Callable[[], Awaitable[bool]],
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self._predict = predict
        self._canned = canned
        self._running: asyncio.Task[None] | None = None

    def _wake(self) -> None:
        if self._running is None:
            self._running = self._loop.create_task(self._run())

    async def _run(self) -> None:
        await asyncio.sleep(0)  # let the other requests of this turn arrive
        try:
            while self._queue:
                await self._answer(self._take())
        finally:
            self._running = None

    async def _answer(self, requests: list[Request]) -> None:
        try:
            columns = self._codec.columns([request.table for request in requests])
            self._resolve(requests, columns, _checked(await self._predict(columns), requests))
        except MlspineError as exc:
            self._fail(requests, exc)
        except Exception as exc:  # noqa: BLE001 (a model may raise anything; refusal() tells or logs it)
            if len(requests) > 1:
                half = len(requests) // 2
                await self._answer(requests[:half])
                await self._answer(requests[half:])
            else:
                self._fail(requests, refusal(exc, healthy=await self._canned()))


class ModelError(Exception):
    """What a model raised in another process, as text."""


def refusal(exc: Exception, *, healthy: bool) -> MlspineError:
    """What to tell the caller whose rows the model failed on.

    healthy: whether the model still answers its recorded row. If so the values are to blame, else the model.
    """
    said = str(exc) if isinstance(exc, ModelError) else f"{type(exc).__name__}: {exc}"
    said = said.strip().replace("\n", " ")[:300]
    if healthy:
        return Invalid(
            f"the model could not score this row: {said}",
            hint="compare the values with those it was fitted on",
        )
    log.error("the model fails on its own recorded row", extra={"why": said})
    return Unavailable(f"the model fails: {said}", hint="bring back the release before it: mlspine rollback NAME")


def join(parts: Sequence[Outputs]) -> Outputs:
    """Outputs of consecutive slices as one."""
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Outputs(
        prediction=np.concatenate([part.prediction for part in parts]),
        probabilities=np.concatenate(probabilities) if len(probabilities) == len(parts) else None,
    )


def _checked(outputs: Outputs, requests: Sequence[Request]) -> Outputs:
    rows = sum([request.table.size for request in requests])
    if len(outputs.prediction) != rows:
        raise ValueError(f"the model gave {len(outputs.prediction)} predictions for {rows} rows")
    return outputs
