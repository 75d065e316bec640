"""Loads a release with MLflow alone: `mlflow.pyfunc.load_model(directory).predict(frame)`.

A copy of this file travels in every release, so it imports nothing of mlspine: only the standard library,
pandas or whatever the model was fitted with, and cloudpickle where the pickles ask for it. Everything else it
needs is in `mlspine/release.json`, which is plain text.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> ReleaseModel:
    """What MLflow calls; `path` is the release directory, and there is nothing to configure."""
    if model_config:
        raise ValueError(f"a release takes no model_config, got {sorted(model_config)}")
    return ReleaseModel(Path(path))


class ReleaseModel:
    """The transform and model of one release."""

    def __init__(self, path: Path) -> None:
        facts = json.loads((path / "mlspine" / "release.json").read_text(encoding="utf-8"))
        self._inputs = facts["signature"]["inputs"]
        self._classes = facts["signature"]["classes"]
        self._method = facts["settings"]["method"]
        self._flavor = facts["settings"]["flavor"]
        self._model = _unpickle(path / "model.pkl")
        self._transform = _unpickle(path / "transform.pkl") if facts["transform"] else None

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """One prediction per row of a frame with the release's input columns, shape (n,)."""
        if params:
            raise ValueError(f"a release takes no params, got {sorted(params)}")
        rows = restore(model_input, self._inputs)
        if self._transform is not None:
            rows = self._transform(rows)
        return self._ask(rows)

    def _ask(self, rows: Any) -> Any:
        import numpy as np

        if self._method == "proba":
            shares = np.asarray(self._model.predict_proba(rows))
        elif self._method in ("booster", "tensor", "onnx"):
            shares = self._numbers(rows)
            if not self._classes:
                return shares.reshape(-1).astype(float)
        else:
            return np.asarray(self._model.predict(rows)).reshape(-1)
        if shares.ndim == 2 and shares.shape[1] == 1:
            shares = shares[:, 0]
        if shares.ndim == 1:
            shares = np.column_stack([1.0 - shares, shares])
        return np.array(self._classes)[shares.argmax(axis=1)]

    def _numbers(self, rows: Any) -> Any:
        """What a model gives that says nothing of classes: a booster, a PyTorch module, or the bytes of an ONNX one."""
        import numpy as np

        if self._method == "booster":
            ask = self._model.inplace_predict if self._flavor == "xgboost" else self._model.predict
            return np.asarray(ask(rows))
        if self._method == "tensor":
            import torch

            with torch.inference_mode():
                return self._model(torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))).cpu().numpy()
        import onnxruntime

        session = onnxruntime.InferenceSession(self._model, providers=["CPUExecutionProvider"])
        kinds: dict[str, Any] = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
        kinds |= {"tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(string)": object}
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) == 1:
            given = {inputs[0].name: np.ascontiguousarray(rows, dtype=kinds[inputs[0].type])}
        else:
            given = {each.name: np.asarray(rows[each.name]).astype(kinds[each.type]).reshape(-1, 1) for each in inputs}
        numbers = [each.name for each in outputs if each.type in ("tensor(float)", "tensor(double)")]
        wanted = [name for name in numbers if "prob" in name.lower()] or numbers
        return session.run(wanted[:1], given)[0]


def restore(data: Any, inputs: dict[str, Any]) -> Any:
    """The container and dtypes the model was fitted with, from what MLflow hands over."""
    import numpy as np
    import pandas as pd

    fields, container = inputs["fields"], inputs["container"]
    names = [field["name"] for field in fields]
    if isinstance(data, np.ndarray) and data.dtype.names is None:
        data = pd.DataFrame(data.reshape(len(data), -1), columns=names)
    elif not isinstance(data, pd.DataFrame):
        data = pd.DataFrame(data)
    labels = {str(label): label for label in data.columns}
    columns = {name: data[labels[name]].reset_index(drop=True) for name in names}
    if container == "pandas":
        frame = pd.DataFrame({field["name"]: _pandas(columns[field["name"]], field) for field in fields})
        if inputs["integer_names"]:
            frame.columns = pd.Index([int(name) for name in names])
        return frame
    if container == "polars":
        return _polars(columns, fields)
    if container == "arrow":
        return _arrow(columns, fields)
    arrays = {field["name"]: _array(columns[field["name"]], field) for field in fields}
    if container == "numpy":
        return np.stack(list(arrays.values()), axis=1)
    if container == "structured":
        kinds = [(f["name"], f["dtype"], *([(f["width"],)] if f["width"] else [])) for f in fields]
        rows = np.empty(len(data), dtype=kinds)
        for name, values in arrays.items():
            rows[name] = values
        return rows
    if container == "arrays":
        return arrays
    if container == "sequence":
        return arrays[names[0]]
    return [dict(zip(names, row, strict=True)) for row in zip(*arrays.values(), strict=True)]


