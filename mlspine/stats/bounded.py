"""How small the mean of values between 0 and 1 can be, true at every look, from their count, sum and sum of squares.

The empirical Bernstein bound: few rows are enough where the values vary little, and nothing is assumed of their
distribution. Source: Howard, Ramdas, McAuliffe & Sekhon 2021, Ann. Stat. 49, theorem 4 and the stitched boundary (10).
"""

from __future__ import annotations

import math

_ETA, _S, _ZETA = 2.0, 1.4, 3.1055473  # zeta(1.4)
_K1 = (_ETA**0.25 + _ETA**-0.25) / math.sqrt(2)
_K2 = (math.sqrt(_ETA) + 1) / 2


def lower(n: float, total: float, squares: float, *, about: float, level: float) -> float:
    """The lower limit of the mean of n values in 0..1 (0 without any); of all looks together at this level.

    about: a value fixed beforehand from which squares are counted; the bound is tight where the mean is near it, and
    true wherever it is: take the limit one wants to see exceeded.

    >>> round(lower(400, 120.0, 60.0, about=0.1, level=0.99), 3)
    0.205
    """
    if n <= 0:
        return 0.0
    spread = squares - 2 * about * total + n * about**2
    return max(0.0, (total - boundary(spread, alpha=1 - level, scale=1.0)) / n)


def boundary(v: float, *, alpha: float, scale: float) -> float:
    """How far a sum strays from its mean, given v, the variance it has gathered; sub-gamma with that scale.

    >>> round(boundary(100.0, alpha=0.05, scale=0.0), 1)
    37.9
    """
    v = max(v, 1.0)
    log_term = _S * math.log(math.log(_ETA * v) / math.log(_ETA)) + math.log(_ZETA / alpha)
    return math.sqrt(_K1**2 * v * log_term + (_K2 * scale * log_term) ** 2) + _K2 * scale * log_term
