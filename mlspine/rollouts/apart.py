"""How two releases differ on the rows both recorded at ship: what disagreement is to be expected of the pair.

The mean difference there, and a margin, is what is taken while both are asked; never more than a bound, since a
release that was wrong at ship differs there as well. Where both order the rows in opposite ways, one of them has its
answers the wrong way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.types import Signature
from mlspine.rollouts.deciding import Evidence

MARGIN = 0.1
OPPOSITE = -0.3  # rank correlation
ROWS_TO_ORDER = 20

Answers = Sequence[dict[str, Any]]


class Apart(NamedTuple):
    """mean: of the differences per row, 0 to 1. agreement: rank correlation of the scores, 1 where there is none."""

    mean: float
    agreement: float


def apart(older: Answers, newer: Answers, a: Signature, b: Signature) -> Apart:
    """How the answers of two releases to the same rows differ, by the measure of `core.plan.ArmTally`.

    >>> from mlspine.core.types import Schema
    >>> two = Signature(inputs=Schema(fields=()), task="binary", classes=(0, 1))
    >>> here = [{"prediction": 0, "score": at / 40} for at in range(40)]
    >>> there = [{"prediction": 1, "score": 1 - at / 40} for at in range(40)]
    >>> found = apart(here, there, two, two); round(found.mean, 3), round(found.agreement, 3)
    (0.5, -1.0)
    """
    scores = [each["score"] for each in (*older, *newer)]
    if a.task == "regression":
        mine, theirs = (
            np.array([each["prediction"] for each in answers], dtype=np.float64) for answers in (older, newer)
        )
        spread = float(mine.std()) or 1.0
        gaps = np.minimum(np.nan_to_num(np.abs(mine - theirs) / spread, nan=1.0), 1.0)
        return Apart(_mean(gaps), _agreement(mine, theirs))
    if None in scores or not scores:
        gaps = np.array([one["prediction"] != two["prediction"] for one, two in zip(older, newer, strict=True)], float)
        return Apart(_mean(gaps), 1.0)
    mine, theirs = (np.array([each["score"] for each in answers], dtype=np.float64) for answers in (older, newer))
    gaps = np.minimum(np.nan_to_num(np.abs(mine - theirs), nan=1.0), 1.0)
    comparable = a.task == "binary" and a.classes == b.classes
    return Apart(_mean(gaps), _agreement(mine, theirs) if comparable else 1.0)


def taken(found: Apart, most: float) -> float:
    """The mean disagreement that is taken of a pair, `most` at most."""
    return min(most, found.mean + MARGIN)


def order_says(agreement: float) -> Evidence:
    """What the order of the recorded rows says."""
    return Evidence(
        metric="order",
        older=1.0,
        newer=agreement,
        against=agreement < OPPOSITE,
        says="the two releases order the recorded rows in opposite ways: rank correlation"
        f" {agreement:.2f}, so one of them has its scores the wrong way round",
    )


def _mean(gaps: np.ndarray[Any, Any]) -> float:
    return float(gaps.mean()) if len(gaps) else 0.0


def _agreement(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    a, b = _ranks(a[known]), _ranks(b[known])
    if len(a) < ROWS_TO_ORDER or not a.std() or not b.std():
        return 1.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ranks, those of equal values their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[place]
