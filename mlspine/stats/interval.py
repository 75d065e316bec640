"""Intervals around quality figures: DeLong, Wilson, Clopper-Pearson, bootstrap, and the difference of two."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Interval

Array = np.ndarray[Any, np.dtype[Any]]
Statistic = Callable[[Array], float]  # row indices -> figure

RESAMPLES = 1000
_UNKNOWN_BELOW = 1e-12


def delong_auc(labels: Array, scores: Array, *, level: float = 0.95) -> Interval:
    """Area under the ROC curve with DeLong's interval, in O(n log n) by mid-ranks.

    labels: booleans, shape (n,), True for the positive class; scores: shape (n,), higher means positive.
    The limits are formed on the logit scale, which keeps them inside 0..1 and their coverage near the mark
    for areas close to 1. Where DeLong's variance is 0 or unknown (complete separation, a class of one row)
    the open side is as wide as that of a share never seen to fail in the smaller class's rows.
    Raises ValueError unless both classes are present.
    Source: DeLong, DeLong & Clarke-Pearson 1988; Sun & Xu 2014 (mid-ranks).

    >>> delong_auc(np.array([0, 0, 1, 1, 1], bool), np.array([.1, .4, .35, .8, .9])).value
    0.8333333333333334
    """
    positive, negative = _split(labels, scores)
    m, n = len(positive), len(negative)
    ranks = midranks(np.concatenate([positive, negative]))
    above = (ranks[:m] - midranks(positive)) / n  # per positive: share of negatives it outranks
    below = 1.0 - (ranks[m:] - midranks(negative)) / m  # per negative: share of positives above it
    auc = float(above.mean())
    variance = _variance(above) / m + _variance(below) / n
    lo, hi = _auc_limits(auc, math.sqrt(variance), smaller=min(m, n), level=level)
    return Interval(value=auc, lo=lo, hi=hi, level=level, method="DeLong")


def midranks(values: Array) -> Array:
    """Ranks from 1, ties sharing the mean of theirs; shape (n,).

    >>> midranks(np.array([10., 20., 20., 5.]))
    array([2. , 3.5, 3.5, 1. ])
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2.0)[inverse.reshape(-1)]
    return ranks


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """A share with Wilson's score interval.

    successes: 0..n; n: rows, at least 1 (ValueError otherwise). Source: Wilson 1927, JASA 22.

    >>> interval = wilson(8, 10); round(interval.lo, 3), round(interval.hi, 3)
    (0.49, 0.943)
    """
    _check_counts(successes, n)
    z = _z(level)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    lo = 0.0 if successes == 0 else max(0.0, centre - half)
    hi = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(value=share, lo=lo, hi=hi, level=level, method="Wilson")


def clopper_pearson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """A share with the exact binomial interval: never covers less than `level`.

    Source: Clopper & Pearson 1934, Biometrika 26.

    >>> interval = clopper_pearson(0, 10); interval.lo, round(interval.hi, 4)
    (0.0, 0.3085)
    """
    _check_counts(successes, n)
    tail = (1 - level) / 2
    lo = 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, tail))
    hi = 1.0 if successes == n else float(special.betaincinv(successes + 1, n - successes, 1 - tail))
    return Interval(value=successes / n, lo=lo, hi=hi, level=level, method="Clopper-Pearson")


def mean(values: Array, *, level: float = 0.95) -> Interval:
    """The mean of independent rows with the normal interval; shape (n,), n >= 1.

    One row says nothing of its own spread: its interval is unbounded.

    >>> mean(np.array([1., 2., 3.])).value
    2.0
    """
    n = len(values)
    if n == 0:
        raise ValueError("the mean of no rows")
    value = float(values.mean())
    half = _z(level) * math.sqrt(_variance(values) / n) if n > 1 else math.inf
    return Interval(value=value, lo=value - half, hi=value + half, level=level, method="normal")


