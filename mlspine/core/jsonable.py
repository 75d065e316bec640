"""Columns as JSON values and back, each value checked against its field."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Field, Schema
from mlspine.core.values import Array, zone_of

SHOWN_PROBLEMS = 5
_INT64 = np.iinfo(np.int64)
_LATEST_MS = _INT64.max // 1000  # what microseconds in 64 bits reach
_ASKS_FOR = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "text": "text",
    "category": "one of its levels",
    "datetime": "an ISO 8601 time",
    "vector": "a list of numbers",
}


def to_jsonable_rows(columns: Columns, schema: Schema) -> list[dict[str, Any]]:
    """The rows as JSON objects: NaN and NaT become None, datetimes ISO 8601 ("Z" when the column has a zone).

    >>> field = Field(name="a", type="float", dtype="float64")
    >>> to_jsonable_rows({"a": np.array([1.5, np.nan])}, Schema(fields=(field,)))
    [{'a': 1.5}, {'a': None}]
    """
    lists = [to_jsonable(columns[field.name], field) for field in schema.fields]
    return [dict(zip(schema.names, row, strict=True)) for row in zip(*lists, strict=True)]


def to_jsonable(values: Array, field: Field) -> list[Any]:
    """One column as JSON values."""
    if values.dtype.kind == "M":
        return _iso(values, zoned=bool(field.time_zone))
    listed: list[Any] = values.tolist()
    if values.dtype.kind != "f":
        return listed
    if values.ndim > 1:
        return [[_number(value, field) for value in row] for row in listed]
    if field.type == "int" or np.isnan(values).any():
        return [_number(value, field) for value in listed]
    return listed


def _number(value: float, field: Field) -> float | int | None:
    if math.isnan(value):
        return None
    return int(value) if field.type == "int" else value


def _iso(values: Array, *, zoned: bool) -> list[str | None]:
    present = values[~np.isnat(values)]
    whole = not (present.astype("datetime64[us]").astype(np.int64) % 1_000_000).any()
    texts = np.datetime_as_string(values, unit="s" if whole else "us").tolist()
    suffix = "Z" if zoned else ""
    return [None if text == "NaT" else text + suffix for text in texts]


def parse_array(values: list[Any], field: Field) -> Array:
    """JSON values as one column of `Columns`.

    null is accepted wherever the array can hold it: in all but integers and booleans never null at ship.
    A datetime is ISO 8601 or milliseconds since 1970 UTC; without an offset it is in the column's own zone.
    A category not among the levels is kept as it is, so that the log can name it.
    Raises Invalid naming the field and the values that do not fit.

    >>> parse_array([1, 2.5, None], Field(name="a", type="float", dtype="float64"))
    array([1. , 2.5, nan])
    """
    kinds = set(map(type, values))
    match field.type:
        case "float":
            if kinds <= {int, float, type(None)}:
                return _floats(values, field)
        case "int":
            return _integers(values, kinds, field)
        case "bool":
            if kinds <= {bool} or (field.nullable and kinds <= {bool, type(None)}):
                return np.array(values, dtype=object if field.nullable else np.bool_)
        case "text":
            if kinds <= {str, type(None)}:
                return _objects(values)
        case "category":
            if kinds <= _level_types(field) | {type(None)}:
                return _objects(values)
        case "datetime":
            return _datetimes(values, field)
        case "vector":
            return _vectors(values, field)
    raise _refusal(field, [(row, value) for row, value in enumerate(values) if not _fits(value, field)])


def _floats(values: list[Any], field: Field) -> Array:
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        beyond = [(row, value) for row, value in enumerate(values) if value is not None and abs(value) > 1e308]
        raise _refusal(field, beyond) from None


def _integers(values: list[Any], kinds: set[type], field: Field) -> Array:
    if kinds <= {int}:
        try:
            return np.array(values, dtype=np.float64 if field.nullable else np.int64)
        except OverflowError:
            beyond = [(r, v) for r, v in enumerate(values) if not _INT64.min <= v <= _INT64.max]
            raise _refusal(field, beyond) from None
    bad = [(row, value) for row, value in enumerate(values) if not _fits(value, field)]
    if bad:
        raise _refusal(field, bad)
    if field.nullable:
        return np.array(values, dtype=np.float64)
    return np.array([int(value) for value in values], dtype=np.int64)


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _level_types(field: Field) -> set[type]:
    kinds: set[type] = {type(level) for level in field.levels} or {str}
    return kinds | {int, float} if kinds & {int, float} else kinds


def _fits(value: Any, field: Field) -> bool:
    if value is None:
        return field.nullable or field.type not in ("int", "bool")
    match field.type:
        case "float":
            return type(value) in (int, float)
        case "int":
            whole = type(value) is int or (type(value) is float and value.is_integer())
            return whole and _INT64.min <= value <= _INT64.max
        case "bool":
            return type(value) is bool
        case "text":
            return type(value) is str
        case "category":
            return type(value) in _level_types(field)
        case _:
            return False


def _datetimes(values: list[Any], field: Field) -> Array:
    stamps = np.empty(len(values), dtype="datetime64[us]")
    bad = []
    for row, value in enumerate(values):
        try:
            stamps[row] = _stamp(value, field.time_zone)
        except (ValueError, OverflowError, TypeError):
            bad.append((row, value))
    if bad:
        raise _refusal(field, bad)
    return stamps


def _stamp(value: Any, time_zone: str) -> np.datetime64:
    if value is None:
        return np.datetime64("NaT", "us")
    if type(value) is int:
        if abs(value) > _LATEST_MS:
            raise OverflowError(value)
        return np.datetime64(value * 1000, "us")
    if type(value) is not str:
        raise TypeError(value)
    moment = dt.datetime.fromisoformat(value)
    if moment.tzinfo is None and time_zone:
        moment = moment.replace(tzinfo=zone_of(time_zone))
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return np.datetime64(moment, "us")


def _vectors(values: list[Any], field: Field) -> Array:
    bad = [
        (row, value)
        for row, value in enumerate(values)
        if type(value) is not list or len(value) != field.width or not set(map(type, value)) <= {int, float, type(None)}
    ]
    if bad:
        raise _refusal(field, bad)
    return np.array(values, dtype=np.float64).reshape(len(values), field.width)


def _refusal(field: Field, bad: list[tuple[int, Any]]) -> Invalid:
    asks = _ASKS_FOR[field.type]
    if field.type == "vector":
        asks = f"a list of {field.width} numbers"
    first = bad[0][1]
    if first is None:
        asks += ", never null"
    hint = f"levels: {', '.join(map(str, field.levels[:8]))}" if field.type == "category" else ""
    details = [f"{field.name}[{row}]: {_shown(value)}" for row, value in bad[:SHOWN_PROBLEMS]]
    if len(bad) > SHOWN_PROBLEMS:
        details.append(f"and {len(bad) - SHOWN_PROBLEMS} more")
    return Invalid(
        f"column {field.name!r} takes {asks}, got {_shown(first)}",
        hint=hint,
        details=details if len(bad) > 1 else (),
    )


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
