"""Which rows a release was fitted on, so that nothing is judged by rows it has seen.

A release carries a digest of the inputs of each row. Labels are no part of it: a row the model was fitted on
stays seen when its label is corrected, and leaving out only rows that kept their label would bend the rest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlspine.core.types import Columns, Schema
from mlspine.data.manifest import overlap, row_digests, twin_share

UInts = np.ndarray[Any, np.dtype[np.uint64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
DEVIATIONS = 4.0


def input_digests(columns: Columns, inputs: Schema) -> UInts:
    """One digest per row over the inputs a model takes, sorted as the rows are; shape (n,).

    Numbers count as float64 of the width they had, so rows read back from a file or from the log look the same.
    """
    return row_digests({field.name: _comparable(columns[field.name], field.dtype) for field in inputs.fields})


def seen_rows(rows: UInts, fitted_on: UInts) -> Mask:
    """Which of `rows` are among those fitted on, beyond what chance repeats; shape (n,).

    Tables of few distinct rows repeat themselves: while no more rows are found again (by four standard
    deviations) than rows fitted on repeat each other, they count as fresh and the mask is all False.
    """
    if not beyond_chance(overlap(rows, fitted_on), len(rows), twin_share(fitted_on)):
        return np.zeros(len(rows), dtype=np.bool_)
    return np.asarray(np.isin(rows, fitted_on))


def beyond_chance(repeated: int, rows: int, by_chance: float) -> bool:
    """Whether `repeated` of `rows` is more than a share `by_chance` explains."""
    return repeated > rows * by_chance + DEVIATIONS * math.sqrt(rows * by_chance * (1.0 - by_chance))


def _comparable(values: np.ndarray[Any, np.dtype[Any]], dtype: str) -> np.ndarray[Any, np.dtype[Any]]:
    if values.dtype.kind not in "iuf":
        return values
    narrow = dtype.lower() in ("float32", "float16")
    return values.astype(np.float32).astype(np.float64) if narrow else values.astype(np.float64)
