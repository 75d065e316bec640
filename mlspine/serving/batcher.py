"""One model call for the requests that arrive together; the answers split back to each.

No timers. In the event loop the first arrival of a turn schedules the call for the next one, so whatever
arrived meanwhile goes along. For a model in a worker, requests gather while a call is under way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from mlspine.core.columns import take
from mlspine.core.errors import Invalid, MlspineError, Unavailable
from mlspine.core.types import Columns, Task
from mlspine.registry.flavors import Array, FromMatrix, Outputs, score_of
from mlspine.serving.matrix import MatrixReader
from mlspine.serving.output_rules import Ruled
from mlspine.serving.rows import RowCodec, Table

log = logging.getLogger(__name__)

MAX_CALL_ROWS = 1024  # rows the model is given at once, so that one large request does not stop the loop
MAX_QUEUE_ROWS = 100_000


class Request(msgspec.Struct):
    """One request on its way through the model. `began_s` is by `time.perf_counter`.

    deliver: called once with this request and its answer or an error of the family; set by whoever hands it in.
    reread: the rows of the request by another schema, where another release has to answer; None: they fit as they are.
    holder, entered_s: the batcher that owes an answer and since when, where a deadline watches over it.
    A struct because these are made for every request, and msgspec makes them several times faster than a class.
    """

    table: Table
    request_id: str
    received_at_ms: int
    began_s: float
    event_at_ms: int | None = None
    key: str | None = None
    latency_s: float = 0.0
    context: Any = None
    deliver: Any = None
    reread: Any = None
    holder: Any = None
    entered_s: float = 0.0


class Answered:
    """The rows of one model call, with what came out as Python values. arm: who answered.

    abstained: which rows an output rule left without a prediction; None: none. spelt: the rows as a wire wrote them,
    kept there for the other requests of the call; None: not yet.
    """

    __slots__ = ("abstained", "arm", "outputs", "predictions", "score", "scores", "spelt")

    def __init__(self, outputs: Outputs, task: Task, arm: Any = None, abstained: Array | None = None) -> None:
        self.arm = arm
        self.abstained = abstained
        self.spelt: list[bytes] | None = None
        self.outputs = outputs
        self.score = score_of(outputs, task)
        self.predictions: list[Any] = outputs.prediction.tolist()
        self.scores: list[float] | None = None if self.score is None else self.score.tolist()
        if abstained is not None:
            for row in np.flatnonzero(abstained).tolist():
                self.predictions[row] = None


class Answer(NamedTuple):
    """One request's share of a model call: rows `start` to `stop` of `call`."""

    call: Answered
    start: int
    stop: int


Deliver = Callable[[Request, Answer | None, Exception | None], None]
Rows = Columns | Array  # what a call was given: columns, or the matrix of a model that takes one


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


def fail(requests: Sequence[Request], exc: Exception, *, lost: bool = False) -> None:
    """Tell requests that they are not answered."""
    for request in requests:
        request.deliver(request, None, exc)


