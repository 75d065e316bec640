"""A request on its way through a model, and the answer it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.types import Columns, Task
from mlspine.registry.flavors import Array, Outputs, score_of
from mlspine.serving.rows import Table


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
