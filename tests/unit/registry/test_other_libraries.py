"""XGBoost, ONNX and PyTorch models: recognised, shipped, loaded again, and answered by MLflow's loader alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlspine.core.errors import Denied, Invalid
from mlspine.core.plan import PlannedRelease
from mlspine.registry.files import load_model_file
from mlspine.registry.flavors import ask, identify
from mlspine.registry.prepare import prepare
from mlspine.registry.release import read_recorded, read_release
from mlspine.registry.release_loader import ReleaseModel
from mlspine.serving import runtime
from tests.unit.serving import fitted

COLUMNS = list("abcdef")


def shipped(folder: Path, model: Any, X: Any, y: Any = None) -> PlannedRelease:
    prepared = prepare(model, X, y, name="m", releases_dir=folder / "releases", owner="a@b.c")
    path = folder / "releases" / prepared.release_hash
    return PlannedRelease(release_hash=prepared.release_hash, version=1, path=str(path), placement="auto")


def answers_alike(planned: PlannedRelease) -> None:
    """Served here, and loaded by MLflow's loader alone, it gives what was recorded."""
    _, proof = runtime.load(planned)
    assert (proof.recorded_rows, proof.reproduced_rows) == (100, 100)
    path = Path(planned.path)
    columns, expected = read_recorded(path, read_release(path))
    alone = ReleaseModel(path).predict(pd.DataFrame(dict(columns)))
    np.testing.assert_allclose(alone.astype(float), expected.prediction.astype(float), rtol=1e-9)


