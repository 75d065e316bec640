"""Columns as arrays: of JSON values already checked, or of numpy arrays that came over a wire and are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mlspine.core.types import Field

Array = np.ndarray[Any, np.dtype[Any]]
_INT64 = np.iinfo(np.int64)


def array_of(field: Field, values: Sequence[Any]) -> Array:
    """Checked values of a column that is neither float nor whole number, as `Columns` holds them."""
    if field.type == "datetime":
        return np.array(values, dtype="datetime64[us]")
    if field.type == "vector":
        nulls = [np.nan] * field.width
        return np.array([nulls if value is None else value for value in values], dtype=np.float64)
    if field.type == "bool" and not field.nullable:
        return np.array(values, dtype=np.bool_)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def checked_array(values: Array, field: Field) -> tuple[Array | None, list[tuple[int, Any]]]:
    """The array as the column's own, or None and the rows that do not fit; None and no rows: read it as a list.

    NaN stands for null. Numbers are taken by value: 3.0 is a whole number, 3.5 is not.

    >>> checked_array(np.array([1.0, 2.5]), Field(name="a", type="int", dtype="int64"))
    (None, [(1, 2.5)])
    """
    kind = values.dtype.kind
    if field.type == "vector":
        if kind not in "iuf" or values.ndim != 2 or values.shape[1] != field.width:
            return None, []
        fits: Array = np.all(_held(values, field), axis=1, keepdims=True)[:, 0]
        return _sieved(values, fits, np.float64)
    if values.ndim != 1:
        return None, []
    if field.type == "float" and kind in "iuf":
        return _sieved(values, _held(values, field), np.float64)
    if field.type == "int" and kind in "iuf":
        return _sieved(values, _whole(values, nullable=field.nullable), np.float64 if field.nullable else np.int64)
    if field.type == "bool" and kind == "b":
        return values.astype(object if field.nullable else np.bool_), []
    return None, []


def matrix_columns(matrix: Array, fields: Sequence[Field]) -> Iterator[Array | list[Any]]:
    """The columns of a matrix of numbers; 0 and 1 are how it says false and true."""
    for at, field in enumerate(fields):
        values = matrix[:, at]
        if field.type != "bool" or values.dtype.kind == "b":
            yield values
        else:
            listed = values.tolist()
            yield [None if value != value else bool(value) if value in (0, 1) else value for value in listed]


def _held(values: Array, field: Field) -> Array:
    """Where a value is there, or need not be."""
    if field.nullable or values.dtype.kind != "f":
        return np.ones(values.shape, dtype=np.bool_)
    return ~np.isnan(values)


def _whole(values: Array, *, nullable: bool) -> Array:
    if values.dtype.kind in "iu":
        return values <= np.array(_INT64.max, dtype=values.dtype if values.dtype.itemsize == 8 else np.int64)
    with np.errstate(invalid="ignore"):
        whole: Array = (values == np.floor(values)) & (np.abs(values) < 2.0**63)
    return whole | np.isnan(values) if nullable else whole


def _sieved(values: Array, fits: Array, dtype: Any) -> tuple[Array | None, list[tuple[int, Any]]]:
    if fits.all():
        return values.astype(dtype), []
    wrong = np.flatnonzero(~fits)
    return None, list(zip(wrong.tolist(), values[wrong].tolist(), strict=True))
