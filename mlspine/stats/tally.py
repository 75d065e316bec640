"""Answers and outcomes counted by score: all that estimating quality needs to keep of a window's rows.

Rows fall into cells (answer, score bin). For rows with a label the outcomes are summed per cell: which class it
was, or how far off the number was. Tallies of the same bins add up, so a month is the sum of its weeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.errors import Corrupt
from mlspine.core.types import Columns, Scalar, Struct, Task
from mlspine.stats.score import as_numbers, class_index, is_missing

Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

QUANTILES = 256
EVEN_STEPS = 64  # beside the quantiles, so that scores that wander off still tell rows apart
CLASS_BINS = 64
DAY_MS = 86_400_000
MOST_DAYS = 100
MOST_CLASSES = 20  # a tally has a cell per class, answer and bin


class Bins(Struct, frozen=True, kw_only=True):
    """How a model's answers are laid out in cells. classes: () for numbers."""

    task: Task
    classes: tuple[Scalar, ...]
    edges: tuple[float, ...]  # bins are (edge, next edge]; the first and the last are open
    centres: tuple[float, ...]  # mean score of each bin, one more than edges

    @property
    def answers(self) -> int:
        return max(1, len(self.classes))

    @property
    def scored(self) -> bool:
        return len(self.centres) > 1


class Tally(NamedTuple):
    """Rows by cell, shape (answers, bins), and outcomes by cell of those with a label.

    rows: all of them; labelled: those with a label. outcomes, binary: (1, answers, bins) rows of the second
    class; multiclass: (classes, answers, bins) rows by true class; regression: (3, 1, bins) sums of the absolute
    error and of its second and fourth power.
    """

    rows: Floats
    labelled: Floats
    outcomes: Floats

    def __add__(self, other: Any) -> Tally:
        return Tally(self.rows + other.rows, self.labelled + other.labelled, self.outcomes + other.outcomes)


def bins_of(task: Task, classes: Sequence[Scalar], scores: Floats) -> Bins | None:
    """Bins for scores such as these; None for a task, or a number of classes, that cannot be tallied.

    scores: shape (n,), NaN left out; without any there is one bin, and only answers are told apart.

    >>> bins_of("binary", (0, 1), np.array([0.2, 0.2, 0.9])).edges
    (0.2,)
    """
    classes = () if task == "regression" else tuple(classes)
    if task == "other" or (task == "binary" and len(classes) != 2) or len(classes) > MOST_CLASSES:
        return None
    if task == "multiclass" and len(classes) < 2:
        return None
    known = scores[np.isfinite(scores)]
    edges = _edges(known, CLASS_BINS if task == "multiclass" else QUANTILES)
    place = np.searchsorted(edges, known, side="left")
    counts = np.bincount(place, minlength=len(edges) + 1)
    sums = np.bincount(place, known, len(edges) + 1)
    middles = _middles(edges)
    centres = np.divide(sums, counts, out=middles, where=counts > 0)
    return Bins(task=task, classes=classes, edges=tuple(edges.tolist()), centres=tuple(centres.tolist()))


def tally(bins: Bins, columns: Columns) -> Tally:
    """Count rows: columns prediction, score and, where there is one, label; rows without an answer are left out.

    >>> bins = bins_of("binary", (0, 1), np.array([0.2, 0.9]))
    >>> rows = {"prediction": np.array([0, 1]), "score": np.array([0.2, 0.9]), "label": np.array([0, 1])}
    >>> counted = tally(bins, rows)
    >>> counted.rows.tolist(), counted.outcomes[0].tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]])
    """
    if bins.task == "regression":
        return _tally_numbers(bins, columns)
    answer = class_index(columns["prediction"], bins.classes)
    cell, cells = _cell(bins, columns, answer), bins.answers * len(bins.centres)
    usable = cell >= 0
    rows = np.bincount(cell[usable], minlength=cells).astype(np.float64)
    labels = columns.get("label")
    kinds = 1 if bins.task == "binary" else bins.answers
    if labels is None:
        return _shaped(bins, rows, np.zeros(cells), np.zeros(kinds * cells))
    truth = class_index(labels, bins.classes)
    known = usable & (truth >= 0)
    labelled = np.bincount(cell[known], minlength=cells).astype(np.float64)
    if bins.task == "binary":
        outcomes = np.bincount(cell[known & (truth == 1)], minlength=cells).astype(np.float64)
    else:
        outcomes = np.bincount(truth[known] * cells + cell[known], minlength=kinds * cells).astype(np.float64)
    return _shaped(bins, rows, labelled, outcomes)


def empty(bins: Bins) -> Tally:
    """The tally of no rows."""
    cells = bins.answers * len(bins.centres)
    kinds = {"binary": 1, "regression": 3}.get(bins.task, bins.answers)
    return _shaped(bins, np.zeros(cells), np.zeros(cells), np.zeros(kinds * cells))


# ---------------------------------------------------------------- kept in a release


class Kept(Struct, frozen=True, kw_only=True):
    """Tallies of labelled rows by part of their time, as a release carries them. Cells are sparse."""

    bins: Bins
    rows_from: str  # "holdout" or "out-of-fold"
    parts: tuple[tuple[int, int], ...]  # event time, from (included) to (excluded); (0, 0) where not dated
    cells: tuple[tuple[int, ...], ...]  # per part, places in the flat outcomes with the labelled rows before them
    values: tuple[tuple[float, ...], ...]