def bootstrap(
    statistic: Statistic,
    n: int,
    *,
    blocks: Array | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Any figure with its percentile interval over resampled rows, or blocks of rows that belong together.

    statistic: takes row indices, shape (k,), and gives the figure; NaN where a resample has none (dropped).
    blocks: shape (n,), the day, user or request each row belongs to; whole blocks are then drawn.
    Raises ValueError without rows. Source: Efron & Tibshirani 1993; Davison & Hinkley 1997 (blocks).

    >>> x = np.arange(100.0)
    >>> bootstrap(lambda rows: float(x[rows].mean()), 100).value
    49.5
    """
    if n == 0:
        raise ValueError("a bootstrap of no rows")
    rng = np.random.default_rng(seed)
    value = statistic(np.arange(n))
    draws = _row_draws(n, rng) if blocks is None else _block_draws(blocks, rng)
    figures = np.array([statistic(draws()) for _ in range(resamples)])
    figures = figures[~np.isnan(figures)]
    if not len(figures):
        return Interval(value=value, lo=-math.inf, hi=math.inf, level=level, method="bootstrap")
    lo, hi = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    method = "bootstrap" if blocks is None else "block bootstrap"
    return Interval(value=value, lo=float(lo), hi=float(hi), level=level, method=method)


def difference(a: Interval, b: Interval, *, level: float = 0.99) -> Interval:
    """a - b for two independent estimates, from their own limits.

    Each side's distance is taken on the side it acts (Newcombe's square-and-add), so that skew intervals such
    as those of shares near 1 keep their skew; for symmetric ones this is z = (a - b) / sqrt(se_a² + se_b²).
    The two may have different levels. Source: Newcombe 1998, Statistics in Medicine 17; Zou & Donner 2008.

    >>> a = Interval(value=.8, lo=.75, hi=.85, level=.99); b = Interval(value=.7, lo=.66, hi=.74, level=.99)
    >>> d = difference(a, b); round(d.value, 3), round(d.lo, 4), round(d.hi, 4)
    (0.1, 0.036, 0.164)
    """
    z, za, zb = _z(level), _z(a.level), _z(b.level)
    value = a.value - b.value
    down = math.hypot((a.value - a.lo) / za, (b.hi - b.value) / zb) * z
    up = math.hypot((a.hi - a.value) / za, (b.value - b.lo) / zb) * z
    return Interval(value=value, lo=value - down, hi=value + up, level=level, method="square-and-add")


def _z(level: float) -> float:
    return float(special.ndtri((1 + level) / 2))


def _variance(values: Array) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _split(labels: Array, scores: Array) -> tuple[Array, Array]:
    positives = np.asarray(labels, dtype=bool)
    scores = np.asarray(scores, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN")
    positive, negative = scores[positives], scores[~positives]
    if not len(positive) or not len(negative):
        raise ValueError("the area under the curve needs both classes")
    return positive, negative


def _auc_limits(auc: float, se: float, *, smaller: int, level: float) -> tuple[float, float]:
    if not 0.0 < auc < 1.0 or se < _UNKNOWN_BELOW or smaller < 2:
        room = 1.0 - ((1 - level) / 2) ** (1.0 / smaller)
        return max(0.0, auc - room), min(1.0, auc + room)
    logit, half = math.log(auc / (1 - auc)), _z(level) * se / (auc * (1 - auc))
    return _expit(logit - half), _expit(logit + half)


def _expit(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else 0.0


def _check_counts(successes: float, n: int) -> None:
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")


def _row_draws(n: int, rng: np.random.Generator) -> Callable[[], Array]:
    return lambda: rng.integers(0, n, n)


def _block_draws(blocks: Array, rng: np.random.Generator) -> Callable[[], Array]:
    order = np.argsort(blocks, kind="stable")
    starts = np.flatnonzero(np.r_[True, blocks[order][1:] != blocks[order][:-1]])
    groups = np.split(order, starts[1:])
    return lambda: np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])
