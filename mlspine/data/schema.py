"""What the columns of a table look like: types, ranges, levels, nulls and one example each."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlspine.core.columns import row_count, take, to_jsonable
from mlspine.core.types import Columns, Field, Schema, Struct

SHOWN_LEVELS = 20
LONGEST_EXAMPLE = 200

Array = np.ndarray[Any, np.dtype[Any]]


class ColumnSummary(Struct, frozen=True, kw_only=True):
    """One column. `low` and `high` are None for text; `levels` are a text's commonest values."""

    name: str
    type: str
    dtype: str
    nullable: bool
    missing_share: float
    low: float | int | str | bool | None = None
    high: float | int | str | bool | None = None
    distinct: int = 0  # of text and categories
    levels: tuple[Any, ...] = ()
    example: Any = None


def summarise(columns: Columns, schema: Schema) -> tuple[ColumnSummary, ...]:
    """A summary of every column, in schema order."""
    return tuple(_summary(columns[field.name], field) for field in schema.fields)


def example_row(columns: Columns, schema: Schema) -> dict[str, Any]:
    """One row as a caller would send it: the first without nulls, else the first; {} for an empty table."""
    if not row_count(columns):
        return {}
    # Looking through the head is enough: a table whose first rows all have nulls shows one as it is.
    head = take(columns, slice(0, 1000))
    complete = ~np.logical_or.reduce([_missing(head[field.name]) for field in schema.fields])
    at = int(np.argmax(complete))
    return {field.name: to_jsonable(head[field.name][at : at + 1], field)[0] for field in schema.fields}


def _summary(values: Array, field: Field) -> ColumnSummary:
    missing = _missing(values)
    present = values[~missing]
    low, high = _range(present, field)
    levels, distinct = _levels(present, field)
    example = to_jsonable(present[:1], field)[0] if len(present) else None
    return ColumnSummary(
        name=field.name,
        type=field.type,
        dtype=field.dtype,
        nullable=field.nullable,
        missing_share=float(missing.mean()) if len(values) else 0.0,
        low=low,
        high=high,
        distinct=distinct,
        levels=levels,
        example=example[:LONGEST_EXAMPLE] if isinstance(example, str) else example,
    )


def _missing(values: Array) -> Array:
    if values.dtype == object:
        return np.fromiter((value is None for value in values), np.bool_, len(values))
    if values.dtype.kind == "f":
        nan = np.isnan(values)
        return np.asarray(nan if nan.ndim == 1 else nan.any(axis=1))
    if values.dtype.kind == "M":
        return np.isnat(values)
    return np.zeros(len(values), dtype=np.bool_)


def _range(present: Array, field: Field) -> tuple[Any, Any]:
    if field.type not in ("float", "int", "bool", "datetime") or not len(present):
        return None, None
    finite = present[np.isfinite(present)] if present.dtype.kind == "f" else present
    if not len(finite):
        return None, None
    ends = np.array([finite.min(), finite.max()], dtype=finite.dtype)
    low, high = to_jsonable(ends, field)
    return low, high


def _levels(present: Array, field: Field) -> tuple[tuple[Any, ...], int]:
    if field.type == "category":
        return field.levels[:SHOWN_LEVELS], len(field.levels)
    if field.type != "text" or not len(present):
        return (), 0
    values, counts = np.unique(present.astype(str), return_counts=True)
    # Free text has about as many values as rows; listing some would tell nothing but people's words.
    if len(values) > max(SHOWN_LEVELS, 0.1 * len(present)):
        return (), len(values)
    commonest = np.lexsort((values, -counts))[:SHOWN_LEVELS]
    return tuple(values[commonest].tolist()), len(values)
