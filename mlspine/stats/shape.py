"""Tests of the shape of binned counts: smooth shifts of the ranks, and chi-squared over cells.

Reference counts `h` of `m` rows, window counts `g` of `n`, bins on the last axis; `base` settles the bins and
the ranks, and is the same for every window.

Sources: Wilcoxon 1945 and Neyman 1937, Rayner and Best 1989 (smooth tests on mid-ranks); Pearson 1900.
"""

from __future__ import annotations

import math

import numpy as np

from mlspine.core.late import special
from mlspine.stats.bins import Array, Floats
from mlspine.stats.cells import cells
from mlspine.stats.share import share_test

# A linear statistic is near enough to normal when no row weighs more than 1/25 of its variance.
_ROWS_PER_WEIGHT = 25


def smooth_z(base: Array, h: Array, g: Array) -> Floats:
    """Standardised shifts of location, scale and skew of the ranks: (..., k), k <= 3; N(0, 1) by chance.

    A degree whose largest weight is too much for the rows at hand to average out is left out, with those
    after it.
    """
    m, n = h.sum(axis=-1, keepdims=True), g.sum(axis=-1, keepdims=True)
    basis = smooth_basis(base)
    rows = min(float(np.mean(m)), float(np.mean(n)))
    heavy = _ROWS_PER_WEIGHT * np.square(basis).max(axis=0, initial=0.0) > rows
    basis = basis[:, : int(np.argmax(heavy))] if heavy.any() else basis
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((g / n - h / m) @ basis / np.sqrt(1 / n + 1 / m))


def smooth_basis(base: Array) -> Floats:
    """Polynomials of degree 1 to 3 in the mid-rank, orthonormal under the shares of base: (bins, <= 3).

    Fewer columns when base has fewer than four bins with rows.

    >>> b = smooth_basis(np.array([25, 25, 25, 25]))
    >>> [round(float(x), 3) for x in b[:, 0]]
    [-1.342, -0.447, 0.447, 1.342]
    """
    p = base / max(1, base.sum())
    rank = 2 * (np.cumsum(p) - p / 2) - 1
    columns = [np.ones_like(p)]
    for degree in (1, 2, 3):
        column = rank**degree
        for _ in range(2):  # the second pass removes what rounding left of the first
            for earlier in columns:
                column = column - (p * column * earlier).sum() * earlier
        norm = math.sqrt(float((p * column * column).sum()))
        if norm < 1e-6:
            break
        columns.append(column / norm)
    return np.stack(columns[1:], axis=-1) if len(columns) > 1 else np.empty((p.size, 0))


def chi_squared(base: Array, h: Array, g: Array) -> tuple[Floats, Floats]:
    """Two-sample chi-squared over the cells, and a share test of the rare pool: (p, p of the rare).

    A pool too rare for chi-squared leaves it and gets its own exact test. NaN where nothing is left.
    """
    m, n = h.sum(axis=-1), g.sum(axis=-1)
    cells_h, cells_g, rare_pool = cells(base, h, g)
    if not rare_pool:
        return _pearson(cells_h, cells_g), np.full(np.shape(n), np.nan)
    return _pearson(cells_h[..., :-1], cells_g[..., :-1]), share_test(cells_g[..., -1], n, cells_h[..., -1], m)


def _pearson(h: Array, g: Array) -> Floats:
    m, n = h.sum(axis=-1, keepdims=True), g.sum(axis=-1, keepdims=True)
    if h.shape[-1] < 2:
        return np.full(h.shape[:-1], np.nan)
    pooled = (h + g) / np.maximum(m + n, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (h - m * pooled) ** 2 / (m * pooled) + (g - n * pooled) ** 2 / (n * pooled)
    statistic = np.where(pooled > 0, terms, 0.0).sum(axis=-1)
    return np.where((m[..., 0] > 0) & (n[..., 0] > 0), special.chdtrc(h.shape[-1] - 1, statistic), np.nan)
