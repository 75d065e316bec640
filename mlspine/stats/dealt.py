"""Whether bad answers fall on the candidate of a rollout more often than requests were dealt to it.

Requests (or units of them) are dealt at random: a candidate that fails no more than the live release meets at most its
share of all bad answers, whatever the hour, the burst or the outage they came in. So each bad answer is a coin that
shows the candidate with probability `share` at most, and the live arm's rate never has to be estimated. The evidence
is a mixture of likelihood ratios over how many times as often the candidate may fail: an e-process. Under "no worse"
it ever reaches 1/alpha with probability alpha at most, however often one looks. It multiplies over strata.
Source: Przyborowski & Wilenski 1940, Biometrika 31 (the conditional test); Robbins 1970, Ann. Math. Stat. 41
(mixtures); Lindon & Malek 2022, NeurIPS 35 (anytime-valid counts of arms under changing rates); Ramdas, Grünwald,
Vovk & Shafer 2023, Stat. Sci. 38 (e-values).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlspine.core.types import Interval
from mlspine.stats.sequential import EXACT_BELOW, radius, share

Array = np.ndarray[Any, np.dtype[Any]]

# Times as often as the live release; each weighs the same.
RATIOS = np.array([1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0])


def exposure(live: Array, candidate: Array, dealt: Array | float) -> Array:
    """The candidate's share of a stratum: what was dealt to it, or what it had where that is more.

    live, candidate: requests. A heavy customer may bring a candidate far more requests than its share, and with them
    bad answers. The larger share always means less evidence, so the error stays what it is.
    """
    total = np.asarray(live, dtype=np.float64) + candidate
    had = np.divide(candidate, total, out=np.zeros_like(total), where=total > 0)
    found: Array = np.minimum(np.maximum(had, dealt), 1.0)
    return found


def log_factors(live_bad: Array, candidate_bad: Array, exposed: Array | float) -> Array:
    """Log likelihood ratios of one stratum for each of RATIOS against "no worse"; shape (..., len(RATIOS)).

    live_bad, candidate_bad: bad answers of each arm. exposed: see `exposure`. Those of independent strata add up.
    """
    q = np.asarray(exposed, dtype=np.float64)[..., None]
    whole = np.log1p(q * (RATIOS - 1.0))
    mine, theirs = (np.asarray(each, dtype=np.float64)[..., None] for each in (candidate_bad, live_bad))
    found: Array = mine * (np.log(RATIOS) - whole) - theirs * whole
    return found


def log_evidence(factors: Array) -> Array:
    """Log e-value of summed `log_factors`: against "the candidate is no worse", at least ln(1/alpha) rejects it.

    Two bad answers of the live arm and nine of a candidate that answers a twentieth:
    >>> float(log_evidence(log_factors(np.array(2), np.array(9), 0.05)).round(2))
    20.05

    And as many as its share makes likely:
    >>> float(log_evidence(log_factors(np.array(19), np.array(1), 0.05)).round(2))
    -0.91
    """
    highest = factors.max(axis=-1)
    value: Array = highest + np.log(np.exp(factors - highest[..., None]).mean(axis=-1))
    return value


def misdealt(candidate: int, requests: int, dealt: float, *, within: float, level: float = 0.999) -> bool:
    """Whether the candidate had another share of the requests than it was dealt, by a sequence valid at every look.

    within: by how much the odds may differ without being called: 1.25 where each request is dealt for itself, more
    where units are, which bring requests together. Source: `sequential.share`; Lindon & Malek 2022.

    >>> misdealt(60, 1000, 0.05, within=1.25), misdealt(160, 1000, 0.05, within=1.25)
    (False, True)
    """
    if requests < 1 or not 0 < dealt < 1:
        return False
    found = share(candidate, requests, level=level)
    odds = dealt / (1 - dealt)
    low, high = (each / (1 + each) for each in (odds / within, odds * within))
    return found.hi < low or found.lo > high


def excess(
    live: Array,
    live_bad: Array,
    candidate: Array,
    candidate_bad: Array,
    *,
    scale: float,
    level: float,
    again: float = 1.0,
) -> Interval:
    """How much larger the candidate's share of bad answers is, within strata; valid at every look.

    All of shape (strata,). The strata's differences are weighed by n_a n_b / (n_a + n_b) (Mantel & Haenszel), the
    interval is the asymptotic confidence sequence of `sequential.radius`, tightest about `scale`.
    again: bad answers per unit that had any; the variance grows by its square, more than units with geometrically
    many have. With fewer than EXACT_BELOW bad answers of the candidate the upper limit is exact: that of the
    candidate's own share, as if the live release never failed.

    >>> n = np.array([9_500.0, 5_000.0]); found = excess(n, n * 0.01, n / 2, n * 0.01, scale=0.01, level=0.95)
    >>> round(found.value, 4), found.lo > 0, found.hi < 0.02
    (0.01, True, True)
    """
    n_a, k_a, n_b, k_b = (np.asarray(each, dtype=np.float64) for each in (live, live_bad, candidate, candidate_bad))
    use = (n_a > 0) & (n_b > 0)
    if not use.any():
        return Interval(value=0.0, lo=-1.0, hi=1.0, level=level, method="time-uniform")
    n_a, k_a, n_b, k_b = (each[use] for each in (n_a, k_a, n_b, k_b))
    weight = n_a * n_b / (n_a + n_b)
    weight /= weight.sum()
    value = float((weight * (k_b / n_b - k_a / n_a)).sum())
    variance = float((weight**2 * (_variance(k_a, n_a) + _variance(k_b, n_b))).sum()) * again**2
    half = float(radius(variance, scale=scale, level=level))
    hi = min(1.0, value + half)
    if k_b.sum() / again < EXACT_BELOW:
        units = max(1, math.floor(n_b.sum() / again))
        hi = share(min(units, math.ceil(k_b.sum() / again)), units, level=level).hi
    return Interval(value=value, lo=max(-1.0, value - half), hi=hi, level=level, method="time-uniform")


def _variance(bad: Array, n: Array) -> Array:
    p: Array = (bad + 0.5) / (n + 1.0)
    return p * (1.0 - p) / n