def graph(rows: int = 6, *, softmax: bool = True) -> Any:
    """A linear model with three classes as an ONNX graph on one matrix."""
    onnx = pytest.importorskip("onnx", reason="extra onnx is not installed")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(2).normal(size=(rows, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["raw"])]
    nodes += [
        helper.make_node("Softmax", ["raw"], ["out"], axis=1) if softmax else helper.make_node("Exp", ["raw"], ["out"])
    ]
    inputs = [helper.make_tensor_value_info("x", kind, [None, rows])]
    outputs = [helper.make_tensor_value_info("out", kind, [None, 3])]
    made = helper.make_graph(nodes, "m", inputs, outputs, [onnx.numpy_helper.from_array(weights, "w")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize(
    ("make", "task", "classes", "method"),
    [
        (fitted.xgboost_classifier, "binary", (0, 1), "proba"),
        (lambda: fitted.xgboost_classifier(3), "multiclass", (0, 1, 2), "proba"),
        (fitted.xgboost_regressor, "regression", (), "predict"),
        (fitted.xgboost_booster, "binary", (0, 1), "booster"),
    ],
)
def test_xgboost_is_recognised(make: Any, task: str, classes: tuple[int, ...], method: str) -> None:
    made = make()
    flavor = identify(made.model, made.X, made.y)
    assert (flavor.name, flavor.task, flavor.classes, flavor.method) == ("xgboost", task, classes, method)


@pytest.mark.parametrize("make", [fitted.xgboost_classifier, fitted.xgboost_booster, fitted.xgboost_regressor])
def test_a_shipped_xgboost_model_answers_alike_everywhere(make: Any, tmp_path: Path) -> None:
    made = make()
    answers_alike(shipped(tmp_path, made.model, made.X, made.y))


def test_an_xgboost_file_needs_no_trust_and_one_that_is_none_is_told_of(tmp_path: Path) -> None:
    made = fitted.xgboost_booster()
    made.model.save_model(tmp_path / "model.ubj")
    opened = load_model_file(tmp_path / "model.ubj")
    assert identify(opened.model, made.X, made.y).name == "xgboost"
    (tmp_path / "bad.ubj").write_bytes(b"nothing")
    with pytest.raises(Invalid, match=r"bad\.ubj is not an XGBoost model"):
        load_model_file(tmp_path / "bad.ubj")
    (tmp_path / "m.pkl").write_bytes(b"")
    with pytest.raises(Denied):
        load_model_file(tmp_path / "m.pkl")


def test_an_onnx_file_is_shipped_without_trust_and_served(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(graph().SerializeToString())
    X, _ = fitted.table()
    y = np.arange(len(X)) % 3
    planned = shipped(tmp_path, str(file), X, y)
    release = read_release(Path(planned.path))
    assert (release.settings["flavor"], release.signature.task) == ("onnx", "multiclass")
    assert "onnxruntime" in release.environment
    answers_alike(planned)
    loaded, proof = runtime.load(planned)
    assert (proof.form, proof.placement) == ("matrix", "loop")
    assert runtime.still_reproduces(loaded)


def test_an_onnx_model_in_memory_is_shipped_like_its_file(tmp_path: Path) -> None:
    X, _ = fitted.table()
    y = np.arange(len(X)) % 3
    answers_alike(shipped(tmp_path, graph(), X, y))


def test_an_onnx_model_with_an_input_per_column_is_given_them_by_name(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx", reason="extra onnx is not installed")
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    made = fitted.mixed()
    X = made.X.rename(columns={"home town": "town"})
    model = made.model.fit(X.rename(columns={"town": "home town"}), made.y)
    kinds = [(name, FloatTensorType([None, 1])) for name in [*COLUMNS, "n"]]
    kinds.insert(6, ("home town", StringTensorType([None, 1])))
    converted = skl2onnx.convert_sklearn(model, initial_types=kinds, options={id(model): {"zipmap": False}})
    X = X.rename(columns={"town": "home_town"})  # as the converter names it
    planned = shipped(tmp_path, converted.SerializeToString(), X, made.y)
    loaded, proof = runtime.load(planned)
    assert (proof.form, proof.reproduced_rows) == ("frame", 100)
    expected = model.predict_proba(made.X)
    given = loaded.predict({name: X[name].to_numpy() for name in X})
    np.testing.assert_allclose(given.probabilities, expected, atol=1e-5)


def test_numbers_that_are_no_probabilities_are_not_taken_for_them() -> None:
    pytest.importorskip("onnxruntime", reason="extra onnx is not installed")
    X, _ = fitted.table()
    with pytest.raises(Invalid, match="gives numbers that are no probabilities"):
        identify(graph(softmax=False).SerializeToString(), X, np.arange(len(X)) % 3)


def test_what_is_no_onnx_model_is_told_of(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="extra onnx is not installed")
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(Invalid, match="the ONNX model cannot be loaded"):
        load_model_file(tmp_path / "model.onnx")


def test_probabilities_as_maps_are_refused_with_the_way_out(tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx", reason="extra onnx is not installed")
    from skl2onnx.common.data_types import FloatTensorType

    X, y = fitted.table()
    model = LogisticRegression().fit(X, y)
    maps = skl2onnx.convert_sklearn(model, initial_types=[("x", FloatTensorType([None, 6]))])
    with pytest.raises(Invalid, match="as maps") as caught:
        identify(maps.SerializeToString(), X, y)
    assert "zipmap" in caught.value.hint


# ---------------------------------------------------------------- PyTorch, where it is installed


def module(width: int, *last: Any) -> Any:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, width), *last).eval()


def test_a_torch_module_is_recognised_shipped_and_answers_alike(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    X, y = fitted.table(classes=3)
    names = np.array(["high", "low", "mid"], dtype=object)[y]
    model = module(3, torch.nn.Softmax(dim=1))
    flavor = identify(model, X, names)
    assert (flavor.name, flavor.task, flavor.classes) == ("torch", "multiclass", ("high", "low", "mid"))
    shares = model(torch.tensor(X.to_numpy(np.float32))).detach().numpy()
    np.testing.assert_allclose(ask(model, flavor)(X).probabilities, shares, atol=1e-6)
    answers_alike(shipped(tmp_path, model, X, y))


def test_a_torch_module_is_code_and_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    X, _ = fitted.table()
    planned = shipped(tmp_path, module(1), X, X["a"].to_numpy())
    assert read_release(Path(planned.path)).signature.task == "regression"
    assert runtime.belongs_elsewhere(planned)


def test_a_torch_module_in_training_mode_is_refused() -> None:
    X, y = fitted.table()
    with pytest.raises(Invalid, match="training mode"):
        identify(module(1).train(), X, y)
