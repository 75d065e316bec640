"""One p-value from several, and one verdict on a window from the p-values of its columns.

Sources: Liu and Xie 2020 (Cauchy combination); Bonferroni 1936; Benjamini and Hochberg 1995.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlspine.stats.bins import Floats

NAMING_RATE = 0.05
# Above this a component has nothing to say; without a cap one p near 1 outweighs a small one (tan -> -inf).
_P_CAP = 0.99
_P_LEAST = 1e-300


class Verdict(NamedTuple):
    """What a window's p-values say together."""

    threshold: float
    significant: bool
    named: tuple[bool, ...]


def decide(p: Sequence[float], *, alpha: float, critical_p: float | None = None) -> Verdict:
    """Bonferroni for the window, Benjamini-Hochberg at 5% for the columns to name; the smallest p always is.

    critical_p: level per column for alpha = 0.01, found by resampling; it takes the place of alpha/d.

    >>> decide([0.5, 1e-6, 0.02], alpha=0.01)
    Verdict(threshold=0.0033333333333333335, significant=True, named=(False, True, True))
    """
    if not p:
        return Verdict(alpha, False, ())
    threshold = alpha / len(p)
    if critical_p is not None:
        threshold = critical_p * alpha / 0.01
    if min(p) > threshold:
        return Verdict(threshold, False, (False,) * len(p))
    last = benjamini_hochberg(p, NAMING_RATE)
    return Verdict(threshold, True, tuple(value <= max(last, min(p)) for value in p))


def benjamini_hochberg(p: Sequence[float], rate: float) -> float:
    """The largest p still rejected at this false discovery rate; 0 when none is.

    >>> benjamini_hochberg([0.01, 0.02, 0.5], 0.05)
    0.02
    """
    ordered = np.sort(np.asarray(p, dtype=np.float64))
    kept = ordered[ordered <= rate * np.arange(1, ordered.size + 1) / ordered.size]
    return float(kept[-1]) if kept.size else 0.0


def cauchy(p: Floats) -> Floats:
    """Combine p-values along the first axis, NaN standing for "does not apply"; all NaN gives 1.

    Valid whatever the dependence as p goes to 0. Tiny values go through 1/(pi p), where tan loses its digits.

    >>> float(cauchy(np.array([1e-200, np.nan, 0.5]))) < 1e-199
    True
    """
    clipped = np.clip(p, _P_LEAST, _P_CAP)
    tiny = clipped < 1e-12
    spread = np.where(tiny, 1 / (np.pi * clipped), np.tan(np.pi * (0.5 - np.where(tiny, 0.5, clipped))))
    known = ~np.isnan(clipped)
    held = known.sum(axis=0)
    mean = np.where(known, spread, 0.0).sum(axis=0) / np.maximum(held, 1)
    return np.where(held > 0, np.arctan2(1.0, mean) / np.pi, 1.0)
