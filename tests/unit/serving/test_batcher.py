from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from mlspine.core.errors import Invalid, MlspineError, Unavailable
from mlspine.core.types import Columns, Field, Schema
from mlspine.registry.flavors import Outputs
from mlspine.serving.batcher import MAX_CALL_ROWS, Batcher, Hooks, LoopBatcher
from mlspine.serving.refusing import ModelError, refusal
from mlspine.serving.request import Answer, Answered, Request
from mlspine.serving.rows import RowCodec, Table
from mlspine.serving.worker_batcher import WorkerBatcher

CODEC = RowCodec(Schema(fields=(Field(name="a", type="float", dtype=""),)))


class Model:
    """Doubles its column; fails on negative values; remembers how many rows each call had."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, columns: Columns) -> Outputs:
        self.calls.append(len(columns["a"]))
        if (columns["a"] < 0).any():
            raise ValueError("negative values are not for me")
        return Outputs(columns["a"] * 2, None)


class Log:
    def __init__(self) -> None:
        self.calls: list[tuple[list[str], int]] = []

    def __call__(self, requests: Sequence[Request], columns: Columns, answered: Answered) -> None:
        self.calls.append(([request.request_id for request in requests], len(columns["a"])))


def request(*values: float, name: str = "r") -> Request:
    table = Table(len(values), rows=[(value,) for value in values])
    return Request(table, name, received_at_ms=0, began_s=0.0)


def predictions(answer: Answer) -> list[Any]:
    return answer.call.predictions[answer.start : answer.stop]


def in_loop(model: Callable[[Columns], Outputs], log: Log, **more: Any) -> LoopBatcher:
    return LoopBatcher(model, canned=lambda: True, codec=CODEC, task="regression", hooks=Hooks(log, **more))


def in_worker(model: Callable[[Columns], Awaitable[Outputs]], log: Log, **more: Any) -> WorkerBatcher:
    async def canned() -> bool:
        return True

    return WorkerBatcher(model, canned=canned, codec=CODEC, task="regression", hooks=Hooks(log, **more))


async def ask(batcher: Batcher, *requests: Request) -> list[Any]:
    futures = [batcher.submit(each) for each in requests]
    return await asyncio.gather(*futures, return_exceptions=True)


def test_requests_of_one_turn_share_one_model_call() -> None:
    model, log = Model(), Log()

    async def run() -> None:
        answers = await ask(in_loop(model, log), request(1, name="a"), request(2, 3, name="b"), request(4, name="c"))
        assert [predictions(answer) for answer in answers] == [[2.0], [4.0, 6.0], [8.0]]

    asyncio.run(run())
    assert model.calls == [4]
    assert log.calls == [(["a", "b", "c"], 4)]


def test_one_poisonous_request_fails_alone() -> None:
    model, log = Model(), Log()

    async def run() -> None:
        requests = [request(i, name=str(i)) for i in range(7)]
        requests[4] = request(-1, name="poison")
        answers = await ask(in_loop(model, log), *requests)
        assert isinstance(answers[4], Invalid)
        assert "could not score this row: ValueError: negative values" in answers[4].message
        assert [predictions(answer) for i, answer in enumerate(answers) if i != 4] == [
            [2.0 * i] for i in range(7) if i != 4
        ]

    asyncio.run(run())
    assert sorted(name for names, _ in log.calls for name in names) == ["0", "1", "2", "3", "5", "6"]


def test_a_model_that_fails_on_its_recorded_row_too_is_itself_to_blame() -> None:
    assert isinstance(refusal(ValueError("x"), healthy=True), Invalid)
    assert isinstance(refusal(ValueError("x"), healthy=False), Unavailable)
    assert "KeyError: 'k'" in refusal(ModelError("KeyError: 'k'"), healthy=True).message


def test_a_model_that_gives_too_few_predictions_is_not_believed() -> None:
    async def run() -> None:
        (answer,) = await ask(in_loop(lambda columns: Outputs(np.zeros(1), None), Log()), request(1, 2))
        assert isinstance(answer, Invalid)
        assert "1 predictions for 2 rows" in answer.message

    asyncio.run(run())


@pytest.mark.parametrize("where", ["loop", "worker"])
def test_a_model_that_answers_with_no_number_is_refused_in_words(where: str) -> None:
    def texts(columns: Columns) -> Outputs:
        return Outputs(np.array(["a text"] * len(columns["a"]), dtype=object), None)

    async def elsewhere(columns: Columns) -> Outputs:
        return texts(columns)

    async def run() -> None:
        batcher = in_loop(texts, Log()) if where == "loop" else in_worker(elsewhere, Log())
        answers = await ask(batcher, request(1), request(2))
        assert ["could not convert" in str(answer) for answer in answers] == [True, True]

    asyncio.run(run())


def test_what_is_too_late_is_given_away_and_its_late_answer_is_nobodys() -> None:
    log, gate = Log(), asyncio.Event()
    given_away: list[str] = []

    async def slow(columns: Columns) -> Outputs:
        if 7.0 in columns["a"]:
            await gate.wait()
        return Outputs(columns["a"] * 2, None)

    def failed(requests: Sequence[Request], exc: Exception, *, lost: bool) -> None:
        given_away.extend(each.request_id for each in requests)
        assert lost
        for each in requests:
            each.deliver(each, None, exc)

    async def run() -> None:
        batcher = in_worker(slow, log, failed=failed, deadline_s=0.05)
        late = batcher.submit(request(7, name="late"))
        await asyncio.sleep(0.01)
        behind = batcher.submit(request(8, name="behind"))
        answers = await asyncio.gather(late, behind, return_exceptions=True)
        assert [isinstance(each, Unavailable) for each in answers] == [True, True]
        gate.set()
        assert predictions(await batcher.submit(request(1, name="next"))) == [2.0]

    asyncio.run(run())
    assert given_away == ["late", "behind"]
    assert log.calls == [(["next"], 1)]


def test_a_large_request_is_answered_in_slices_and_recorded_once() -> None:
    model, log = Model(), Log()
    rows = 2 * MAX_CALL_ROWS + 5

    async def run() -> None:
        small, large = request(1, name="small"), request(*range(rows), name="large")
        answers = await ask(in_loop(model, log), small, large)
        assert predictions(answers[0]) == [2.0]
        assert predictions(answers[1]) == [2.0 * i for i in range(rows)]

    asyncio.run(run())
    assert max(model.calls) <= MAX_CALL_ROWS
    assert (["large"], rows) in log.calls


def test_the_queue_has_a_bound() -> None:
    async def run() -> None:
        batcher = in_loop(Model(), Log(), max_queue_rows=3)
        first = batcher.submit(request(1, 2))
        with pytest.raises(Unavailable, match="2 rows are waiting"):
            batcher.submit(request(1, 2))
        await first

    asyncio.run(run())


def test_a_caller_who_hung_up_does_not_disturb_the_others() -> None:
    async def run() -> None:
        batcher = in_loop(Model(), Log())
        gone, there = batcher.submit(request(1)), batcher.submit(request(2))
        gone.cancel()
        assert predictions(await there) == [4.0]

    asyncio.run(run())


def test_requests_gather_while_a_worker_is_busy() -> None:
    model, log = Model(), Log()

    async def run() -> None:
        free = asyncio.Event()

        async def predict(columns: Columns) -> Outputs:
            await free.wait()
            return model(columns)

        batcher = in_worker(predict, log)
        first = batcher.submit(request(1, name="first"))
        for _ in range(3):
            await asyncio.sleep(0)
        later = [batcher.submit(request(i, name=str(i))) for i in range(5)]
        free.set()
        await asyncio.gather(first, *later)

    asyncio.run(run())
    assert model.calls == [1, 5]


def test_a_worker_answers_again_after_a_pause() -> None:
    async def run() -> None:
        async def predict(columns: Columns) -> Outputs:
            return Model()(columns)

        batcher = in_worker(predict, Log())
        for i in range(3):
            (answer,) = await ask(batcher, request(i))
            assert predictions(answer) == [2.0 * i]

    asyncio.run(run())


def test_one_poisonous_request_fails_alone_in_a_worker_too() -> None:
    async def run() -> None:
        async def predict(columns: Columns) -> Outputs:
            try:
                return Model()(columns)
            except ValueError as exc:
                raise ModelError(f"ValueError: {exc}") from exc

        answers = await ask(in_worker(predict, Log()), request(1), request(-1), request(3))
        assert isinstance(answers[1], Invalid)
        assert [predictions(answers[i]) for i in (0, 2)] == [[2.0], [6.0]]

    asyncio.run(run())


def test_an_unavailable_worker_is_told_to_everybody_without_trying_each() -> None:
    tried = []

    async def run() -> None:
        async def predict(columns: Columns) -> Outputs:
            tried.append(len(columns["a"]))
            raise Unavailable("the process died")

        answers = await ask(in_worker(predict, Log()), request(1), request(2))
        assert all(isinstance(answer, MlspineError) for answer in answers)

    asyncio.run(run())
    assert tried == [2]
