"""Quality from labels that came early, weighted to stand for all rows.

Labels that come first are rarely a random part: a loan defaults early, a late flight is late. Where the part that has
labels differs from all rows by its scores, each labelled row counts for 1/share of its score decile. That removes the
bias as far as earliness depends on the score, and on nothing else that matters: it is shown beside the plain figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Interval, Metric, Scalar, Task
from mlspine.stats.interval import wilson
from mlspine.stats.score import LOWER_IS_BETTER, as_numbers, class_index, is_missing

Array = np.ndarray[Any, np.dtype[Any]]

CLIP = 20.0
METHOD = "weighted by 1/share labelled"


class Weights(NamedTuple):
    """row: shape (n,), of each labelled row. uncovered: share of all rows in cells without any labelled row, for which
    nothing can be said; clipped: whether a weight was cut at the largest allowed."""

    row: Array
    uncovered: float
    clipped: bool

    @property
    def effective_rows(self) -> float:
        """(Σw)² / Σw²: so many equally weighted rows would say as much. Source: Kish 1965, Survey Sampling."""
        squares = float((self.row**2).sum())
        return float(self.row.sum()) ** 2 / squares if squares else 0.0


def inverse_shares(labelled: Array, cells: Array, *, clip: float = CLIP) -> Weights:
    """Weights of labelled rows, 1 over the share of their cell that has labels, cut at `clip`.

    labelled: the cell of each labelled row, shape (n,); cells: rows of each cell in all, shape (k,).
    Source: Horvitz & Thompson 1952, JASA 47; post-stratification (Holt & Smith 1979, JRSS-A 142).

    >>> weights = inverse_shares(np.array([0, 0, 1]), np.array([2, 4]))
    >>> weights.row.tolist(), round(weights.effective_rows, 2), weights.uncovered
    ([1.0, 1.0, 4.0], 2.0, 0.0)
    """
    counts = np.bincount(labelled, minlength=len(cells))
    per_cell = np.divide(cells, counts, out=np.zeros(len(cells)), where=counts > 0)
    uncovered = float(cells[counts == 0].sum() / max(1, cells.sum()))
    return Weights(np.minimum(per_cell, clip)[labelled], uncovered, bool((per_cell > clip).any()))


def auc(positives: Array, scores: Array, weights: Array, *, level: float = 0.95) -> Interval:
    """Weighted area under the curve: the chance that a positive outscores a negative, both drawn by weight.

    The variance is that of its influence values with their weights (DeLong's, where all weights are one), so the
    interval is as wide as the effective number of rows says; limits on the logit scale. The weights count as known,
    which errs on the wide side. Raises ValueError unless both classes are present.

    >>> auc(np.array([0, 0, 1, 1], bool), np.array([.1, .6, .4, .9]), np.ones(4)).value
    0.75
    """
    up, down = scores[positives], scores[~positives]
    w1, w0 = weights[positives], weights[~positives]
    if not len(up) or not len(down):
        raise ValueError("the area under the curve needs both classes")
    above = _weight_below(up, down, w0)  # per positive: weighted share of negatives it outranks
    below = 1.0 - _weight_below(down, up, w1)
    value = float((w1 * above).sum() / w1.sum())
    variance = _influence(w1, above - value) + _influence(w0, below - value)
    se = math.sqrt(variance)
    if not 0.0 < value < 1.0 or se < 1e-12:
        rows = min(float(w.sum()) ** 2 / float((w**2).sum()) for w in (w1, w0))
        room = 1.0 - ((1 - level) / 2) ** (1.0 / rows)
        return Interval(value=value, lo=max(0.0, value - room), hi=min(1.0, value + room), level=level, method=METHOD)
    logit, half = math.log(value / (1 - value)), _z(level) * se / (value * (1 - value))
    lo, hi = (float(special.expit(logit + side)) for side in (-half, half))
    return Interval(value=value, lo=lo, hi=hi, level=level, method=METHOD)


def ratio(above: Array, below: Array, weights: Array, *, level: float = 0.95) -> Interval:
    """A weighted ratio of sums, Σwa / Σwb; with `below` all ones, a weighted mean. Linearised variance.

    >>> ratio(np.array([1., 0., 1.]), np.ones(3), np.array([1., 1., 2.])).value
    0.75
    """
    total = float((weights * below).sum())
    if total <= 0:
        return Interval(value=math.nan, lo=-math.inf, hi=math.inf, level=level, method=METHOD)
    value = float((weights * above).sum()) / total
    n = len(weights)
    residual = weights * (above - value * below)
    half = _z(level) * math.sqrt(float((residual**2).sum()) * n / max(1, n - 1)) / total if n > 1 else math.inf
    return Interval(value=value, lo=value - half, hi=value + half, level=level, method=METHOD)


def measure(
    task: Task,
    labels: Array,
    prediction: Array,
    scores: Array | None,
    classes: Sequence[Scalar],
    weights: Weights,
    *,
    rows_from: str = "labels, weighted",
) -> tuple[Metric, ...]:
    """The figures of `score.measure` that have a weighted form, in the same order.

    binary: auc, accuracy, f1, brier; multiclass: accuracy; regression: mae, rmse; other: nothing. Rows without a
    label or a finite number are left out. scores: of the second class, shape (n,), None without any.
    """
    known = ~is_missing(labels)
    labels, prediction, w = labels[known], prediction[known], weights.row[known]
    if task == "other" or not known.any():
        return ()
    if task == "regression":
        figures = _errors(as_numbers(labels), as_numbers(prediction), w)
    else:
        classes = classes or tuple(sorted({*labels.tolist(), *prediction.tolist()}, key=str))
        truth, answer = class_index(labels, classes), class_index(prediction, classes)
        right = (truth == answer) & (truth >= 0)
        figures = {"accuracy": _share(right, w)}
        if task == "binary":
            figures = _binary(truth, answer, None if scores is None else scores[known], w) | figures
            figures = {name: figures[name] for name in ("auc", "accuracy", "f1", "brier") if name in figures}
    rows = len(labels)
    return tuple(
        Metric(
            name=name,
            status="PROVISIONAL",
            interval=interval,
            rows=rows,
            rows_from=rows_from,
            reason=f"as much as {weights.effective_rows:,.0f} rows",
            higher_is_better=name not in LOWER_IS_BETTER,
        )
        for name, interval in figures.items()
        if math.isfinite(interval.value) and math.isfinite(interval.lo) and math.isfinite(interval.hi)
    )


def _binary(truth: Array, answer: Array, scores: Array | None, w: Array) -> dict[str, Interval]:
    hit, either = (truth == 1) & (answer == 1), (truth == 1) | (answer == 1)
    # F1 = 2 TP / (rows of the class + rows answered as it)
    figures = {"f1": ratio(2.0 * hit, 1.0 * (truth == 1) + (answer == 1), w)} if either.any() else {}
    if scores is None:
        return figures
    usable = (truth >= 0) & ~np.isnan(scores)
    positive = truth[usable] == 1
    if positive.any() and not positive.all():
        figures["auc"] = auc(positive, scores[usable], w[usable])
    if usable.any():
        figures["brier"] = ratio((scores[usable] - positive) ** 2, np.ones(int(usable.sum())), w[usable])
    return figures


def _errors(truth: Array, answer: Array, w: Array) -> dict[str, Interval]:
    usable = np.isfinite(truth) & np.isfinite(answer)
    errors, w = (answer - truth)[usable], w[usable]
    if not len(errors):
        return {}
    ones = np.ones(len(errors))
    squared = ratio(errors**2, ones, w)
    root = math.sqrt(squared.value)
    half = (squared.hi - squared.value) / (2 * root) if root else 0.0
    rmse = Interval(value=root, lo=max(0.0, root - half), hi=root + half, level=squared.level, method=METHOD)
    return {"mae": ratio(np.abs(errors), ones, w), "rmse": rmse}


def _share(right: Array, w: Array) -> Interval:
    """Wilson's interval with the effective number of rows."""
    total = float(w.sum())
    share = float((w * right).sum()) / total
    rows = max(1, int(total**2 / float((w**2).sum())))
    found = wilson(share * rows, rows)
    return Interval(value=share, lo=found.lo, hi=found.hi, level=found.level, method=METHOD)


def _weight_below(values: Array, others: Array, weights: Array) -> Array:
    """Per value: the weighted share of the others below it, ties counting half."""
    order = np.argsort(others, kind="stable")
    cumulated = np.r_[0.0, np.cumsum(weights[order])]
    left, right = (np.searchsorted(others[order], values, side=side) for side in ("left", "right"))
    share: Array = (cumulated[left] + cumulated[right]) / (2 * cumulated[-1])
    return share


def _influence(weights: Array, residual: Array) -> float:
    n = len(weights)
    return float(((weights * residual) ** 2).sum()) / float(weights.sum()) ** 2 * n / max(1, n - 1)


def _z(level: float) -> float:
    return float(special.ndtri((1 + level) / 2))
