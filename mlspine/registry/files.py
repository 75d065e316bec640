"""Models from files: pickles, MLflow model directories, releases, LightGBM text, XGBoost binaries, ONNX.

A pickle may run code when it is loaded, so nothing is opened until somebody vouches for the file. The files of LightGBM
and XGBoost and ONNX graphs hold data alone and need no trust.
"""

from __future__ import annotations

import importlib.util
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mlspine.core.errors import Denied, Invalid, MissingExtra
from mlspine.core.ids import digest_bytes, digest_file, digest_json
from mlspine.data.tables import check_file, load_table, split_target
from mlspine.registry import pickling
from mlspine.registry.onnx_model import OnnxSession
from mlspine.registry.release import load_model, load_transform, read_release

__all__ = ["ModelFile", "load_model_file", "load_table", "split_target"]

PICKLES = (".joblib", ".pkl", ".pickle", ".cloudpickle")
NATIVE = (".txt", ".lgb", ".lgbm")
XGBOOST = (".ubj", ".xgb", ".bst")
ONNX = ".onnx"
_LATER = {
    ".pt": "PyTorch",
    ".pth": "PyTorch",
    ".safetensors": "PyTorch",
    ".keras": "Keras",
    ".h5": "Keras",
}
_YAML_LINE = re.compile(r"( *)([\w.\-]+):(?: (.*))?$")


class ModelFile(NamedTuple):
    """A model read from disk, with the transform a release carries and where both came from."""

    model: Any
    transform: Callable[[Any], Any] | None
    origin: str
    digest: str


def load_model_file(path: str | Path, *, trust: bool = False) -> ModelFile:
    """The model at `path`, to be handed to `ship`.

    trust: the caller vouches for code the file may run. Without it a pickle is refused unopened (Denied, with
    the command that would load it). Raises NotFound with close matches, Invalid for formats not supported.
    """
    path = Path(path)
    check_file(path)
    if path.is_dir():
        return _from_directory(path, trust)
    suffix = path.suffix.lower()
    if suffix in _LATER:
        raise Invalid(
            f"{path.name} is a {_LATER[suffix]} file, which this version does not serve yet",
            hint="ship the fitted object from Python if it has predict, else a joblib file",
        )
    if suffix in NATIVE:
        return ModelFile(_native_booster(path), None, str(path), digest_file(path))
    if suffix in XGBOOST:
        return ModelFile(_xgboost_booster(path), None, str(path), digest_file(path))
    if suffix == ONNX:
        return _onnx(path)
    if suffix not in PICKLES:
        supported = ", ".join((*PICKLES, *NATIVE, *XGBOOST, ONNX))
        raise Invalid(
            f"{path.name} is no model file this version reads",
            hint=f"supported: {supported}, or an MLflow model directory",
        )
    _require_trust(path, trust)
    return _unpickled(path, path)


def _require_trust(path: Path, trust: bool) -> None:
    if not trust:
        raise Denied(
            f"{path} may run code when it is loaded, and nobody has vouched for it; it was not opened",
            hint=f"if you know where it comes from: mlspine ship {path} --name NAME --data ROWS --trust",
        )


def _unpickled(file: Path, origin: Path) -> ModelFile:
    data = file.read_bytes()
    return ModelFile(_load(data, file), None, str(origin), digest_bytes(data))


def _load(data: bytes, file: Path) -> Any:
    # joblib writes plain pickles and its own container of them; only joblib reads the latter.
    if not importlib.util.find_spec("joblib"):
        return pickling.load(data, what=file.name)
    import joblib

    try:
        return joblib.load(io.BytesIO(data))
    except ModuleNotFoundError as exc:
        raise pickling.missing_module(exc, what=file.name) from exc
    except Exception as exc:
        raise Invalid(
            f"{file} does not load: {type(exc).__name__}: {str(exc)[:300]}",
            hint="check that it is complete, and use the library versions that wrote it",
        ) from exc


