"""Quality per level of a logged column: where the model is worse than elsewhere, beyond chance. Pure.

Many slices are looked at together, so one of them looks bad by chance: each difference to the rest of the rows is held
to 1% divided by the number of slices (Bonferroni). A slice with few rows is shown with its interval and not judged.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from mlspine.core.types import Columns, Interval, Metric, Scalar, Struct, Task
from mlspine.monitoring.performance import tolerance_of
from mlspine.stats.interval import difference
from mlspine.stats.score import measure

Array = np.ndarray[Any, np.dtype[Any]]

LEVELS_AT_MOST = 50
NUMBER_BINS = 5
MIN_ROWS = 100
LEVEL = 0.99
REST = "(all others)"


class QualitySlice(Struct, frozen=True, kw_only=True):
    """One level of a column: its figure, and how it differs from that of all other rows.

    difference: slice less rest, at 99% for all slices together; None where either has too few rows. worse: certain,
    and by at least the tolerance of the metric.
    """

    level: str
    rows: int
    metric: Metric
    difference: Interval | None = None
    worse: bool = False
    why: str = ""


def slices(
    labelled: Columns,
    values: Array,
    *,
    task: Task,
    classes: tuple[Scalar, ...] = (),
    min_rows: int = MIN_ROWS,
) -> list[QualitySlice]:
    """The quality of each level of a column against the rest, the worst first; [] without labels.

    labelled: columns prediction, score, label, shape (n,); values: the column's, shape (n,). Numbers with more than
    50 values are cut at their quintiles; of more than 50 levels the most frequent are shown.

    >>> y = np.arange(1000) % 2; right = np.where(np.arange(1000) < 500, y, 1 - y)
    >>> found = slices({"prediction": right, "score": np.full(1000, np.nan), "label": y},
    ...     np.repeat(["a", "b"], 500), task="multiclass")
    >>> [(each.level, each.metric.interval.value, each.worse) for each in found]
    [('b', 0.0, True), ('a', 1.0, False)]
    """
    levels, place = _levels(values)
    counts = np.bincount(place, minlength=len(levels))
    judged = max(1, int(((counts >= min_rows) & (len(values) - counts >= min_rows)).sum()))
    found = []
    for number, level in enumerate(levels):
        inside = place == number
        mine, rest = (_metric(labelled, part, task, classes) for part in (inside, ~inside))
        if mine is None:
            continue
        rows = int(inside.sum())
        enough = min(rows, len(values) - rows) >= min_rows
        found.append(_compared(level, rows, mine, rest if enough else None, judged))
    return sorted(found, key=lambda each: (not each.worse, _gap(each)))


def _compared(level: str, rows: int, mine: Metric, rest: Metric | None, judged: int) -> QualitySlice:
    if mine.interval is None or rest is None or rest.interval is None:
        return QualitySlice(level=level, rows=rows, metric=mine, why="too few rows to compare")
    change = difference(mine.interval, rest.interval, level=1 - (1 - LEVEL) / judged)
    loss = -change.value if mine.higher_is_better else change.value
    certain = change.hi < 0 if mine.higher_is_better else change.lo > 0
    limit = tolerance_of(mine.name, rest.interval.value)
    worse = certain and loss >= limit
    others = f"{rest.interval.value:.3g} on all others"
    why = (
        f"worse than {others} by {loss:.3g}"
        if worse
        else f"{others}; " + ("within tolerance" if certain else "no certain difference")
    )
    return QualitySlice(level=level, rows=rows, metric=mine, difference=change, worse=worse, why=why)


def _metric(labelled: Columns, part: Array, task: Task, classes: tuple[Scalar, ...]) -> Metric | None:
    score = labelled["score"][part].astype(np.float64)
    scores = None if not len(score) or np.isnan(score).all() else score
    measured = measure(task, labelled["label"][part], labelled["prediction"][part], scores, classes, rows_from="labels")
    return measured[0] if measured else None


def _levels(values: Array) -> tuple[list[str], Array]:
    """The levels as text, and the place of each row among them."""
    if values.dtype.kind in "iuf" and len(np.unique(values[~np.isnan(values.astype(np.float64))])) > LEVELS_AT_MOST:
        return _quintiles(values.astype(np.float64))
    texts = np.array(["(missing)" if _absent(value) else str(value) for value in values.tolist()], dtype=object)
    names, place, counts = np.unique(texts.astype(str), return_inverse=True, return_counts=True)
    if len(names) <= LEVELS_AT_MOST:
        return names.tolist(), place
    kept = np.sort(np.argsort(-counts, kind="stable")[:LEVELS_AT_MOST])
    new = np.full(len(names), LEVELS_AT_MOST)
    new[kept] = np.arange(LEVELS_AT_MOST)
    return [*names[kept].tolist(), REST], new[place]


def _quintiles(values: Array) -> tuple[list[str], Array]:
    edges = np.unique(np.nanquantile(values, np.arange(1, NUMBER_BINS) / NUMBER_BINS))
    place = np.searchsorted(edges, values, side="left")
    place[np.isnan(values)] = len(edges) + 1
    names = [f"<= {edges[0]:.4g}"]
    names += [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
    names += [f"> {edges[-1]:.4g}", "(missing)"]
    return names[: int(place.max()) + 1], place


def _absent(value: Any) -> bool:
    return value is None or value != value


def _gap(found: QualitySlice) -> float:
    if found.difference is None:
        return float("inf")
    return found.difference.value if found.metric.higher_is_better else -found.difference.value
