"""From a column to the series its parts count: clock and age of a time, length of a text, projections of a vector.

Source: Achlioptas 2003 (sign projections).
"""

from __future__ import annotations

import math

import numpy as np
from blake3 import blake3

from mlspine.stats.bins import Array, Coded, Floats, Ints, Kind, LevelPart, NumericPart, Part, Values
from mlspine.stats.levels import is_missing

PROJECTIONS = 4
_HOUR_US = 3_600_000_000
_CHUNK = 32_768


def series_of(part: Part, kind: Kind, values: Values, event_at_ms: Ints | None) -> Values | None:
    """The values this part counts, or None when it cannot be counted for want of event times."""
    if isinstance(part, LevelPart):
        return _clock_series(part.name, plain(values)) if kind == "datetime" else values
    if kind == "text":
        return _lengths(values)
    values = plain(values)
    if kind == "datetime":
        return None if event_at_ms is None else _age_s(values, event_at_ms)
    if kind == "vector":
        return _project(part, values)
    # Integers are made floats a chunk at a time, where they are counted.
    return values if values.dtype.kind in "iuf" else np.asarray(values, dtype=np.float64)


def plain(values: Values) -> Array:
    return values.plain() if isinstance(values, Coded) else values


def _clock_series(name: str, values: Array) -> Coded:
    times = np.asarray(values, dtype="datetime64[us]")
    moments, missing = times.view(np.int64), np.isnat(times)
    codes = np.empty(len(times), dtype=np.int8)
    for start in range(0, len(times), _CHUNK):  # in cache, as numbers are counted
        hours = moments[start : start + _CHUNK] // _HOUR_US
        days = hours // 24
        if name == "hour":
            hours -= 24 * days
            codes[start : start + _CHUNK] = hours
        else:
            days += 3  # 1 January 1970 was a Thursday; Monday is 0
            days -= 7 * (days // 7)
            codes[start : start + _CHUNK] = days
    if missing.any():
        codes[missing] = -1
    return Coded(codes, tuple(range(24 if name == "hour" else 7)))


def _age_s(values: Array, event_at_ms: Ints) -> Floats:
    times = np.asarray(values, dtype="datetime64[us]")
    at_s = np.where(np.isnat(times), np.nan, times.astype(np.int64) / 1e6)
    return np.asarray(event_at_ms, dtype=np.float64) / 1e3 - at_s


def _lengths(values: Values) -> Floats:
    if isinstance(values, Coded):
        found = np.array([*map(_length, values.levels), math.nan], dtype=np.float64)
        return np.asarray(found[values.codes], dtype=np.float64)
    listed = values.tolist()
    if set(map(type, listed)) == {str}:
        return np.fromiter(map(len, listed), dtype=np.float64, count=len(listed))
    return np.fromiter(map(_length, listed), dtype=np.float64, count=len(listed))


def _length(value: object) -> float:
    return math.nan if is_missing(value) else len(str(value))


def _project(part: NumericPart, values: Array) -> Floats:
    flat = np.ascontiguousarray(values, dtype=np.float64).reshape(len(values), -1)
    signs = _signs(f"{part.column}/{part.name}", flat.shape[1])
    # Row by row rather than as a matrix product, whose last digit depends on how many rows come together.
    with np.errstate(invalid="ignore", over="ignore"):
        summed: Floats = (flat * signs).sum(axis=1)
    return np.asarray(summed / math.sqrt(max(1, flat.shape[1])), dtype=np.float64)


def _signs(seed: str, width: int) -> Floats:
    # Bits of a hash rather than of a random generator: the same on every platform and library version.
    stream = np.frombuffer(blake3(seed.encode()).digest(length=width // 8 + 1), dtype=np.uint8)
    return np.unpackbits(stream)[:width].astype(np.float64) * 2.0 - 1.0
