"""Models from files: nothing is opened that nobody vouched for."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import lightgbm as lgb
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlspine.core.errors import Corrupt, Denied, Invalid, MissingExtra, NotFound
from mlspine.registry.files import load_model_file
from tests.unit.registry.conftest import World, people, shipped

X, Y = people(100)
NUMERIC = X[["charge", "visits"]].astype("float64")
MODEL = LogisticRegression().fit(NUMERIC, Y)

SAVE_BY_MLFLOW = """
import sys, warnings
import joblib, lightgbm, mlflow.lightgbm, mlflow.sklearn
warnings.simplefilter("ignore")
model = joblib.load(sys.argv[1])
mlflow.sklearn.save_model(model, "by_sklearn", serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
booster = lightgbm.Booster(model_file=sys.argv[2])
mlflow.lightgbm.save_model(booster, "by_lightgbm", pip_requirements=["lightgbm"])
"""


class Bomb:
    """Says so when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("name", ["bomb.pkl", "bomb.joblib", "bomb.pickle"])
def test_without_trust_a_pickle_is_not_opened(outside_any_repository: Path, name: str) -> None:
    (outside_any_repository / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(Denied) as caught:
        load_model_file(name)
    assert not (outside_any_repository / "exploded").exists()
    assert caught.value.hint.endswith(f"mlspine ship {name} --name NAME --data ROWS --trust")


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl"])
def test_with_trust_it_is_the_model_it_was(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    joblib.dump(MODEL, file, compress=3) if name.endswith("joblib") else file.write_bytes(pickle.dumps(MODEL))
    loaded = load_model_file(file, trust=True)
    np.testing.assert_array_equal(loaded.model.predict(NUMERIC), MODEL.predict(NUMERIC))
    assert (loaded.origin, len(loaded.digest)) == (str(file), 64)


def test_a_native_lightgbm_file_holds_data_alone_and_needs_no_trust(tmp_path: Path) -> None:
    booster = lgb.train({"objective": "binary", "verbose": -1}, lgb.Dataset(NUMERIC, Y == "left"), 3)
    booster.save_model(tmp_path / "model.txt")
    loaded = load_model_file(tmp_path / "model.txt")
    np.testing.assert_array_equal(loaded.model.predict(NUMERIC), booster.predict(NUMERIC))
    (tmp_path / "other.txt").write_text("hello")
    with pytest.raises(Invalid, match="is not a LightGBM model"):
        load_model_file(tmp_path / "other.txt")


@pytest.mark.slow
def test_mlflow_model_directories_are_read_without_mlflow(tmp_path: Path) -> None:
    joblib.dump(MODEL, tmp_path / "m.joblib")
    booster = lgb.train({"objective": "binary", "verbose": -1}, lgb.Dataset(NUMERIC, Y == "left"), 3)
    booster.save_model(tmp_path / "m.txt")
    done = subprocess.run(
        [sys.executable, "-c", SAVE_BY_MLFLOW, "m.joblib", "m.txt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(Denied):
        load_model_file(tmp_path / "by_sklearn")
    loaded = load_model_file(tmp_path / "by_sklearn", trust=True)
    np.testing.assert_array_equal(loaded.model.predict(NUMERIC), MODEL.predict(NUMERIC))
    native = load_model_file(tmp_path / "by_lightgbm", trust=True)
    np.testing.assert_array_equal(native.model.predict(NUMERIC), booster.predict(NUMERIC))


def test_a_release_of_another_workspace_brings_its_transform(world: World, tmp_path: Path) -> None:
    prepared = shipped(world, MODEL, NUMERIC, Y, transform=lambda rows: rows * 1.0)
    path = world.releases_dir / prepared.release_hash
    with pytest.raises(Denied):
        load_model_file(path)
    loaded = load_model_file(path, trust=True)
    assert loaded.transform is not None
    again = shipped(world, loaded, NUMERIC, Y)
    assert again.origin == str(path)
    assert again.file_digest == loaded.digest
    with pytest.raises(Invalid, match="brings a transform of its own"):
        shipped(world, loaded, NUMERIC, Y, transform=lambda rows: rows)
    (path / "model.pkl").write_bytes(b"")
    with pytest.raises(Corrupt):
        load_model_file(path, trust=True)


def test_a_path_may_be_shipped_itself(world: World, tmp_path: Path) -> None:
    joblib.dump(MODEL, tmp_path / "model.joblib")
    with pytest.raises(Denied):
        shipped(world, tmp_path / "model.joblib", NUMERIC, Y)
    assert shipped(world, tmp_path / "model.joblib", NUMERIC, Y, trust=True).origin.endswith("model.joblib")


@pytest.mark.parametrize(
    ("name", "said"),
    [("net.onnx", "ONNX"), ("net.pt", "PyTorch"), ("trees.ubj", "XGBoost"), ("model.docx", "supported: .joblib")],
)
def test_other_formats_are_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(Invalid) as caught:
        load_model_file(tmp_path / name, trust=True)
    assert said in str(caught.value)


def test_a_missing_file_shows_the_near_one(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"")
    with pytest.raises(NotFound) as caught:
        load_model_file(tmp_path / "modle.joblib")
    assert "model.joblib" in caught.value.hint


def test_folders_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="without an MLmodel file"):
        load_model_file(tmp_path)
    (tmp_path / "MLmodel").write_text("flavors:\n  spark:\n    data: x\n")
    with pytest.raises(Invalid, match="the MLflow flavors spark"):
        load_model_file(tmp_path)


def test_a_broken_file_and_a_missing_module_say_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "broken.pkl").write_bytes(b"nonsense")
    with pytest.raises(Invalid, match="does not load"):
        load_model_file(tmp_path / "broken.pkl", trust=True)
    (tmp_path / "foreign.pkl").write_bytes(b"cno_such_module_here\nThing\n.")
    with pytest.raises(MissingExtra, match="'no_such_module_here'"):
        load_model_file(tmp_path / "foreign.pkl", trust=True)
