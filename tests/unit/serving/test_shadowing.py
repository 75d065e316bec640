from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mlspine.core.errors import Unavailable
from mlspine.core.types import Field, Schema, Task
from mlspine.registry.flavors import Outputs
from mlspine.serving.arm import Tally
from mlspine.serving.request import Answer, Answered, Request
from mlspine.serving.rows import RowCodec, Table
from mlspine.serving.shadowing import Shadow, compare

CODEC = RowCodec(Schema(fields=(Field(name="a", type="float", dtype=""),)))


def answer(values: list[Any], shares: list[list[float]] | None = None, task: Task = "regression") -> Answer:
    made = np.array(values, dtype=object if isinstance(values[0], str) else None)
    outputs = Outputs(made, None if shares is None else np.array(shares))
    return Answer(Answered(outputs, task, SimpleNamespace(codec=CODEC)), 0, len(values))


class Queue:
    """The shadow's batcher, which answers when it is told to."""

    def __init__(self) -> None:
        self.taken: list[Request] = []
        self.full = False

    @property
    def queued_rows(self) -> int:
        return sum(each.table.size for each in self.taken)

    def put(self, request: Request) -> None:
        if self.full:
            raise Unavailable("its process is gone")
        self.taken.append(request)

    def answer(self, values: list[float], after_s: float) -> None:
        request = self.taken.pop(0)
        request.latency_s = after_s
        request.deliver(request, answer(values), None)


def a_shadow(**more: Any) -> tuple[Shadow, Queue, Tally]:
    queue, tally = Queue(), Tally()
    arm = cast(Any, SimpleNamespace(name="loans", tally=tally, batcher=queue, codec=CODEC))
    return Shadow(arm, share=more.pop("share", 1.0), task="regression", spread=2.0, **more), queue, tally


def request(*values: float) -> Request:
    return Request(Table(len(values), rows=[(value,) for value in values]), "id", 0, 0.0)


def test_rows_are_compared_in_units_of_the_spread_and_never_count_for_more_than_one() -> None:
    shadow, queue, tally = a_shadow()
    shadow.offer([request(1, 2), request(3)], answer([10.0, 20.0, 30.0]).call)
    queue.answer([11.0, 90.0], 0.0)
    queue.answer([30.0], 0.0)
    assert (tally.requests, tally.compared) == (2, 3)
    assert tally.difference == pytest.approx(0.5 + 1.0 + 0.0)
    assert tally.difference_squared == pytest.approx(0.25 + 1.0)


def test_what_it_is_too_slow_for_is_dropped_and_what_it_fails_at_is_counted() -> None:
    shadow, queue, tally = a_shadow(max_waiting_rows=2)
    shadow.offer([request(1), request(2), request(3, 4, 5)], answer([1.0] * 5).call)
    assert (len(queue.taken), tally.dropped) == (2, 3)
    failing = queue.taken.pop(0)
    failing.deliver(failing, None, Unavailable("no"))
    queue.full = True
    shadow.offer([request(6)], answer([1.0]).call)
    assert (tally.requests, tally.failures) == (4, 2)


def test_slow_answers_are_counted_as_those_of_the_live_release_are() -> None:
    shadow, queue, tally = a_shadow(slow_s=0.1, timer=lambda: 7.0)
    shadow.offer([request(1), request(2)], answer([1.0, 2.0]).call)
    assert [each.began_s for each in queue.taken] == [7.0, 7.0]
    queue.answer([1.0], 0.2)
    queue.answer([2.0], 0.05)
    assert tally.slow == 1


def test_a_share_of_the_requests_is_taken() -> None:
    shadow, _, tally = a_shadow(share=0.25)
    for _ in range(2000):
        shadow.offer([request(1)], answer([1.0]).call)
    assert 400 < tally.requests < 600


def test_outputs_that_cannot_be_compared_are_failures_of_the_shadow(caplog: pytest.LogCaptureFixture) -> None:
    shadow, queue, tally = a_shadow()
    shadow.offer([request(1)], answer([1.0]).call)
    taken = queue.taken.pop()
    taken.deliver(taken, answer(["a text"], task="other"), None)
    assert (tally.failures, tally.compared) == (1, 0)
    assert "cannot be compared" in caplog.text


def test_classifiers_differ_by_their_scores_and_flip_by_their_labels() -> None:
    ours = answer(["no", "yes"], [[0.8, 0.2], [0.1, 0.9]], "binary")
    theirs = answer(["yes", "yes"], [[0.3, 0.7], [0.1, 0.9]], "binary")
    differences, flips = compare(ours, theirs, "binary", 1.0)
    assert differences.tolist() == pytest.approx([0.5, 0.0])
    assert flips == 1
    bare, flips = compare(answer(["no", "yes"], task="binary"), answer(["yes", "yes"], task="binary"), "binary", 1.0)
    assert (bare.tolist(), flips) == ([1.0, 0.0], 1)
