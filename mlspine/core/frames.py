"""pandas, polars and Arrow tables to columns and back.

Each library is imported only by the functions that are handed its objects, or asked to rebuild them.
A column's `Field.dtype` is the library's own spelling; where that is ambiguous (which null an object column
uses, the dtype of category levels) brackets tell: "object[nan]", "category[int8]".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Field, Scalar, Schema
from mlspine.core.values import (
    Array,
    Canonical,
    from_datetimes,
    from_masked_integers,
    from_numeric,
    from_objects,
    to_objects,
)

Converted = tuple[Array, Field]
Restore = Callable[[Array], Any]


def _field(name: str, column: Canonical, dtype: str, **more: Any) -> Converted:
    return column.values, Field(name=name, type=column.type, dtype=dtype, nullable=column.nullable, **more)


def _category(name: str, codes: Array, levels: list[Any], dtype: str, *, ordered: bool) -> Converted:
    for level in levels:
        if type(level) not in (str, int, float, bool) or level in (float("inf"), float("-inf")):
            raise Invalid(
                f"has levels such as {level!r} ({type(level).__name__}), neither text nor numbers",
                hint="make them text, e.g. .astype(str).astype('category')",
            )
    values = np.array([*levels, None], dtype=object)[codes]
    field = Field(
        name=name,
        type="category",
        dtype=dtype,
        nullable=bool((codes < 0).any()),
        levels=tuple(levels),
        ordered=ordered,
    )
    return values, field


def _codes(levels: tuple[Scalar, ...]) -> Callable[[Array], Array]:
    """Positions of values among the levels; -1 for nulls and for values that are not a level."""
    position = {level: code for code, level in enumerate(levels)}
    width = np.int8 if len(levels) < 127 else np.int16 if len(levels) < 32767 else np.int32

    def codes(values: Array) -> Array:
        return np.fromiter((position.get(value, -1) for value in values), width, len(values))

    return codes


# ---------------------------------------------------------------- pandas


def pandas_names(frame: Any) -> tuple[list[str], bool]:
    """Column labels as text, and whether they are integers; raises Invalid for any other label."""
    labels = frame.columns.tolist()
    if all(isinstance(label, str) for label in labels):
        return labels, False
    if all(isinstance(label, int) and not isinstance(label, bool) for label in labels):
        return [str(label) for label in labels], True
    odd = next(label for label in labels if not isinstance(label, str))
    raise Invalid(
        f"column label {odd!r} is not text",
        hint='name columns with text, e.g. X.columns = ["_".join(map(str, c)) for c in X.columns]',
    )


def from_pandas_column(series: Any, name: str) -> Converted:
    """One column of a frame."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return _from_numpy_backed(series.to_numpy(), name)
    kind = type(dtype).__name__
    match kind:
        case "CategoricalDtype":
            levels = dtype.categories.tolist()
            codes = series.cat.codes.to_numpy()
            return _category(name, codes, levels, _category_spelling(dtype, levels), ordered=bool(dtype.ordered))
        case "DatetimeTZDtype":
            stamps = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
            return _field(name, from_datetimes(stamps), str(dtype), time_zone=str(dtype.tz))
        case "StringDtype":
            texts = series.to_numpy(dtype=object, na_value=None)
            column = Canonical(texts, "text", bool(series.isna().any()))
            return _field(name, column, _string_spelling(dtype))
        case "ArrowDtype":
            values, field = from_arrow_column(_chunked(series), name)
            return values, _respelled(field, f"ArrowDtype({field.dtype})")
    if hasattr(series.array, "_mask") or kind in ("BooleanDtype",):
        return _from_masked(series, name)
    raise Invalid(
        f"holds {dtype}, which does not travel", hint=_PANDAS_HINTS.get(kind, "convert it to numbers or text")
    )


_PANDAS_HINTS = {
    "SparseDtype": "make it dense: column.sparse.to_dense()",
    "IntervalDtype": "make it text: column.astype(str)",
    "PeriodDtype": "make it a time: column.dt.to_timestamp()",
}


def _from_numpy_backed(values: Array, name: str) -> Converted:
    kind = values.dtype.kind
    if kind in "biuf":
        return _field(name, from_numeric(values), str(values.dtype))
    if kind == "M":
        return _field(name, from_datetimes(values), str(values.dtype))
    if kind == "O":
        read = from_objects(values)
        if read.python_type == "datetime":
            raise Invalid("holds datetime objects", hint="make it a time column: pd.to_datetime(column)")
        spelling = "object" if read.null in ("", "None") else f"object[{read.null}]"
        return _field(name, read.column, spelling)
    hint = "make it seconds: column.dt.total_seconds()" if kind == "m" else "convert it to numbers or text"
    raise Invalid(f"holds {values.dtype}, which does not travel", hint=hint)


