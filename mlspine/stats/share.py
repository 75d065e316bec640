"""Tests of shares: b of n window rows against a of m reference rows, and rows of levels never seen before.

Sources: Anscombe 1948 (arcsine root); Przyborowski and Wilenski 1940 (conditional test of two rates); Good
1953 (mass of unseen levels).
"""

from __future__ import annotations

import numpy as np

from mlspine.core.late import special
from mlspine.stats.bins import Array, Floats

_EXPECTED_ROOT = 25


def share_test(b: Array, n: Array, a: Array, m: Array) -> Floats:
    """Two-sided p that b of n and a of m are draws of one share; NaN when neither or all of them are hits.

    Difference of arcsine roots where both sides expect 25 or more, with Anscombe's 3/8 (at 10, or without
    the 3/8, p = 0.001 came up two to three times too often at shares of a few percent); else exact given
    a + b. Asked of the rarer of hit and miss, for which the exact test is sharp.

    >>> [round(float(share_test(b, 1000, 50, 10000)), 5) for b in (5, 15, 30)]
    [1.0, 0.00121, 0.0]
    """
    b, n, a, m = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (b, n, a, m)))
    flip = 2 * (a + b) > n + m
    a, b = np.where(flip, m - a, a), np.where(flip, n - b, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = n * a / m
        large = (np.minimum(expected, n - expected) >= _EXPECTED_ROOT) & (a >= _EXPECTED_ROOT) & (b >= 5)
        z = 2 * (_root(b, n) - _root(a, m)) / np.sqrt(1 / n + 1 / m)
    p = np.asarray(2 * special.ndtr(-np.abs(z)))
    small = ~large & (a + b > 0) & (n > 0) & (m > 0)
    p[small] = _conditional(b[small], a[small], (n / np.maximum(n + m, 1))[small])
    p[~large & ~small] = np.nan
    return p


def _root(hits: Floats, rows: Floats) -> Floats:
    return np.asarray(np.arcsin(np.sqrt((hits + 0.375) / (rows + 0.75))))


def _conditional(b: Floats, a: Floats, share: Floats) -> Floats:
    # b ~ Binomial(a + b, share); both tails by the incomplete beta function, which takes vectors of any size.
    lower = np.where(a > 0, special.betainc(np.maximum(a, 1), b + 1, 1 - share), 1.0)
    upper = np.where(b > 0, special.betainc(np.maximum(b, 1), a + 1, share), 1.0)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(lower, upper)))


def unseen_test(s: Array, n: Array, singletons: Array, m: Array) -> Floats:
    """One-sided p of s window rows with levels the reference's m rows lack; NaN when there are none.

    Such levels carry about singletons/m of the rows (Good 1953). The larger of two tails is taken, since
    each alone fires too often somewhere (simulated over shapes of levels and n/m from 0.1 to 8):
    Poisson at the 95% upper bound of that rate, which with no singleton is 3/m, the rule of three, in clumps
    of 1 + n/m rows where there are singletons because an unseen level repeats; and the negative binomial
    that also carries what m rows leave unknown of the rate, (n/(n+m))^s with no singleton.

    >>> round(float(unseen_test(3, 1000, 0, 1000)), 3)
    0.576
    """
    s, n, singletons, m = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (s, n, singletons, m)))
    found = (s > 0) & (m > 0)
    ratio = n / np.maximum(m, 1)
    clump = np.where(singletons > 0, 1 + ratio, 1.0)
    hits = np.where(found, s, 1.0)
    expected = special.gammaincinv(singletons + 1, 0.95) * ratio
    certain = special.gammainc(hits / clump, expected / clump)
    unsure = special.betainc(hits, singletons + 1, ratio / (1 + ratio))
    return np.where(found, np.maximum(certain, unsure), np.nan)
