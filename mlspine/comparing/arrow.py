"""Arrow columns as they are counted: numbers without a copy, text and categories as codes.

pyarrow is imported only here and where Parquet is read, and only when it is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlspine.core.types import FieldType
from mlspine.stats.bins import Coded, Values

Typed = tuple[Values, FieldType]
_NAT = np.iinfo(np.int64).min


def arrow_type(kind: Any) -> FieldType | None:
    """What a column of this Arrow type counts as; None when it cannot be counted."""
    from pyarrow import types

    if types.is_dictionary(kind):
        inner = arrow_type(kind.value_type)
        return "category" if inner in ("text", "int", "float", "bool") else None
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind):
        return "int"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "float"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "datetime"
    if is_text(kind) or types.is_null(kind):
        return "text"
    if types.is_fixed_size_list(kind) and arrow_type(kind.value_type) in ("int", "float"):
        return "vector"
    return None


def is_text(kind: Any) -> bool:
    from pyarrow import types

    view = getattr(types, "is_string_view", lambda _: False)
    return bool(types.is_string(kind) or types.is_large_string(kind) or view(kind))


def from_arrow(column: Any) -> Values:
    """An Arrow array or chunked array of a type that `arrow_type` knows."""
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if isinstance(column, pa.ChunkedArray):  # older releases keep it chunked
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return _from_array(column)


def _from_array(array: Any) -> Values:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_dictionary(kind):
        return _coded(array)
    if pa.types.is_null(kind):
        return Coded(np.full(len(array), -1), ())
    if pa.types.is_boolean(kind):
        return Coded(array.cast(pa.int8()).fill_null(-1).to_numpy(), (False, True))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _times(array)
    if pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    if pa.types.is_fixed_size_list(kind):
        width = kind.list_size
        flat = array.fill_null([float("nan")] * width) if array.null_count else array
        return np.asarray(flat.flatten().to_numpy(zero_copy_only=False), dtype=np.float64).reshape(-1, width)
    if is_text(kind):
        return _coded(array.dictionary_encode())
    numbers: Values = array.to_numpy(zero_copy_only=False)
    return numbers


def _coded(array: Any) -> Coded:
    codes = array.indices
    if codes.null_count:
        codes = codes.fill_null(-1)
    return Coded(codes.to_numpy(zero_copy_only=False), tuple(array.dictionary.to_pylist()))


def _times(array: Any) -> Values:
    import pyarrow as pa

    micros = array.cast(pa.timestamp("us"), safe=False) if pa.types.is_date(array.type) else array
    if pa.types.is_timestamp(array.type) and array.type.unit != "us":
        micros = array.cast(pa.timestamp("us", tz=array.type.tz), safe=False)
    stamps = micros.cast(pa.int64())
    if stamps.null_count:
        stamps = stamps.fill_null(_NAT)
    return np.asarray(stamps.to_numpy(zero_copy_only=False)).view("datetime64[us]")
