"""When a change began: a step in a column's hourly counts, with the hours it cannot be told apart from.

Counts become one number per hour: the mean log ratio of what the window holds to what the same hours of the day
held before, large where rows look like the window. A daily cycle is fitted along with the step where two days
are there; the step's hour is the one that leaves the least unexplained. The interval holds every hour whose fit
is nearly as good; spread beyond that of independent rows widens it.

Sources: Hinkley 1970, Biometrika 57 (change point by likelihood); Siegmund 1988 (sets by likelihood ratio);
McCullagh and Nelder 1989 (dispersion).

>>> rng = np.random.default_rng(0)
>>> shares = np.array([[0.5, 0.5]] * 30 + [[0.3, 0.7]] * 10)
>>> counts = np.array([rng.multinomial(200, row) for row in shares])
>>> found = step(counts, np.arange(40), reference=np.array([1000, 1000]), last=3)
>>> found.at, found.lo <= 30 <= found.hi
(30, True)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlspine.stats.profile import Array, Floats, Ints

# Twice the log likelihood by which an hour may fit worse and stay in the interval, found by simulation: with it
# the true hour lay inside in 95% of trials or more (docs/decisions/0021).
ALLOWANCE = 7.0
# A step must gain this much over no step at all (the largest of some hundred hours tried by chance: 99%).
LEAST_GAIN = 16.0
LARGEST_SCORE = 3.0
CYCLE_HOURS = 24
LEAST_CYCLES = 2
LEAST_HOURS = 4
LEAST_ROWS = 200  # before the window, and
LEAST_MATCHED = 0.8  # of the window's rows in hours of the day that are there, to compare with them
ROUNDS = 3


class Step(NamedTuple):
    """The first changed hour as a position among those given, and the positions it may be."""

    at: int
    lo: int
    hi: int
    gain: float  # twice the log likelihood over no step


def step(counts: Ints, hour: Ints, *, reference: Ints, last: int) -> Step | None:
    """The hour from which rows look like the last ones rather than like those before; None when there is no step.

    counts: rows per hour and bin, shape (hours, bins), oldest first; some dozen bins at most. hour: the number of
    each hour since 1970, ascending; hours may be missing. last: of them so many at the end are the window.
    reference: counts per bin, compared with where there is no history of the same hours of the day.
    """
    kept = np.flatnonzero(counts.sum(axis=1) > 0)
    held, hours = counts[kept], hour[kept]
    if kept.size < LEAST_HOURS or not reference.sum():
        return None
    now = kept >= len(counts) - last
    found = None
    for _ in range(ROUNDS):
        if not now.any():
            break
        found = _found(held, hours, _scores_of(held, hours, now, reference))
        if found is None:
            return None
        # Where it began says which rows are changed, and these say better what the change is.
        now = np.arange(kept.size) >= found.at
    return found and Step(int(kept[found.at]), int(kept[found.lo]), int(kept[found.hi]), found.gain)


def scores(reference: Floats | Ints, window: Floats | Ints) -> Floats:
    """Log ratio of the window's share of each bin to the reference's, beyond one standard error; bounded.

    >>> scores(np.array([500, 500]), np.array([250, 750])).round(2).tolist()
    [-0.61, 0.35]
    """
    p = (reference + 0.5) / (reference + 0.5).sum()
    q = (window + 0.5) / (window + 0.5).sum()
    ratio = np.log(q / p)
    error = np.sqrt(1 / (reference + 0.5) + 1 / (window + 0.5))
    beyond = np.sign(ratio) * np.maximum(0.0, np.abs(ratio) - error)
    return np.asarray(np.clip(beyond, -LARGEST_SCORE, LARGEST_SCORE))


def _scores_of(counts: Ints, hour: Ints, now: Array, reference: Ints) -> Floats:
    """Scores against earlier rows of the same hours of the day, weighted to be as many of each; else the reference."""
    after, before = counts[now], counts[~now]
    of_day = hour % CYCLE_HOURS
    wanted = np.bincount(of_day[now], weights=after.sum(axis=1), minlength=CYCLE_HOURS)
    there = np.bincount(of_day[~now], weights=before.sum(axis=1), minlength=CYCLE_HOURS)
    matched = float(wanted[there > 0].sum() / wanted.sum())
    if matched < LEAST_MATCHED or before.sum() < LEAST_ROWS:
        return scores(reference, after.sum(axis=0))
    weight = np.where(there > 0, wanted / np.maximum(there, 1), 0.0)[of_day[~now]]
    mixed = (before * weight[:, None]).sum(axis=0)
    effective = float((before.sum(axis=1) * weight).sum() ** 2 / (before.sum(axis=1) * weight**2).sum())
    return scores(mixed * effective / mixed.sum(), after.sum(axis=0))


def _found(counts: Ints, hour: Ints, score: Floats) -> Step | None:
    n = counts.sum(axis=1).astype(np.float64)
    mean = (counts @ score) / n
    variance = np.maximum(0.0, (counts @ np.square(score)) / n - mean**2)
    within = float((variance * n).sum() / n.sum())
    if within <= 0 and not np.ptp(mean):
        return None
    best, positions = _scanned(mean, n / max(within, 1e-6), hour)
    if best is None:
        return None
    gains, chosen = best
    allowed = positions[gains >= gains[chosen] - ALLOWANCE]
    return Step(int(positions[chosen]), int(allowed.min()), int(allowed.max()), float(gains[chosen]))


def _scanned(mean: Floats, weight: Floats, hour: Ints) -> tuple[tuple[Floats, int] | None, Ints]:
    """Gain of a step up at each position, in units of the dispersion left by the best one."""
    hours = mean.size
    positions = np.arange(1, hours)
    steps = (np.arange(hours)[:, None] >= positions).astype(np.float64)
    basis = _cycle(hour)
    y = _residual(mean[:, None], basis, weight)[:, 0]
    x = _residual(steps, basis, weight)
    scale = weight @ np.square(x)
    told = scale > 1e-9 * weight.sum()
    along = (weight * y) @ x
    up = told & (along > 0)
    gains = np.where(up, along**2 / np.where(told, scale, 1.0), 0.0)
    chosen = int(gains.argmax())
    left = float(weight @ np.square(y)) - float(gains[chosen])
    dispersion = max(1.0, left / max(1, hours - basis.shape[1] - 1))
    gains = gains / dispersion
    if gains[chosen] < LEAST_GAIN:
        return None, positions
    return (gains, chosen), positions


def _cycle(hour: Ints) -> Array:
    """A level; with a day or more a wave of 24 hours on it; with enough days a level per hour of the day."""
    of_day = hour % CYCLE_HOURS
    covered = hour[-1] - hour[0] + 1
    if covered >= LEAST_CYCLES * CYCLE_HOURS:
        return np.asarray((of_day[:, None] == np.unique(of_day)).astype(np.float64))
    level = np.ones((hour.size, 1))
    if covered < CYCLE_HOURS + LEAST_HOURS:
        return level
    turn = 2 * np.pi * of_day[:, None] / CYCLE_HOURS
    return np.hstack([level, np.sin(turn), np.cos(turn)])


def _residual(values: Floats, basis: Array, weight: Floats) -> Floats:
    """What a weighted fit of the basis leaves of each column."""
    root = np.sqrt(weight)[:, None]
    fitted, *_ = np.linalg.lstsq(basis * root, values * root, rcond=None)
    return np.asarray(values - basis @ fitted)
