"""Which bins are looked at together: coarse ones for numbers, rare ones pooled, levels as they are drawn.

Tests and effects look at the same cells: over sparse ones every distance is mostly chance and no formula for
its noise holds.
"""

from __future__ import annotations

import numpy as np

from mlspine.stats.bins import Array, Floats, Ints

COARSE_BINS = 10
DRAWN_LEVELS = 10
# Rows a bin must be expected to hold before it is counted on by itself.
_EXPECTED_CELL = 5


def cells(base: Array, h: Array, g: Array) -> tuple[Array, Array, bool]:
    """Pool the bins too rare to count on: (reference cells, window cells, whether the pool is too rare).

    base: counts that settle which bins are rare: fewer than 5 rows expected on the smaller side. They become
    one last cell. Tests and effects look at the same cells: over sparse ones every distance is mostly chance
    and no formula for its noise holds.
    """
    rows = min(float(np.mean(h.sum(axis=-1))), float(np.mean(g.sum(axis=-1))))
    share = base / max(1, base.sum())
    common = share * rows >= _EXPECTED_CELL
    pooled_h, pooled_g = (
        np.concatenate([x[..., common], x[..., ~common].sum(axis=-1, keepdims=True)], axis=-1) for x in (h, g)
    )
    return pooled_h, pooled_g, bool(share[~common].sum() * rows < _EXPECTED_CELL)


def coarse_starts(base: Array) -> Ints:
    """Where each of about ten coarse bins starts among the fine ones: reference deciles, duplicates removed.

    A column with at most ten filled bins keeps them all.

    >>> coarse_starts(np.full(40, 25)).tolist()
    [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
    """
    if (base > 0).sum() <= COARSE_BINS:
        return np.arange(base.size)
    below = np.cumsum(base)
    decile = np.minimum(COARSE_BINS - 1, (COARSE_BINS * (below - base / 2) / below[-1]).astype(np.int64))
    return np.flatnonzero(np.diff(decile, prepend=-1))


def drawn_levels(base: Array) -> Ints:
    """Group per level: the ten largest of the reference one by one, the remaining known ones, the unseen."""
    groups = np.minimum(np.arange(base.size), DRAWN_LEVELS)
    groups[-1] = min(DRAWN_LEVELS, base.size - 1) + 1
    return groups


def pool(counts: Array, groups: Ints) -> Array:
    return np.add.reduceat(counts, np.flatnonzero(np.diff(groups, prepend=-1)), axis=-1)


def shares(counts: Array) -> Floats:
    return np.asarray(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1))