def _from_masked(series: Any, name: str) -> Converted:
    dtype, missing = series.dtype, series.isna().to_numpy()
    if dtype.kind == "b":
        column = from_objects(series.to_numpy(dtype=object, na_value=None)).column
        if not len(series) or missing.all():
            column = Canonical(column.values, "bool", bool(missing.any()))
    elif dtype.kind in "iu":
        present = series.to_numpy(dtype=dtype.numpy_dtype, na_value=0) if missing.any() else series.to_numpy()
        column = from_masked_integers(np.asarray(present, dtype=dtype.numpy_dtype), missing)
    else:
        column = from_numeric(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return _field(name, column, str(dtype))


def _chunked(series: Any) -> Any:
    import pyarrow as pa

    array = pa.array(series.array)
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _respelled(field: Field, dtype: str) -> Field:
    import msgspec

    return msgspec.structs.replace(field, dtype=dtype)


def _string_spelling(dtype: Any) -> str:
    if isinstance(dtype.na_value, float) and dtype.storage != "pyarrow_numpy":
        return "str"
    return f"string[{dtype.storage}]"


def _category_spelling(dtype: Any, levels: list[Any]) -> str:
    import pandas as pd

    inferred = pd.Index(levels).dtype if levels else np.dtype(object)
    return "category" if dtype.categories.dtype == inferred else f"category[{dtype.categories.dtype}]"


class RebuildPandas:
    """Columns to the frame a schema describes. Called once per request, so everything is prepared here.

    Columns that share a numpy dtype go into one block, which is several times cheaper than one by one.
    """

    def __init__(self, schema: Schema) -> None:
        import pandas as pd

        labels = [int(name) for name in schema.names] if schema.integer_names else list(schema.names)
        self._pandas = pd
        self._names = schema.names
        self._columns = pd.Index(labels)
        self._restore = [_pandas_restore(field) for field in schema.fields]
        dtypes = {field.dtype for field in schema.fields}
        self._matrix_dtype = np.dtype(dtypes.pop()) if len(dtypes) == 1 and _plain_numeric(schema.fields[0]) else None
        self._from_blocks = _block_constructor()
        self._blocks = _blocks_of(schema.fields)

    def __call__(self, columns: Columns) -> Any:
        pd = self._pandas
        if self._matrix_dtype is not None:
            matrix = np.array([columns[name] for name in self._names], dtype=self._matrix_dtype)
            return pd.DataFrame(matrix.T, columns=self._columns, copy=False)
        arrays = [restore(columns[name]) for name, restore in zip(self._names, self._restore, strict=True)]
        if self._from_blocks is None:
            frame = pd.DataFrame(dict(enumerate(arrays)), copy=False)
            frame.columns = self._columns
            return frame
        blocks = [
            (np.array([arrays[at] for at in places], dtype=arrays[places[0]].dtype), places)
            if together
            else (arrays[places[0]], places)
            for places, together in self._blocks
        ]
        return self._from_blocks(blocks, pd.RangeIndex(len(arrays[0])), self._columns)


def _plain_numeric(field: Field) -> bool:
    return bool(re.fullmatch(r"(u?int|float)(8|16|32|64)|bool", field.dtype))


def _blocks_of(fields: tuple[Field, ...]) -> list[tuple[Array, bool]]:
    """Positions of the columns by block, and whether the block is one matrix (else: one extension array)."""
    matrices: dict[str, list[int]] = {}
    singles = []
    for at, field in enumerate(fields):
        naive_time = field.type == "datetime" and field.dtype.startswith("datetime64") and not field.time_zone
        if _plain_numeric(field) or naive_time:
            matrices.setdefault(field.dtype, []).append(at)
        elif field.dtype.startswith("object"):
            matrices.setdefault("object", []).append(at)
        else:
            singles.append(at)
    together = [(np.array(places, dtype=np.intp), True) for places in matrices.values()]
    return together + [(np.array([at], dtype=np.intp), False) for at in singles]


def _block_constructor() -> Callable[..., Any] | None:
    """pandas 3 offers this to file readers; before it the public constructor does the same more slowly."""
    try:
        from pandas.api import internals
    except ImportError:
        return None
    return getattr(internals, "create_dataframe_from_blocks", None)


def _pandas_restore(field: Field) -> Restore:
    import pandas as pd

    spelling = field.dtype
    if spelling.startswith("object"):
        null = {"object": None, "object[nan]": np.nan, "object[NA]": pd.NA}[spelling]
        return lambda values: to_objects(values, field.type, null=null)
    if spelling.startswith("category"):
        return _pandas_category(field)
    if spelling.startswith("ArrowDtype("):
        inner = _respelled(field, spelling[11:-1])
        restore = arrow_restore(inner)
        return lambda values: pd.arrays.ArrowExtensionArray(restore(values))
    if field.type == "text":
        dtype = _string_dtype(spelling)
        return lambda values: pd.array(values, dtype=dtype)
    if field.time_zone:
        return _pandas_zoned(pd.api.types.pandas_dtype(spelling))
    dtype = pd.api.types.pandas_dtype(spelling)
    if isinstance(dtype, np.dtype):
        return lambda values: values.astype(dtype, copy=False)
    return _pandas_masked(dtype)


def _pandas_category(field: Field) -> Restore:
    import pandas as pd

    levels: Any = list(field.levels)
    inner = field.dtype[9:-1]
    levels = pd.Index(levels, dtype=inner) if inner else pd.Index(levels, dtype=None if levels else object)
    dtype = pd.CategoricalDtype(levels, ordered=field.ordered)
    codes = _codes(field.levels)
    return lambda values: pd.Categorical.from_codes(codes(values), dtype=dtype, validate=False)


def _string_dtype(spelling: str) -> Any:
    import pandas as pd

    if spelling == "str":
        return pd.StringDtype(na_value=np.nan)
    return pd.StringDtype(spelling[7:-1])


def _pandas_zoned(dtype: Any) -> Restore:
    import pandas as pd

    unit = f"datetime64[{dtype.unit}]"
    return lambda values: pd.DatetimeIndex(values.astype(unit)).tz_localize("UTC").tz_convert(dtype.tz).array


def _pandas_masked(dtype: Any) -> Restore:
    import pandas as pd

    if dtype.kind == "b":
        return lambda values: pd.array(values, dtype=dtype)
    build = pd.arrays.IntegerArray if dtype.kind in "iu" else pd.arrays.FloatingArray

    def restore(values: Array) -> Any:
        missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
        present = np.where(missing, 0, values) if dtype.kind in "iu" and missing.any() else values
        return build(present.astype(dtype.numpy_dtype), missing)

    return restore


# ---------------------------------------------------------------- polars


def from_polars_column(series: Any, name: str) -> Converted:
    """One column of a polars frame."""
    import polars as pl

    dtype, nulls = series.dtype, series.null_count()
    spelling = str(dtype)
    if dtype.is_integer():
        if not nulls:
            return _field(name, from_numeric(series.to_numpy()), spelling)
        missing = series.is_null().to_numpy()
        return _field(name, from_masked_integers(series.fill_null(0).to_numpy(), missing), spelling)
    if dtype.is_float():
        _refuse_nan_beside_null(bool(nulls), bool(nulls) and bool(series.is_nan().any()))
        column = from_numeric(series.to_numpy())
        return _field(name, Canonical(column.values, "float", bool(nulls)), spelling)
    if dtype == pl.Boolean:
        values = np.array(series.to_list(), dtype=object if nulls else np.bool_)
        return _field(name, Canonical(values, "bool", bool(nulls)), spelling)
    if dtype in (pl.String, pl.Null):
        texts = np.array([*series.to_list(), None], dtype=object)[:-1]
        return _field(name, Canonical(texts, "text", bool(nulls)), spelling)
    if dtype in (pl.Categorical, pl.Enum):
        return _from_polars_category(series, name)
    if dtype in (pl.Datetime, pl.Date):
        unit = "D" if dtype == pl.Date else dtype.time_unit
        stamps = series.to_physical().cast(pl.Int64).fill_null(np.iinfo(np.int64).min).to_numpy()
        zone = "" if dtype == pl.Date else dtype.time_zone or ""
        spelling = "Date" if dtype == pl.Date else f"Datetime({unit})"
        return _field(name, from_datetimes(stamps.view(f"datetime64[{unit}]")), spelling, time_zone=zone)
    raise Invalid(f"holds {dtype}, which does not travel", hint="convert it to numbers, text or times")


def _from_polars_category(series: Any, name: str) -> Converted:
    import polars as pl

    is_enum = series.dtype == pl.Enum
    texts = series.cast(pl.String).to_list()
    # A Categorical shares its levels with other columns of the process; the ones seen here are its own.
    levels = series.dtype.categories.to_list() if is_enum else sorted({text for text in texts if text is not None})
    position = {level: code for code, level in enumerate(levels)} | {None: -1}
    codes = np.array([position[text] for text in texts], dtype=np.int64)
    return _category(name, codes, levels, "Enum" if is_enum else "Categorical", ordered=is_enum)


def _refuse_nan_beside_null(has_null: bool, has_nan: bool) -> None:
    if has_null and has_nan:
        raise Invalid("holds both null and NaN, which models treat as different", hint="keep one: .fill_nan(None)")


def polars_restore(field: Field) -> Restore:
    """From an array to a polars Series of the field's dtype."""
    import polars as pl

    name = field.name
    if field.type == "datetime":
        stored, zone = field.dtype, field.time_zone or None
        unit: Any = "D" if stored == "Date" else stored[9:-1]
        dtype = pl.Date if stored == "Date" else pl.Datetime(unit, zone)
        physical = pl.Int32 if stored == "Date" else pl.Int64

        def restore(values: Array) -> Any:
            stamps = values.astype(f"datetime64[{unit}]")
            series = pl.Series(name, stamps.view(np.int64)).set(pl.Series(np.isnat(stamps)), None)
            return series.cast(physical).cast(dtype)

        return restore
    if field.type == "category":
        target = pl.Enum([str(level) for level in field.levels]) if field.dtype == "Enum" else pl.Categorical
        known = set(field.levels)
        if field.dtype == "Enum":
            return lambda values: pl.Series(name, [v if v in known else None for v in values], dtype=target)
        return lambda values: pl.Series(name, list(values), dtype=pl.String).cast(target)
    target = getattr(pl, field.dtype)
    if field.type == "float":
        nan_is_null = field.nullable
        return lambda values: _polars_floats(pl, name, values, target, nan_is_null)
    if field.type == "int":
        return lambda values: _polars_integers(pl, name, values, target)
    return lambda values: pl.Series(name, values.tolist(), dtype=target)


def _polars_floats(pl: Any, name: str, values: Array, dtype: Any, nan_is_null: bool) -> Any:
    series = pl.Series(name, values.astype(np.float64, copy=False))
    return (series.fill_nan(None) if nan_is_null else series).cast(dtype)


def _polars_integers(pl: Any, name: str, values: Array, dtype: Any) -> Any:
    series = pl.Series(name, values)
    return (series.fill_nan(None) if values.dtype.kind == "f" else series).cast(dtype)


def rebuild_polars(schema: Schema) -> Callable[[Columns], Any]:
    """Columns to a polars frame."""
    import polars as pl

    restores = {field.name: polars_restore(field) for field in schema.fields}
    return lambda columns: pl.DataFrame([restore(columns[name]) for name, restore in restores.items()])


# ---------------------------------------------------------------- arrow


def from_arrow_column(chunked: Any, name: str) -> Converted:
    """One column of an Arrow table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, nulls = chunked.type, chunked.null_count
    if pa.types.is_dictionary(kind):
        return _from_arrow_dictionary(chunked, name)
    if pa.types.is_integer(kind):
        if not nulls:
            return _field(name, from_numeric(chunked.to_numpy()), str(kind))
        missing = chunked.is_null().to_numpy()
        filled = pc.fill_null(chunked, pa.scalar(0, kind)).to_numpy()
        return _field(name, from_masked_integers(filled, missing), str(kind))
    if pa.types.is_floating(kind):
        # Older releases cannot widen half floats themselves.
        narrow = pa.types.is_float16(kind)
        wide = pa.chunked_array([_widened_half(chunked)]) if narrow else chunked.cast(pa.float64())
        _refuse_nan_beside_null(bool(nulls), bool(nulls) and bool(pc.any(pc.is_nan(wide)).as_py()))
        column = from_numeric(wide.to_numpy())
        return _field(name, Canonical(column.values, "float", bool(nulls)), str(kind))
    if pa.types.is_boolean(kind):
        flags = np.array([*chunked.to_pylist(), None], dtype=object)[:-1]
        return _field(name, Canonical(flags if nulls else flags.astype(np.bool_), "bool", bool(nulls)), str(kind))
    if _is_text(pa, kind) or pa.types.is_null(kind):
        texts = np.array([*chunked.to_pylist(), None], dtype=object)[:-1]
        return _field(name, Canonical(texts, "text", bool(nulls)), str(kind))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _from_arrow_times(chunked, name)
    raise Invalid(f"holds {kind}, which does not travel", hint="convert it to numbers, text or times")


def _widened_half(chunked: Any) -> Any:
    import pyarrow as pa

    values = np.array([np.nan if value is None else value for value in chunked.to_pylist()], dtype=np.float64)
    return pa.array(values, mask=chunked.is_null().to_numpy())


def _is_text(pa: Any, kind: Any) -> bool:
    view = getattr(pa.types, "is_string_view", lambda _: False)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or view(kind))


def _from_arrow_times(chunked: Any, name: str) -> Converted:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = chunked.type
    if pa.types.is_date(kind):
        unit, physical = ("D", pa.int32()) if pa.types.is_date32(kind) else ("ms", pa.int64())
        spelling, zone = str(kind), ""
    else:
        unit, physical, zone = kind.unit, pa.int64(), kind.tz or ""
        spelling = f"timestamp[{unit}]"
    whole = chunked.cast(physical).cast(pa.int64())
    stamps = pc.fill_null(whole, np.iinfo(np.int64).min).to_numpy()
    return _field(name, from_datetimes(stamps.view(f"datetime64[{unit}]")), spelling, time_zone=zone)


def _from_arrow_dictionary(chunked: Any, name: str) -> Converted:
    import pyarrow as pa

    array = chunked.unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # older releases keep it chunked
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], chunked.type)
    kind = array.type
    codes = array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    spelling = f"dictionary[{kind.value_type}, {kind.index_type}]"
    return _category(name, codes, array.dictionary.to_pylist(), spelling, ordered=bool(kind.ordered))


def arrow_restore(field: Field) -> Restore:
    """From an array to an Arrow array of the field's type."""
    import pyarrow as pa

    if field.type == "category":
        return _arrow_dictionary(field)
    if field.type == "datetime":
        return _arrow_times(field)
    kind = pa.null() if field.dtype == "null" else pa.type_for_alias(_ALIASES.get(field.dtype, field.dtype))
    if field.type == "int":
        return lambda values: _arrow_integers(pa, values, kind)
    if field.type == "float":
        numpy_type, nan_is_null = np.dtype(kind.to_pandas_dtype()), field.nullable
        return lambda values: pa.array(
            values.astype(numpy_type), type=kind, mask=np.isnan(values) if nan_is_null else None, from_pandas=False
        )
    return lambda values: pa.array(values.tolist(), type=kind)


_ALIASES = {"halffloat": "float16"}


def _arrow_integers(pa: Any, values: Array, kind: Any) -> Any:
    if values.dtype.kind != "f":
        return pa.array(values).cast(kind)
    missing = np.isnan(values)
    return pa.array(np.where(missing, 0, values).astype(np.int64), mask=missing).cast(kind)


def _arrow_times(field: Field) -> Restore:
    import pyarrow as pa

    if field.dtype.startswith("date"):
        unit = "D" if field.dtype.startswith("date32") else "ms"
        physical = pa.int32() if unit == "D" else pa.int64()
        kind = pa.date32() if unit == "D" else pa.date64()
    else:
        unit, physical = field.dtype[10:-1], pa.int64()
        kind = pa.timestamp(unit, tz=field.time_zone or None)

    def restore(values: Array) -> Any:
        stamps = values.astype(f"datetime64[{unit}]")
        return pa.array(stamps.view(np.int64), mask=np.isnat(stamps)).cast(physical).cast(kind)

    return restore


def _arrow_dictionary(field: Field) -> Restore:
    import pyarrow as pa

    value_type, _, index_type = field.dtype[11:-1].partition(", ")
    levels = pa.array(list(field.levels), type=pa.type_for_alias(value_type))
    codes = _codes(field.levels)
    index = pa.type_for_alias(index_type)

    def restore(values: Array) -> Any:
        positions = codes(values).astype(np.int64)
        indices = pa.array(np.maximum(positions, 0), mask=positions < 0).cast(index)
        return pa.DictionaryArray.from_arrays(indices, levels, ordered=field.ordered)

    return restore


def rebuild_arrow(schema: Schema) -> Callable[[Columns], Any]:
    """Columns to an Arrow table."""
    import pyarrow as pa

    restores: Mapping[str, Restore] = {field.name: arrow_restore(field) for field in schema.fields}
    return lambda columns: pa.table({name: restore(columns[name]) for name, restore in restores.items()})
