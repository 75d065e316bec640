"""Tables in memory as they are counted: pandas, polars, Arrow, numpy, lists of records, dicts of arrays.

Unlike `core.columns`, which must give every table back as it was, counting may read a column as codes and their
levels; a column of a million texts is then a million small integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlspine.comparing.arrow import Typed, arrow_type, from_arrow
from mlspine.core.columns import to_columns
from mlspine.core.errors import Invalid
from mlspine.core.frames import pandas_names
from mlspine.core.types import FieldType
from mlspine.stats.bins import Array, Coded, Values

Read = tuple[dict[str, Values], dict[str, FieldType], dict[str, str]]


def read_frame(data: Any) -> Read:
    """Columns, their types, and why some cannot be counted."""
    module, kind = type(data).__module__.partition(".")[0], type(data).__name__
    if module == "pandas" and hasattr(data, "columns"):
        names, _ = pandas_names(data)
        return _each({name: (_from_pandas, data.iloc[:, i]) for i, name in enumerate(names)}, list(names))
    if module == "polars" and kind in ("DataFrame", "LazyFrame"):
        frame = data.collect() if kind == "LazyFrame" else data
        return _each({each.name: (_from_polars, each) for each in frame.get_columns()})
    if module == "pyarrow" and kind in ("Table", "RecordBatch"):
        names = data.schema.names
        return _each({name: (_from_arrow, data.column(i)) for i, name in enumerate(names)}, names)
    columns, schema = to_columns(data)
    return dict(columns), {field.name: field.type for field in schema.fields}, {}


def _each(readers: dict[str, Any], names: list[str] | None = None) -> Read:
    if names is not None and len(names) > len(readers):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Invalid(f"column names stand there twice: {', '.join(twice)}", hint="rename one of each")
    columns: dict[str, Values] = {}
    types: dict[str, FieldType] = {}
    skipped: dict[str, str] = {}
    for name, (read, column) in readers.items():
        found = read(column)
        if isinstance(found, str):
            skipped[name] = found
        else:
            columns[name], types[name] = found
    return columns, types, skipped


def _from_arrow(column: Any) -> Typed | str:
    kind = arrow_type(column.type)
    return f"holds {column.type}" if kind is None else (from_arrow(column), kind)


# ---------------------------------------------------------------- pandas


def _from_pandas(series: Any) -> Typed | str:
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return _from_numpy(series.to_numpy())
    match type(dtype).__name__:
        case "CategoricalDtype":
            return Coded(series.cat.codes.to_numpy(), tuple(dtype.categories.tolist())), "category"
        case "DatetimeTZDtype":
            return _micros(series.dt.tz_convert(None).to_numpy()), "datetime"
        case "ArrowDtype":
            return _from_arrow(_arrow_of(series))
        case "StringDtype" if dtype.storage.startswith("pyarrow"):
            return _from_arrow(_arrow_of(series))
        case "StringDtype":
            return _factorised(series.to_numpy(dtype=object, na_value=None))
    mask = getattr(series.array, "_mask", None)
    if mask is None:
        return f"holds {dtype}"
    if dtype.kind == "b":
        codes = series.to_numpy(dtype=np.int8, na_value=-1)
        return Coded(codes, (False, True)), "bool"
    return series.to_numpy(dtype=np.float64, na_value=np.nan), "int" if dtype.kind in "iu" else "float"


def _arrow_of(series: Any) -> Any:
    import pyarrow as pa

    return pa.array(series.array)


def _from_numpy(values: Array) -> Typed | str:
    match values.dtype.kind:
        case "b":
            return values, "bool"
        case "i" | "u":
            return values, "int"
        case "f":
            return values, "float"
        case "M":
            return _micros(values), "datetime"
        case "O":
            return _factorised(values)
    return f"holds {values.dtype}"


def _micros(values: Array) -> Array:
    # Finer digits than microseconds say nothing of the hour, and cannot change a bin.
    return values if values.dtype == np.dtype("datetime64[us]") else values.astype("datetime64[us]")


def _factorised(values: Array) -> Typed | str:
    """Objects as codes; what they are is told by the different ones alone."""
    import pandas as pd

    try:
        codes, levels = pd.factorize(values)
    except TypeError:
        try:
            columns, schema = to_columns({"x": values})
        except Invalid as exc:
            return exc.message
        return columns["x"], schema.fields[0].type
    kinds = {type(level) for level in levels.tolist()}
    return _as_told(Coded(codes, tuple(levels.tolist())), kinds)


def _as_told(column: Coded, kinds: set[type]) -> Typed | str:
    if all(issubclass(kind, bool | np.bool_) for kind in kinds) and kinds:
        return column, "bool"
    if all(issubclass(kind, int | float | np.number) and kind is not bool for kind in kinds) and kinds:
        levels = np.array([*column.levels, np.nan], dtype=np.float64)
        return levels[column.codes], "float"
    if any(hasattr(kind, "timestamp") for kind in kinds):
        return _object_times(column)
    if all(issubclass(kind, str | int | float | np.generic) for kind in kinds):
        return column, "text"
    odd = sorted(kind.__name__ for kind in kinds if not issubclass(kind, str | int | float | np.generic))
    return f"holds {', '.join(odd)}"


def _object_times(column: Coded) -> Typed | str:
    try:
        columns, schema = to_columns({"x": column.plain()})
    except Invalid as exc:
        return exc.message
    return columns["x"], schema.fields[0].type


# ---------------------------------------------------------------- polars


def _from_polars(series: Any) -> Typed | str:
    import polars as pl

    dtype = series.dtype
    if dtype.is_integer() or dtype.is_float() or dtype == pl.Decimal:
        whole = dtype.is_integer()
        if series.null_count() or dtype == pl.Decimal:
            series = series.cast(pl.Float64).fill_null(float("nan"))
        return series.to_numpy(), "int" if whole else "float"
    if dtype == pl.Boolean:
        return Coded(series.cast(pl.Int8).fill_null(-1).to_numpy(), (False, True)), "bool"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        texts = series.cast(pl.String)
        levels = texts.drop_nulls().unique(maintain_order=True)
        codes = texts.cast(pl.Enum(levels)).to_physical().cast(pl.Int64).fill_null(-1)
        return Coded(codes.to_numpy(), tuple(levels.to_list())), "text" if dtype == pl.String else "category"
    if dtype == pl.Null:
        return Coded(np.full(len(series), -1), ()), "text"
    if dtype in (pl.Datetime, pl.Date):
        stamps = series.cast(pl.Datetime("us")).to_physical().fill_null(np.iinfo(np.int64).min)
        return stamps.to_numpy().view("datetime64[us]"), "datetime"
    if dtype == pl.Array and (dtype.inner.is_float() or dtype.inner.is_integer()):
        return np.asarray(series.to_numpy(), dtype=np.float64), "vector"
    return f"holds {dtype}"
