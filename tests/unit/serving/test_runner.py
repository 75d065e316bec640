from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mlspine.core.errors import Unavailable
from mlspine.core.plan import PlannedRelease
from mlspine.registry.flavors import Outputs
from mlspine.serving import runtime
from mlspine.serving.batcher import Batcher, Hooks
from mlspine.serving.meter import Spending
from mlspine.serving.plan import InLoopMark
from mlspine.serving.request import Answer, Request
from mlspine.serving.runner import LoopRunner, Runner, ThreadRunner, WorkerRunner, start_runner
from tests.serving_harness import make_release
from tests.unit.serving import fitted
from tests.unit.serving.models import Doubler, rows


@pytest.fixture
def planned(tmp_path: Path) -> PlannedRelease:
    made = fitted.lightgbm_classifier()
    return make_release(tmp_path, made.model, made.X, made.y, placement="auto")


def run(planned: PlannedRelease, tmp_path: Path, story: Callable[[Runner], Awaitable[None]], **more: Any) -> None:
    async def told() -> None:
        runner = await start_runner(planned, mark=InLoopMark(tmp_path, "p"), deadline_s=more.get("deadline_s", 10.0))
        try:
            await story(runner)
        finally:
            await runner.stop()

    asyncio.run(told())


def request(runner: Runner) -> Request:
    table = runner.loaded.codec.read_rows([dict.fromkeys("abcdef", 0.5)])
    return Request(table, "id", received_at_ms=0, began_s=0.0)


def batcher(runner: Runner, spending: Spending | None = None) -> Batcher:
    def record(requests: Sequence[Request], *_: Any) -> None:
        """Nothing is kept."""

    return runner.batcher(Hooks(record), spending or Spending())


def test_a_quick_model_runs_in_the_loop_and_a_sent_one_in_a_thread_of_its_own(
    planned: PlannedRelease, tmp_path: Path
) -> None:
    threads: list[str] = []

    def watched(runner: Runner) -> None:
        honest = runner.loaded.predict

        def predict(columns: Any) -> Outputs:
            threads.append(threading.current_thread().name)
            return honest(columns)

        runner.loaded.predict = predict  # before a batcher is made

    async def in_thread(runner: Runner) -> None:
        assert isinstance(runner, ThreadRunner)
        watched(runner)
        spending = Spending()
        tasks = [batcher(runner, spending).submit(request(runner)) for _ in range(5)]
        answers: list[Answer] = await asyncio.gather(*tasks)
        assert {answer.call.predictions[0] for answer in answers} <= {0, 1}
        assert set(threads) == {f"model-{planned.release_hash[:12]}_0"}
        assert spending.calls_s > 0
        assert await runner.healthy()
        assert (runner.pid, runner.proof.placement) == (0, "thread")

    async def in_loop(runner: Runner) -> None:
        assert isinstance(runner, LoopRunner)

    run(msgspec.structs.replace(planned, placement="thread"), tmp_path, in_thread)
    run(planned, tmp_path, in_loop)


def test_a_call_that_does_not_come_back_costs_its_deadline(planned: PlannedRelease, tmp_path: Path) -> None:
    let_go = threading.Event()

    async def story(runner: Runner) -> None:
        def stuck(_: Any) -> Outputs:
            let_go.wait(30)
            return Outputs(np.zeros(1), None)

        runner.loaded.predict = stuck
        with pytest.raises(Unavailable, match=r"within 0\.2 s"):
            await batcher(runner).submit(request(runner))
        assert not await runner.healthy()
        let_go.set()

    run(msgspec.structs.replace(planned, placement="thread"), tmp_path, story, deadline_s=0.2)


def test_somebody_s_code_is_not_even_opened_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = make_release(tmp_path, Doubler(), rows(), rows()[:, 0] + 0.5, placement="auto")
    monkeypatch.setattr("mlspine.registry.pickling.load", lambda *_, **__: pytest.fail("the model was unpickled here"))

    async def story(runner: Runner) -> None:
        assert isinstance(runner, WorkerRunner)
        assert runner.proof.placement == "worker"
        assert runner.pid > 0
        assert runtime.belongs_elsewhere(planned)

    run(planned, tmp_path, story)
