"""Names for data by its content: one digest for a table, one small digest per row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from blake3 import blake3

from mlspine.core.types import Columns

Array = np.ndarray[Any, np.dtype[Any]]
UInts = np.ndarray[Any, np.dtype[np.uint64]]


def table_digest(columns: Columns) -> str:
    """BLAKE3 over the columns' names and values in order, as 64 hexadecimal digits.

    The same values give the same digest whichever library held them; another order gives another digest.

    >>> table_digest({"a": np.array([1, 2])}) == table_digest({"a": np.array([2, 1])})
    False
    """
    hasher = blake3()
    for name, values in columns.items():
        content = _bytes_of(values)
        head = {"name": name, "kind": values.dtype.kind, "shape": values.shape, "bytes": len(content)}
        hasher.update(msgspec.json.encode(head))
        hasher.update(content)
    return hasher.hexdigest()


def row_digests(columns: Columns) -> UInts:
    """A 64-bit digest per row, shape (n,): equal rows have equal digests, others collide about never.

    Computed column by column, so it costs a sort of each text column and a few passes over each numeric one.
    """
    rows = len(next(iter(columns.values()), ()))
    digests = np.zeros(rows, dtype=np.uint64)
    for at, values in enumerate(columns.values()):
        for part in _parts(values):
            digests = _scramble(digests ^ _scramble(part + np.uint64(at + 1)))
    return digests


def overlap(rows: UInts, others: UInts) -> int:
    """How many of `rows` occur among `others`."""
    return int(np.isin(rows, others).sum())


def twin_share(rows: UInts) -> float:
    """The share of rows that equal some other row: how often fresh rows would repeat old ones by chance."""
    if not len(rows):
        return 0.0
    _, counts = np.unique(rows, return_counts=True)
    return float(counts[counts > 1].sum() / len(rows))


def _bytes_of(values: Array) -> bytes:
    return msgspec.json.encode(values.tolist()) if values.dtype == object else _one_nan(values).tobytes()


def _one_nan(values: Array) -> Array:
    """NaN has many bit patterns and zero two; here each has one."""
    if values.dtype.kind != "f":
        return values
    plain = values + 0.0
    plain[np.isnan(plain)] = np.nan
    return plain


def _parts(values: Array) -> list[UInts]:
    if values.ndim > 1:
        return [_words(column) for column in values.reshape(len(values), -1).T]
    return [_words(values)]


def _words(values: Array) -> UInts:
    if values.dtype == object:
        known: Mapping[object, int] = {value: _word(value) for value in set(values)}
        return np.fromiter((known[value] for value in values), np.uint64, len(values))
    if values.dtype.kind == "f":
        return np.ascontiguousarray(_one_nan(values), dtype=np.float64).view(np.uint64)
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]").view(np.uint64)
    return values.astype(np.int64).view(np.uint64)


def _word(value: object) -> int:
    return int.from_bytes(blake3(msgspec.json.encode(value)).digest(8), "little")


def _scramble(words: UInts) -> UInts:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit moves every output bit."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
