"""Which rows a candidate is fitted on and which judge it. Pure: positions in, positions out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
GATE_SHARE = 0.25
MOST_GATE_ROWS = 50_000


class Split(NamedTuple):
    """Positions to fit on and to judge on, and how the latter were chosen, with {} for whose rows they are."""

    fit: Array
    gate: Array
    said: str


def split(rows: int, at_ms: Array | None, *, seed: int) -> Split:
    """The newest quarter judges; where no time tells them apart, a random quarter.

    Rows of the moment at the border all judge, so nothing is fitted on what happened with a row that judges.

    >>> [each.tolist() for each in split(8, np.arange(8) * 10, seed=0)[:2]]
    [[0, 1, 2, 3, 4, 5], [6, 7]]
    """
    wanted = min(MOST_GATE_ROWS, max(1, round(rows * GATE_SHARE)))
    if at_ms is not None:
        border = np.sort(at_ms)[rows - wanted]
        newest = at_ms >= border
        if newest.sum() <= rows / 2:
            return Split(np.flatnonzero(~newest), np.flatnonzero(newest), "the newest rows of {}")
    order = np.random.default_rng(seed).permutation(rows)
    why = "nothing dates them" if at_ms is None else "most carry one time"
    return Split(np.sort(order[wanted:]), np.sort(order[:wanted]), f"rows of {{}} drawn at random, since {why}")
