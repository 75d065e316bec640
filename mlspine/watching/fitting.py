"""Columns as somebody else's log spells them, fitted to the columns of the reference. Pure.

What was answered is kept as far as it can be read: a column that is absent is null throughout, a number spelt as text
is a number. A value that cannot be what its column holds costs its row, which is told with the reason.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.types import Columns, Field, Schema

Array = np.ndarray[Any, np.dtype[Any]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

LATEST_MS = 253_402_300_799_999  # the end of the year 9999
_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "text": "text",
    "category": "text",
    "datetime": "a time",
    "vector": "a list of numbers",
}
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class Fitted(NamedTuple):
    """All columns of a schema, and by row number why a row could not be read."""

    columns: Columns
    refused: dict[int, str]


def fit(given: Mapping[str, Array], schema: Schema, rows: int) -> Fitted:
    """The columns of `schema` out of those given, each of `rows` values; others are left aside.

    >>> schema = Schema(fields=(Field(name="age", type="float", dtype="float64"),))
    >>> fit({"age": np.array([41, "39", "old", None], dtype=object)}, schema, 4)
    Fitted(columns={'age': array([41., 39., nan, nan])}, refused={2: "age: 'old' is not a number"})
    """
    columns: Columns = {}
    refused: dict[int, str] = {}
    for field in schema.fields:
        values = given.get(field.name)
        if values is None:
            columns[field.name] = _nulls(field, rows)
            continue
        columns[field.name], wrong = _column(values, field)
        for row, value in wrong.items():
            refused.setdefault(row, f"{field.name}: {_shown(value)} is not {_WORDS[field.type]}")
    return Fitted(columns, refused)


def objects(values: list[Any]) -> Array:
    """Values of any kind as one column.

    >>> objects([1, [2, 3]])
    array([1, list([2, 3])], dtype=object)
    """
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def numbers(values: Array) -> tuple[Array, dict[int, Any]]:
    """float64 with NaN for null, and by row number what is no number.

    >>> numbers(np.array(["0.5", None, "high"], dtype=object))
    (array([0.5, nan, nan]), {2: 'high'})
    """
    if values.dtype.kind in "fiub" and values.ndim == 1:
        return values.astype(np.float64), {}
    if values.dtype.kind == "O" and {type(each) for each in values.tolist()} <= {int, float, type(None)}:
        with contextlib.suppress(OverflowError):
            return values.astype(np.float64), {}
    return _each(values, _number, math.nan, np.float64)


def times_ms(values: Array) -> tuple[Ints, dict[int, Any]]:
    """Milliseconds since 1970 UTC, -1 for null, and by row number what is no time.

    Text is ISO 8601, without an offset UTC. Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970,
    by their size: what a log of this century can mean.

    >>> times_ms(np.array(["2026-01-02T03:04:05Z", 1_767_323_045, None, "soon"], dtype=object))
    (array([1767323045000, 1767323045000,            -1,            -1]), {3: 'soon'})
    """
    if values.dtype.kind == "M":
        stamps = values.astype("datetime64[ms]").astype(np.int64)
        return np.where(np.isnat(values), -1, stamps), {}
    found, wrong = _each(values, _moment, -1, np.int64)
    return found.astype(np.int64), wrong


def texts(values: Array) -> list[str | None]:
    """Ids and keys as text, None for null: 4711 and 4711.0 are one.

    >>> texts(np.array([4711.0, "a", None], dtype=object))
    ['4711', 'a', None]
    """
    return [_text(value) for value in values.tolist()]


# ---------------------------------------------------------------- inside


def _nulls(field: Field, rows: int) -> Array:
    match field.type:
        case "float" | "int":
            return np.full(rows, math.nan)
        case "datetime":
            return np.full(rows, np.datetime64("NaT", "us"))
        case "vector":
            return np.full((rows, field.width), math.nan)
    return np.full(rows, None, dtype=object)


def _column(values: Array, field: Field) -> tuple[Array, dict[int, Any]]:
    match field.type:
        case "float":
            return numbers(values)
        case "int":
            return _whole(values)
        case "bool":
            return _flags(values)
        case "datetime":
            at_ms, wrong = times_ms(values)
            stamps = at_ms.astype("datetime64[ms]").astype("datetime64[us]")
            if values.dtype.kind == "M":
                stamps = values.astype("datetime64[us]")
            return np.where(at_ms < 0, np.datetime64("NaT", "us"), stamps), wrong
        case "vector":
            return _vectors(values, field.width)
    if values.dtype.kind == "O" and {type(each) for each in values.tolist()} <= {str, type(None)}:
        return values, {}
    return _each(values, _word, None, object)


def _whole(values: Array) -> tuple[Array, dict[int, Any]]:
    if values.dtype.kind in "iu":
        return values.astype(np.int64), {}
    found, wrong = numbers(values)
    with np.errstate(invalid="ignore"):
        odd = np.flatnonzero(np.isfinite(found) & (found != np.floor(found)))
    wrong |= {int(row): values[row] for row in odd}
    found[odd] = np.nan
    return found, wrong


def _flags(values: Array) -> tuple[Array, dict[int, Any]]:
    if values.dtype.kind == "b":
        return values.astype(object), {}
    return _each(values, _flag, None, object)


def _vectors(values: Array, width: int) -> tuple[Array, dict[int, Any]]:
    if values.ndim == 2 and values.shape[1] == width and values.dtype.kind in "fiu":
        return values.astype(np.float64), {}
    matrix = np.full((len(values), width), np.nan)
    wrong: dict[int, Any] = {}
    for row, value in enumerate(values.tolist()):
        if value is None:
            continue
        try:
            numbers_ = np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            wrong[row] = value
            continue
        if numbers_.shape == (width,):
            matrix[row] = numbers_
        else:
            wrong[row] = value
    return matrix, wrong


def _each(values: Array, read: Callable[[Any], Any], null: Any, dtype: Any) -> tuple[Array, dict[int, Any]]:
    """Value by value; what cannot be read is null and told."""
    wrong: dict[int, Any] = {}
    found: list[Any] = []
    for row, value in enumerate(values.tolist()):
        if value is None or value != value or value == "":
            found.append(null)
            continue
        try:
            found.append(read(value))
        except (ValueError, TypeError, OverflowError):
            found.append(null)
            wrong[row] = value
    return (objects(found) if dtype is object else np.array(found, dtype=dtype)), wrong


def _number(value: Any) -> float:
    if isinstance(value, list | dict):
        raise TypeError(value)
    return float(value)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    try:
        return _FLAGS[str(value).strip().lower()]
    except KeyError as exc:
        raise ValueError(value) from exc


def _word(value: Any) -> str:
    if isinstance(value, list | dict):
        raise TypeError(value)
    return _text(value) or ""


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value).strip() or None


def _moment(value: Any) -> int:
    if isinstance(value, bool | list | dict):
        raise TypeError(value)
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text)
        except ValueError:
            moment = dt.datetime.fromisoformat(text)
            zoned = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
            return _in_range((zoned - _EPOCH) // _MILLISECOND)
    if isinstance(value, dt.datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return _in_range((zoned - _EPOCH) // _MILLISECOND)
    size = abs(value)
    for below, per_ms in ((1e11, 1e-3), (1e14, 1.0), (1e17, 1e3)):
        if size < below:
            return _in_range(int(value / per_ms))
    return _in_range(int(value / 1e6))


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)


def _in_range(at_ms: int) -> int:
    if not 0 <= at_ms <= LATEST_MS:
        raise OverflowError(at_ms)
    return at_ms


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
