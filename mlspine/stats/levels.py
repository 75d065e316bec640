"""Values as levels: which are one level, which are missing, how often each occurs, and the names an alert may say."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlspine.core.types import Scalar
from mlspine.stats.bins import MAX_NAMES, Array, Coded, Ints

NAME_LENGTH = 80
# Below this looking for shared objects costs more than it saves.
_MANY = 50_000
_LOOKED_AT = 4_096


def levels_of(values: Array | Coded) -> tuple[dict[Scalar, int], int]:
    """Count per level, and the number of missing values (None, NaN, NaT)."""
    if isinstance(values, Coded):
        return _coded_levels(values)
    if values.dtype == object:
        counted = _count_objects(values)
    elif values.dtype == np.bool_:
        true = int(np.count_nonzero(values))
        counted = {level: held for level, held in ((False, values.size - true), (True, true)) if held}
    else:
        keys, repeats = np.unique(values, return_counts=True)
        counted = dict(zip(keys.tolist(), repeats.tolist(), strict=True))
    return _gathered(counted)


def coded(values: Array | Coded) -> Coded:
    """The same column as codes, so that parts of it can be counted without looking at its values again."""
    if isinstance(values, Coded):
        return values
    if values.dtype != object:
        keys, codes = np.unique(values, return_inverse=True)
        return Coded(codes.astype(np.int64), tuple(keys.tolist()))
    listed = values.tolist()
    try:
        place = {value: i for i, value in enumerate(dict.fromkeys(listed))}
    except TypeError:
        listed = [value if is_missing(value) else str(value) for value in listed]
        place = {value: i for i, value in enumerate(dict.fromkeys(listed))}
    codes = np.fromiter(map(place.__getitem__, listed), dtype=np.int64, count=len(listed))
    return Coded(codes, tuple(place))


def level_of(value: Any) -> Scalar:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, float)) or (type(value) is int and abs(value) < 2**63):
        return value
    # Half a surrogate pair, which JSON can carry, has no UTF-8 form and could not be stored.
    return str(value).encode("utf-8", "replace").decode()


def name_of(level: Scalar) -> str:
    # 1, 1.0 and True are one level, so they need one name.
    if isinstance(level, (bool, float)) and float(level).is_integer():
        level = int(level)
    return str(level)[:NAME_LENGTH]


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating, np.datetime64)) and value != value)


def heaviest(names: Mapping[str, int]) -> dict[str, int]:
    """Misra and Gries: beyond the bound every count is lowered by the 33rd largest, and the empty dropped."""
    if len(names) > MAX_NAMES:
        lowered = sorted(names.values(), reverse=True)[MAX_NAMES]
        names = {name: count - lowered for name, count in names.items() if count > lowered}
    return dict(sorted(names.items()))


def _gathered(counted: Mapping[Any, int]) -> tuple[dict[Scalar, int], int]:
    known: dict[Scalar, int] = {}
    missing = 0
    for value, count in counted.items():
        if is_missing(value):
            missing += count
        else:
            level = level_of(value)
            known[level] = known.get(level, 0) + count
    return known, missing


def _coded_levels(values: Coded) -> tuple[dict[Scalar, int], int]:
    codes = values.codes
    present = codes[codes >= 0] if codes.size and codes.min() < 0 else codes
    repeats = np.bincount(present, minlength=len(values.levels))
    held = np.flatnonzero(repeats)
    known, missing = _gathered(_summed((values.levels[i], int(repeats[i])) for i in held.tolist()))
    return known, missing + codes.size - present.size


def _summed(pairs: Any) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for level, count in pairs:
        found[level] = found.get(level, 0) + count
    return found


def _count_objects(values: Array) -> Mapping[Any, int]:
    if values.size >= _MANY and (shared := _count_shared(values)) is not None:
        return shared
    return _count_listed(values.tolist())


def _count_listed(listed: list[Any]) -> Mapping[Any, int]:
    try:
        return Counter(listed)
    except TypeError:
        return Counter(value if is_missing(value) else str(value) for value in listed)


def _count_shared(values: Array) -> Mapping[Any, int] | None:
    """Count by object instead of by value where rows share their objects: six times faster than hashing each.

    None where most rows have an object of their own.
    """
    addresses = _addresses(values)
    if np.unique(addresses[:_LOOKED_AT]).size > _LOOKED_AT // 2:
        return None
    ordered = np.sort(addresses)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    if starts.size > values.size // 8:
        return None
    repeats = np.diff(np.append(starts, ordered.size)).tolist()
    objects = [ctypes.cast(address, ctypes.py_object).value for address in ordered[starts].tolist()]
    try:
        return _summed(zip(objects, repeats, strict=True))
    except TypeError:
        texts = [value if is_missing(value) else str(value) for value in objects]
        return _summed(zip(texts, repeats, strict=True))


def _addresses(values: Array) -> Ints:
    """Where the objects of an array lie. Good for as long as the array is."""
    whole = np.ascontiguousarray(values)  # a copy's addresses outlive it: the objects are those of `values`
    place = whole.__array_interface__["data"][0]
    return np.array(np.ctypeslib.as_array((ctypes.c_ssize_t * whole.size).from_address(place)), dtype=np.int64)
