"""Which effects decide about a column, from what size on, and how often does the judge cry wolf?

False alarms: windows are drawn from the reference's own rows and judged against the rest. The level at which
alpha of them are significant is stored with the baseline and replaces alpha/d.

Sources: Westfall and Young 1993 (level of the smallest p by resampling whole rows); Clopper and Pearson 1934.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Interval
from mlspine.stats.binned import binned
from mlspine.stats.bins import Floats, Ints, LevelPart, NumericPart, Part, Reference, Table
from mlspine.stats.components import column_components, column_p, counts_unseen
from mlspine.stats.series import series_of
from mlspine.stats.side import Side

ALPHA = 0.01
# Smallest effect worth telling a person about; the last two in percentage points of rows.
FLOORS: dict[str, float] = {"js": 0.1, "tv": 0.03, "mean_sd": 0.1, "missing_pp": 2.0, "unseen_pp": 0.5}
DRAWS = 3_000
_LEAST_DRAWS = 1_000
# Values looked up in all: wide tables draw fewer windows, so that a hundred columns cost seconds, not minutes.
_LOOKUPS = 40_000_000
_LEAST_ROWS = 20
_MOST_OF_NOMINAL = 2.0
# A tenth of alpha is kept for windows of other sizes than the level was measured at.
_USED = 0.9

Limits = dict[str, dict[str, float]]


class Sample(NamedTuple):
    """A reference with the rows it was built from."""

    reference: Reference
    columns: Table
    event_at_ms: Ints | None


class FalseAlarms(NamedTuple):
    """Share of unchanged windows called significant at alpha = 0.01, and the level per column at which it is so;
    None where there were no rows to find it with."""

    rate: Interval
    critical_p: float | None


def floors_of(reference: Reference, floors: Mapping[str, Mapping[str, float]]) -> Limits:
    """Floor of every effect that can decide about a column, with the owner's own floors in place.

    floors: column -> effect -> floor, for the ones that differ from the usual.
    """
    found: Limits = {}
    for name in reference.names:
        own = floors.get(name, {})
        found[name] = {effect: own.get(effect, FLOORS[effect]) for effect in deciding(reference, name)}
    return found


def deciding(reference: Reference, name: str) -> tuple[str, ...]:
    """The effects that decide about a column, by what it counts."""
    parts = [reference.parts[i] for i in reference.parts_of(name)]
    effects = {"js": True, "tv": _any(parts, LevelPart), "mean_sd": _any(parts, NumericPart)}
    effects |= {"missing_pp": True, "unseen_pp": counts_unseen(parts[0])}
    return tuple(effect for effect, decides in effects.items() if decides)


def self_check(samples: Sequence[Sample], *, rows: int, draws: int = DRAWS, seed: int = 0) -> FalseAlarms:
    """Judge windows drawn from the reference's own rows against the rest of them, all columns as one family.

    rows: rows per drawn window, at most half of the reference's. Whole rows are drawn, so columns that say the
    same thing count as what they are, and so do ties and rare values: by symmetry the smallest p of the drawn
    windows has the distribution it has in any unchanged window (Westfall and Young). The level is the one at which
    0.9 alpha of them are significant, a tenth being kept for windows of other sizes, which have other ties; and
    never more than twice alpha/d. The rate is that of each half of the draws at the level the other half gives.
    """
    rng = np.random.default_rng(seed)
    held = [sample for sample in samples if sample.reference.names and sample.reference.rows >= _LEAST_ROWS]
    if not held:
        return FalseAlarms(clopper_pearson(0, draws), None)
    columns = sum(len(sample.reference.names) for sample in held)
    draws = min(draws, max(_LEAST_DRAWS, _LOOKUPS // (columns * rows)))
    least = np.minimum.reduce([_least_p(sample, rows, draws, rng) for sample in held])
    most = _MOST_OF_NOMINAL * ALPHA / columns
    one, other = least[::2], least[1::2]
    hits = int((other <= _level(one, most)).sum() + (one <= _level(other, most)).sum())
    return FalseAlarms(clopper_pearson(hits, draws), _level(least, most))


def clopper_pearson(hits: int, trials: int, *, level: float = 0.95) -> Interval:
    """Exact interval of a share.

    >>> interval = clopper_pearson(0, 100)
    >>> interval.lo, round(interval.hi, 4)
    (0.0, 0.0362)
    """
    tail = (1 - level) / 2
    lo = float(special.betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    hi = float(special.betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return Interval(value=hits / trials, lo=lo, hi=hi, level=level, method="Clopper-Pearson")


def _any(parts: Sequence[Part], kind: type[Part]) -> bool:
    return any(isinstance(part, kind) for part in parts)


def _level(least: Floats, most: float) -> float:
    # The k-th smallest of N has this chance of being reached, exactly, whatever the distribution.
    k = int(_USED * ALPHA * (least.size + 1))
    return min(most, float(np.partition(least, k - 1)[k - 1])) if k else min(most, float(least.min()))


def _least_p(sample: Sample, rows: int, draws: int, rng: np.random.Generator) -> Floats:
    reference = sample.reference
    size = min(rows, reference.rows // 2)
    picked = _windows(reference.rows, size, draws, rng)
    group = np.repeat(np.arange(draws), size)
    least = np.ones(draws)
    for name in reference.names:
        before, after = [_NOTHING] * len(reference.parts), [_NOTHING] * len(reference.parts)
        for i in reference.parts_of(name):
            part = reference.parts[i]
            series = series_of(part, reference.kinds[name], sample.columns[name], sample.event_at_ms)
            if series is None:
                continue
            counter = binned(part, series, centre=0.0).counter
            width = part.counters
            drawn = np.bincount(group * width + counter[picked], minlength=draws * width).reshape(draws, width)
            before[i] = _counts_only(np.bincount(counter, minlength=width) - drawn)
            after[i] = _counts_only(drawn)
        least = np.minimum(least, column_p(column_components(reference, name, before, after)))
    return least


def _windows(rows: int, size: int, draws: int, rng: np.random.Generator) -> Ints:
    """Positions of the rows of `draws` windows one after the other: disjoint ones of a shuffle, then of the next."""
    each = rows // size
    shuffles = [rng.permutation(rows)[: each * size] for _ in range(math.ceil(draws / each))]
    return np.concatenate(shuffles)[: draws * size]


def _counts_only(counts: Ints) -> Side:
    zeros = np.zeros(len(counts))
    return Side(counts, zeros, zeros, zeros, zeros)


_NOTHING = _counts_only(np.zeros((1, 1), dtype=np.int64))
