"""Answers of two releases to the same rows compared as they come, and the watch over a switch."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlspine.core.types import Schema, Signature
from mlspine.rollouts import watching
from mlspine.rollouts.apart import MARGIN, apart, order_says
from mlspine.rollouts.counts import MINUTE_MS, Compared, Counts, Minute
from mlspine.rollouts.deciding import lowest_mean

Array = np.ndarray[Any, np.dtype[Any]]
NEVER = 10**9
MOST = 0.5


def first_disagreement(older: Array, newer: Array, bound: float, *, every: int = 10) -> int:
    """After how many compared rows the two are said to differ more than `bound`, NEVER if not; looked at all along."""
    gaps = np.abs(older - newer)
    total, squares = np.cumsum(gaps), np.cumsum(gaps**2)
    for n in range(every, len(gaps) + 1, every):
        compared = Compared(n, n, 0, float(total[n - 1]), float(squares[n - 1]), 0)
        if lowest_mean(compared, about=min(bound, 0.5)) > bound:
            return n
    return NEVER


def scores(rng: np.random.Generator, rows: int, sharpness: float) -> Array:
    """Scores of a model: the larger, the surer."""
    drawn: Array = 1 / (1 + np.exp(-rng.normal(scale=sharpness, size=rows)))
    return drawn


def refitted(rng: np.random.Generator, older: Array, apart: float) -> Array:
    """Scores of the same model fitted again."""
    logit = np.log(older / (1 - older)) + rng.normal(scale=apart, size=len(older))
    return 1 / (1 + np.exp(-logit))


def pair_bound(older: Array, newer: Array) -> float:
    """What is taken of a pair, by 200 rows both recorded."""
    return min(MOST, float(np.abs(older[:200] - newer[:200]).mean()) + MARGIN)


def opposed(older: Array, newer: Array) -> bool:
    """Whether the recorded rows alone say that one of the two is the wrong way round."""
    two = Signature(inputs=Schema(fields=()), task="binary", classes=(0, 1))
    said = [[{"prediction": int(each > 0.5), "score": float(each)} for each in answers] for answers in (older, newer)]
    return order_says(apart(said[0], said[1], two, two).agreement).against


def watched(
    rng: np.random.Generator,
    *,
    per_minute: float,
    fault: str = "",
    minutes: int = 30,
    base: tuple[float, float] = (0.01, 0.03),
) -> tuple[int, str]:
    """The minute of a breach after a switch (NEVER: none) and what it was for.

    The base rate of failures moves within its range over a day, and there are outages, before and after the switch.
    fault: "slow": every answer is 100 ms later; "failures": 5% fail beyond the base.
    """
    phase, hour = rng.random(), 60
    time = np.arange(-hour, minutes)
    rate = base[0] + (base[1] - base[0]) * (1 + np.sin(2 * np.pi * (time / 1440 + phase))) / 2
    for start in rng.integers(-hour, minutes, rng.poisson(6 * (hour + minutes) / 1440)):
        rate[start + hour : start + hour + int(rng.integers(1, 11))] = rng.uniform(0.2, 0.6)
    n = rng.poisson(per_minute, len(time))
    after = time >= 0
    failures = rng.binomial(n, np.minimum(1.0, rate + 0.05 * after * (fault == "failures")))
    slow = np.where(after & (fault == "slow"), n, rng.binomial(n, 0.01))
    record = Counts(int(n[~after].sum()), int(failures[~after].sum()), slow=int(slow[~after].sum()))
    asked = rng.binomial(n - failures, 0.2)  # the release before, on what was answered
    also = rng.binomial(asked, rate)
    seen: list[Minute] = []
    for at in range(hour, hour + minutes):
        counts = Counts(int(n[at]), int(failures[at]), slow=int(slow[at]))
        seen.append(Minute(0, at * MINUTE_MS, 1.0, Counts(int(asked[at]), int(also[at])), counts))
        found = watching.look(seen, record)
        if found.breach:
            return at - hour + 1, found.metric
    return NEVER, ""
