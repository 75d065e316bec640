"""The rules on many rollouts at once: those of the product by its own formulas, and others beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri, xlog1py, xlogy

from benchmarks.rollouts.worlds import World
from mlspine.rollouts import guards
from mlspine.rollouts.deciding import MISDEALT, ODDS
from mlspine.stats import dealt
from mlspine.stats.sequential import log_e_value

Array = np.ndarray[Any, np.dtype[Any]]
NEVER = 10**9


class Returned(NamedTuple):
    """The look of the return per rollout, NEVER where there was none, by what it was for."""

    evidence: Array
    guard: Array
    misdealt: Array

    @property
    def any(self) -> Array:
        return np.minimum(np.minimum(self.evidence, self.guard), self.misdealt)


def product(world: World, *, margin: float = 0.01, steps: int = 3) -> Returned:
    """`deciding.decide` on every look of every rollout: failures alone, with its guards and the share dealt."""
    (live, candidate), (bad_live, bad), (first_live, first) = world.requests, world.bad, world.first
    rollouts, looks = live.shape
    closed = np.zeros((int(world.step.max()) + 1, rollouts, len(dealt.RATIOS)))
    weighed, weight = np.zeros(rollouts), np.zeros(rollouts)
    here = np.zeros((6, rollouts))  # of the stratum: requests, bad, first of both arms
    in_step, in_minute = np.zeros((2, rollouts)), np.zeros((4, rollouts))
    found = Returned(*(np.full(rollouts, NEVER) for _ in range(3)))
    for look in range(looks):
        now = int(world.step[look])
        if look and (world.minute[look] // 60, now) != (world.minute[look - 1] // 60, world.step[look - 1]):
            before = int(world.step[look - 1])
            closed[before] += _factors(here, world.share[look - 1])
            value, more = _difference(here)
            weighed, weight = weighed + value * more, weight + more
            here[:] = 0
            if now != before:
                in_step[:] = 0
        if look and world.minute[look] != world.minute[look - 1]:
            in_minute[:] = 0
        at = (slice(None), look)
        arrays = (live[at], candidate[at], bad_live[at], bad[at], first_live[at], first[at])
        here += arrays
        in_step += arrays[:2]
        in_minute += (arrays[0], arrays[1], arrays[2], arrays[5])
        open_ = _factors(here, world.share[look])
        log_odds = _log_odds(closed, open_, now)
        value, more = _difference(here)
        excess = np.divide(weighed + value * more, weight + more, out=np.zeros(rollouts), where=weight + more > 0)
        _note(found.evidence, (log_odds >= np.log(steps * ODDS)) & (excess >= margin / 2), look)
        plain = (in_minute[3] >= guards.AT_ONCE) & (in_minute[3] * 2 >= in_minute[1]) & (in_minute[2] == 0)
        _note(found.guard, plain & (in_minute[0] >= guards.AT_ONCE), look)
        _note(found.misdealt, misdealt(in_step[1], in_step.sum(0), world.share[look]), look)
    return found


def misdealt(candidate: Array, requests: Array, share: float, within: float = MISDEALT) -> Array:
    """`dealt.misdealt` by the evidence at the nearer edge instead of an interval."""
    odds = share / (1 - share)
    low, high = (each / (1 + each) for each in (odds / within, odds * within))
    had = np.divide(candidate, requests, out=np.full(len(requests), share), where=requests > 0)
    edge = np.where(had < low, low, np.where(had > high, high, np.nan))
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(log_e_value(candidate, requests, edge)) >= np.log(1000)


def pooled_z(world: World, *, level: float = 0.975) -> Array:
    """The z-test of two shares over all steps together, looked at every look: the look of its first alarm."""
    live, candidate, bad_live, bad = (np.cumsum(each, axis=1) for each in (*world.requests, *world.bad))
    with np.errstate(all="ignore"):
        pool = (bad + bad_live) / (live + candidate)
        z = (bad / candidate - bad_live / live) / np.sqrt(pool * (1 - pool) * (1 / live + 1 / candidate))
    return _first(np.nan_to_num(z) > ndtri(level))


def two_by_two(world: World, *, prior: float = 0.18, limit: float = ODDS, margin: float = 0.01) -> Array:
    """The exact 2x2 e-process, a block per look, with plug-in estimates of the (step, hour) so far.

    Source: Turner, Ly & Grünwald 2024, J. Stat. Plan. Inference; blocks of unequal arms.
    """
    (live, candidate), (bad_live, bad) = world.requests, world.bad
    rollouts, looks = live.shape
    log_e, here = np.zeros(rollouts), np.zeros((4, rollouts))
    weighed, weight = np.zeros(rollouts), np.zeros(rollouts)
    found = np.full(rollouts, NEVER)
    for look in range(looks):
        if look and (world.minute[look] // 60, world.step[look]) != (
            world.minute[look - 1] // 60,
            world.step[look - 1],
        ):
            value, more = _difference(here)
            weighed, weight = weighed + value * more, weight + more
            here[:] = 0
        n_a, n_b, k_a, k_b = live[:, look], candidate[:, look], bad_live[:, look], bad[:, look]
        a, b = ((here[2 + arm] + prior) / (here[arm] + 2 * prior) for arm in (0, 1))
        both = np.divide(n_a * a + n_b * b, n_a + n_b, out=a.copy(), where=n_a + n_b > 0)
        ratio = _log_f(k_a, n_a, a) + _log_f(k_b, n_b, b) - _log_f(k_a, n_a, both) - _log_f(k_b, n_b, both)
        log_e += np.where(b > a, ratio, 0.0)
        here += (n_a, n_b, k_a, k_b)
        value, more = _difference(here)
        excess = np.divide(weighed + value * more, weight + more, out=np.zeros(rollouts), where=weight + more > 0)
        _note(found, (log_e >= np.log(limit)) & (excess >= margin / 2), look)
    return found


def _log_f(k: Array, n: Array, p: Array) -> Array:
    value: Array = xlogy(k, p) + xlog1py(n - k, -p)
    return value


def _factors(here: Array, share: float) -> Array:
    return dealt.log_factors(here[4], here[5], dealt.exposure(here[0], here[1], share))


def _log_odds(closed: Array, open_: Array, now: int) -> Array:
    each = [dealt.log_evidence(closed[step] + (open_ if step == now else 0.0)) for step in range(now + 1)]
    return np.max(each, axis=0)


def _difference(here: Array) -> tuple[Array, Array]:
    """The candidate's share less the live one's in a stratum, and its Mantel-Haenszel weight."""
    n_a, n_b, k_a, k_b = here[:4]
    use = (n_a > 0) & (n_b > 0)
    with np.errstate(all="ignore"):
        value = np.where(use, k_b / n_b - k_a / n_a, 0.0)
        weight = np.where(use, n_a * n_b / (n_a + n_b), 0.0)
    return value, weight


def _note(found: Array, now: Array, look: int) -> None:
    found[now & (found == NEVER)] = look


def _first(flags: Array) -> Array:
    return np.where(flags.any(axis=1), flags.argmax(axis=1), NEVER)
