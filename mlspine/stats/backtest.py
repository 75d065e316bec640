"""What became of earlier estimates: how wide the next interval must be, and whether estimates still hold.

An interval that missed too often is widened and one that never misses is narrowed, a little per matured window,
so that in the long run it covers what it says whatever the data do (Gibbs & Candes 2021, adaptive conformal
inference; Angelopoulos, Candes & Tibshirani 2023). A window far outside says that the scores no longer mean what
they meant: that is concept drift, and from then on estimates are BROKEN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 0.9
LEAST_MATURED = 3  # below it nobody knows what the interval is worth: UNVERIFIED
FIRST_FACTOR = 1.1  # mixtures of normals have thinner tails than months have
RATE = 0.1
SMALLEST_FACTOR, LARGEST_FACTOR = 0.4, 4.0
FAR = 1.8  # half widths; a 90% interval of t with eight degrees of freedom times this is one of 99%
CLEAN_WINDOWS = 2


class BackTest(NamedTuple):
    """An estimate made before its labels came, with its interval, and what they said."""

    value: float
    lo: float
    hi: float
    realised: float

    @property
    def miss(self) -> float:
        """How far off, in half widths of the interval on that side: above 1 is outside; signed."""
        apart = self.realised - self.value
        half = self.hi - self.value if apart > 0 else self.value - self.lo
        return apart / half if half > 0 else math.copysign(math.inf, apart) if apart else 0.0


def factor(tested: Sequence[BackTest]) -> float:
    """By what the next interval's half widths are multiplied, from what became of the ones before, oldest first.

    >>> inside, outside = BackTest(0.8, 0.7, 0.9, 0.81), BackTest(0.8, 0.7, 0.9, 0.95)
    >>> factor([]), factor([outside]) > factor([]) > factor([inside] * 5)
    (1.1, True)
    """
    found = FIRST_FACTOR
    for each in tested:
        found *= math.exp(RATE * ((abs(each.miss) > 1) - (1 - LEVEL)))
        found = min(LARGEST_FACTOR, max(SMALLEST_FACTOR, found))
    return found


def broken(tested: Sequence[BackTest]) -> bool:
    """Whether estimates no longer hold, from matured windows, oldest first.

    They break when a window lies far outside its interval, or two in a row outside on the same side, and hold
    again after two windows inside.

    >>> inside, far = BackTest(0.8, 0.7, 0.9, 0.81), BackTest(0.8, 0.7, 0.9, 0.5)
    >>> broken([inside, far]), broken([far, inside]), broken([far, inside, inside])
    (True, True, False)
    """
    state, clean, before = False, 0, 0.0
    for each in tested:
        miss = each.miss
        if abs(miss) > FAR or (abs(miss) > 1 and abs(before) > 1 and (miss > 0) == (before > 0)):
            state, clean = True, 0
        else:
            clean = clean + 1 if abs(miss) <= 1 else 0
            state = state and clean < CLEAN_WINDOWS
        before = miss
    return state


def rmse(tested: Sequence[BackTest]) -> float | None:
    """Root mean square of estimate minus realised; None before any.

    >>> rmse([BackTest(0.8, 0.7, 0.9, 0.9), BackTest(0.8, 0.7, 0.9, 0.7)])
    0.1
    """
    if not tested:
        return None
    return round(math.sqrt(sum((each.value - each.realised) ** 2 for each in tested) / len(tested)), 12)
