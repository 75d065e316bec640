"""Traffic of two releases side by side, drawn look by look: days, bursts, customers. Knows nothing of the rules."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
DAY = 1440  # minutes


class World(NamedTuple):
    """Counts per rollout and look, shape (rollouts, looks) each; share and step per look, shape (looks,)."""

    share: Array
    step: Array
    minute: Array  # the minute of the clock in which the look lies
    requests: tuple[Array, Array]  # live, candidate
    bad: tuple[Array, Array]
    first: tuple[Array, Array]  # of a unit only its first


def schedule(ends: tuple[int, ...], steps: tuple[float, ...], looks: int) -> tuple[Array, Array]:
    """Step and share per look; `ends` are the looks at which steps end."""
    step = np.searchsorted(np.array(ends), np.arange(looks), side="right").clip(max=len(steps) - 1)
    return step, np.array(steps)[step]


def day(
    rng: np.random.Generator,
    rollouts: int,
    *,
    ends: tuple[int, ...],
    steps: tuple[float, ...] = (0.05, 0.25, 0.5),
    per_minute: float = 60.0,
    base: tuple[float, float] = (0.01, 0.03),
    bursts: bool = True,
    units: bool = False,
    stalls: bool = False,
    seen_again: bool = True,
) -> World:
    """A day of two identical releases, a look per minute.

    base: the failing share moves between these over the day, at another hour in each rollout, and traffic by half.
    bursts: six outages a day of 1 to 10 minutes in which 20 to 60% fail, whoever is asked.
    units: 2,000 customers of very different size stay with their release, and 20 of them fail in every request of
    theirs: some ten an hour. seen_again: such failures are known to be the same customer's.
    stalls: now and then one arm alone is slow for a moment: all requests of five seconds.
    """
    looks = DAY
    step, share = schedule(ends, steps, looks)
    phase = rng.random((rollouts, 1)) * DAY
    wave = np.sin(2 * np.pi * (np.arange(looks) + phase) / DAY)
    n = rng.poisson(per_minute * (1 + 0.5 * wave))
    rate = base[0] + (base[1] - base[0]) * (1 + np.sin(2 * np.pi * (np.arange(looks) + phase * 1.7) / DAY)) / 2
    if bursts:
        rate = np.maximum(rate, _bursts(rng, rollouts, looks))
    dealt = _dealt_to_customers(rng, rollouts, step, share) if units else np.broadcast_to(share, n.shape)
    candidate = rng.binomial(n, dealt)
    live = n - candidate
    bad = rng.binomial(live, rate), rng.binomial(candidate, rate)
    if stalls:
        bad = tuple(each + _stalled(rng, arm) for each, arm in zip(bad, (live, candidate), strict=True))
        bad = tuple(np.minimum(each, arm) for each, arm in zip(bad, (live, candidate), strict=True))
    first = bad
    if units:
        live, candidate, bad, first = _broken_customers(rng, live, candidate, bad, step, share, seen_again)
    return World(share, step, np.arange(looks), (live, candidate), bad, first)


def planted(
    rng: np.random.Generator, rollouts: int, *, rate: float, base: float, per_look: float, looks: int, share: float
) -> World:
    """A candidate that fails `rate` of its requests beyond the base; looks of five seconds."""
    n = rng.poisson(per_look, (rollouts, looks))
    candidate = rng.binomial(n, share)
    live = n - candidate
    bad = rng.binomial(live, base), rng.binomial(candidate, base + rate)
    minute = np.arange(looks) // 12
    return World(np.full(looks, share), np.zeros(looks, dtype=int), minute, (live, candidate), bad, bad)


def _bursts(rng: np.random.Generator, rollouts: int, looks: int) -> Array:
    rate = np.zeros((rollouts, looks))
    for run in range(rollouts):
        for _ in range(rng.poisson(6)):
            start, length = rng.integers(looks), rng.integers(1, 11)
            rate[run, start : start + length] = rng.uniform(0.2, 0.6)
    return rate


def _dealt_to_customers(rng: np.random.Generator, rollouts: int, step: Array, share: Array) -> Array:
    """The part of the requests that the candidate's customers make, per rollout and look."""
    weight = rng.lognormal(sigma=1.5, size=(rollouts, 2000))
    place = rng.random((rollouts, 2000))
    by_step = {number: (weight * (place < share[step == number][0])).sum(1) / weight.sum(1) for number in set(step)}
    found = np.stack([by_step[number] for number in sorted(by_step)], axis=1)
    return found[:, step]


def _broken_customers(
    rng: np.random.Generator,
    live: Array,
    candidate: Array,
    bad: tuple[Array, ...],
    step: Array,
    share: Array,
    seen_again: bool,
) -> tuple[Array, Array, tuple[Array, Array], tuple[Array, Array]]:
    rollouts, looks = live.shape
    place = rng.random((rollouts, 20))
    more = np.zeros((2, rollouts, looks), dtype=np.int64)
    once = np.zeros((2, rollouts, looks), dtype=np.int64)
    rows = np.arange(rollouts)
    for customer in range(20):
        known = np.full(rollouts, -1)  # the step in which it was seen
        for hour in range(looks // 60):
            active = rng.random(rollouts) < 0.3
            at = hour * 60 + rng.integers(0, 60, rollouts)
            many = rng.geometric(0.1, rollouts) * active
            arm = (place[:, customer] < share[at]).astype(int)
            np.add.at(more, (arm, rows, at), many)
            new = active & (known != step[at]) if seen_again else active
            np.add.at(once, (arm, rows, at), np.where(new, 1 if seen_again else many, 0))
            known = np.where(active, step[at], known)
    whole = bad[0] + more[0], bad[1] + more[1]
    return live + more[0], candidate + more[1], whole, (bad[0] + once[0], bad[1] + once[1])


def _stalled(rng: np.random.Generator, requests: Array) -> Array:
    """Requests of five seconds in an arm's stalls, one in some five hours."""
    return np.where(rng.random(requests.shape) < 1 / 300, rng.binomial(requests, 5 / 60), 0)