def _native_booster(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(200)
    if not head.startswith(b"tree\n"):
        raise Invalid(f"{path.name} is not a LightGBM model", hint="write one with: booster.save_model('model.txt')")
    if not importlib.util.find_spec("lightgbm"):
        raise MissingExtra(f"{path.name} needs LightGBM", hint="pip install lightgbm")
    import lightgbm

    return lightgbm.Booster(model_file=str(path))


def _xgboost_booster(path: Path) -> Any:
    if not importlib.util.find_spec("xgboost"):
        raise MissingExtra(f"{path.name} needs XGBoost", hint="pip install xgboost")
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(path)
    except xgboost.core.XGBoostError as exc:
        raise Invalid(
            f"{path.name} is not an XGBoost model", hint="write one with: booster.save_model('model.ubj')"
        ) from exc
    return booster


def _onnx(path: Path) -> ModelFile:
    data = path.read_bytes()
    OnnxSession(data)  # so that a damaged file is told of here
    return ModelFile(data, None, str(path), digest_bytes(data))


# ---------------------------------------------------------------- directories


def _from_directory(path: Path, trust: bool) -> ModelFile:
    if (path / "mlspine" / "release.json").is_file():
        _require_trust(path, trust)
        release = read_release(path)
        digest = digest_json({"model": release.model, "transform": release.transform})
        return ModelFile(load_model(path, release), load_transform(path, release), str(path), digest)
    if not (path / "MLmodel").is_file():
        raise Invalid(
            f"{path} is a folder without an MLmodel file",
            hint="name a model file, or a folder written by mlflow.sklearn.save_model",
        )
    flavors = sections((path / "MLmodel").read_text(encoding="utf-8")).get("flavors", {})
    if "sklearn" in flavors:
        return _from_pickled_flavor(path, flavors["sklearn"], "pickled_model", trust)
    if "lightgbm" in flavors:
        return _from_lightgbm_flavor(path, flavors["lightgbm"], trust)
    if "python_function" in flavors:
        return _from_pyfunc(path, trust)
    raise Invalid(
        f"{path} has the MLflow flavors {', '.join(sorted(flavors)) or 'none'}, none of which is served yet",
        hint="supported: sklearn, lightgbm, python_function",
    )


def _from_pickled_flavor(path: Path, flavor: dict[str, Any], key: str, trust: bool) -> ModelFile:
    _require_trust(path, trust)
    _add_code_path(path, flavor)
    file = path / str(flavor.get(key) or "model.pkl")
    check_file(file)
    return _from_skops(file, path) if flavor.get("serialization_format") == "skops" else _unpickled(file, path)


def _from_skops(file: Path, origin: Path) -> ModelFile:
    """What MLflow 3 stores scikit-learn models as. Whoever vouches for the file vouches for every type it names."""
    if not importlib.util.find_spec("skops"):
        raise MissingExtra(f"{origin} is stored as skops, which is not installed", hint="pip install skops")
    import skops.io

    try:
        model = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
    except ModuleNotFoundError as exc:
        raise pickling.missing_module(exc, what=file.name) from exc
    except Exception as exc:
        raise Invalid(
            f"{file} does not load: {type(exc).__name__}: {str(exc)[:300]}",
            hint="check that it is complete, and use the library versions that wrote it",
        ) from exc
    return ModelFile(model, None, str(origin), digest_file(file))


def _from_lightgbm_flavor(path: Path, flavor: dict[str, Any], trust: bool) -> ModelFile:
    file = path / str(flavor.get("data") or "model.lgb")
    check_file(file)
    if file.suffix == ".pkl" or not str(flavor.get("model_class", "")).endswith("Booster"):
        return _from_pickled_flavor(path, flavor, "data", trust)
    return ModelFile(_native_booster(file), None, str(path), digest_file(file))


def _from_pyfunc(path: Path, trust: bool) -> ModelFile:
    _require_trust(path, trust)
    if not importlib.util.find_spec("mlflow"):
        raise MissingExtra(f"{path} is an MLflow python_function, which MLflow loads", hint="pip install mlflow")
    import mlflow.pyfunc

    try:
        model = mlflow.pyfunc.load_model(str(path))
    except Exception as exc:
        raise Invalid(
            f"{path} does not load: {type(exc).__name__}: {str(exc)[:300]}",
            hint=f"pip install -r {path / 'requirements.txt'}",
        ) from exc
    digests = {str(each.relative_to(path)): digest_file(each) for each in sorted(path.rglob("*")) if each.is_file()}
    return ModelFile(model, None, str(path), digest_json(digests))


def _add_code_path(path: Path, flavor: dict[str, Any]) -> None:
    code = flavor.get("code")
    if code and (path / str(code)).is_dir() and str(path / str(code)) not in sys.path:
        sys.path.append(str(path / str(code)))


def sections(text: str) -> dict[str, dict[str, Any]]:
    """The nested mappings of an MLmodel file; enough YAML for what MLflow writes there, scalars as text.

    >>> sections("flavors:\\n  sklearn:\\n    pickled_model: model.pkl\\n    code: null\\n")["flavors"]
    {'sklearn': {'pickled_model': 'model.pkl', 'code': None}}
    """
    root: dict[str, Any] = {}
    open_at: list[tuple[int, dict[str, Any]]] = [(-1, root)]
    for line in text.splitlines():
        match = _YAML_LINE.match(line)
        if not match:
            continue  # list items and folded text, which hold nothing that is asked for
        depth, key, value = len(match[1]), match[2], (match[3] or "").strip()
        while open_at[-1][0] >= depth:
            open_at.pop()
        inside = open_at[-1][1]
        if value:
            inside[key] = None if value in ("null", "~") else value.strip("'\"")
        else:
            inside[key] = {}
            open_at.append((depth, inside[key]))
    return root