def _unpickle(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


def _pandas(column: Any, field: dict[str, Any]) -> Any:
    import numpy as np
    import pandas as pd

    dtype = field["dtype"]
    if dtype.startswith("object"):
        null = {"object": None, "object[nan]": np.nan, "object[NA]": pd.NA}[dtype]
        return pd.Series([null if missing else value for value, missing in _pairs(column)], dtype=object)
    if dtype.startswith("category"):
        levels = pd.Index(field["levels"], dtype=dtype[9:-1] or None)
        return pd.Series(pd.Categorical(column, categories=levels, ordered=field["ordered"]))
    if dtype.startswith("ArrowDtype("):
        import pyarrow as pa

        return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([_arrow_array(column, field, dtype[11:-1])])))
    if field["time_zone"]:
        return pd.to_datetime(column, utc=True).astype(dtype)
    if dtype == "str":
        return column.astype(pd.StringDtype(na_value=np.nan))
    return column.astype(dtype)


def _polars(columns: dict[str, Any], fields: list[dict[str, Any]]) -> Any:
    import polars as pl

    def kind(field: dict[str, Any]) -> Any:
        dtype: str = field["dtype"]
        if dtype == "Enum":
            return pl.Enum(field["levels"])
        if dtype.startswith("Datetime("):
            unit: Any = dtype[9:-1]
            return pl.Datetime(unit, field["time_zone"] or None)
        return getattr(pl, dtype)

    series = [pl.Series(f["name"], _plain(columns[f["name"]], f), strict=False).cast(kind(f)) for f in fields]
    return pl.DataFrame(series)


def _arrow(columns: dict[str, Any], fields: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.table({f["name"]: _arrow_array(columns[f["name"]], f, f["dtype"]) for f in fields})


def _arrow_array(column: Any, field: dict[str, Any], dtype: str) -> Any:
    import pyarrow as pa

    if dtype.startswith("dictionary["):
        value_type, _, index_type = dtype[11:-1].partition(", ")
        kind = pa.dictionary(pa.type_for_alias(index_type), pa.type_for_alias(value_type), ordered=field["ordered"])
    elif dtype.startswith("timestamp["):
        kind = pa.timestamp(dtype[10:-1], tz=field["time_zone"] or None)
    elif dtype == "null":
        kind = pa.null()
    else:
        kind = pa.type_for_alias({"halffloat": "float16"}.get(dtype, dtype))
    values = _plain(column, field)
    if field["time_zone"]:
        return pa.array(values, type=kind)
    return pa.array(values).cast(kind) if field["type"] == "datetime" else pa.array(values, type=kind)


def _array(column: Any, field: dict[str, Any]) -> Any:
    import numpy as np

    dtype = field["dtype"]
    null = float("nan") if dtype.endswith("[nan]") else None
    spelled = dtype.partition("[")[0]
    if spelled in ("int", "float", "bool", "str", "datetime", "object"):
        values = [null if value is None else value for value in _plain(column, field)]
        if spelled != "object":
            return values
        objects = np.empty(len(values), dtype=object)
        objects[:] = values
        return objects
    if field["width"]:
        return np.stack(column.tolist()).astype(dtype)
    return column.to_numpy().astype(dtype)


def _plain(column: Any, field: dict[str, Any]) -> list[Any]:
    """Python values with None for null, in the kind the field asks for."""
    import pandas as pd

    if field["type"] == "datetime":
        column = pd.to_datetime(column, utc=bool(field["time_zone"]))
        return [None if missing else value.to_pydatetime() for value, missing in _pairs(column)]
    keeps_nan = field["type"] == "float" and not field["nullable"]
    cast: Any = {"int": int, "float": float, "bool": bool}.get(field["type"], lambda value: value)
    return [None if missing and not keeps_nan else cast(value) for value, missing in _pairs(column)]


def _pairs(column: Any) -> Any:
    return zip(column.tolist(), column.isna().tolist(), strict=True)
