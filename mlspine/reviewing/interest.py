"""Which rows are worth a person's look: those the model is unsure of, and those unlike what it was fitted on."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

import numpy as np

from mlspine.core.types import DriftReport, Task
from mlspine.stats.profile import LevelPart, NumericPart, Part, Reference

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

RATIO_OF_FULL_INTEREST = 10.0


def uncertainty(scores: Floats, task: Task) -> Floats:
    """How unsure the model was of each row, 0 to 1: how near P(second class) is to one half. Shape (rows,).

    Zeros where the model gives no such probability.

    >>> uncertainty(np.array([0.5, 0.9, 0.0]), "binary").round(2).tolist()
    [1.0, 0.2, 0.0]
    """
    if task != "binary":
        return np.zeros(len(scores))
    return np.nan_to_num(1.0 - 2.0 * np.abs(scores - 0.5)).clip(0.0, 1.0)


def drifted_columns(report: DriftReport | None) -> tuple[str, ...]:
    """The inputs at WARNING or worse in a judged window, the worst first."""
    if report is None:
        return ()
    return tuple(
        each.name for each in report.features if each.role == "input" and each.severity in ("WARNING", "CRITICAL")
    )


def unusualness(reference: Reference, columns: dict[str, Array], names: Collection[str]) -> Floats:
    """How much more often rows like each one come now than in the reference, 0 to 1; the largest over `names`.

    1: ten times as often, or never before. columns: arrays of one length, numbers or objects.
    """
    rows = len(next(iter(columns.values()), ()))
    found = np.zeros(rows)
    for name in names:
        position = reference.parts_of(name)[0]
        part, counts = reference.parts[position], reference.profile.parts[position].counts
        if _is_plain(part) and name in columns:
            found = np.maximum(found, _ratio(_codes(part, columns[name]), counts))
    return found


def _is_plain(part: Part) -> bool:
    """Whether the part counts the column's own values, and not something made of them."""
    return not part.name


def _ratio(codes: Array, counts: Array) -> Floats:
    before = counts / max(1, counts.sum())
    now = np.bincount(codes, minlength=counts.size) / max(1, codes.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(now > 0, now / before, 0.0)
        interest = np.log(np.clip(ratio, 1.0, RATIO_OF_FULL_INTEREST)) / math.log(RATIO_OF_FULL_INTEREST)
    return np.asarray(interest[codes], dtype=np.float64)


def _codes(part: Part, values: Array) -> Array:
    return _number_codes(part, values) if isinstance(part, NumericPart) else _level_codes(part, values.tolist())


def _number_codes(part: NumericPart, values: Array) -> Array:
    numbers = np.array([math.nan if each is None else float(each) for each in values.tolist()])
    codes = np.searchsorted(part.edges, numbers, side="left")
    return np.where(np.isnan(numbers), part.bins, codes)


def _level_codes(part: LevelPart, values: Sequence[Any]) -> Array:
    place = {level: i for i, level in enumerate(part.levels)}
    strange = len(part.levels) + (0 if part.pooled else 1)
    codes = [part.bins if each is None or each != each else place.get(each, strange) for each in values]
    return np.array(codes, dtype=np.int64)
