"""An estimate anchored at what was measured last: how far it may be trusted is learned from matured windows.

An estimate from calibrated scores sees what comes in and is blind to what the scores mean now; the last measured
value is the other way round. For the matured parts of time with estimate x and realised value y the model is

    y = level + b x + noise,   level a random walk

with the weight b of the estimate (0: the last values alone, 1: the estimate corrected by its last errors), the
speed of the walk and the noise beyond sampling unknown. All combinations on a grid are filtered side by side
(Kalman), each weighs as much as it explained, and the answer is their mixture. West & Harrison 1997, ch. 12
(multi-process models); the estimate is a control variate whose coefficient is learned.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.late import special

Floats = np.ndarray[Any, np.dtype[np.float64]]

WEIGHTS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
# Standard deviations per part of time and per value, in units of `unit_of`, with their prior weights. Chosen on the
# models of one airport of three; decision 0019 says how they did on the rest.
# The last step is a break: anything may have happened.
STEPS = np.array([0.005, 0.01, 0.02, 0.03, 0.05, 0.2])
PRIOR_STEPS = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.25])
NOISES = np.array([0.004, 0.012, 0.03, 0.06, 0.1, 0.15])
PRIOR_NOISES = np.array([0.5, 1.0, 1.0, 2.0, 2.0, 1.0])
SURPRISE = 4.0  # standard deviations; beyond it one value says no more against a combination, so that it can recover
# How far the estimate itself may be off before anything has been measured.
FIRST_SD = 0.08
MOST_STEPS = 12.0  # a longer pause says no more about how far things have moved
_SMALLEST = 1e-12


class Forecast(NamedTuple):
    """A mixture of normal distributions, one per combination of the grid."""

    shares: Floats
    means: Floats
    sds: Floats

    @property
    def mean(self) -> float:
        return float(self.shares @ self.means)

    @property
    def sd(self) -> float:
        square = float(self.shares @ (self.sds**2 + self.means**2))
        return math.sqrt(max(0.0, square - self.mean**2))

    def quantile(self, level: float) -> float:
        """By bisection between the outermost quantiles of the parts."""
        ends: Floats = self.means + float(special.ndtri(level)) * self.sds
        scales: Floats = np.maximum(self.sds, _SMALLEST)
        lo, hi = float(ends.min()), float(ends.max())
        for _ in range(50):
            middle = (lo + hi) / 2
            below = float(self.shares @ special.ndtr((middle - self.means) / scales))
            lo, hi = (middle, hi) if below < level else (lo, middle)
        return (lo + hi) / 2


def forecast(
    realised: Floats,
    estimated: Floats,
    variances: Floats,
    at: Floats,
    *,
    next_estimate: float,
    next_variance: float,
    next_at: float,
    next_parts: int = 1,
    unit: float,
) -> Forecast:
    """The value of a window without labels, from the parts of time before it that have them.

    realised, estimated, variances: shape (n,), n >= 0, in order of time; variances: of sampling, of the
    realised value around what the part's rows should give. at: when each part was, in parts. next_*: the same
    of the window, which is `next_parts` long and whose middle is at `next_at`; next_variance: of sampling and of
    the estimate's calibration. unit: from `unit_of`.

    >>> quiet = forecast(np.full(8, 0.8), np.full(8, 0.8), np.full(8, 1e-4), np.arange(8.0),
    ...     next_estimate=0.8, next_variance=1e-4, next_at=8.0, unit=0.4)
    >>> round(quiet.mean, 3), quiet.sd < 0.03
    (0.8, True)
    """
    weight, step, noise, prior = _grid(unit)
    # Before anything is measured the value is the estimate itself, give or take.
    origin = float(estimated[-1]) if len(estimated) else next_estimate
    level, spread = (1 - weight) * origin, np.full(len(weight), (FIRST_SD * unit) ** 2)
    evidence = np.log(prior)
    before = float(at[0]) if len(at) else next_at
    for y, x, v, when in zip(realised, estimated, variances, at, strict=True):
        spread = spread + step**2 * min(MOST_STEPS, when - before)
        before = when
        total = spread + noise**2 + v
        miss = y - level - weight * x
        evidence = evidence - 0.5 * (np.minimum(miss**2 / total, SURPRISE**2) + np.log(total))
        gain = spread / total
        level, spread = level + gain * miss, spread * (1 - gain)
    shares = np.exp(evidence - evidence.max())
    ahead = min(MOST_STEPS, max(0.0, next_at - before))
    spread = spread + step**2 * ahead + noise**2 / max(1, next_parts) + next_variance
    return Forecast(shares / shares.sum(), level + weight * next_estimate, np.sqrt(spread))


def unit_of(metric: str, value: float) -> float:
    """The scale on which values of a metric differ: sqrt(a (1 - a)) for shares and areas, the value for losses.

    >>> unit_of("accuracy", 0.5), unit_of("mae", 12.0)
    (0.5, 12.0)
    """
    if metric in ("mae", "rmse", "brier"):
        return max(abs(value), _SMALLEST)
    inside = min(max(value, 0.02), 0.98)
    return float(np.sqrt(inside * (1 - inside)))


def _grid(unit: float) -> tuple[Floats, Floats, Floats, Floats]:
    weight, step, noise = (each.ravel() for each in np.meshgrid(WEIGHTS, STEPS * unit, NOISES * unit, indexing="ij"))
    prior = np.broadcast_to(np.outer(PRIOR_STEPS, PRIOR_NOISES), (len(WEIGHTS), len(STEPS), len(NOISES))).ravel()
    return weight, step, noise, prior / prior.sum()