def awaited(request: Request) -> asyncio.Future[Answer]:
    """A future that the request's answer or error will resolve; set before the request is handed in."""
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def deliver(_: Request, answer: Answer | None, exc: Exception | None) -> None:
        if future.done():  # its caller hung up
            return
        if answer is not None:
            future.set_result(answer)
        else:
            future.set_exception(exc or RuntimeError("neither an answer nor an error"))

    request.deliver = deliver
    return future


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
            _check(outputs, requests)
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
            _check(outputs, [request])
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
        hooks: Hooks = rest["hooks"]
        self._deadline_s = hooks.deadline_s
        self._watch: asyncio.TimerHandle | None = None
        self._called: list[Request] = []
        self._called_at_s = 0.0
        self._gone = hooks.gone

    def put(self, request: Request) -> None:
        super().put(request)
        request.holder = self
        request.entered_s = self._timer()
        if self._deadline_s is not None and self._watch is None:
            self._watch = self._loop.call_later(self._deadline_s, self._look)

    def _look(self) -> None:
        """Give away what has waited for longer than its deadline; a late answer to it is nobody's."""
        assert self._deadline_s is not None
        self._watch = None
        latest_s = self._timer() - self._deadline_s
        owed = [request for request in (*self._called, *self._queue) if request.holder is self]
        late = [request for request in owed if request.entered_s <= latest_s]
        if late:
            for request in late:
                request.holder = None
            self._queue = deque(request for request in self._queue if request.holder is self)
            self._queued_rows = sum(request.table.size for request in self._queue)
            hung = bool(self._called) and self._called_at_s <= latest_s
            if self._gone is not None:
                call_rows = sum(request.table.size for request in self._called) if hung else 0
                lasted_s = self._timer() - self._called_at_s
                self._gone(sum(request.table.size for request in late), len(late), call_rows, lasted_s)
            text = f"the model did not answer within {self._deadline_s:g} s"
            exc = Unavailable(text, hint="send fewer rows at once") if hung else Late(text, hint="send again")
            self._failed(late, exc, lost=hung)
        left = [request.entered_s for request in owed if request.holder is self]
        if left and self._watch is None:
            self._watch = self._loop.call_later(max(0.001, min(left) - latest_s), self._look)

    def _wake(self) -> None:
        if self._running is None:
            self._running = self._loop.create_task(self._run())

    async def _run(self) -> None:
        await asyncio.sleep(0)  # let the other requests of this turn arrive
        try:
            while self._queue:
                await self._answer(self._take())
                self._called = []
        finally:
            self._running = None

    async def _answer(self, requests: list[Request]) -> None:
        self._called, self._called_at_s = requests, self._timer()
        try:
            columns = self._codec.columns([request.table for request in requests])
            outputs = await self._predict(columns)
            _check(outputs, requests)
            settled = self._settle_those_owed(requests, columns, outputs)
        except MlspineError as exc:
            self._fail_those_owed(requests, exc, lost=isinstance(exc, Unavailable))
        except Exception as exc:  # noqa: BLE001 (a model may raise anything; refusal() tells or logs it)
            if len(requests) > 1:
                half = len(requests) // 2
                await self._answer(requests[:half])
                await self._answer(requests[half:])
            else:
                self._fail_those_owed(requests, refusal(exc, healthy=await self._canned()))
        else:
            self._resolve(settled)

    def _fail_those_owed(self, requests: Sequence[Request], exc: Exception, *, lost: bool = False) -> None:
        owed = [request for request in requests if request.holder is self]
        if owed:
            self._fail(owed, exc, lost=lost)

    def _settle_those_owed(self, requests: Sequence[Request], columns: Columns, outputs: Outputs) -> Settled:
        if all(request.holder is self for request in requests):
            return self._settle(requests, columns, outputs)
        stays, start = [np.empty(0, dtype=np.int64)], 0
        for request in requests:
            stop = start + request.table.size
            if request.holder is self:
                stays.append(np.arange(start, stop))
            start = stop
        rows = np.concatenate(stays)
        owed = [request for request in requests if request.holder is self]
        return self._settle(owed, {name: values[rows] for name, values in columns.items()}, select(outputs, rows))


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


class Late(Unavailable):
    """It waited for its turn for longer than its deadline: too much was asked, which is no fault of the model."""


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


def select(outputs: Outputs, rows: Array) -> Outputs:
    """The outputs of some rows, by their numbers."""
    probabilities = None if outputs.probabilities is None else outputs.probabilities[rows]
    return Outputs(prediction=outputs.prediction[rows], probabilities=probabilities)


def join(parts: Sequence[Outputs]) -> Outputs:
    """Outputs of consecutive slices as one."""
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Outputs(
        prediction=np.concatenate([part.prediction for part in parts]),
        probabilities=np.concatenate(probabilities) if len(probabilities) == len(parts) else None,
    )


def _check(outputs: Outputs, requests: Sequence[Request]) -> None:
    rows = sum([request.table.size for request in requests])
    if len(outputs.prediction) != rows:
        raise ValueError(f"the model gave {len(outputs.prediction)} predictions for {rows} rows")
