"""Several releases behind one endpoint, in a real inference process on each HTTP face."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlspine.core.plan import ArmTally, Cohort, Guards, OutputRule, PlannedEndpoint, PlannedRelease, PlannedTraffic
from mlspine.predictions.spool import read_frames, spool_files
from tests.serving_harness import Inference, Response, endpoint, inference, make_release
from tests.unit.serving.models import CRASH, HANG, Doubler

PREDICT = "/endpoints/double/predict"


class Tripler(Doubler):
    """Three times its first column."""

    def predict(self, rows: Any) -> np.ndarray:
        return super().predict(rows) * 1.5


class Broken(Doubler):
    """Answers what it is proved by, and nothing else."""

    def predict(self, rows: Any) -> np.ndarray:
        values = np.asarray(rows, dtype=np.float64)[:, 0]
        if (values > 3).any():
            raise RuntimeError("I am broken")
        return super().predict(rows)

    def __reduce__(self) -> Any:
        return (Broken, ())


X = pd.DataFrame({"x0": [0.5, 1.0, 2.0]})


@pytest.fixture(params=["asgi", "own"], autouse=True)
def face(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLSPINE_SERVING__HTTP", request.param)
    return str(request.param)


def release(folder: Path, model: Any, version: int, placement: str = "loop") -> PlannedRelease:
    return make_release(folder, model, X, version=version, placement=placement)


def with_traffic(planned: PlannedEndpoint, **traffic: Any) -> PlannedEndpoint:
    return msgspec.structs.replace(planned, traffic=PlannedTraffic(**traffic))


def ask(running: Inference, value: float, **headers: str) -> Response:
    return running.post(PREDICT, {"rows": [{"x0": value}]}, **headers)


def tallies(running: Inference) -> dict[str, ArmTally]:
    arms = msgspec.convert(running.command("observe")["arms"], type=list[ArmTally])
    return {f"{each.role}:{each.release_hash[:4]}": each for each in arms}


def test_a_candidate_answers_its_share_and_says_so(tmp_path: Path) -> None:
    old, new = release(tmp_path, Doubler(), 1), release(tmp_path, Tripler(), 2)
    planned = with_traffic(endpoint("double", old), candidate=new, share=0.4, salt="s")
    with inference(tmp_path, planned) as running:
        answers = [ask(running, 1.0, mlspine_key=f"customer {i % 50}") for i in range(200)]
        again = [ask(running, 1.0, mlspine_key=f"customer {i % 50}") for i in range(50)]
        arms = tallies(running)
        running.command("flush")
        logged = Counter(
            batch.path
            for file in spool_files(tmp_path / "run" / "spool")
            for frame in read_frames(file)
            for batch in frame.batches
            for _ in range(batch.rows)
        )
    told = [(each.headers["mlspine-path"], each.headers["mlspine-version"], each.json["version"]) for each in answers]
    values = [each.json["predictions"][0]["prediction"] for each in answers]
    assert set(zip(told, values, strict=True)) == {(("live", "1", 1), 2.0), (("candidate", "2", 2), 3.0)}
    assert [each.json["version"] for each in again] == [each.json["version"] for each in answers[:50]]
    chosen = sum(each.json["version"] == 2 for each in [*answers, *again])
    assert 40 < chosen < 160
    assert arms[f"candidate:{new.release_hash[:4]}"].requests == chosen == logged["candidate"]
    assert arms[f"live:{old.release_hash[:4]}"].requests == 250 - chosen == logged["live"]


def test_a_cohort_by_a_field_of_the_rows(tmp_path: Path) -> None:
    old, new = release(tmp_path, Doubler(), 1), release(tmp_path, Tripler(), 2)
    cohort = Cohort(field="x0", values=(2.0, 4.0))
    planned = with_traffic(endpoint("double", old), candidate=new, share=1.0, cohort=cohort)
    with inference(tmp_path, planned) as running:
        assert [ask(running, value).json["version"] for value in (1.0, 2.0, 3.0, 4.0)] == [1, 2, 1, 2]


def test_a_shadow_is_compared_and_never_heard(tmp_path: Path) -> None:
    old, new = release(tmp_path, Doubler(), 1), release(tmp_path, Tripler(), 2)
    crashing = release(tmp_path, Doubler(0.001), 3, placement="worker")
    with inference(tmp_path, with_traffic(endpoint("double", old), shadow=new)) as running:
        values = [ask(running, float(i)).json["predictions"][0]["prediction"] for i in range(1, 21)]
        running.command("flush")
        shadow = tallies(running)[f"shadow:{new.release_hash[:4]}"]
        assert values == [2.0 * i for i in range(1, 21)]
        assert (shadow.requests, shadow.compared, shadow.failures, shadow.dropped) == (20, 20, 0, 0)
        assert 0 < shadow.difference <= 20
        paths = {
            batch.path: batch.version
            for file in spool_files(tmp_path / "run" / "spool")
            for frame in read_frames(file)
            for batch in frame.batches
        }
        assert paths == {"live": 1, "shadow": 2}
        running.apply(with_traffic(endpoint("double", old, revision=2), shadow=crashing))
        assert ask(running, 5.0).json["predictions"] == [{"prediction": 10.0}]
        assert ask(running, 6.0).status == 200


def test_a_candidate_that_fails_is_relieved_by_the_live_release(tmp_path: Path) -> None:
    old, new = release(tmp_path, Doubler(), 1), release(tmp_path, Broken(), 2)
    planned = with_traffic(endpoint("double", old), candidate=new, share=1.0)
    with inference(tmp_path, planned) as running:
        answers = [ask(running, 5.0) for _ in range(10)]
        arms = tallies(running)
    assert {(each.status, each.json["version"], each.json["predictions"][0]["prediction"]) for each in answers} == {
        (200, 1, 10.0)
    }
    assert arms[f"candidate:{new.release_hash[:4]}"].failures == 10


@pytest.mark.parametrize(("bad", "deadline_s"), [(CRASH, 5.0), (HANG, 0.3)])
def test_the_release_before_answers_what_the_live_one_cannot(tmp_path: Path, bad: float, deadline_s: float) -> None:
    first, planned_new = _safe(tmp_path), release(tmp_path, Doubler(0.0005), 2, placement="worker")
    planned = endpoint("double", planned_new, warm=first)
    planned = msgspec.structs.replace(planned, guards=Guards(deadline_s=deadline_s))
    with inference(tmp_path, planned) as running:
        assert ask(running, 1.0).headers["mlspine-path"] == "live"
        answer = ask(running, bad)
        state = running.command("observe")["endpoints"]["double"]
    assert (answer.status, answer.headers["mlspine-path"], answer.json["version"]) == (200, "fallback", 1)
    assert answer.json["predictions"] == [{"prediction": 0.0}]
    assert state["paths"]["fallback"] == 1


class Zero:
    """Always answers 0."""

    def predict(self, rows: Any) -> np.ndarray:
        return np.zeros(len(rows))


def _safe(folder: Path) -> PlannedRelease:
    return release(folder, Zero(), 1)


def test_the_declared_rule_answers_where_nothing_is_behind(tmp_path: Path) -> None:
    live = release(tmp_path, Doubler(0.0005), 2, placement="worker")
    planned = endpoint("double", live)
    ruled = msgspec.structs.replace(planned, guards=Guards(answer=7.0, deadline_s=0.3))
    with inference(tmp_path, ruled) as running:
        answer = ask(running, HANG)
        assert (answer.headers["mlspine-path"], answer.json["predictions"]) == ("rule", [{"prediction": 7.0}])
        (line,) = [
            line
            for line in running.get("/metrics").body.decode().splitlines()
            if line.startswith("mlspine_fallback_total{") and 'path="rule"' in line
        ]
        assert line.endswith(" 1")
        nothing = msgspec.structs.replace(ruled, revision=2, live=None, warm=live)
        running.apply(nothing)
        answer = ask(running, 1.0)
        assert (answer.status, answer.headers["mlspine-path"], answer.json["version"]) == (200, "rule", 0)
        running.apply(msgspec.structs.replace(nothing, revision=3, guards=Guards()))
        assert ask(running, 1.0).status == 503


def test_answers_out_of_range_are_clipped_or_given_away(tmp_path: Path) -> None:
    live, before = release(tmp_path, Doubler(), 2), _safe(tmp_path)
    clip = OutputRule(kind="range", action="clip", lo=0.0, hi=10.0)
    away = OutputRule(kind="range", action="fallback", lo=0.0, hi=10.0)
    planned = msgspec.structs.replace(endpoint("double", live, warm=before), guards=Guards(rules=(clip,)))
    with inference(tmp_path, planned) as running:
        assert ask(running, 50.0).json["predictions"] == [{"prediction": 10.0}]
        running.apply(msgspec.structs.replace(planned, revision=2, guards=Guards(rules=(away,))))
        answers = [ask(running, value) for value in (1.0, 50.0)]
        assert [each.headers["mlspine-path"] for each in answers] == ["live", "fallback"]
        assert running.command("observe")["endpoints"]["double"]["rules"] == {"range": 2}
