"""An honest quality figure at ship time, or none and why.

Rows the model was fitted on are never taken for unseen. With a holdout the figure stands on it; without one,
and where the estimator can be cloned and refitted within a minute, on out-of-fold predictions; otherwise it
is NOT ESTIMABLE, and live scores are learned instead of compared.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import row_count
from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Metric, Scalar, Task
from mlspine.data.manifest import overlap, row_digests, twin_share
from mlspine.registry import folds as fold
from mlspine.registry.fitted_rows import beyond_chance
from mlspine.registry.flavors import Flavor, Outputs, Predictor, ask
from mlspine.stats.score import LOWER_IS_BETTER, PRIMARY, measure

log = logging.getLogger(__name__)

Array = np.ndarray[Any, np.dtype[Any]]
BUDGET_S = 60.0
MANY_ROWS = 50_000  # three folds from here on, five below
LEAST_ROWS = 30
PROBE_ROWS = 1_000
# Refits share most of their rows, so out-of-fold errors are not independent, and an interval that takes them
# so is too short (Bates, Hastie, Tibshirani 2023, "Cross-validation: what does it estimate"). Measured on
# forests and logistic models with 400 to 2,000 rows, from no signal to a strong one: a nominal 95% covers 81
# to 95%; widened by this factor, 93% or more in every case.
WIDENED = 1.5
_WITHIN_0_AND_1 = frozenset({"auc", "accuracy", "f1", "macro_f1", "brier"})
GIVE_HOLDOUT = "mlspine.ship(..., holdout=(X_unseen, y_unseen))"
GIVE_LABELS = "mlspine.ship(model, X, y, ...)"


class Evaluation(NamedTuple):
    """The figures (the primary one first), and the outputs of unseen rows they stand on.

    rows: positions of those rows in the holdout, or in X for out-of-fold; outputs is None while LEARNING.
    """

    metrics: tuple[Metric, ...]
    outputs: Outputs | None = None
    outputs_from: Literal["holdout", "out-of-fold", "LEARNING"] = "LEARNING"
    rows: Array | None = None


class CannotRefitError(Exception):
    """Why there are no out-of-fold predictions, in words for the person who ships."""


def evaluate_holdout(
    predict: Predictor, columns: Columns, labels: Array, *, task: Task, classes: tuple[Scalar, ...]
) -> Evaluation:
    """The figures on rows the caller says are unseen; `refuse_overlap` has checked that."""
    outputs = predict(columns)
    metrics = measure(task, labels, outputs.prediction, outputs.probabilities, classes, rows_from="holdout")
    if not metrics:
        return not_estimable(task, "the model's task is not known", GIVE_LABELS)._replace(
            outputs=outputs, outputs_from="holdout", rows=np.arange(len(labels))
        )
    return Evaluation(metrics, outputs, "holdout", np.arange(len(labels)))


def refuse_overlap(fitted_on: Columns, held_out: Columns) -> None:
    """Raises Invalid with the count when holdout rows are among the rows the model was fitted on.

    Rows are compared with their labels. Tables of few distinct rows repeat themselves by chance, as often as
    the training rows repeat each other; only more than that (by four standard deviations) is refused.
    """
    known = row_digests(fitted_on)
    held = row_digests(held_out)
    repeated, rows = overlap(held, known), row_count(held_out)
    if beyond_chance(repeated, rows, twin_share(known)):
        raise Invalid(
            f"{repeated:,} of {rows:,} holdout rows are among the rows the model was fitted on",
            hint="hold rows out before fitting, e.g. train_test_split(X, y), and fit on the first part only",
        )


def out_of_fold(
    model: Any,
    flavor: Flavor,
    rows: Any,
    labels: Array,
    *,
    at_ms: Array | None = None,
    keys: Array | None = None,
    budget_s: float = BUDGET_S,
    timer: Callable[[], float] = time.perf_counter,
) -> Evaluation:
    """The figures on predictions made for each part of X by a copy of the model refitted on other parts.

    rows: X as the model takes it. at_ms: then each part is predicted from earlier rows only. keys: rows of
    one key stay together. Copies get a fixed random_state where the model had none, so that shipping again
    gives the same release. NOT ESTIMABLE, with the reason, when the model cannot be refitted within budget_s.
    """
    if flavor.task == "other":
        return not_estimable(flavor.task, "the model's task is not known", GIVE_HOLDOUT)
    try:
        outputs, asked = _refit(model, flavor, rows, labels, at_ms, keys, budget_s, timer)
    except CannotRefitError as exc:
        return not_estimable(flavor.task, str(exc), GIVE_HOLDOUT)
    metrics = measure(
        flavor.task,
        labels[asked],
        outputs.prediction,
        outputs.probabilities,
        flavor.classes,
        rows_from="out-of-fold",
    )
    return Evaluation(tuple(map(widened, metrics)), outputs, "out-of-fold", asked)


def widened(metric: Metric) -> Metric:
    """The figure with its interval WIDENED times as long either way, within what the metric can be."""
    interval = metric.interval
    if interval is None:
        return metric
    lo = interval.value - WIDENED * (interval.value - interval.lo)
    hi = interval.value + WIDENED * (interval.hi - interval.value)
    if metric.name in _WITHIN_0_AND_1:
        lo, hi = max(0.0, lo), min(1.0, hi)
    elif metric.name in LOWER_IS_BETTER:
        lo = max(0.0, lo)
    longer = msgspec.structs.replace(interval, lo=lo, hi=hi, method=f"{interval.method}, widened for refits")
    return msgspec.structs.replace(metric, interval=longer)


def not_estimable(task: Task, reason: str, opens_with: str) -> Evaluation:
    """No figure: the metric that would have been, why there is none, and the line that opens it."""
    name = PRIMARY[task] or "quality"
    metric = Metric(
        name=name,
        status="NOT_ESTIMABLE",
        reason=reason,
        opens_with=opens_with,
        higher_is_better=name not in LOWER_IS_BETTER,
    )
    return Evaluation((metric,))


# ---------------------------------------------------------------- refitting


def _refit(
    model: Any,
    flavor: Flavor,
    rows: Any,
    labels: Array,
    at_ms: Array | None,
    keys: Array | None,
    budget_s: float,
    timer: Callable[[], float],
) -> tuple[Outputs, Array]:
    count = len(labels)
    if count < LEAST_ROWS:
        raise CannotRefitError(f"{count} rows are too few to hold any out")
    blank = _blank(model)
    deadline = timer() + budget_s
    chosen = 3 if count > MANY_ROWS else 5
    if count > 2 * PROBE_ROWS:
        expected_s = _expected_s(blank, rows, labels, count * (chosen - 1) // chosen, timer) * chosen
        if expected_s > budget_s:
            raise CannotRefitError(f"refitting it {chosen} times would take about {_duration(expected_s)}")
    parts: list[tuple[Outputs, Array]] = []
    for fit_on, asked in _folds(flavor, labels, at_ms, keys, chosen):
        fitted = _fit(blank, pick(rows, fit_on), labels[fit_on])
        parts.append((_outputs(fitted, flavor, pick(rows, asked)), asked))
        if timer() > deadline and len(parts) < chosen:
            raise CannotRefitError(f"refitting it {chosen} times takes more than {_duration(budget_s)}")
    if not parts:
        raise CannotRefitError("its rows cannot be split: all carry the same time or key")
    return _joined(parts)


def _folds(flavor: Flavor, labels: Array, at_ms: Array | None, keys: Array | None, count: int) -> list[fold.Fold]:
    if at_ms is not None:
        return list(fold.forward(at_ms, folds=count))
    if keys is not None and len(np.unique(keys.astype(str))) < len(keys):
        return list(fold.grouped(keys, folds=count))
    if flavor.task == "regression":
        return list(fold.shuffled(len(labels), folds=count))
    return list(fold.stratified(labels, folds=count))


def _blank(model: Any) -> Any:
    kind = "model in ONNX" if isinstance(model, bytes) else type(model).__name__
    if not (hasattr(model, "fit") and hasattr(model, "get_params")):
        raise CannotRefitError(f"a {kind} cannot be cloned and refitted")
    from sklearn.base import clone

    try:
        blank = clone(model)
    except Exception as exc:
        raise CannotRefitError(f"a {kind} cannot be cloned: {exc}") from exc
    settings = blank.get_params(deep=True)
    fixed = {name: 0 for name, value in settings.items() if name.endswith("random_state") and value is None}
    parts = {"": blank} | {f"{name}__": value for name, value in settings.items() if hasattr(value, "get_params")}
    quiet = {f"{prefix}verbose": -1 for prefix, part in parts.items() if type(part).__module__ == "lightgbm.sklearn"}
    return blank.set_params(**fixed, **quiet)


def _fit(blank: Any, rows: Any, labels: Array) -> Any:
    from sklearn.base import clone

    fresh = clone(blank)
    try:
        with warnings.catch_warnings():
            # What fitting warns about, the caller has seen when fitting the model itself.
            warnings.simplefilter("ignore")
            fresh.fit(rows, labels)
    except Exception as exc:
        raise CannotRefitError(f"refitting it on a part of X fails: {type(exc).__name__}: {str(exc)[:200]}") from exc
    return fresh


def _expected_s(blank: Any, rows: Any, labels: Array, wanted: int, timer: Callable[[], float]) -> float:
    """Seconds one refit on `wanted` rows will take, from fits on few; the power is measured if it matters."""
    order = np.random.default_rng(0).permutation(len(labels))
    took = [_timed_fit(blank, rows, labels, order[:PROBE_ROWS], timer)]
    if took[0] * wanted / PROBE_ROWS < BUDGET_S / 20:
        return took[0] * wanted / PROBE_ROWS
    took.append(_timed_fit(blank, rows, labels, order[: 2 * PROBE_ROWS], timer))
    power = min(3.0, max(0.3, math.log2(max(took[1], 1e-6) / max(took[0], 1e-6))))
    return float(took[1] * (wanted / (2 * PROBE_ROWS)) ** power)


def _timed_fit(blank: Any, rows: Any, labels: Array, index: Array, timer: Callable[[], float]) -> float:
    began = timer()
    try:
        _fit(blank, pick(rows, index), labels[index])
    except CannotRefitError:
        return 0.0  # a class may be missing from so few rows; the real folds will tell
    return timer() - began


def _outputs(fitted: Any, flavor: Flavor, rows: Any) -> Outputs:
    known = getattr(fitted, "classes_", None)
    own = flavor if known is None else msgspec.structs.replace(flavor, classes=tuple(np.asarray(known).tolist()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = ask(fitted, own)(rows)
    if outputs.probabilities is None or own.classes == flavor.classes:
        return outputs
    # A rare class may be missing from a part; its probability there is 0.
    shares = np.zeros((len(outputs.prediction), len(flavor.classes)))
    shares[:, [flavor.classes.index(each) for each in own.classes]] = outputs.probabilities
    return Outputs(outputs.prediction, shares)


def _joined(parts: list[tuple[Outputs, Array]]) -> tuple[Outputs, Array]:
    asked = np.concatenate([index for _, index in parts])
    order = np.argsort(asked, kind="stable")
    predictions = np.concatenate([outputs.prediction for outputs, _ in parts])[order]
    shares = [outputs.probabilities for outputs, _ in parts if outputs.probabilities is not None]
    return Outputs(predictions, np.concatenate(shares)[order] if shares else None), asked[order]


def pick(rows: Any, index: Array) -> Any:
    """Rows of any container by position: frames, tables, arrays, sparse matrices, lists."""
    if hasattr(rows, "iloc"):
        return rows.iloc[index]
    if hasattr(rows, "take") and hasattr(rows, "column_names"):
        return rows.take(index)
    if isinstance(rows, dict):
        return {name: pick(values, index) for name, values in rows.items()}
    if isinstance(rows, list | tuple):
        return [rows[at] for at in index]
    return rows[index]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
