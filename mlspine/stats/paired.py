"""How much better one model is than another on the same rows, with the interval that pairing earns.

Both answer the same rows, so what is hard for one is hard for the other and cancels: the interval of the gain is
much shorter than that of either figure. F1 counts in cells (truth, answer of one, answer of the other), and a
bootstrap of rows is exactly one multinomial draw of those cells, at a cost free of the number of rows. Errors
of numbers are compared by their mean (MAE), as a ratio: a squared error would let a handful of rows decide.

Where few rows are answered differently, drawing only from what was seen takes luck for proof (four of four in
favour say "never worse"). So before drawing, those cells and their mirror images, in which the two answers change
places, share two rows more: four of four in favour then come out as chance in 6.4% of draws, the exact sign test
says 6.25%. The gain itself stays as counted.
Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap; the added rows after Agresti & Min 2005,
Statistics in Medicine 24.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Interval, Scalar, Struct, Task
from mlspine.stats import interval as intervals
from mlspine.stats.score import BOOTSTRAP_MAX_ROWS, as_numbers, class_index, is_missing

Array = np.ndarray[Any, np.dtype[Any]]
LEVEL = 0.90  # two-sided, so the lower end is the one-sided 95% bound
RESAMPLES = 4_000
DRAWN_AT_ONCE = 4_000_000
LEAST_ROWS = 50
LEAST_POSITIVES = 10  # fewer rows of the class that F1 is about say nothing of it
ADDED_ROWS = 2.0


class Gain(Struct, frozen=True, kw_only=True):
    """Candidate over Production on the same rows; positive means better, `reason` why there is none.

    metric: "f1" (second class), "macro_f1" or "mae". relative: the gain is a share of Production's error, else a
    difference. interval: the gain, its lower end the one-sided 95% bound; error: its standard error.
    differing: rows the two answer differently. needed: rows that would do, where there are too few.
    """

    metric: str
    relative: bool
    rows: int
    production: float = 0.0
    candidate: float = 0.0
    differing: int = 0
    interval: Interval | None = None
    error: float = 0.0
    needed: int = 0
    reason: str = ""


def paired_gain(
    task: Task,
    labels: Array,
    production: Array,
    candidate: Array,
    classes: Sequence[Scalar],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Gain:
    """The gain of `candidate` over `production`, both predictions for the rows of `labels`; shape (n,) each.

    classes: all labels the models know; a label that is none of them is answered wrongly by both. Rows without
    a label are left out, and for numbers those that are not finite.

    >>> y = np.tile([0, 1, 1, 0], 25); a = np.tile([0, 1, 0, 0], 25)
    >>> gain = paired_gain("binary", y, a, y, (0, 1)); round(gain.production, 3), gain.candidate
    (0.667, 1.0)
    """
    if task == "regression":
        return _of_numbers(as_numbers(labels), as_numbers(production), as_numbers(candidate), resamples, seed)
    if task == "other":
        return Gain(metric="quality", relative=False, rows=0, reason="the model's task is not known")
    kept = ~is_missing(labels)
    truth, a, b = (class_index(each[kept], classes) for each in (labels, production, candidate))
    return _of_classes(task, truth, a, b, resamples, seed)


# ---------------------------------------------------------------- classes


class _Cells(NamedTuple):
    """Rows by (truth, answer, other answer), and what each cell adds to hits and sizes of each judged class."""

    counts: Array  # (m,)
    likely: Array  # (m,), summing to 1
    hits: tuple[Array, Array]  # (m, k), of one model and the other
    sizes: tuple[Array, Array]


def _of_classes(task: Task, truth: Array, a: Array, b: Array, resamples: int, seed: int) -> Gain:
    metric = "f1" if task == "binary" else "macro_f1"
    rows, positives = len(truth), int((truth == 1).sum())
    blank = Gain(metric=metric, relative=False, rows=rows, differing=int((a != b).sum()))
    if rows < LEAST_ROWS:
        return _too_few(blank, LEAST_ROWS, f"{rows} labelled rows are too few")
    if task == "binary" and positives < LEAST_POSITIVES:
        needed = math.ceil(rows * LEAST_POSITIVES / max(positives, 1))
        return _too_few(blank, needed, f"{positives} of {rows:,} rows are of the class that F1 is about")
    judged = np.array([1]) if task == "binary" else np.unique(truth[truth >= 0])
    if not len(judged):
        return _too_few(blank, rows, "no label is a class of the models")
    cells = _cells(truth, a, b, judged)
    before, after = (float(_f1(cells.counts[None, :], cells, of)[0]) for of in (0, 1))
    drawn = _drawn(cells, rows, resamples, np.random.default_rng(seed))
    return _with(blank, before, after, after - before, drawn)


def _cells(truth: Array, a: Array, b: Array, judged: Array) -> _Cells:
    seen, counts = _counted(truth, a, b)
    differing = seen[seen[:, 1] != seen[:, 2]]
    added = np.unique(np.concatenate([differing, differing[:, [0, 2, 1]]]), axis=0)
    share = ADDED_ROWS / max(len(added), 1)
    cells, place = np.unique(np.concatenate([seen, added]), axis=0, return_inverse=True)
    place = place.reshape(-1)
    counted = np.bincount(place[: len(seen)], counts, len(cells))
    smoothed = counted + np.bincount(place[len(seen) :], np.full(len(added), share), len(cells))
    t, first, second = (cells[:, at, None] == judged for at in range(3))
    return _Cells(
        counts=counted,
        likely=smoothed / smoothed.sum(),
        hits=((t & first).astype(np.float64), (t & second).astype(np.float64)),
        sizes=(t.astype(np.float64) + first, t.astype(np.float64) + second),
    )


def _counted(truth: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """The cells that occur, shape (m, 3), and the rows in each."""
    wide = int(max(truth.max(), a.max(), b.max())) + 2  # positions start at -1, "no class"
    codes, counts = np.unique(((truth + 1) * wide + a + 1) * wide + b + 1, return_counts=True)
    cells = np.column_stack([codes // wide**2, codes // wide % wide, codes % wide]) - 1
    return cells, counts


def _f1(counts: Array, cells: _Cells, of: int) -> Array:
    """F1, the mean over the judged classes, of each row of counts (draws, m); 0 for a class nobody has."""
    sizes = counts @ cells.sizes[of]
    shares: Array = (2.0 * (counts @ cells.hits[of]) / np.maximum(sizes, 1e-300)).mean(axis=1)
    return shares


def _drawn(cells: _Cells, rows: int, resamples: int, rng: np.random.Generator) -> Array:
    """Gains of so many bootstrap samples."""
    at_once = max(1, DRAWN_AT_ONCE // len(cells.likely))
    gains = []
    for begin in range(0, resamples, at_once):
        counts = rng.multinomial(rows, cells.likely, size=min(at_once, resamples - begin)).astype(np.float64)
        gains.append(_f1(counts, cells, 1) - _f1(counts, cells, 0))
    return np.concatenate(gains)


# ---------------------------------------------------------------- numbers


def _of_numbers(truth: Array, a: Array, b: Array, resamples: int, seed: int) -> Gain:
    usable = np.isfinite(truth) & np.isfinite(a) & np.isfinite(b)
    before, after = np.abs(a - truth)[usable], np.abs(b - truth)[usable]
    rows = len(before)
    blank = Gain(metric="mae", relative=True, rows=rows, differing=int((a != b)[usable].sum()))
    if rows < LEAST_ROWS:
        return _too_few(blank, LEAST_ROWS, f"{rows} labelled rows are too few")
    mean = float(before.mean())
    if mean == 0.0:
        return _too_few(blank, rows, "Production makes no error at all on these rows, so no share of it can be gained")
    gain = 1.0 - float(after.mean()) / mean
    if rows > BOOTSTRAP_MAX_ROWS:  # seconds that buy nothing: the ratio of two means is as good as normal
        error = float(((1.0 - gain) * before - after).std(ddof=1)) / mean / math.sqrt(rows)
        half = float(special.ndtri((1 + LEVEL) / 2)) * error
        interval = Interval(value=gain, lo=gain - half, hi=gain + half, level=LEVEL, method="delta")
        return _told(blank, mean, float(after.mean()), interval, error)

    def figure(at: Array) -> float:
        below = float(before[at].mean())
        return 1.0 - float(after[at].mean()) / below if below else math.nan

    resamples = min(resamples, intervals.RESAMPLES)  # each costs a pass over the rows
    interval = intervals.bootstrap(figure, rows, level=LEVEL, resamples=resamples, seed=seed)
    error = (interval.hi - interval.lo) / (2.0 * float(special.ndtri((1 + LEVEL) / 2)))
    return _told(blank, mean, float(after.mean()), interval, error)


# ---------------------------------------------------------------- inside


def _with(blank: Gain, before: float, after: float, gain: float, drawn: Array) -> Gain:
    lo, hi = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    interval = Interval(
        value=gain, lo=min(float(lo), gain), hi=max(float(hi), gain), level=LEVEL, method="paired bootstrap"
    )
    return _told(blank, before, after, interval, float(drawn.std()))


def _told(blank: Gain, before: float, after: float, interval: Interval, error: float) -> Gain:
    return msgspec.structs.replace(blank, production=before, candidate=after, interval=interval, error=error)


def _too_few(blank: Gain, needed: int, reason: str) -> Gain:
    return msgspec.structs.replace(blank, needed=needed, reason=reason)
