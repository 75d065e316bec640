"""Intervals that stay true however often one looks: confidence sequences for means, shares and differences.

A fixed-n interval is right for one look. Looked at after every label, a nominal 5% test of nothing sounds in 17
to 23 of 100 streams. A confidence sequence holds its level over all looks together, for as long as one likes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Interval

Array = np.ndarray[Any, np.dtype[Any]]

# With fewer failures (or successes) than this the normal form is not safe: the exact one is used.
EXACT_BELOW = 50
METHOD = "time-uniform"
_BISECTIONS = 60


def radius(variance: Array | float, *, scale: float, level: float) -> Array:
    """Half the width of a confidence sequence for an estimate of this variance (its standard error squared).

    variance: falls as rows come; what does not fall, such as the variance of a fixed baseline, is part of it.
    scale: the size of change one wants to see soonest; the sequence is tightest about where its radius is
    that size, and valid at every other. level: of all looks together.
    The mixture of the likelihood ratios of N(d, variance) over d ~ N(0, scale²) is a martingale under d = 0, also
    for a difference to an estimated baseline: the law of the difference does not depend on the common mean.
    By Ville's inequality it exceeds 1/alpha with probability alpha at most; solved for the estimate:
    radius² = v (v + s²) / s² · ln((v + s²) / (v alpha²)). Exact for normal rows of known variance, asymptotic for
    any mean-like estimate (accuracy, error, and AUC by its influence values).
    Source: Robbins 1970, Ann. Math. Stat. 41; Waudby-Smith et al. 2024, Ann. Stat. 52 (asymptotic sequences).

    >>> float(radius(0.0001, scale=0.03, level=0.95).round(4))
    0.0304
    """
    if not scale > 0 or not 0 < level < 1:
        raise ValueError(f"scale {scale} must be positive and level {level} between 0 and 1")
    v = np.asarray(variance, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Of a finished estimate (v = 0) the radius is 0 in the limit.
        squared = v * (v + scale**2) / scale**2 * (np.log1p(scale**2 / v) - 2 * math.log(1 - level))
    wide: Array = np.sqrt(np.where(v > 0, squared, 0.0))
    return np.where(np.isinf(v), np.inf, wide)


def difference(a: Interval, b: Interval, *, scale: float, level: float = 0.99) -> Interval:
    """a - b for two independent estimates, valid at every look while the rows of `a` (or of both) grow.

    a, b: fixed-n intervals as they are at this look; their limits tell the variance on the side where each acts,
    so that skew intervals keep their skew. scale: see `radius`.

    >>> a = Interval(value=.8, lo=.75, hi=.85); b = Interval(value=.7, lo=.66, hi=.74)
    >>> d = difference(a, b, scale=.02, level=.95); round(d.value, 3), round(d.lo, 3), round(d.hi, 3)
    (0.1, -0.057, 0.257)
    """
    za, zb = (float(special.ndtri((1 + each.level) / 2)) for each in (a, b))
    value = a.value - b.value
    down, up = (
        float(radius(((side_a) / za) ** 2 + ((side_b) / zb) ** 2, scale=scale, level=level))
        for side_a, side_b in ((a.value - a.lo, b.hi - b.value), (a.hi - a.value, b.value - b.lo))
    )
    return Interval(value=value, lo=value - down, hi=value + up, level=level, method=METHOD)


def share(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """A share of binary outcomes that come one by one, exact at every look, also for rare ones.

    The limits are where the mixture of likelihood ratios over a Beta(1/2, 1/2) prior reaches 1/alpha: an e-process,
    valid for any stopping rule and any number of rows. n >= 1, ValueError otherwise.
    Source: Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021, Ann. Stat. 49 (beta-binomial mixture).

    >>> found = share(3, 1000); found.value, round(found.lo, 4), round(found.hi, 4)
    (0.003, 0.0001, 0.0143)
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    value = successes / n
    bound = -math.log(1 - level)
    lo = _crossing(successes, n, 0.0, value, bound) if successes > 0 else 0.0
    hi = _crossing(successes, n, 1.0, value, bound) if successes < n else 1.0
    return Interval(value=value, lo=lo, hi=hi, level=level, method="exact " + METHOD)


def log_e_value(successes: Array | int, n: Array | int, p: Array | float) -> Array:
    """Log evidence of binary outcomes against the share `p`: the e-process of `share`, elementwise.

    Under a true share p its exponential has mean 1 at every look; above 1/alpha at any look rejects p at alpha.

    >>> bool(log_e_value(0, 80, 0.1) > np.log(20)), bool(log_e_value(5, 50, 0.1) > np.log(20))
    (True, False)
    """
    s, f = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64) - successes
    mixture = special.betaln(s + 0.5, f + 0.5) - special.betaln(0.5, 0.5)
    value: Array = mixture - special.xlogy(s, p) - special.xlog1py(f, -np.asarray(p, dtype=np.float64))
    return value


def share_difference(a: tuple[int, int], b: Interval, *, level: float = 0.99) -> Interval:
    """A share looked at again and again, a = (successes, n), less a fixed estimate: exact for `a` at every look.

    Each side spends half of the error: the limits of `a` by its e-process, those of `b` rescaled to that level.

    >>> share_difference((980, 1000), Interval(value=.99, lo=.985, hi=.993), level=.95).hi > 0
    True
    """
    half = (1 + level) / 2
    mine = share(*a, level=half)
    ratio = float(special.ndtri((1 + half) / 2) / special.ndtri((1 + b.level) / 2))
    return Interval(
        value=mine.value - b.value,
        lo=mine.lo - (b.value + (b.hi - b.value) * ratio),
        hi=mine.hi - (b.value - (b.value - b.lo) * ratio),
        level=level,
        method="exact " + METHOD,
    )


def _crossing(successes: int, n: int, outside: float, inside: float, bound: float) -> float:
    """Where between a rejected and an accepted share the evidence reaches the bound, towards the outside."""
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        if float(log_e_value(successes, n, middle)) >= bound:
            outside = middle
        else:
            inside = middle
    return outside
