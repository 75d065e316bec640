"""What was counted of two releases side by side, minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

MINUTE_MS, HOUR_MS = 60_000, 3_600_000


class Counts(NamedTuple):
    """One arm's requests and what became of them; see `core.plan.ArmTally`."""

    requests: int = 0
    failures: int = 0
    failed_again: int = 0
    slow: int = 0
    slow_again: int = 0
    broken: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(*map(sum, zip(self, other, strict=True)))

    @property
    def failed_first(self) -> int:
        """Failures that are evidence each for itself: of a unit only its first."""
        return max(0, self.failures - self.failed_again)

    @property
    def slow_first(self) -> int:
        return max(0, self.slow - self.slow_again)


NOTHING = Counts()


class Compared(NamedTuple):
    """How the answers of two releases to the same rows differed, each row by 0 to 1."""

    requests: int = 0
    rows: int = 0
    flips: int = 0
    difference: float = 0.0
    difference_squared: float = 0.0
    dropped: int = 0

    @property
    def mean(self) -> float:
        return self.difference / self.rows if self.rows else 0.0


UNCOMPARED = Compared()


class Minute(NamedTuple):
    """Both arms in one minute of one step; `share` of the requests was dealt to the candidate."""

    step: int
    at_ms: int
    share: float
    live: Counts
    candidate: Counts


class Strata(NamedTuple):
    """Both arms by (step, hour), shape (strata,) each: what is compared is of the same hour and the same share."""

    step: Array
    share: Array
    live: tuple[Counts, ...]
    candidate: tuple[Counts, ...]

    def of(self, name: str) -> tuple[Array, Array]:
        """One count of the live arm and of the candidate."""
        live, candidate = (
            np.array([getattr(each, name) for each in arm], dtype=np.float64) for arm in (self.live, self.candidate)
        )
        return live, candidate


def strata(minutes: Sequence[Minute]) -> Strata:
    """The minutes put together by step and hour.

    >>> two = [Minute(0, at, 0.05, Counts(95), Counts(5)) for at in (0, 60_000, HOUR_MS)]
    >>> strata(two).of("requests")[0].tolist()
    [190.0, 95.0]
    """
    found: dict[tuple[int, int], list[Minute]] = {}
    for each in minutes:
        found.setdefault((each.step, each.at_ms // HOUR_MS), []).append(each)
    return Strata(
        np.array([step for step, _ in found], dtype=np.float64),
        np.array([group[0].share for group in found.values()], dtype=np.float64),
        tuple(summed([each.live for each in group]) for group in found.values()),
        tuple(summed([each.candidate for each in group]) for group in found.values()),
    )


def summed(counts: Sequence[Counts]) -> Counts:
    total = NOTHING
    for each in counts:
        total = total.plus(each)
    return total
