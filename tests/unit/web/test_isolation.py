"""A model that crashes, hangs or grows: its callers get the release before, those of others notice nothing."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from mlspine.core.plan import Guards, PlannedEndpoint, PlannedRelease
from tests.callers import Callers
from tests.serving_harness import endpoint, inference, make_release
from tests.unit.serving.models import CRASH, HANG, Doubler, rows

ASKED = 12
GROW = 555.0


class Grower(Doubler):
    """Keeps 100 MB of every call that asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[bytearray] = []

    def predict(self, rows: object) -> object:
        import numpy as np

        if (np.asarray(rows, dtype=np.float64)[:, 0] == GROW).any():
            self.held.append(bytearray(b"x") * 100_000_000)
        return super().predict(rows)


def release(folder: Path, version: int, model: Doubler, placement: str) -> PlannedRelease:
    return make_release(
        folder, model, rows(), rows()[:, 0] + 0.5, version=version, settings={"n": version}, placement=placement
    )


def guarded(live: PlannedRelease, before: PlannedRelease) -> PlannedEndpoint:
    planned = endpoint("bad", live, warm=before)
    return msgspec.structs.replace(planned, guards=Guards(deadline_s=1.0))


@pytest.mark.slow
@pytest.mark.parametrize("value", [CRASH, HANG], ids=["crashes", "hangs"])
def test_the_release_before_answers_for_a_model_that_fails_and_the_others_go_on(tmp_path: Path, value: float) -> None:
    bad = release(tmp_path, 3, Doubler(), "worker")
    good = release(tmp_path, 2, Sound(), "loop")
    steady = release(tmp_path, 1, Doubler(), "loop")
    with inference(tmp_path, endpoint("steady", steady), guarded(bad, good)) as running:
        with Callers(running.port, "/endpoints/steady/predict", {"x0": 1.0}, threads=2) as callers:
            callers.await_more(20)
            told = [running.post("/endpoints/bad/predict", {"x0": value}) for _ in range(ASKED)]
            callers.await_more(20)
        assert [(each.status, each.headers["mlspine-path"]) for each in told] == [(200, "fallback")] * ASKED
        assert {each.headers["mlspine-release"] for each in told} == {good.release_hash}
        assert told[0].json["predictions"] == [{"prediction": 2 * value}]
        state = running.command("observe")
    assert callers.failed == []
    assert set(callers.statuses) == {200}
    assert state["endpoints"]["steady"]["failures"] == 0
    assert state["pid"] == running.process.pid


@pytest.mark.slow
def test_a_model_that_grows_is_started_again_and_its_callers_are_answered(tmp_path: Path) -> None:
    bad = msgspec.structs.replace(release(tmp_path, 3, Grower(), "worker"), worker_memory_bytes=600_000_000)
    good = release(tmp_path, 2, Sound(), "loop")
    steady = release(tmp_path, 1, Doubler(), "loop")
    with (
        inference(tmp_path, endpoint("steady", steady), guarded(bad, good)) as running,
        Callers(running.port, "/endpoints/steady/predict", {"x0": 1.0}, threads=2) as callers,
    ):
        before = running.command("observe")["workers"][bad.release_hash]
        for _ in range(ASKED):  # twice what it may hold
            answer = running.post("/endpoints/bad/predict", {"x0": GROW})
            assert (answer.status, answer.json["predictions"]) == (200, [{"prediction": 2 * GROW}])
        deadline = time.monotonic() + 60
        while running.command("observe")["workers"].get(bad.release_hash, before) == before:
            assert time.monotonic() < deadline, "it was not started again"
            time.sleep(0.05)
        callers.await_more(20)
    assert callers.failed == []
    assert set(callers.statuses) == {200}


class Sound(Doubler):
    """Doubles whatever it is asked."""

    def predict(self, rows: object) -> object:
        import numpy as np

        return np.asarray(rows, dtype=np.float64)[:, 0] * 2
