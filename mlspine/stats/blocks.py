"""Intervals where rows depend: several predictions of one customer, or of one day, are less than so many rows say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Interval, Metric, Scalar, Task
from mlspine.stats.interval import midranks
from mlspine.stats.score import PRIMARY, as_numbers, class_index, is_missing

Array = np.ndarray[Any, np.dtype[Any]]

METHOD = "by blocks"
MIN_BLOCKS = 10


def clustered(value: float, influence: Array, blocks: Array, *, level: float = 0.95) -> Interval:
    """A figure with an interval for rows that come in blocks, from its influence values; all shape (n,).

    The variance is that of the blocks' sums, so rows of one block may depend in any way; with few blocks Student's t.
    Equal to the bootstrap of whole blocks in the first order, at the cost of one pass.
    Raises ValueError with fewer than 2 blocks.
    Source: Liang & Zeger 1986, Biometrika 73; Obuchowski 1997, Biometrics 53 (areas under the curve).

    >>> x = np.array([1., 1., 1., 0., 0., 0.]); one = clustered(0.5, x - 0.5, np.arange(6))
    >>> two = clustered(0.5, x - 0.5, np.array([0, 0, 0, 1, 1, 1])); bool(two.hi > one.hi)
    True
    """
    _, place = np.unique(blocks, return_inverse=True)
    sums = np.bincount(place, weights=influence)
    count = len(sums)
    if count < 2:
        raise ValueError("one block says nothing of its own spread")
    se = math.sqrt(float((sums**2).sum()) * count / (count - 1)) / len(influence)
    half = float(special.stdtrit(count - 1, (1 + level) / 2)) * se
    return Interval(value=value, lo=value - half, hi=value + half, level=level, method=f"{METHOD}, {count:,}")


def measure(
    task: Task, labels: Array, prediction: Array, scores: Array | None, classes: Sequence[Scalar], blocks: Array
) -> Metric | None:
    """The primary figure of a task with an interval by blocks: auc (accuracy without scores), accuracy, or mae.

    None for a task without one; NOT_ESTIMABLE with fewer than 10 blocks, or labels of one class.
    """
    known = ~is_missing(labels)
    labels, prediction, blocks = labels[known], prediction[known], blocks[known]
    if task == "other":
        return None
    if task == "regression":
        name, (value, influence) = PRIMARY[task], _mean(np.abs(as_numbers(prediction) - as_numbers(labels)))
    else:
        classes = classes or tuple(sorted({*labels.tolist(), *prediction.tolist()}, key=str))
        truth, answer = class_index(labels, classes), class_index(prediction, classes)
        name, (value, influence) = "accuracy", _mean(1.0 * ((truth == answer) & (truth >= 0)))
        both = 0 < (truth == 1).sum() < len(truth)
        if task == "binary" and scores is not None and both:
            name, (value, influence) = "auc", _auc(truth == 1, scores[known])
    usable = np.isfinite(influence)
    count = len(np.unique(blocks[usable]))
    higher = name != "mae"
    if count < MIN_BLOCKS:
        reason = f"{count} blocks say too little, {MIN_BLOCKS} are needed"
        return Metric(name=name, status="NOT_ESTIMABLE", rows=len(labels), reason=reason, higher_is_better=higher)
    interval = clustered(value, influence[usable], blocks[usable])
    return Metric(
        name=name,
        status="ESTIMATED",
        interval=interval,
        rows=int(usable.sum()),
        rows_from="labels",
        reason=f"{count:,} blocks",
        higher_is_better=higher,
    )


def _mean(values: Array) -> tuple[float, Array]:
    value = float(np.nanmean(values)) if len(values) else math.nan
    return value, values - value


def _auc(positive: Array, scores: Array) -> tuple[float, Array]:
    """The area, and each row's influence on it: DeLong's components, scaled to the rows of all."""
    n, m = len(scores), int(positive.sum())
    ranks = midranks(scores)
    above = (ranks[positive] - midranks(scores[positive])) / (n - m)
    below = 1.0 - (ranks[~positive] - midranks(scores[~positive])) / m
    value = float(above.mean())
    influence = np.empty(n)
    influence[positive] = (above - value) * n / m
    influence[~positive] = (below - value) * n / (n - m)
    return value, influence
