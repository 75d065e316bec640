"""How good predictions were, once the truth is known: every figure with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlspine.core.types import Interval, Metric, Scalar, Task
from mlspine.stats import interval as intervals

Array = np.ndarray[Any, np.dtype[Any]]

PRIMARY: dict[Task, str] = {"binary": "auc", "multiclass": "accuracy", "regression": "mae", "other": ""}
LOWER_IS_BETTER = frozenset({"mae", "rmse", "brier"})
# Above it the bootstrap's seconds buy nothing over the first-order normal interval.
BOOTSTRAP_MAX_ROWS = 20_000


def measure(
    task: Task,
    labels: Array,
    prediction: Array,
    probabilities: Array | None,
    classes: Sequence[Scalar],
    *,
    rows_from: str,
    level: float = 0.95,
) -> tuple[Metric, ...]:
    """The quality of n predictions against their labels, the primary metric first.

    binary: auc (DeLong; needs probabilities and both classes), accuracy (Wilson), f1 (second class), brier.
    multiclass: accuracy (Wilson), macro_f1. regression: mae, rmse, r2. other: nothing.
    labels, prediction: shape (n,); probabilities: (n, k) in the order of `classes`, or (n,) for the second
    class; classes: all labels the model knows, () to take those seen. Rows without a label, and numbers that
    are not finite, are left out and counted in `reason`; a label that is no class counts as a wrong answer.
    With no rows left: the primary metric as NOT_ESTIMABLE.

    >>> y = np.array([0, 1, 1, 0]); p = np.array([0.2, 0.9, 0.6, 0.4])
    >>> [(m.name, m.interval.value) for m in measure("binary", y, p > 0.5, p, (0, 1), rows_from="labels")][:2]
    [('auc', 1.0), ('accuracy', 1.0)]
    """
    if task == "other":
        return ()
    if task == "regression":
        figures, rows, note = _regression(labels, prediction, level)
    else:
        figures, rows, note = _classification(task, labels, prediction, probabilities, classes, level)
    if rows == 0:
        return (_no_metric(PRIMARY[task], rows_from, note),)
    return tuple(_metric(name, interval, rows, rows_from, note) for name, interval in figures.items())


def _metric(name: str, interval: Interval, rows: int, rows_from: str, note: str) -> Metric:
    """A figure whose interval has no end, as of a single row, is none."""
    bounded = math.isfinite(interval.value) and math.isfinite(interval.lo) and math.isfinite(interval.hi)
    return Metric(
        name=name,
        status="ESTIMATED" if bounded else "NOT_ESTIMABLE",
        interval=interval if bounded else None,
        rows=rows,
        rows_from=rows_from,
        reason=note if bounded else f"{rows} labelled rows say nothing about its spread",
        higher_is_better=name not in LOWER_IS_BETTER,
    )


def _no_metric(name: str, rows_from: str, note: str) -> Metric:
    return Metric(
        name=name,
        status="NOT_ESTIMABLE",
        rows_from=rows_from,
        reason="no row has a label" + (f" ({note})" if note else ""),
        higher_is_better=name not in LOWER_IS_BETTER,
    )


def class_index(values: Array, classes: Sequence[Scalar]) -> Array:
    """The position of each value in `classes`, -1 for one that is none; shape (n,).

    Numbers match by value (1, 1.0 and True are the same class), and text matches the class it spells, since
    label files know no types.

    >>> class_index(np.array(["1", 0, "no", None], dtype=object), (0, 1))
    array([ 1,  0, -1, -1])
    """
    places: dict[Any, int] = {spelling: i for i, each in enumerate(classes) for spelling in _spellings(each)}
    places |= {each: i for i, each in enumerate(classes)}  # the class itself wins over another's spelling
    if values.dtype.kind in "biu" or (values.dtype.kind == "f" and not np.isnan(values).any()):
        distinct, inverse = np.unique(values, return_inverse=True)
        found = np.array([places.get(value, -1) for value in distinct.tolist()], dtype=np.int64)
        return found[inverse.reshape(-1)] if len(distinct) else np.zeros(0, dtype=np.int64)
    return np.array([places.get(value, -1) for value in values.tolist()], dtype=np.int64)


def f1_interval(true_positives: int, errors: int, *, level: float = 0.95) -> Interval:
    """F1 from its counts: true positives, and false positives plus false negatives.

    F1 = 2θ / (1 + θ) with θ = TP / (TP + FP + FN), a share of the rows where either side says positive;
    Wilson's limits of θ carry over because F1 grows with θ. Without any such row F1 is 0 by convention and
    unknown between 0 and 1. Source: the identity of F1 (Dice) and Jaccard; Wilson 1927.

    >>> f1_interval(8, 4).value
    0.8
    """
    rows = true_positives + errors
    if rows == 0:
        return Interval(value=0.0, lo=0.0, hi=1.0, level=level, method="undefined")
    share = intervals.wilson(true_positives, rows, level=level)
    value, lo, hi = (2 * theta / (1 + theta) for theta in (share.value, share.lo, share.hi))
    return Interval(value=value, lo=lo, hi=hi, level=level, method="Wilson of TP/(TP+FP+FN)")


def macro_f1_interval(truth: Array, answer: Array, n_classes: int, *, level: float = 0.95) -> Interval:
    """Mean F1 over the classes seen on either side, with a bootstrap interval from the table of counts.

    truth, answer: class positions, shape (n,); a truth of -1 is a wrong answer for the class answered.
    Drawing cells of the confusion table multinomially is the row bootstrap, at a cost free of n.

    >>> macro_f1_interval(np.array([0, 1, 2]), np.array([0, 2, 1]), 3).value
    0.3333333333333333
    """
    cells, counts = np.unique((truth + 1) * (n_classes + 1) + answer + 1, return_counts=True)
    row, column = np.divmod(cells, n_classes + 1)  # 0 stands for "no class of the model"
    seen = np.unique(np.concatenate([row, column]))
    seen = seen[seen > 0]

    def figure(weights: Array) -> float:
        actual = np.bincount(row, weights, n_classes + 1)[seen]
        answered = np.bincount(column, weights, n_classes + 1)[seen]
        hits = np.bincount(row, weights * (row == column), n_classes + 1)[seen]
        return float(np.mean(2 * hits / np.maximum(actual + answered, 1e-300)))

    n = len(truth)
    draws = np.random.default_rng(0).multinomial(n, counts / n, size=intervals.RESAMPLES)
    lo, hi = np.quantile([figure(draw) for draw in draws], [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=figure(counts), lo=float(lo), hi=float(hi), level=level, method="bootstrap")


# ---------------------------------------------------------------- classification


def _classification(
    task: Task,
    labels: Array,
    prediction: Array,
    probabilities: Array | None,
    classes: Sequence[Scalar],
    level: float,
) -> tuple[dict[str, Interval], int, str]:
    present = ~is_missing(labels)
    labels, prediction = labels[present], prediction[present]
    classes = classes or _seen(labels, prediction)
    truth, answer = class_index(labels, classes), class_index(prediction, classes)
    rows = len(labels)
    notes = _count_note(int((~present).sum()), "without a label")
    notes += _count_note(int((truth < 0).sum()), f"labelled as no class of the model {_shown(labels, truth)}")
    if rows == 0:
        return {}, 0, "; ".join(notes)
    right = int(((truth == answer) & (truth >= 0)).sum())
    figures = {"accuracy": intervals.wilson(right, rows, level=level)}
    if task == "multiclass":
        figures["macro_f1"] = macro_f1_interval(truth, answer, len(classes), level=level)
        return figures, rows, "; ".join(notes)
    figures["f1"] = _f1(truth, answer, level)
    if probabilities is not None and len(classes) == 2:
        score = _second_class(probabilities[present])
        figures = _auc(truth, score, level) | figures | _brier(truth, score, level)
    return figures, rows, "; ".join(notes)


def _f1(truth: Array, answer: Array, level: float) -> Interval:
    hits = int(((truth == 1) & (answer == 1)).sum())
    errors = int(((truth == 1) ^ (answer == 1)).sum())
    return f1_interval(hits, errors, level=level)


def _second_class(probabilities: Array) -> Array:
    values = probabilities[:, -1] if probabilities.ndim == 2 else probabilities
    return np.asarray(values, dtype=np.float64)


def _auc(truth: Array, score: Array, level: float) -> dict[str, Interval]:
    known = (truth >= 0) & ~np.isnan(score)
    positive = truth[known] == 1
    if not positive.any() or positive.all():
        return {}
    return {"auc": intervals.delong_auc(positive, score[known], level=level)}


def _brier(truth: Array, score: Array, level: float) -> dict[str, Interval]:
    known = (truth >= 0) & ~np.isnan(score)
    if not known.any():
        return {}
    return {"brier": _not_below_zero(intervals.mean((score[known] - (truth[known] == 1)) ** 2, level=level))}


def _seen(labels: Array, prediction: Array) -> tuple[Scalar, ...]:
    values = {value for value in [*labels.tolist(), *prediction.tolist()] if value is not None}
    return tuple(sorted(values, key=lambda value: (isinstance(value, str), value)))


def _spellings(value: Scalar) -> tuple[str, ...]:
    """How a label file may write a class."""
    if isinstance(value, bool):
        return ("true", "True", "TRUE", "1", "1.0") if value else ("false", "False", "FALSE", "0", "0.0")
    if isinstance(value, int | float) and float(value).is_integer():
        whole = (str(int(value)), f"{int(value)}.0")
        return whole + {0: ("false", "False"), 1: ("true", "True")}.get(int(value), ())
    return (str(value),)


def _shown(labels: Array, truth: Array) -> str:
    strange = labels[truth < 0][:1]
    return f"(such as {strange[0]!r})" if len(strange) else ""


# ---------------------------------------------------------------- regression


def _regression(labels: Array, prediction: Array, level: float) -> tuple[dict[str, Interval], int, str]:
    truth, answer = as_numbers(labels), as_numbers(prediction)
    missing = np.isnan(truth)
    usable = np.isfinite(truth) & np.isfinite(answer)
    notes = _count_note(int(missing.sum()), "without a label")
    notes += _count_note(int((~usable & ~missing).sum()), "with a value that is not finite")
    truth, answer = truth[usable], answer[usable]
    if not len(truth):
        return {}, 0, "; ".join(notes)
    errors = answer - truth
    figures = {
        "mae": _not_below_zero(intervals.mean(np.abs(errors), level=level)),
        "rmse": _rmse(errors**2, level),
    }
    if len(truth) > 2 and np.ptp(truth) > 0:
        figures["r2"] = _r2(truth, errors**2, level)
    return figures, len(truth), "; ".join(notes)


def _rmse(squares: Array, level: float) -> Interval:
    def figure(rows: Array) -> float:
        return math.sqrt(float(squares[rows].mean()))

    value = math.sqrt(float(squares.mean()))
    influence = (squares - squares.mean()) / (2 * value) if value else np.zeros_like(squares)
    return _not_below_zero(_resampled(figure, value, influence, level))


def _r2(truth: Array, squares: Array, level: float) -> Interval:
    def figure(rows: Array) -> float:
        spread = float(truth[rows].var())
        return 1.0 - float(squares[rows].mean()) / spread if spread else math.nan

    loss, spread = float(squares.mean()), float(truth.var())
    around = (truth - truth.mean()) ** 2
    influence = -(squares - loss) / spread + loss * (around - spread) / spread**2
    return _resampled(figure, 1.0 - loss / spread, influence, level)


def _resampled(figure: Callable[[Array], float], value: float, influence: Array, level: float) -> Interval:
    """The bootstrap interval, or for many rows the normal one from the figure's influence values."""
    if len(influence) <= BOOTSTRAP_MAX_ROWS:
        return intervals.bootstrap(figure, len(influence), level=level)
    around = intervals.mean(influence, level=level)
    half = around.hi - around.value
    return Interval(value=value, lo=value - half, hi=value + half, level=level, method="delta")


# ---------------------------------------------------------------- values


def is_missing(values: Array) -> Array:
    """None or NaN, shape (n,)."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "O":
        return np.array([value is None or value != value for value in values.tolist()], dtype=bool)
    return np.zeros(len(values), dtype=bool)


def as_numbers(values: Array) -> Array:
    """float64 of any column, NaN for what is no number; shape (n,)."""
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return np.array([_number(value) for value in values.tolist()], dtype=np.float64)


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan


def _not_below_zero(interval: Interval) -> Interval:
    return Interval(
        value=interval.value,
        lo=max(0.0, interval.lo),
        hi=interval.hi,
        level=interval.level,
        method=interval.method,
    )


def _count_note(count: int, what: str) -> list[str]:
    return [f"{count} rows {what}".rstrip()] if count else []
