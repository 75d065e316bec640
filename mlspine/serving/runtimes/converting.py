"""A release's model made into ONNX, in a process of its own: converters are large, and slow for large models.

`convert` starts it and reads what it wrote; `python -m mlspine.serving.runtimes.converting` is the far end. It loads
the model, so it is for releases that are trusted. Nothing here raises for a model that cannot be converted: the
reason comes back instead.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlspine.core.errors import Invalid
from mlspine.core.types import Release, Schema
from mlspine.registry.flavors import plain_booster, require_matrix
from mlspine.registry.release import flavor_of, load_model, read_release
from mlspine.serving.runtimes.onnx_release import PRECISIONS, input_kind, takes_matrix

CONVERTIBLE = ("sklearn", "lightgbm", "xgboost")
TIMEOUT_S = 60.0
LARGEST_MODEL_BYTES = 200_000_000  # a larger pickle is not tried: its graph may not fit into a message
NICENESS = 5
_SAID = "said.json"
_EXTRA = ("onnx", "onnxruntime", "skl2onnx", "onnxmltools")


class Converted(NamedTuple):
    """The model by precision, and why there is none for the others."""

    models: dict[str, bytes]
    reasons: dict[str, str]


def why_not(path: Path, release: Release) -> str:
    """Why conversion of a release is not even tried, "" when it is."""
    flavor = release.settings.get("flavor", "")
    if release.transform:
        return "its transform is Python code"
    if flavor not in CONVERTIBLE:
        return f"a {flavor} model is not converted"
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        return f"{missing[0]} is not installed: pip install 'mlspine[onnx]'"
    if (path / "model.pkl").stat().st_size > LARGEST_MODEL_BYTES:
        return f"the model is larger than {LARGEST_MODEL_BYTES // 1_000_000} MB"
    if not takes_matrix(release.signature.inputs):
        try:
            for field in release.signature.inputs.fields:
                input_kind(field)
        except Invalid as exc:
            return exc.message
    return ""


def convert(path: Path, release: Release, *, timeout_s: float = TIMEOUT_S) -> Converted:
    """The model of the release at `path` in each precision there is a conversion for."""
    reason = why_not(path, release)
    if reason:
        return Converted({}, dict.fromkeys(PRECISIONS, reason))
    with tempfile.TemporaryDirectory(prefix="mlspine-onnx-") as name:
        folder = Path(name)
        argv = [sys.executable, "-m", "mlspine.serving.runtimes.converting", str(path), str(folder)]
        try:
            done = subprocess.run(argv, capture_output=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return Converted({}, dict.fromkeys(PRECISIONS, f"conversion took longer than {timeout_s:g} s"))
        try:
            said = msgspec.json.decode((folder / _SAID).read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):
            told = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            return Converted({}, dict.fromkeys(PRECISIONS, f"conversion ended early: {told[0][:300]}"))
        made = {each: (folder / f"{each}.onnx").read_bytes() for each in PRECISIONS if not said[each]}
        return Converted(made, {each: why for each, why in said.items() if why})


# ---------------------------------------------------------------- the far end


def main() -> int:
    """Entry point: writes PRECISION.onnx for each that works, and the reasons of the others."""
    parser = argparse.ArgumentParser(prog="python -m mlspine.serving.runtimes.converting", description=__doc__)
    parser.add_argument("release", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    warnings.simplefilter("ignore")
    release = read_release(options.release)
    model = load_model(options.release, release)
    said = {}
    for precision in PRECISIONS:
        try:
            data = _converted(model, release, precision)
        except Exception as exc:  # noqa: BLE001 (converters raise anything; the model then runs as it is)
            told = str(exc).strip().splitlines() or [""]
            said[precision] = f"{type(exc).__name__}: {told[0][:200]}"
        else:
            (options.folder / f"{precision}.onnx").write_bytes(data)
            said[precision] = ""
    (options.folder / _SAID).write_bytes(msgspec.json.encode(said))
    return 0


def _converted(model: Any, release: Release, precision: str) -> bytes:
    flavor, inputs = flavor_of(release), release.signature.inputs
    if flavor.method == "both":
        raise Invalid("its predictions are not its likeliest classes")
    if flavor.task == "other" or (flavor.classes and flavor.method == "predict"):
        raise Invalid("it gives no probabilities or values")
    if flavor.name == "sklearn":
        return _from_sklearn(model, inputs, precision)
    if precision != "float32":
        raise Invalid(f"the converter of {flavor.name} models writes float32 only")
    require_matrix(inputs)
    return _from_booster(model, flavor.name, inputs)


def _from_sklearn(model: Any, inputs: Schema, precision: str) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    from sklearn.base import is_classifier

    number = FloatTensorType if precision == "float32" else DoubleTensorType
    if takes_matrix(inputs):
        types = [("x", number([None, len(inputs.fields)]))]
    else:
        kinds = {"number": number, "text": StringTensorType}
        types = [(field.name, kinds[input_kind(field)]([None, 1])) for field in inputs.fields]
    _register_boosters()
    options = {id(model): {"zipmap": False}} if is_classifier(model) else None
    return bytes(convert_sklearn(model, initial_types=types, options=options).SerializeToString())


def _register_boosters() -> None:
    """Teach skl2onnx the estimators of other libraries, for Pipelines that end with one."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    classifier, regressor = calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes
    zipmap = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
    if "lightgbm" in sys.modules:
        import lightgbm
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

        update_registered_converter(
            lightgbm.LGBMClassifier, "LightGbmLGBMClassifier", classifier, convert_lightgbm, options=zipmap
        )
        update_registered_converter(lightgbm.LGBMRegressor, "LightGbmLGBMRegressor", regressor, convert_lightgbm)
    if "xgboost" in sys.modules:
        import xgboost
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        update_registered_converter(
            xgboost.XGBClassifier, "XGBoostXGBClassifier", classifier, convert_xgboost, options=zipmap
        )
        update_registered_converter(xgboost.XGBRegressor, "XGBoostXGBRegressor", regressor, convert_xgboost)


def _from_booster(model: Any, library: str, inputs: Schema) -> bytes:
    from onnxmltools.convert import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [("x", FloatTensorType([None, len(inputs.fields)]))]
    if library == "lightgbm":
        booster = model if type(model).__name__ == "Booster" else plain_booster(model)
        return bytes(convert_lightgbm(booster, initial_types=types, zipmap=False).SerializeToString())
    # The converter takes columns by position: a booster's own names would be refused.
    booster = model if type(model).__name__ == "Booster" else model.get_booster()
    booster.feature_names = None
    return bytes(convert_xgboost(model, initial_types=types).SerializeToString())


if __name__ == "__main__":
    sys.exit(main())
