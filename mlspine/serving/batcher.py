"""One model call for the requests that arrive together; the answers split back to each.

No timers. In the event loop the first arrival of a turn schedules the call for the next one, so whatever
arrived meanwhile goes along. For a model in a worker, requests gather while a call is under way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlspine.core.columns import take
from mlspine.core.errors import MlspineError, Unavailable
from mlspine.core.types import Columns, Task
from mlspine.registry.flavors import Array, FromMatrix, Outputs
from mlspine.serving.matrix import MatrixReader
from mlspine.serving.output_rules import Ruled
from mlspine.serving.outputs import join, select
from mlspine.serving.refusing import refusal
from mlspine.serving.request import Answer, Answered, Request, Rows, awaited, fail
from mlspine.serving.rows import RowCodec

log = logging.getLogger(__name__)

MAX_CALL_ROWS = 1024  # rows the model is given at once, so that one large request does not stop the loop
MAX_QUEUE_ROWS = 100_000


class Record(Protocol):
    """Takes note of one model call; must be quick and never raise."""

    def __call__(self, requests: Sequence[Request], rows: Rows, answered: Answered, /) -> None: ...


class Settled(NamedTuple):
    """A call whose answers stand. asked: all its requests; requests, rows, answered: those answered from it."""

    asked: Sequence[Request]
    requests: Sequence[Request]
    rows: Rows
    answered: Answered


class Failed(Protocol):
    """Takes the requests a call failed for. lost: the call ran out of time or took its process along."""

    def __call__(self, requests: Sequence[Request], exc: Exception, /, *, lost: bool) -> None: ...


class Rule(Protocol):
    """What answers may be: see `output_rules.OutputRules`."""

    def apply(self, outputs: Outputs, columns: Columns, spans: Sequence[tuple[int, int]], /) -> Ruled: ...


class Fallen(Protocol):
    """Takes the requests whose answers an output rule gave away, and hears what the rules caught."""

    def __call__(self, requests: Sequence[Request], ruled: Ruled, /) -> None: ...


class Hooks(NamedTuple):
    """What a batcher tells of its calls, and what it is held to.

    arm: what `Answered.arm` is to be. failed: None tells the requests themselves. over: hears how long each call kept
    everybody: rows, requests, seconds, and the time. gone: hears of rows and requests that left without an answer, and
    of the call (rows, seconds) that is to blame.
    deadline_s: for models elsewhere; None: only their own.
    """

    record: Record
    failed: Failed | None = None
    arm: Any = None
    max_queue_rows: int = 100_000
    max_call_rows: int = 1024
    rules: Rule | None = None
    fallen: Fallen | None = None
    over: Callable[[int, int, float, float], None] | None = None
    gone: Callable[[int, int, int, float], None] | None = None
    deadline_s: float | None = None


class Batcher:
    """What both kinds share: the queue with its bound, and splitting answers back."""

    def __init__(
        self,
        *,
        codec: RowCodec,
        task: Task,
        hooks: Hooks,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._codec = codec
        self._task: Task = task
        self._record = hooks.record
        self._failed: Failed = hooks.failed or fail
        self._arm = hooks.arm
        self._rules, self._fallen = hooks.rules, hooks.fallen
        self._over = hooks.over
        self._free_since_s = 0.0
        self._max_queue_rows = hooks.max_queue_rows
        self._max_call_rows = hooks.max_call_rows
        self._timer = timer
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Request] = deque()
        self._queued_rows = 0
        self._under_way: set[asyncio.Task[None]] = set()  # keeps them referenced

    @property
    def queued_rows(self) -> int:
        """Rows that wait for the model."""
        return self._queued_rows

    def submit(self, request: Request) -> asyncio.Future[Answer]:
        """Hand in a request; the future resolves to its answer or to an error of the family."""
        future = awaited(request)
        self.put(request)
        return future

    def put(self, request: Request) -> None:
        """Hand in a request whose `deliver` is set.

        Raises Unavailable at once when more rows wait than the bound allows.
        """
        rows = request.table.size
        if self._queued_rows + rows > self._max_queue_rows and self._queue:
            raise Unavailable(
                f"{self._queued_rows} rows are waiting for the model already",
                hint="send again in a second, or fewer rows at once",
            )
        self._queue.append(request)
        self._queued_rows += rows
        self._wake()

    def _wake(self) -> None:
        raise AssertionError("a batcher of one of the two kinds wakes itself")

    def _take(self) -> list[Request]:
        """The next requests for one model call: all that wait, or as many as fit."""
        if self._queued_rows <= self._max_call_rows:
            requests, self._queue = list(self._queue), deque()
            self._queued_rows = 0
            return requests
        requests, rows = [], 0
        while self._queue and (not requests or rows + self._queue[0].table.size <= self._max_call_rows):
            requests.append(self._queue.popleft())
            rows += requests[-1].table.size
        self._queued_rows -= rows
        return requests

    def _settle(self, requests: Sequence[Request], rows: Rows, outputs: Outputs) -> Settled:
        """What is answered of a call once the output rules have spoken; raises for outputs that are none."""
        asked, abstained = requests, None
        if self._rules is not None:
            requests, rows, outputs, abstained = self._ruled(self._rules, requests, rows, outputs)
        return Settled(asked, requests, rows, Answered(outputs, self._task, self._arm, abstained))

    def _resolve(self, settled: Settled) -> None:
        """Give the answers out, then have the call noted."""
        asked, requests, rows, answered = settled
        ended, start = self._timer(), 0
        for request in requests:
            stop = start + request.table.size
            request.latency_s = ended - request.began_s
            request.deliver(request, Answer(answered, start, stop), None)
            start = stop
        if requests:
            self._record(requests, rows, answered)
        if self._over is not None:
            self._tell_over(asked)

    def _fail(self, requests: Sequence[Request], exc: Exception, *, lost: bool = False) -> None:
        if self._over is not None:
            self._tell_over(requests)
        self._failed(requests, exc, lost=lost)

    def _tell_over(self, requests: Sequence[Request]) -> None:
        if not requests:
            return
        rows = sum([request.table.size for request in requests])
        now_s = self._timer()
        began_s = max(requests[0].began_s, self._free_since_s)
        self._free_since_s = now_s
        assert self._over is not None
        self._over(rows, len(requests), now_s - began_s, now_s)

    def _ruled(
        self, rules: Rule, requests: Sequence[Request], rows: Rows, outputs: Outputs
    ) -> tuple[Sequence[Request], Rows, Outputs, Array | None]:
        """What is left to be answered from here once the output rules have spoken."""
        spans, start = [], 0
        for request in requests:
            spans.append((start, start + request.table.size))
            start += request.table.size
        columns = rows if isinstance(rows, dict) else MatrixReader(self._codec.schema).columns(rows)
        ruled = rules.apply(outputs, columns, spans)
        if ruled.broken and self._fallen is not None:
            self._fallen([requests[at] for at in ruled.to_fallback], ruled)
        if not ruled.to_fallback:
            return requests, rows, ruled.outputs, ruled.abstained
        gone = set(ruled.to_fallback)
        kept = [at for at in range(len(requests)) if at not in gone]
        stays = np.concatenate([np.arange(*spans[at]) for at in kept]) if kept else np.empty(0, dtype=np.int64)
        return (
            [requests[at] for at in kept],
            {name: values[stays] for name, values in columns.items()},
            select(ruled.outputs, stays),
            None if ruled.abstained is None else ruled.abstained[stays],
        )


class LoopBatcher(Batcher):
    """For a model called in the event loop. from_matrix: the same model on a bare matrix, for rows that are one."""

    def __init__(
        self,
        predict: Callable[[Columns], Outputs],
        *,
        canned: Callable[[], bool],
        from_matrix: FromMatrix | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self._predict = predict
        self._canned = canned
        self._scheduled = False
        self._call = self._call_on_columns
        if from_matrix is not None and MatrixReader.fits(self._codec.schema, self._codec.also):
            self._matrix = MatrixReader(self._codec.schema).read
            self._from_matrix = from_matrix
            self._call = self._call_on_matrix

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        requests = self._take()
        if len(requests) == 1 and requests[0].table.size > MAX_CALL_ROWS:
            self._begin(self._answer_large(requests[0]))
        elif requests:
            self._answer(requests)
        if self._queue:
            self._wake()

    def _answer(self, requests: list[Request]) -> None:
        try:
            rows, outputs = self._call(requests)
            check(outputs, requests)
            settled = self._settle(requests, rows, outputs)
        except MlspineError as exc:
            self._fail(requests, exc)
        except Exception as exc:  # noqa: BLE001 (a model may raise anything; refusal() tells or logs it)
            if len(requests) > 1:
                half = len(requests) // 2
                self._answer(requests[:half])
                self._answer(requests[half:])
            else:
                self._fail(requests, refusal(exc, healthy=self._canned()))
        else:
            self._resolve(settled)

    def _call_on_columns(self, requests: Sequence[Request]) -> tuple[Rows, Outputs]:
        columns = self._codec.columns([request.table for request in requests])
        return columns, self._predict(columns)

    def _call_on_matrix(self, requests: Sequence[Request]) -> tuple[Rows, Outputs]:
        matrix = self._matrix([request.table for request in requests])
        return matrix, self._from_matrix(matrix)

    async def _answer_large(self, request: Request) -> None:
        """A request beyond one call's rows, in slices with the loop free in between."""
        try:
            columns = self._codec.columns([request.table])
            parts = []
            for start in range(0, request.table.size, MAX_CALL_ROWS):
                parts.append(self._predict(take(columns, slice(start, start + MAX_CALL_ROWS))))
                await asyncio.sleep(0)
            outputs = join(parts)
            check(outputs, [request])
            settled = self._settle([request], columns, outputs)
        except MlspineError as exc:
            self._fail([request], exc)
        except Exception as exc:  # noqa: BLE001 (a model may raise anything; refusal() tells or logs it)
            self._fail([request], refusal(exc, healthy=self._canned()))
        else:
            self._resolve(settled)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


class RuleBatcher(Batcher):
    """Answers without a model: what the declared rule says, for every row."""

    def __init__(self, answer: Callable[[int], Outputs], **rest: Any) -> None:
        super().__init__(**rest)
        self._rule_answer = answer

    def _wake(self) -> None:
        if len(self._queue) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        requests, self._queue, self._queued_rows = list(self._queue), deque(), 0
        try:
            columns = self._codec.columns([request.table for request in requests])
            outputs = self._rule_answer(sum([request.table.size for request in requests]))
            settled = self._settle(requests, columns, outputs)
        except Exception as exc:  # noqa: BLE001 (rows another release has read may not fit this one)
            self._fail(requests, refusal(exc, healthy=False))
        else:
            self._resolve(settled)


def check(outputs: Outputs, requests: Sequence[Request]) -> None:
    """Raises ValueError for outputs that are not one per row."""
    rows = sum([request.table.size for request in requests])
    if len(outputs.prediction) != rows:
        raise ValueError(f"the model gave {len(outputs.prediction)} predictions for {rows} rows")
