"""Whose rows changed: a change of a mean split into more or fewer rows of a kind, and rows answered otherwise.

    change = sum over groups of (share now - share before) * (mean before of the group - mean before of all)   mix
           + sum over groups of share now * (mean now - mean before of the group)                             rate

which is exact. A group without rows before has no mean of its own before; all of what it brings is mix.

A group is named when its own change differs from that of all other rows by more than chance, corrected for the
number of groups looked at: a change all groups share belongs to none of them.

Sources: Kitagawa 1955, JASA 50 (components of a difference between two rates); Welch 1947 (unequal variances).

>>> before = np.array(["a"] * 50 + ["b"] * 50), np.array([1.0] * 50 + [0.0] * 50)
>>> now = np.array(["a"] * 90 + ["b"] * 10), np.array([1.0] * 90 + [0.0] * 10)
>>> [(part.level, round(part.mix, 2), round(part.rate, 2)) for part in split(*before, *now)]
[('a', 0.2, 0.0), ('b', 0.2, 0.0)]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Scalar
from mlspine.stats.profile import Array, Floats

MAX_GROUPS = 50
LEAST_ROWS = 30  # of a group, before and now, for its mean to be compared
LEVEL = 0.01  # for all groups looked at together


class Part(NamedTuple):
    """One group: its rows and shares, its two parts of the change, and its change against that of the rest."""

    level: Scalar
    rows_before: int
    rows_now: int
    share_before: float
    share_now: float
    mix: float
    rate: float
    change: float  # of the mean inside the group; NaN without rows before
    change_of_rest: float
    p: float  # that the two changes are the same; 1 where they cannot be compared


def split(group_before: Array, value_before: Floats, group_now: Array, value_now: Floats) -> list[Part]:
    """Every group's part of the change of the mean, largest first; the parts sum to the change.

    group_*: one level per row (None or NaN: missing, a group of its own); value_*: floats, no NaN.
    """
    before, now = _by_level(group_before, value_before), _by_level(group_now, value_now)
    rows_before, rows_now = len(value_before), len(value_now)
    mean_before = float(value_before.mean()) if rows_before else 0.0
    parts = []
    for level in dict.fromkeys([*before, *now]):
        old, new = before.get(level, _NOTHING), now.get(level, _NOTHING)
        share_before, share_now = old.size / max(1, rows_before), new.size / max(1, rows_now)
        own_before = float(old.mean()) if old.size else float(new.mean()) if new.size else mean_before
        change, of_rest, p = _against_rest(old, new, value_before, value_now)
        parts.append(
            Part(
                level=level,
                rows_before=old.size,
                rows_now=new.size,
                share_before=share_before,
                share_now=share_now,
                mix=(share_now - share_before) * (own_before - mean_before),
                rate=share_now * (float(new.mean()) - own_before) if new.size else 0.0,
                change=change,
                change_of_rest=of_rest,
                p=p,
            )
        )
    return sorted(parts, key=lambda part: -abs(part.mix + part.rate))


def named(parts: Sequence[Part], *, looked_at: int) -> list[Part]:
    """The groups whose own change differs from that of the rest, and is the larger of the two; clearest first.

    looked_at: groups compared in all columns together.
    """
    threshold = LEVEL / max(1, looked_at)
    found = [part for part in parts if part.p <= threshold and abs(part.change) > abs(part.change_of_rest)]
    return sorted(found, key=lambda part: (part.p, -abs(part.change - part.change_of_rest)))


def comparable(part: Part) -> bool:
    """Whether a group and the rest of the rows are large enough, before and now, to be compared."""
    return not math.isnan(part.change)


def share_p(part: Part, rows_before: int, rows_now: int) -> float:
    """Two-sided p that a group's share is what it was (difference of arcsine roots; Anscombe 1948)."""
    a = math.asin(math.sqrt((part.rows_before + 0.375) / (rows_before + 0.75)))
    b = math.asin(math.sqrt((part.rows_now + 0.375) / (rows_now + 0.75)))
    z = 2 * abs(a - b) / math.sqrt(1 / max(1, rows_before) + 1 / max(1, rows_now))
    return float(2 * special.ndtr(-z))


_NOTHING: Floats = np.empty(0)


def _by_level(group: Array, value: Floats) -> dict[Scalar, Floats]:
    listed = ["missing" if v is None or v != v else v for v in group.tolist()]
    places: dict[Scalar, list[int]] = {}
    for i, level in enumerate(listed):
        places.setdefault(level, []).append(i)
    return {level: value[at] for level, at in places.items()}


def _against_rest(old: Floats, new: Floats, value_before: Floats, value_now: Floats) -> tuple[float, float, float]:
    """Change of the group's mean, of the rest's mean, and the p of no difference between the two."""
    rest = [_without(value_before, old), _without(value_now, new)]
    if min(old.size, new.size, rest[0][0], rest[1][0]) < LEAST_ROWS:
        return math.nan, math.nan, 1.0
    change = float(new.mean() - old.mean())
    of_rest = rest[1][1] - rest[0][1]
    variance = old.var(ddof=1) / old.size + new.var(ddof=1) / new.size + sum(var / rows for rows, _, var in rest)
    if variance <= 0:
        return change, of_rest, float(change == of_rest)
    return change, of_rest, float(2 * special.ndtr(-abs(change - of_rest) / math.sqrt(variance)))


def _without(values: Floats, group: Floats) -> tuple[int, float, float]:
    """Rows, mean and variance of the values that are not the group's."""
    rows = values.size - group.size
    if rows < 2:
        return rows, 0.0, 0.0
    mean = float(values.sum() - group.sum()) / rows
    square = float(np.square(values - mean).sum() - np.square(group - mean).sum())
    return rows, mean, max(0.0, square / (rows - 1))
