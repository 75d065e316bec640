from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.core.errors import Corrupt, Unavailable
from mlspine.core.plan import PlannedRelease
from mlspine.core.types import Columns
from mlspine.registry.flavors import Outputs
from mlspine.serving.refusing import ModelError
from mlspine.serving.worker import Worker, pack_columns, pack_outputs, unpack_columns, unpack_outputs
from tests.serving_harness import make_release
from tests.unit.serving.models import CRASH, FAIL, GROW, HANG, Crash, Doubler, rows


@pytest.fixture
def planned(tmp_path: Path) -> PlannedRelease:
    return make_release(tmp_path, Doubler(), rows(), rows()[:, 0] + 0.5)


def run(planned: PlannedRelease, story: Callable[[Worker], Awaitable[None]], **more: float) -> None:
    async def told() -> None:
        worker = Worker(planned, **more)
        try:
            await worker.start()
            await story(worker)
        finally:
            await worker.stop()

    asyncio.run(told())


def one(value: float) -> Columns:
    return {"x0": np.array([value])}


def test_it_predicts_says_what_failed_and_goes_on(planned: PlannedRelease) -> None:
    async def story(worker: Worker) -> None:
        assert (await worker.predict(one(21))).prediction.tolist() == [42.0]
        with pytest.raises(ModelError, match="ValueError: negative values"):
            await worker.predict(one(FAIL))
        assert await worker.healthy()
        assert worker.restarts == 0

    run(planned, story)


def test_a_crash_is_mended_and_the_rows_are_sent_once_more(tmp_path: Path) -> None:
    planned = make_release(tmp_path, Crash(str(tmp_path / "crashed")), rows(), rows()[:, 0] + 0.5)

    async def story(worker: Worker) -> None:
        first = worker.pid
        assert (await worker.predict(one(CRASH))).prediction.tolist() == [2 * CRASH]
        assert worker.pid not in (0, first)
        assert worker.restarts == 1

    run(planned, story)


def test_rows_that_crash_it_every_time_are_refused_and_the_next_are_answered(planned: PlannedRelease) -> None:
    async def story(worker: Worker) -> None:
        with pytest.raises(Unavailable, match="died twice"):
            await worker.predict(one(CRASH))
        assert (await worker.predict(one(1))).prediction.tolist() == [2.0]

    run(planned, story)


def test_a_process_killed_between_calls_is_not_noticed_by_callers(planned: PlannedRelease) -> None:
    async def story(worker: Worker) -> None:
        os.kill(worker.pid, signal.SIGKILL)
        assert (await worker.predict(one(1))).prediction.tolist() == [2.0]

    run(planned, story)


def test_a_hanging_model_costs_its_deadline_and_then_answers_again(planned: PlannedRelease) -> None:
    async def story(worker: Worker) -> None:
        with pytest.raises(Unavailable, match=r"within 0\.3 s"):
            await worker.predict(one(HANG))
        assert worker.pid == 0
        deadline = time.monotonic() + 20
        while True:  # loading outlasts this deadline, and goes on meanwhile
            try:
                assert (await worker.predict(one(1))).prediction.tolist() == [2.0]
                return
            except Unavailable:
                assert time.monotonic() < deadline

    run(planned, story, deadline_s=0.3)


def test_a_model_that_grows_is_ended_and_the_next_rows_are_answered(planned: PlannedRelease) -> None:
    bounded = msgspec.structs.replace(planned, worker_memory_bytes=600_000_000)

    async def story(worker: Worker) -> None:
        first = worker.pid
        with pytest.raises(Unavailable, match=r"held .* MB, more than the 600 MB it may"):
            await worker.predict(one(GROW))
        assert worker.restarts <= 1  # the rows were not sent again
        assert (await worker.predict(one(1))).prediction.tolist() == [2.0]
        assert worker.pid not in (0, first)

    run(bounded, story)


def test_a_model_too_large_for_its_bound_is_refused_when_it_is_loaded(planned: PlannedRelease) -> None:
    bounded = msgspec.structs.replace(planned, worker_memory_bytes=1_000_000)

    async def told() -> None:
        worker = Worker(bounded)
        with pytest.raises(Unavailable, match="more than the 1 MB"):
            await worker.start()
        assert worker.pid == 0

    asyncio.run(told())


def test_a_process_that_keeps_ending_is_not_waited_for(planned: PlannedRelease) -> None:
    async def story(worker: Worker) -> None:
        worker._pause_s, worker._next_start_at = 8.0, time.monotonic()  # as after several ends in a row
        with pytest.raises(Unavailable, match="died twice"):
            await worker.predict(one(CRASH))
        with pytest.raises(Unavailable, match=r"keeps ending and is started again in \d"):
            await worker.predict(one(1))
        assert not await worker.healthy()

    run(planned, story)


def test_a_stopped_worker_starts_nothing_again(planned: PlannedRelease) -> None:
    async def story(worker: Worker) -> None:
        await worker.stop()
        with pytest.raises(Unavailable, match="no longer served"):
            await worker.predict(one(1))
        assert not await worker.healthy()
        assert worker.pid == 0

    run(planned, story)


def test_what_cannot_be_loaded_is_told_as_it_is(planned: PlannedRelease) -> None:
    model = Path(planned.path) / "model.pkl"
    model.write_bytes(b"nothing")

    async def story() -> None:
        worker = Worker(planned)
        with pytest.raises(Corrupt, match="damaged"):
            await worker.start()
        assert worker.pid == 0

    asyncio.run(story())


def test_it_dies_with_its_parent(planned: PlannedRelease) -> None:
    script = (
        "import asyncio, sys, msgspec, os, signal\n"
        "from mlspine.core.plan import PlannedRelease\n"
        "from mlspine.serving.worker import Worker\n"
        "async def main():\n"
        "    worker = Worker(msgspec.json.decode(sys.argv[1], type=PlannedRelease))\n"
        "    await worker.start()\n"
        "    print(worker.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = msgspec.json.encode(planned).decode()
    done = subprocess.run([sys.executable, "-c", script, told], capture_output=True, check=False, env=environment)
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@given(st.lists(st.floats()), st.booleans())
def test_columns_and_outputs_cross_unchanged(values: list[float], with_shares: bool) -> None:
    numbers = np.array(values, dtype=np.float64)
    columns = {
        "f": numbers,
        "t": np.array([None, *map(str, values)][: len(values)] or [], dtype=object),
        "when": np.zeros(len(values), dtype="datetime64[us]"),
        "m": np.column_stack([numbers, numbers]),
    }
    back = unpack_columns(pack_columns(columns))
    for name, expected in columns.items():
        assert back[name].dtype == expected.dtype
        np.testing.assert_array_equal(back[name], expected)
    outputs = Outputs(numbers, columns["m"] if with_shares else None)
    again = unpack_outputs(pack_outputs(outputs))
    np.testing.assert_array_equal(again.prediction, numbers)
    assert (again.probabilities is None) is not with_shares
