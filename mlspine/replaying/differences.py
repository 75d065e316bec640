"""Two sets of answers to the same rows: where they disagree, by how much, and who was right. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Scalar, Task
from mlspine.replaying.found import Cell, Crossing, Reproduced, Right, Shift
from mlspine.stats import interval
from mlspine.stats.levels import is_missing
from mlspine.stats.paired import paired_gain

Array = np.ndarray[Any, np.dtype[Any]]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
RELATIVE = 1e-9  # what counts as the same number, as when a release is loaded
TOLERANCE_SD = 0.1  # of A's answers: numbers that differ by less agree, unless somebody says otherwise
MOST_CELLS = 100


class Answers(NamedTuple):
    """What a release answered for n rows. score: NaN where it gives none."""

    prediction: Array  # (n,), Python values
    score: Array  # (n,), floats

    @property
    def size(self) -> int:
        return len(self.prediction)


def joined(parts: Sequence[Answers]) -> Answers:
    """Parts under one another."""
    if not parts:
        return Answers(np.empty(0, dtype=object), np.empty(0))
    return Answers(np.concatenate([each.prediction for each in parts]), np.concatenate([each.score for each in parts]))


def default_tolerance(task: Task, a: Answers) -> float:
    """From which difference on two numbers disagree; 0 for labels.

    >>> round(default_tolerance("regression", Answers(np.array([0.0, 2.0]), np.array([0.0, 2.0]))), 2)
    0.1
    """
    return TOLERANCE_SD * float(a.score.std()) if task == "regression" and a.size else 0.0


def disagree(a: Answers, b: Answers, *, task: Task, tolerance: float = 0.0) -> Array:
    """Whether the two disagree, per row: another label, or numbers further apart than `tolerance`.

    >>> labels = [np.array(each, dtype=object) for each in (["x", "y"], ["x", "x"])]
    >>> disagree(*(Answers(each, np.full(2, np.nan)) for each in labels), task="multiclass").tolist()
    [False, True]
    """
    if task == "regression":
        apart = np.abs(a.score - b.score)
        least = np.maximum(tolerance, RELATIVE * np.abs(a.score))
        return np.asarray((apart > least) | (np.isnan(a.score) != np.isnan(b.score)))
    return ~_same(a.prediction, b.prediction)


def distance(a: Answers, b: Answers, *, task: Task, scored: bool) -> Array:
    """How different two answers to a row are, for ranking: rows with another label before all others, then by score."""
    apart = np.nan_to_num(np.abs(b.score - a.score)) if scored else np.zeros(a.size)
    return apart if task == "regression" else apart + 10.0 * disagree(a, b, task=task)


def shift(a: Answers, b: Answers) -> Shift | None:
    """How the scores moved from A to B; None where nothing has two scores.

    >>> nothing = np.zeros(3); moved = np.array([0.0, 0.1, 0.2])
    >>> found = shift(Answers(nothing, nothing), Answers(nothing, moved)); (round(found.mean.value, 2), found.up)
    (0.1, 2)
    """
    change = b.score - a.score
    change = change[np.isfinite(change)]
    if not len(change):
        return None
    least = RELATIVE * np.maximum(np.abs(change).max(), 1e-300)
    return Shift(
        mean=interval.mean(change),
        mean_size=float(np.abs(change).mean()),
        largest=float(change[np.abs(change).argmax()]),
        quantiles={str(q): float(value) for q, value in zip(QUANTILES, np.quantile(change, QUANTILES), strict=True)},
        up=int((change > least).sum()),
        down=int((change < -least).sum()),
        rows=len(change),
    )


def crossing(a: Answers, b: Answers, *, threshold: float) -> Crossing | None:
    """Rows whose scores lie on different sides of a threshold; None without scores."""
    known = np.isfinite(a.score) & np.isfinite(b.score)
    if not known.any():
        return None
    was, now = a.score[known] >= threshold, b.score[known] >= threshold
    up, down = int((now & ~was).sum()), int((was & ~now).sum())
    return Crossing(threshold=threshold, up=up, down=down, share=interval.wilson(up + down, int(known.sum())))


def matrix(a: Answers, b: Answers) -> tuple[Cell, ...]:
    """How often each pair of labels occurs, the most frequent first, at most MOST_CELLS."""
    pairs = Counter(zip(_plain(a.prediction), _plain(b.prediction), strict=True))
    return tuple(Cell(a=one, b=other, rows=rows) for (one, other), rows in pairs.most_common(MOST_CELLS))


def reproduced(version: int, logged: Answers, again: Answers, ids: Sequence[str]) -> Reproduced:
    """What a release answers again against what the log says it answered.

    >>> one = Answers(np.array([1, 0], dtype=object), np.array([0.9, 0.2]))
    >>> other = Answers(np.array([1, 0], dtype=object), np.array([0.9, 0.3]))
    >>> found = reproduced(3, one, other, ["r:0", "r:1"]); (found.same, round(found.worst, 3), found.example)
    (1, 0.1, 'r:1')
    """
    apart = np.abs(logged.score - again.score)
    unscored = np.isnan(logged.score) & np.isnan(again.score)
    close = unscored | (apart <= np.maximum(RELATIVE * np.abs(logged.score), 1e-15))
    same = close & _same(logged.prediction, again.prediction, loosely=True)
    known = np.isfinite(apart)
    wrong = np.flatnonzero(~same)
    worst = int(np.where(known, apart, -1.0).argmax()) if known.any() else -1
    shown = worst if worst >= 0 and not same[worst] else int(wrong[0]) if len(wrong) else -1
    return Reproduced(
        version=version,
        rows=again.size,
        same=int(same.sum()),
        worst=float(apart[worst]) if worst >= 0 else None,
        example=ids[shown] if shown >= 0 else "",
    )


def together(parts: Sequence[Reproduced]) -> Reproduced | None:
    """Several parts of one release as one; None without any row."""
    parts = [each for each in parts if each.rows]
    if not parts:
        return None
    worst = max(parts, key=lambda each: (each.same < each.rows, -1.0 if each.worst is None else each.worst))
    return Reproduced(
        version=worst.version,
        rows=sum(each.rows for each in parts),
        same=sum(each.same for each in parts),
        worst=worst.worst,
        example=worst.example,
    )


def right(
    task: Task, labels: Array, a: Answers, b: Answers, differing: Array, classes: Sequence[Scalar]
) -> Right | None:
    """Which of the two was right, on rows with their labels; None without rows. differing: where they disagree.

    p is that of the exact sign test on the rows where one alone was right.
    """
    if not len(labels):
        return None
    if task == "regression":
        truth = labels.astype(np.float64)
        first, second = np.abs(a.score - truth), np.abs(b.score - truth)
        of_a, of_b = differing & (first < second), differing & (second < first)
    else:
        hit_a, hit_b = (_same(each.prediction, labels, loosely=True) for each in (a, b))
        of_a, of_b = differing & hit_a & ~hit_b, differing & hit_b & ~hit_a
    alone_a, alone_b = int(of_a.sum()), int(of_b.sum())
    return Right(
        rows=len(labels),
        differing=int(differing.sum()),
        a=alone_a,
        b=alone_b,
        neither=int(differing.sum()) - alone_a - alone_b,
        p=sign_p(alone_a, alone_b),
        gain=paired_gain(task, labels, _answered(task, a), _answered(task, b), classes),
    )


def sign_p(one: int, other: int) -> float:
    """Two-sided p that two counts come from a fair coin (exact sign test).

    >>> round(sign_p(0, 5), 4), sign_p(3, 3)
    (0.0625, 1.0)
    """
    n = one + other
    return min(1.0, 2.0 * float(special.bdtr(min(one, other), n, 0.5))) if n else 1.0


def _answered(task: Task, answers: Answers) -> Array:
    return answers.score if task == "regression" else answers.prediction


def _same(one: Array, other: Array, *, loosely: bool = False) -> Array:
    """Row by row, whether two labels are the same; loosely: also where one is the text of the other."""
    pairs = zip(_plain(one), _plain(other), strict=True)
    same = [a == b or (loosely and a is not None and b is not None and str(a) == str(b)) for a, b in pairs]
    return np.array(same, dtype=np.bool_)


def _plain(values: Array) -> list[Any]:
    """Python values with None for whatever is missing, and whole floats as the integers they spell."""
    listed: list[Any] = values.tolist()
    return [None if is_missing(value) else value for value in listed]
