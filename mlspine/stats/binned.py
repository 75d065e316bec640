"""Which bin each row falls in, and sums of rows per group: many groups of one part in one pass.

`profile_blocks` sorts every block by itself, which is dear when there are thousands of small ones. Here each
row is looked up once and a group is then one more `bincount`. Sums add up and can be taken away again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlspine.stats.bins import Array, Floats, Ints, LevelPart, NumericPart, Part, Values
from mlspine.stats.levels import coded, is_missing, level_of
from mlspine.stats.series import plain
from mlspine.stats.side import Side


class Binned(NamedTuple):
    """Rows of one part: the counter each adds to, and its finite number less `centre` (0 where there is none)."""

    counter: Ints
    number: Floats
    centre: float


class Sums(NamedTuple):
    """Counts per counter (..., counters), and of the finite numbers less the centre their sum and sum of squares."""

    counts: Floats
    first: Floats
    second: Floats

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.counts - other.counts, self.first - other.first, self.second - other.second)

    def at(self, index: Array) -> Sums:
        """The groups at these positions of the leading axis."""
        return Sums(self.counts[index], self.first[index], self.second[index])

    def total(self, axis: int) -> Sums:
        """Groups added up along an axis, counted from the front."""
        return Sums(self.counts.sum(axis=axis), self.first.sum(axis=axis), self.second.sum(axis=axis))


def binned(part: Part, series: Values, *, centre: float) -> Binned:
    """Every row of a series on the bins of its part. centre: near the mean, so that sums keep their digits.

    >>> part = NumericPart(column="x", edges=np.array([1.0, 2.0]), centres=np.array([0.5, 1.5, 2.5]))
    >>> binned(part, np.array([0.5, 1.0, 1.5, 9.0, np.nan, np.inf]), centre=0.0).counter.tolist()
    [0, 0, 1, 2, 3, 5]
    """
    if isinstance(part, LevelPart):
        counter = _levels(part, series)
        return Binned(counter, np.zeros(len(counter)), 0.0)
    values = np.asarray(plain(series), dtype=np.float64)
    counter = np.searchsorted(part.edges, values, side="left").astype(np.int64)
    finite = np.isfinite(values)
    if not finite.all():
        counter[np.isnan(values)] = part.bins
        counter[np.isneginf(values)] = part.bins + 1
        counter[np.isposinf(values)] = part.bins + 2
    return Binned(counter, np.where(finite, values - centre, 0.0), centre)


def summed(part: Part, rows: Binned, group: Ints, groups: int) -> Sums:
    """Sums per group, (groups, counters); rows of group -1 belong to none."""
    counter, number = rows.counter, rows.number
    chosen = group >= 0
    if not chosen.all():
        counter, number, group = counter[chosen], number[chosen], group[chosen]
    width = part.counters
    counts = np.bincount(group * width + counter, minlength=groups * width).reshape(groups, width)
    if isinstance(part, LevelPart):
        return Sums(counts.astype(np.float64), np.zeros(groups), np.zeros(groups))
    with np.errstate(over="ignore", invalid="ignore"):
        first = np.bincount(group, weights=number, minlength=groups).astype(np.float64)
        second = np.bincount(group, weights=np.square(number), minlength=groups).astype(np.float64)
    return Sums(counts.astype(np.float64), first, second)


def side_of(part: Part, sums: Sums, *, centre: float, low: float, high: float) -> Side:
    """Sums as the counts and moments that tests and effects take; `low` and `high` are of the reference."""
    shape = sums.counts.shape[:-1]
    if isinstance(part, NumericPart):
        n = sums.counts[..., : part.bins].sum(axis=-1)
        with np.errstate(over="ignore", invalid="ignore"):
            shift = sums.first / np.maximum(n, 1e-9)
            mean = np.where(n > 0, centre + shift, 0.0)
            m2 = np.maximum(sums.second - n * shift * shift, 0.0)
    else:
        mean, m2 = np.zeros(shape), np.zeros(shape)
    return Side(sums.counts, mean, m2, np.broadcast_to(low, shape), np.broadcast_to(high, shape))


def _levels(part: LevelPart, series: Values) -> Ints:
    column = coded(series)
    place = {level: i for i, level in enumerate(part.levels)}
    strange = len(part.levels) + (0 if part.pooled else 1)
    # The last entry is what code -1, a missing value, finds.
    counter = [part.bins if is_missing(each) else place.get(level_of(each), strange) for each in column.levels]
    return np.array([*counter, part.bins], dtype=np.int64)[column.codes]
