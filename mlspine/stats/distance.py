"""Effect sizes between two binned distributions, each with the size that chance alone would give it.

p: reference shares, q: window shares, bins on the last axis, each summing to 1 there; leading axes broadcast,
so one call compares one window or ten thousand. `v` is the variance factor 1/n + 1/m of a window of n and a
reference of m rows. The noise of an effect is its expected value when nothing changed.

Sources: Lin 1991 (Jensen-Shannon); Yurdakul and Naranjo 2020 (noise of the population stability index);
Kolmogorov 1933; Cohen 1988 (standardised mean difference).
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from mlspine.core.late import special

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

PSI_FLOOR = 1e-4
# Jensen-Shannon divergence in bits is about chi-squared times v over this (second-order expansion at p = q).
_JS_SCALE = 8 * math.log(2)
_MOST_BINS_OF_SETS = 8
# E|x| and var|x| of a standard normal x.
_ABS_MEAN = math.sqrt(2 / math.pi)
_ABS_VARIANCE = 1 - 2 / math.pi
# E sup|B| of a Brownian bridge B: the Kolmogorov statistic of unchanged continuous data.
_BRIDGE_SUP = math.sqrt(math.pi / 2) * math.log(2)


def psi(p: Floats, q: Floats, *, floor: float = PSI_FLOOR) -> Floats:
    """Population stability index, >= 0; 0 means identical. Shares below `floor` are raised to it.

    The usual reading (0.1 moderate, 0.2 or 0.25 large) is a convention without regard to the rows at hand.

    >>> round(float(psi(np.array([0.5, 0.5]), np.array([0.6, 0.4]))), 4)
    0.0405
    """
    p, q = np.maximum(p, floor), np.maximum(q, floor)
    return _sum((q - p) * np.log(q / p))


def psi_noise(bins: int | Floats, v: float | Floats) -> Floats:
    """E[psi] when nothing changed: (bins - 1) * v.

    >>> float(psi_noise(20, 1 / 200))
    0.095
    """
    return np.asarray((np.asarray(bins, dtype=np.float64) - 1) * v)


def js(p: Floats, q: Floats) -> Floats:
    """Jensen-Shannon distance to base 2: 0 identical, 1 without a value in common.

    >>> float(js(np.array([1.0, 0.0]), np.array([0.0, 1.0])))
    1.0
    """
    half = (p + q) / 2
    divergence = (_relative_entropy(p, half) + _relative_entropy(q, half)) / 2
    return np.sqrt(np.clip(divergence, 0.0, 1.0))


def js_noise(bins: int | Floats, v: float | Floats) -> Floats:
    """Root mean square of the distance when nothing changed: sqrt((bins - 1) v / (8 ln 2)).

    >>> round(float(js_noise(10, 1 / 500)), 3)
    0.057
    """
    return np.sqrt(psi_noise(bins, v) / _JS_SCALE)


def js_p(distance: float | Floats, bins: int | Floats, v: float | Floats) -> Floats:
    """How often unchanged data give at least this distance: js^2 * 8 ln 2 / v is about chi-squared.

    >>> round(float(js_p(0.1, 10, 1 / 500)), 4)
    0.0011
    """
    freedom = np.maximum(np.asarray(bins, dtype=np.float64) - 1, 1)
    return np.asarray(special.chdtrc(freedom, np.square(distance) * _JS_SCALE / v))


def ks(p: Floats, q: Floats) -> Floats:
    """Kolmogorov-Smirnov distance over the bins' upper edges: the largest gap between the two cdfs.

    >>> float(ks(np.array([0.5, 0.5]), np.array([0.75, 0.25])))
    0.25
    """
    return np.asarray(np.abs(np.cumsum(p - q, axis=-1)).max(axis=-1))


def ks_noise(v: float | Floats) -> Floats:
    """E[ks] when nothing changed, of a continuous column: 0.869 sqrt(v).

    >>> round(float(ks_noise(1 / 500)), 3)
    0.039
    """
    return np.asarray(_BRIDGE_SUP * np.sqrt(v))


def tv(p: Floats, q: Floats) -> Floats:
    """Total variation: the share of rows that would have to move for the two to agree.

    >>> round(float(tv(np.array([0.2, 0.8]), np.array([0.3, 0.7]))), 12)
    0.1
    """
    return _sum(np.abs(q - p)) / 2


def tv_noise(p: Floats, v: float | Floats) -> Floats:
    """E[tv] when nothing changed: half the sum of the expected |q - p|.

    >>> round(float(tv_noise(np.full(100, 0.01), 1 / 1000)), 3)
    0.126
    """
    return np.asarray(_ABS_MEAN * _sum(np.sqrt(p * (1 - p))) * np.sqrt(v) / 2)


def tv_p(distance: float | Floats, p: Floats, v: float | Floats) -> Floats:
    """An upper estimate of how often unchanged data give at least this total variation.

    The smallest of three: a gamma distribution with the mean and variance of the sum of |q - p| (close for
    many bins); chi-squared through Cauchy and Schwarz, tv <= sqrt(X2 v) / 2 (exact for two bins); and, for up
    to eight bins, the sum of normal tails over all sets of bins, since tv is the largest change of any set.

    >>> round(float(tv_p(0.08, np.array([0.5, 0.5]), 1 / 1000)), 8)
    4.2e-07
    """
    distance, v = np.asarray(distance, dtype=np.float64), np.asarray(v, dtype=np.float64)
    mean, variance = tv_noise(p, v), _tv_variance(p, v)
    known = (mean > 0) & (variance > 0)
    mean, variance = np.where(known, mean, 1.0), np.where(known, variance, 1.0)
    matched = special.gammaincc(mean * mean / variance, distance * mean / variance)
    freedom = np.maximum((p > 0).sum(axis=-1) - 1, 1)
    bounded = np.minimum(matched, special.chdtrc(freedom, 4 * np.square(distance) / v))
    if p.shape[-1] <= _MOST_BINS_OF_SETS:
        bounded = np.minimum(bounded, _tails_of_sets(distance, p, v))
    # A reference of one level: whatever moved away from it is change.
    single = (distance <= 0).astype(np.float64)
    return np.where(known, bounded, single)


def w1(p: Floats, q: Floats, points: Floats) -> Floats:
    """Wasserstein distance of order 1 with each bin's mass at its point; points ascend on the last axis.

    >>> float(w1(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([2.0, 5.0])))
    3.0
    """
    return _sum(np.abs(np.cumsum(p - q, axis=-1))[..., :-1] * np.diff(points, axis=-1))


def w1_noise(p: Floats, points: Floats, v: float | Floats) -> Floats:
    """E[w1] when nothing changed: the gap between the cdfs has variance F (1 - F) v at every point.

    >>> round(float(w1_noise(np.array([0.5, 0.5]), np.array([0.0, 1.0]), 1 / 1000)), 4)
    0.0126
    """
    below = np.clip(np.cumsum(p, axis=-1), 0.0, 1.0)
    gap = np.sqrt(below * (1 - below))[..., :-1]
    return np.asarray(_ABS_MEAN * _sum(gap * np.diff(points, axis=-1)) * np.sqrt(v))


def difference_noise(se: float | Floats) -> Floats:
    """E|difference| when nothing changed, of a difference with this standard error.

    >>> round(float(difference_noise(1.0)), 3)
    0.798
    """
    return np.asarray(_ABS_MEAN * np.asarray(se, dtype=np.float64))


def difference_p(difference: float | Floats, se: float | Floats) -> Floats:
    """Two-sided normal tail of a difference with this standard error; 1 where the error is 0.

    >>> round(float(difference_p(1.959964, 1.0)), 4)
    0.05
    """
    se = np.asarray(se, dtype=np.float64)
    z = np.abs(difference) / np.where(se > 0, se, 1.0)
    return np.where(se > 0, 2 * special.ndtr(-z), 1.0)


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    held = p > 0
    ratio = np.where(held, p, 1.0) / np.where(held, q, 1.0)
    return _sum(np.where(held, p * np.log2(ratio), 0.0))


def _tails_of_sets(distance: Floats, p: Floats, v: Floats) -> Floats:
    # A set and its complement change alike, so only the sets without the last bin are asked.
    bins = p.shape[-1]
    sets = np.arange(1, 2 ** (bins - 1))[:, None] >> np.arange(bins) & 1
    share = p @ sets.T.astype(np.float64)
    sd = np.sqrt(np.maximum(share * (1 - share), 0.0) * v[..., None])
    tails = 2 * special.ndtr(-distance[..., None] / np.where(sd > 0, sd, np.inf))
    return np.asarray(np.minimum(1.0, _sum(np.where(sd > 0, tails, 0.0))))


def _tv_variance(p: Floats, v: float | Floats) -> Floats:
    # cov(|x|, |y|) of normals is at most (1 - 2/pi) rho^2 sd sd, with equality at rho = -1 (two levels);
    # rho^2 = ab / ((1-a)(1-b)) for shares a and b, so the cross terms are a product of sums.
    cross = np.power(p, 1.5) / np.sqrt(np.maximum(1 - p, 1e-12))
    cross = np.where(p >= 1, 0.0, cross)
    pairs = np.square(_sum(cross)) - _sum(np.square(cross))
    return np.asarray(_ABS_VARIANCE * v * (_sum(p * (1 - p)) + pairs) / 4)


def _sum(values: Floats) -> Floats:
    return np.asarray(values.sum(axis=-1))
