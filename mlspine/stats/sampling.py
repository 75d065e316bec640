"""Drawing a few rows to look at so that what they say holds for all: chosen with known probabilities, weighed back.

Rows worth looking at (uncertain ones, unusual ones) may be drawn more often without bending the figure, as long as
every row's probability of being drawn is known and above 0: each drawn row then counts for 1/probability of them.

Sources: Madow 1949 (systematic sampling with unequal probabilities); Hajek 1971 (the ratio estimator); Kish 1965
(effective sample size); Wilson 1927.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Interval
from mlspine.stats.interval import wilson

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

# However interesting others are, half of the sample is drawn evenly: no weight then exceeds twice the even one.
EVEN_SHARE = 0.5


def inclusion(size: int, interests: list[Floats], rows: int) -> Floats:
    """The probability of each row to be drawn, shape (rows,); they sum to `size`, or are all 1 where rows are few.

    interests: for each reason to look, how much it applies to each row, shape (rows,), >= 0. Half of the sample is
    spread evenly, the other half over the reasons that apply to anything, by their weights.

    >>> inclusion(2, [np.array([0.0, 0.0, 1.0, 1.0])], 4)
    array([0.25, 0.25, 0.75, 0.75])
    """
    applying = [each / each.sum() for each in interests if each.sum() > 0]
    weight = np.full(rows, 1.0 / max(rows, 1))
    if applying:
        weight = EVEN_SHARE * weight + (1 - EVEN_SHARE) * np.mean(applying, axis=0)
    return _scaled(weight, size)


def draw(probability: Floats, *, seed: int) -> Ints:
    """Positions of the drawn rows, in random order; as many as the probabilities sum to, give or take one.

    Systematic over a random order, so every row is drawn with exactly its probability. Any first part of the result
    is a sample as well, with probabilities lower in proportion.

    >>> len(draw(np.full(1000, 0.05), seed=1))
    50
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(probability.size)
    reached = np.cumsum(probability[order])
    ticks = np.arange(rng.random(), reached[-1] if reached.size else 0.0, 1.0)
    return rng.permutation(order[np.searchsorted(reached, ticks, side="right")])


def weighted_share(hits: Ints, probability: Floats, *, level: float = 0.95) -> Interval:
    """The share of all rows for which something holds, from drawn ones; Wilson's interval on the effective number.

    hits: booleans of the drawn rows, shape (n,), n >= 1; probability: theirs.

    >>> weighted_share(np.array([True, False]), np.array([0.5, 0.25])).value
    0.3333333333333333
    """
    weight = 1.0 / probability
    value = float((weight * hits).sum() / weight.sum())
    effective = effective_rows(weight)
    around = (
        wilson(value * effective, math.ceil(effective), level=level) if effective >= 1 else wilson(0, 1, level=level)
    )
    lo, hi = min(around.lo, value), max(around.hi, value)
    return Interval(value=value, lo=lo, hi=hi, level=level, method="Hajek, Wilson on the effective rows")


def weighted_mean(values: Floats, probability: Floats, *, level: float = 0.95) -> Interval:
    """The mean over all rows from drawn ones, with the t interval of the ratio estimator; shape (n,), n >= 1."""
    weight = 1.0 / probability
    total = weight.sum()
    value = float((weight * values).sum() / total)
    n = len(values)
    if n < 2:
        return Interval(value=value, lo=-math.inf, hi=math.inf, level=level, method="Hajek")
    variance = n / (n - 1) * float(np.square(weight * (values - value)).sum()) / float(total) ** 2
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(variance)
    return Interval(value=value, lo=value - half, hi=value + half, level=level, method="Hajek")


def effective_rows(weight: Floats) -> float:
    """How many evenly drawn rows say as much: (sum w)^2 / sum w^2.

    >>> effective_rows(np.array([1.0, 1.0, 2.0]))
    2.6666666666666665
    """
    return float(weight.sum()) ** 2 / float(np.square(weight).sum())


def _scaled(weight: Floats, size: int) -> Floats:
    """Weights as probabilities that sum to `size`, none above 1: what would be above goes to the others."""
    if size >= weight.size:
        return np.ones(weight.size)
    certain = np.zeros(weight.size, dtype=bool)
    while True:
        room = size - certain.sum()
        scaled = np.where(certain, 1.0, weight * room / weight[~certain].sum())
        above = (scaled >= 1.0) & ~certain
        if not above.any():
            return scaled
        certain |= above
