"""Changes of known size planted into unchanged windows, one column at a time.

Every change is made on the rows, before anything is counted, and its size is defined without the rule under
test: by the column's own standard deviation, by rows moved, or by the Jensen-Shannon distance of ten decile
bins written out here. Numbers with ties stay on the values the table has.

Which columns and levels are changed follows from a rule, not from a choice:
  mean      every studied number with more than 12 distinct values
  category  every studied column of levels; the level that gains is drawn among those with 1% to 90% of rows
  missing   every studied column
  unseen    every studied column of levels that has at least three
  js        every number as above, rows set to its rarer end
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.monitoring.families import Family
from mlspine.stats.profile import Array, Floats

TIED_VALUES = 200
LEAST_VALUES = 12
UNSEEN = "never seen before"


class Plant(NamedTuple):
    """A change: `what` it is ("mean +0.1 sd"), the column, and how it alters the column's values."""

    what: str
    column: str
    apply: Callable[[Array, np.random.Generator], Array]


class Bar(NamedTuple):
    """What a change has to reach: "named" (window significant and the column named) or "WARNING"."""

    what: str
    asks: str
    least: float


BARS = (
    Bar("mean +0.1 sd", "named", 0.85),
    Bar("category +5 pp", "named", 0.90),
    Bar("missing +2 pp", "named", 0.80),
    Bar("mean +0.2 sd", "WARNING", 0.95),
    Bar("js 0.2", "WARNING", 0.95),
    Bar("category +6 pp", "WARNING", 0.95),
    Bar("missing +4 pp", "WARNING", 0.95),
    Bar("unseen 1%", "WARNING", 0.95),
)


def plants(family: Family) -> list[Plant]:
    """Every change of every column it can be made in."""
    found: list[Plant] = []
    for name in family.studied:
        values, kind = family.columns[name], family.kinds[name]
        if kind == "numeric":
            known = values[np.isfinite(values)].astype(np.float64)
            if np.unique(known).size > LEAST_VALUES:
                found += [Plant(f"mean +{size} sd", name, _mean(known, size)) for size in (0.1, 0.2)]
                found.append(Plant("js 0.2", name, _end(known, 0.2)))
        elif kind in ("categorical", "boolean"):
            found += [Plant(f"category +{points} pp", name, _level(values, points)) for points in (5, 6)]
            if len(_levels(values)[0]) >= 3:
                found.append(Plant("unseen 1%", name, _unseen))
        found += [Plant(f"missing +{points} pp", name, _missing(points)) for points in (2, 4)]
    return found


def missing_share(family: Family, name: str) -> float:
    """Share of missing values in the whole table."""
    return float(_is_missing(family.columns[name]).mean())


def seed_of(what: str, column: str) -> int:
    """A seed of this change's own, the same on every machine."""
    return zlib.crc32(f"{what}/{column}".encode())


def decile_js(before: Floats, after: Floats) -> float:
    """Jensen-Shannon distance to base 2 over the deciles of `before`.

    >>> round(decile_js(np.arange(100.0), np.arange(100.0)), 6)
    0.0
    """
    edges = np.unique(np.quantile(before, np.arange(1, 10) / 10))
    p, q = (np.bincount(np.searchsorted(edges, x), minlength=edges.size + 1) / x.size for x in (before, after))
    half = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.nansum(p * np.log2(p / half)) + np.nansum(q * np.log2(q / half))
    return float(np.sqrt(max(0.0, terms / 2)))


def _mean(known: Floats, size: float) -> Callable[[Array, np.random.Generator], Array]:
    by = size * float(known.std())
    distinct = np.unique(known)
    if distinct.size > TIED_VALUES:
        return lambda values, rng: values + by
    # Along the values the column has: each row climbs a whole number of steps, on average `steps`.
    steps = _bisect(lambda s: float(np.mean(_climb(known, distinct, s, np.random.default_rng(0)) - known)), by, 64.0)
    return lambda values, rng: _climb(values.astype(np.float64), distinct, steps, rng)


def _climb(values: Floats, distinct: Floats, steps: float, rng: np.random.Generator) -> Floats:
    at = np.searchsorted(distinct, values)
    climbed = np.minimum(at + np.floor(steps + rng.random(values.size)).astype(np.int64), distinct.size - 1)
    known = np.isfinite(values)
    return np.where(known, distinct[np.where(known, climbed, 0)], values)


def _end(known: Floats, distance: float) -> Callable[[Array, np.random.Generator], Array]:
    low, high = known.min(), known.max()
    end = low if np.mean(known == low) <= np.mean(known == high) else high

    def moved(values: Floats, share: float, rng: np.random.Generator) -> Floats:
        return np.where(np.isfinite(values) & (rng.random(values.size) < share), end, values)

    share = _bisect(lambda s: decile_js(known, moved(known, s, np.random.default_rng(0))), distance, 1.0)
    return lambda values, rng: moved(values.astype(np.float64), share, rng)


def _bisect(size: Callable[[float], float], wanted: float, most: float) -> float:
    low, high = 0.0, most
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) < wanted else (low, middle)
    return high


def _level(values: Array, points: int) -> Callable[[Array, np.random.Generator], Array]:
    levels, shares = _levels(values)
    eligible = [level for level, share in zip(levels, shares, strict=True) if 0.01 <= share <= 0.9]

    def apply(window: Array, rng: np.random.Generator) -> Array:
        level = eligible[int(rng.integers(len(eligible)))]
        changed = window.copy()
        known = ~_is_missing(window)
        others = np.flatnonzero(known & (window != level))
        changed[rng.choice(others, round(points / 100 * known.sum()), replace=False)] = level
        return changed

    return apply


def _unseen(window: Array, rng: np.random.Generator) -> Array:
    changed = window.copy()
    known = np.flatnonzero(~_is_missing(window))
    changed[rng.choice(known, round(0.01 * known.size), replace=False)] = UNSEEN
    return changed


def _missing(points: int) -> Callable[[Array, np.random.Generator], Array]:
    def apply(window: Array, rng: np.random.Generator) -> Array:
        changed = window.astype(object) if window.dtype == bool else window.copy()
        if changed.dtype.kind in "iu":
            changed = changed.astype(np.float64)
        known = np.flatnonzero(~_is_missing(window))
        picked = rng.choice(known, min(known.size, round(points / 100 * window.size)), replace=False)
        changed[picked] = {"O": None, "M": np.datetime64("NaT")}.get(changed.dtype.kind, np.nan)
        return changed

    return apply


def _levels(values: Array) -> tuple[list[object], Floats]:
    levels, counts = np.unique(values[~_is_missing(values)], return_counts=True)
    return levels.tolist(), counts / counts.sum()


def _is_missing(values: Array) -> Array:
    if values.dtype == object:
        return np.array([value is None for value in values.tolist()])
    return (
        np.isnan(values)
        if values.dtype.kind == "f"
        else np.isnat(values)
        if values.dtype.kind == "M"
        else (np.zeros(values.size, dtype=bool))
    )
