from __future__ import annotations

import json
from pathlib import Path

import msgspec
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
from mlspine.serving import choosing, measuring, runtime
from tests.serving_harness import make_release
from tests.unit.serving.models import Doubler, rows


def numeric(count: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(count, 3)), columns=["a", "b c", "d"])
    return X, (X["a"] > 0).to_numpy().astype(int)


@pytest.fixture
def planned(tmp_path: Path) -> PlannedRelease:
    X, y = numeric()
    return make_release(tmp_path, LogisticRegression().fit(X, y), X, y, placement="auto")


def test_all_recorded_predictions_are_reproduced_and_timed(planned: PlannedRelease) -> None:
    loaded, proof = runtime.load(planned)
    assert (proof.recorded_rows, proof.reproduced_rows, proof.mismatches) == (60, 60, ())
    assert 0 < proof.p50_s <= proof.p95_s <= proof.p99_s
    assert proof.capacity_rows_per_s > 0
    assert (proof.placement, proof.form) == ("loop", "matrix")
    assert proof.max_call_rows in measuring.SIZES
    assert runtime.still_reproduces(loaded)


def test_a_model_that_needs_names_and_types_gets_its_frame(tmp_path: Path) -> None:
    X = pd.DataFrame({"city": pd.Categorical(["x", "y"] * 20)})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X, [0, 1] * 20)
    _, proof = runtime.load(make_release(tmp_path, model, X, [0, 1] * 20))
    assert (proof.form, proof.reproduced_rows) == ("frame", 40)


def test_a_model_that_answers_otherwise_here_is_refused(
    planned: PlannedRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = choosing.load_predictor

    def drifting(path: Path, release: object, *, form: str) -> object:
        predict = honest(path, release, form=form)

        def off_by_a_little(columns: object) -> Outputs:
            outputs = predict(columns)
            return outputs._replace(probabilities=outputs.probabilities * (1 + 1e-6))

        return off_by_a_little

    monkeypatch.setattr(choosing, "load_predictor", drifting)
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


QUICK, SLOW = measuring.Speed(1e-5, 1e-5, 1e-5, 1e5), measuring.Speed(0.002, 0.002, 0.002, 500.0)


def test_data_in_known_libraries_runs_in_the_loop_while_quick_and_in_a_thread_when_not(planned: PlannedRelease) -> None:
    release = runtime.read(planned)
    assert runtime.place(planned, release, QUICK) == "loop"
    assert runtime.place(planned, release, SLOW) == "thread"
    assert runtime.place(planned, release, measuring.Speed(0.0, 0.0, 0.0, 0.0)) == "thread"  # nothing is known of it
    assert not runtime.belongs_elsewhere(planned)


def test_somebody_s_python_code_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    planned = make_release(tmp_path, Doubler(), rows(), rows()[:, 0] + 0.5, placement="auto")
    assert runtime.place(planned, runtime.read(planned), QUICK) == "worker"
    assert runtime.belongs_elsewhere(planned)


def test_a_release_runs_where_it_was_sent(planned: PlannedRelease) -> None:
    release = runtime.read(planned)
    for placement in ("loop", "thread", "worker"):
        sent = msgspec.structs.replace(planned, placement=placement)
        assert runtime.place(sent, release, SLOW) == placement
        assert runtime.belongs_elsewhere(sent) is (placement == "worker")


def test_a_release_with_its_own_environment_runs_in_a_process_of_its_own(planned: PlannedRelease) -> None:
    own = msgspec.structs.replace(planned, own_env=True)
    assert runtime.place(own, runtime.read(own), QUICK) == "worker"
    assert runtime.belongs_elsewhere(own)


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
