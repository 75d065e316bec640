"""Quantiles and levels of more rows than memory holds, from one pass, so that bins can be laid out from them.

Numbers: sorted chunks are thinned to every eighth number from a random start; whenever 32,768 of one weight have
come together they are sorted, and every second one goes on with twice the weight (random halving, the compaction of
KLL with levels of one size). Counts are never taken from a sketch, only edges: an edge a few ranks off makes a bin a
little wider, and the counts on it stay exact.

Rank error: each halving of c = 32,768 numbers of weight w is off by at most w at any edge, up or down with even odds.
Over n numbers that adds up to a standard deviation of at most 1.5 n / c, 0.005% of n: 1/340 of a 64-quantile bin.

Sources: Agarwal, Cormode, Huang, Phillips, Wei and Yi 2012 (mergeable summaries, random halving); Karnin, Lang and
Liberty 2016 (KLL); Metwally, Agrawal and El Abbadi 2005 (what is kept of too many levels).
"""

from __future__ import annotations

import numpy as np

from mlspine.core.types import Scalar
from mlspine.stats.bins import MAX_BINS, MAX_LEVELS, Array, Floats, LevelPart, NumericPart, Values
from mlspine.stats.counting import finite_chunks
from mlspine.stats.layout import level_part, numeric_part
from mlspine.stats.levels import levels_of

CAPACITY = 32_768
_STRIDE = 8
# More levels than this are thinned to the most frequent of them.
_MOST_LEVELS = 64 * MAX_LEVELS


class NumberSketch:
    """Quantiles of the finite numbers shown so far, and all of them while they are at most 64 different ones.

    >>> sketch = NumberSketch(seed=0)
    >>> sketch.add(np.random.default_rng(0).permutation(1_000_000))
    >>> edges = sketch.part("x", "").edges
    >>> edges.size, bool(np.abs(edges - np.arange(1, 64) / 64 * 1e6).max() < 200)
    (63, True)
    """

    def __init__(self, *, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._distinct: Floats | None = np.empty(0)
        self._waiting: list[list[Floats]] = []  # by level; a number at level i stands for 8 * 2**i

    def add(self, values: Array) -> None:
        """Show numbers of any order; NaN and infinities are passed over."""
        with np.errstate(over="ignore", invalid="ignore"):
            for chunk in finite_chunks(values):
                if chunk.numbers.size:
                    self._add_sorted(np.sort(chunk.numbers))

    def merge(self, other: NumberSketch) -> None:
        """Take in what another sketch was shown."""
        if self._distinct is not None:
            joined = None if other._distinct is None else np.union1d(self._distinct, other._distinct)
            self._distinct = joined if joined is not None and joined.size <= MAX_BINS else None
        for level, held in enumerate(other._waiting):
            for items in held:
                self._put(level, items)

    def part(self, column: str, name: str) -> NumericPart:
        """Bins between the 64-quantiles, or one per value when there are at most 64."""
        if self._distinct is not None:
            return numeric_part(column, name, self._distinct)
        items = np.concatenate([each for held in self._waiting for each in held])
        weights = np.concatenate([np.full(each.size, 2.0**i) for i, held in enumerate(self._waiting) for each in held])
        order = np.argsort(items)
        items, upto = items[order], np.cumsum(weights[order])
        places = np.searchsorted(upto, np.arange(1, MAX_BINS) / MAX_BINS * upto[-1])
        edges = np.unique(items[places])
        code = np.searchsorted(edges, items)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            summed = np.bincount(code, weights=items * weights[order], minlength=edges.size + 1)
            centres = summed / np.bincount(code, weights=weights[order], minlength=edges.size + 1)
        stand_in = np.append(edges, edges[-1])
        return NumericPart(
            column=column, name=name, edges=edges, centres=np.where(np.isfinite(centres), centres, stand_in)
        )

    def _add_sorted(self, ordered: Floats) -> None:
        self._distinguish(ordered)
        self._put(0, ordered[int(self._rng.integers(_STRIDE)) :: _STRIDE].copy())

    def _distinguish(self, ordered: Floats) -> None:
        if self._distinct is None:
            return
        if np.count_nonzero(ordered[1:] != ordered[:-1]) >= MAX_BINS:
            self._distinct = None
            return
        joined = np.union1d(self._distinct, ordered)
        self._distinct = joined if joined.size <= MAX_BINS else None

    def _put(self, level: int, items: Floats) -> None:
        while len(self._waiting) <= level:
            self._waiting.append([])
        held = self._waiting[level]
        held.append(items)
        if sum(each.size for each in held) >= CAPACITY:
            ordered = np.sort(np.concatenate(held))
            self._waiting[level] = []
            self._put(level + 1, ordered[int(self._rng.integers(2)) :: 2].copy())


class LevelSketch:
    """Levels shown so far with their counts, exact up to 64,000 different ones; beyond, the frequent ones."""

    def __init__(self) -> None:
        self.counts: dict[Scalar, int] = {}
        self.pooled = False

    def add(self, values: Values) -> None:
        found, _ = levels_of(values)
        for level, count in found.items():
            self.counts[level] = self.counts.get(level, 0) + count
        if len(self.counts) > _MOST_LEVELS:
            kept = sorted(self.counts.items(), key=lambda item: -item[1])[: _MOST_LEVELS // 2]
            self.counts, self.pooled = dict(kept), True

    def part(self, column: str) -> LevelPart:
        return level_part(column, self.counts, pooled=self.pooled)
