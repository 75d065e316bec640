from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mlspine.core.errors import Corrupt, Invalid
from mlspine.core.ids import digest_file
from mlspine.core.plan import PlannedRelease
from mlspine.registry.flavors import Outputs
from mlspine.serving import runtime
from tests.serving_harness import make_release
from tests.unit.serving.models import Doubler, rows


def numeric(count: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(count, 3)), columns=["a", "b c", "d"])
    return X, (X["a"] > 0).to_numpy().astype(int)


@pytest.fixture
def planned(tmp_path: Path) -> PlannedRelease:
    X, y = numeric()
    return make_release(tmp_path, LogisticRegression().fit(X, y), X, y)


def test_all_recorded_predictions_are_reproduced_and_timed(planned: PlannedRelease) -> None:
    loaded, proof = runtime.load(planned)
    assert (proof.recorded_rows, proof.reproduced_rows, proof.mismatches) == (60, 60, ())
    assert 0 < proof.p50_s <= proof.p95_s <= proof.p99_s
    assert proof.capacity_rows_per_s > 0
    assert (proof.placement, proof.form) == ("loop", "matrix")
    assert runtime.still_reproduces(loaded)


def test_a_model_that_needs_names_and_types_gets_its_frame(tmp_path: Path) -> None:
    X = pd.DataFrame({"city": pd.Categorical(["x", "y"] * 20)})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X, [0, 1] * 20)
    _, proof = runtime.load(make_release(tmp_path, model, X, [0, 1] * 20))
    assert (proof.form, proof.reproduced_rows) == ("frame", 40)


def test_a_model_that_answers_otherwise_here_is_refused(
    planned: PlannedRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = runtime.load_predictor

    def drifting(path: Path, release: object, *, form: str) -> object:
        predict = honest(path, release, form=form)

        def off_by_a_little(columns: object) -> Outputs:
            outputs = predict(columns)
            return outputs._replace(probabilities=outputs.probabilities * (1 + 1e-6))

        return off_by_a_little

    monkeypatch.setattr(runtime, "load_predictor", drifting)
    with pytest.raises(Invalid, match="reproduces 0 of 60 recorded predictions") as caught:
        runtime.load(planned)
    assert "requirements.txt" in caught.value.hint
    assert "row 0:" in caught.value.details[0]


def test_a_changed_file_is_corruption(planned: PlannedRelease) -> None:
    model = Path(planned.path) / "model.pkl"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(Corrupt, match="damaged"):
        runtime.load(planned)


def test_another_release_at_the_path_is_corruption(planned: PlannedRelease, tmp_path: Path) -> None:
    other = make_release(tmp_path / "other", Doubler(), rows(), rows()[:, 0])
    Path(planned.path).rename(tmp_path / "gone")
    Path(other.path).rename(planned.path)
    with pytest.raises(Corrupt, match="holds release"):
        runtime.load(planned)


def test_a_slow_model_does_not_go_into_the_loop(tmp_path: Path) -> None:
    _, proof = runtime.load(make_release(tmp_path, Doubler(pause_s=0.002), rows(), rows()[:, 0] + 0.5))
    assert proof.placement == "worker"


def test_a_release_sent_out_of_the_loop_stays_out(planned: PlannedRelease) -> None:
    speed = runtime.Speed(1e-5, 1e-5, 1e-5, 1e5)
    assert runtime.fits_loop(planned, speed)
    sent_out = PlannedRelease(release_hash="h", version=1, path="", placement="worker")
    assert not runtime.fits_loop(sent_out, speed)


def test_differing_versions_are_one_warning_naming_packages() -> None:
    (said,) = runtime.version_warnings(
        {"numpy": "0.1", "no-such-thing": "1", "python": "2.7.18", "pandas": pd.__version__}
    )
    assert "numpy" in said
    assert "(shipped with 0.1)" in said
    assert "no-such-thing is not installed" in said
    assert "Python" in said
    assert "pandas" not in said
    assert runtime.version_warnings({"numpy": np.__version__}) == ()


def test_weights_that_change_in_memory_are_noticed(planned: PlannedRelease) -> None:
    loaded, _ = runtime.load(planned)
    honest = loaded.predict
    assert runtime.still_reproduces(loaded)
    loaded.predict = lambda columns: honest({name: values + 1 for name, values in columns.items()})
    assert not runtime.still_reproduces(loaded)


def test_labels_must_be_equal_and_floats_close() -> None:
    labels, shares = np.array(["a", "b"], dtype=object), np.array([[0.1, 0.9], [np.nan, 0.5]])
    same = runtime.compare(Outputs(labels, shares * (1 + 1e-12)), Outputs(labels, shares))
    assert same.all
    other = runtime.compare(Outputs(np.array(["a", "c"], dtype=object), shares), Outputs(labels, shares))
    assert (other.rows, other.of) == (1, 2)
    assert "row 1: 'c'" in other.mismatches[0]
    assert runtime.compare(Outputs(labels, None), Outputs(labels, shares)).rows == 0


def test_single_rows_are_timed_in_rotation() -> None:
    seen = []

    def predict(columns: dict[str, np.ndarray]) -> Outputs:
        seen.append(columns["a"].tolist())
        return Outputs(columns["a"], None)

    ticks = iter(range(10_000))
    speed = runtime.measure(predict, {"a": np.arange(3.0)}, timer=lambda: next(ticks) / 1000)
    assert (speed.p50_s, speed.p99_s) == pytest.approx((0.001, 0.001))
    assert len(seen) == 2 + runtime.TIMED_CALLS + 5
    assert {tuple(each) for each in seen if len(each) == 1} == {(0.0,), (1.0,), (2.0,)}


def test_a_slow_model_is_timed_by_few_calls() -> None:
    calls = []

    def predict(columns: dict[str, np.ndarray]) -> Outputs:
        calls.append(columns)
        return Outputs(columns["a"], None)

    ticks = iter(range(10_000))
    speed = runtime.measure(predict, {"a": np.arange(3.0)}, timer=lambda: next(ticks) * 0.4)
    assert speed.p50_s == pytest.approx(0.4)
    assert len(calls) < runtime.TIMED_CALLS / 2


def test_the_fingerprint_notices_a_touched_file(planned: PlannedRelease) -> None:
    path = Path(planned.path)
    before = runtime.fingerprint(path)
    assert before == runtime.fingerprint(path)
    (path / "MLmodel").write_text("other")
    assert before != runtime.fingerprint(path)


def test_time_and_key_columns_named_at_ship_may_come_along(tmp_path: Path) -> None:
    planned = make_release(tmp_path, Doubler(), rows(), rows()[:, 0] + 0.5, settings={"time": "at", "key": "who"})
    loaded, _ = runtime.load(planned)
    table = loaded.codec.decode(json.dumps([{"x0": 1, "at": "2026-01-01", "who": 7}]).encode())
    columns = loaded.codec.columns([table])
    assert loaded.predict(columns).prediction.tolist() == [2.0]
    assert columns["who"].tolist() == [7]


def test_describing_a_release_does_not_unpickle_it(planned: PlannedRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlspine.registry.pickling.load", lambda *_, **__: pytest.fail("the model was unpickled"))
    described = runtime.describe(planned)
    assert described.codec.schema.names == ("a", "b c", "d")
    assert digest_file(Path(planned.path) / "mlspine" / "release.json") == planned.release_hash