def encode(bins: Bins, parts: Sequence[tuple[int, int, Tally]], *, rows_from: str) -> bytes:
    """Labelled tallies as bytes, the same for the same tallies."""
    flat = [np.concatenate([each.labelled.ravel(), each.outcomes.ravel()]) for _, _, each in parts]
    places = [np.flatnonzero(each) for each in flat]
    kept = Kept(
        bins=bins,
        rows_from=rows_from,
        parts=tuple((start, end) for start, end, _ in parts),
        cells=tuple(tuple(place.tolist()) for place in places),
        values=tuple(tuple(each[place].tolist()) for each, place in zip(flat, places, strict=True)),
    )
    return msgspec.msgpack.encode(kept)


def decode(data: bytes) -> tuple[Bins, list[tuple[int, int, Tally]], str]:
    """Read them back: bins, (from, to, tally) per part, and where the rows came from. Raises Corrupt."""
    try:
        kept = msgspec.msgpack.decode(data, type=Kept)
        blank = empty(kept.bins)
        parts = []
        for (start, end), place, values in zip(kept.parts, kept.cells, kept.values, strict=True):
            flat = np.zeros(blank.labelled.size + blank.outcomes.size)
            flat[np.array(place, dtype=np.int64)] = values
            labelled = flat[: blank.labelled.size].reshape(blank.labelled.shape)
            outcomes = flat[blank.labelled.size :].reshape(blank.outcomes.shape)
            parts.append((start, end, Tally(labelled, labelled, outcomes)))
    except (msgspec.MsgspecError, ValueError, IndexError) as exc:
        raise Corrupt(f"the tallies of a release cannot be read: {exc}") from exc
    return kept.bins, parts, kept.rows_from


def parts_of_days(event_at_ms: Array | None, rows: int) -> list[tuple[int, int, Array]]:
    """Days (UTC) with rows, oldest first, as (from, to, positions); weeks beyond a hundred days; one part undated.

    >>> [(start, end, where.tolist()) for start, end, where in parts_of_days(np.array([5, 86_400_001, 7]), 3)]
    [(0, 86400000, [0, 2]), (86400000, 172800000, [1])]
    """
    if event_at_ms is None:
        return [(0, 0, np.arange(rows))]
    day = np.asarray(event_at_ms, dtype=np.int64) // DAY_MS
    length = 1 if len(np.unique(day)) <= MOST_DAYS else 7
    block = (day + 3) // length if length > 1 else day  # 1970-01-01 was a Thursday
    order = np.argsort(block, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(block[order]) > 0])
    shift = 3 if length > 1 else 0
    parts = []
    for where in np.split(order, starts[1:]):
        start = (int(block[where[0]]) * length - shift) * DAY_MS
        parts.append((start, start + length * DAY_MS, where))
    return parts


# ---------------------------------------------------------------- inside


def _edges(known: Floats, quantiles: int) -> Floats:
    distinct = np.unique(known)
    if len(distinct) <= quantiles:
        return distinct[:-1]
    # A value that is there marks the end of a bin: equal scores stay together.
    marks = np.quantile(known, np.arange(1, quantiles) / quantiles, method="lower")
    even = np.linspace(0.0, 1.0, EVEN_STEPS + 1)[1:-1] if distinct[0] >= 0.0 and distinct[-1] <= 1.0 else marks
    return np.unique(np.concatenate([marks, even]))


def _middles(edges: Floats) -> Floats:
    if not len(edges):
        return np.zeros(1)
    inner = (edges[:-1] + edges[1:]) / 2
    return np.concatenate([edges[:1], inner, edges[-1:]])


def _cell(bins: Bins, columns: Columns, answer: Array) -> Array:
    """The flat cell of each row, -1 for a row without an answer or, where there are scores, without a score."""
    if not bins.scored:
        return answer
    score = columns["score"].astype(np.float64)
    place = np.searchsorted(np.array(bins.edges), score, side="left")
    return np.where((answer >= 0) & ~np.isnan(score), answer * len(bins.centres) + place, -1)


def _tally_numbers(bins: Bins, columns: Columns) -> Tally:
    answer = as_numbers(columns["prediction"])
    usable = np.isfinite(answer)
    place = np.searchsorted(np.array(bins.edges), answer, side="left")
    cells = len(bins.centres)
    rows = np.bincount(place[usable], minlength=cells).astype(np.float64)
    labels = columns.get("label")
    if labels is None:
        return _shaped(bins, rows, np.zeros(cells), np.zeros(3 * cells))
    truth = as_numbers(labels)
    known = usable & ~is_missing(labels) & np.isfinite(truth)
    loss = np.abs(answer[known] - truth[known])
    sums = [np.bincount(place[known], loss**power, cells) for power in (1, 2, 4)]
    labelled = np.bincount(place[known], minlength=cells).astype(np.float64)
    return _shaped(bins, rows, labelled, np.concatenate(sums))


def _shaped(bins: Bins, rows: Floats, labelled: Floats, outcomes: Floats) -> Tally:
    cells = (bins.answers, len(bins.centres))
    return Tally(rows.reshape(cells), labelled.reshape(cells), outcomes.reshape(-1, *cells))
