"""Realised quality of a window, once labels are there: the figure, its interval, and whether it fell. Pure.

A window speaks for itself only when its labels can be trusted to stand for all its rows. Labels that come
early are rarely a random part (a loan defaults early, a late flight is late), so a window is PROVISIONAL
until nearly all labels are in or their time is over, and raises no alarm before half of them are in and their
scores look like those of all rows.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Columns, Interval, Metric, PerformanceReport, Scalar, Severity, Task
from mlspine.stats.interval import difference
from mlspine.stats.score import LOWER_IS_BETTER, is_missing, measure

Array = np.ndarray[Any, np.dtype[Any]]
Status = Literal["FINAL", "PROVISIONAL", "NO_LABELS"]

FINAL_COVERAGE = 0.95
ALARM_COVERAGE = 0.5
ABSOLUTE_TOLERANCE = 0.02  # auc, accuracy, f1, r2: two points
RELATIVE_TOLERANCE = 0.05  # mae, rmse, brier: five per cent of the baseline
CHANGE_LEVEL = 0.99
# Labelled rows are taken for a sample of all unless they differ both beyond chance and by this much.
SAMPLE_ALPHA = 0.01
SAMPLE_TV = 0.03
_SAMPLE_BINS = 10
_MIN_EXPECTED = 5.0


class SampleCheck(NamedTuple):
    """Whether the labelled rows look like a random part of all rows, by score (or answer)."""

    differs: bool
    tv: float  # share of the labelled rows that would have to change
    p: float


def measure_window(
    *,
    endpoint: str,
    release_hash: str,
    from_at_ms: int,
    to_at_ms: int,
    as_of_ms: int,
    labelled: Columns,
    predicted: Columns,
    baseline: Metric | None,
    task: Task,
    classes: tuple[Scalar, ...] = (),
    max_delay_ms: int,
    tolerance: float | None = None,
) -> PerformanceReport:
    """The quality of the predictions of one window, as known at `as_of_ms`.

    labelled: columns prediction, score, label of the rows with a label; predicted: prediction and score of
    all rows of the window. score is P(second class) for a binary task. as_of_ms and the window share one time
    line; labels come at most `max_delay_ms` after the event.
    baseline: the figure at ship; a change is judged on the metric of that name, by the 99% interval of the
    difference. tolerance: the loss that matters, in the metric's own units; 0.02, or 5% of the baseline where
    lower is better, when None. WARNING: certain and at least the tolerance; CRITICAL: at least twice of it.

    >>> y = np.array([0, 1] * 500); right = {"prediction": y, "score": y * 0.8 + 0.1, "label": y}
    >>> report = measure_window(endpoint="e", release_hash="r", from_at_ms=0, to_at_ms=1, as_of_ms=2,
    ...     labelled=right, predicted=right, baseline=None, task="binary", max_delay_ms=10)
    >>> report.status, report.coverage, report.metrics[0].name, report.severity
    ('FINAL', 1.0, 'auc', 'OK')
    """
    known = ~is_missing(labelled["label"])
    rows, labelled_rows = len(predicted["prediction"]), int(known.sum())
    coverage = labelled_rows / rows if rows else 0.0
    status = _status(labelled_rows, coverage, matured=as_of_ms >= to_at_ms + max_delay_ms)
    metrics = _metrics(labelled, known, task, classes, status)
    judged = _judge(metrics, baseline, tolerance)
    silent = _silenced(status, coverage, labelled, known, predicted) if judged.severity != "OK" else ""
    return PerformanceReport(
        endpoint=endpoint,
        release_hash=release_hash,
        from_at_ms=from_at_ms,
        to_at_ms=to_at_ms,
        as_of_ms=as_of_ms,
        predicted_rows=rows,
        labelled_rows=labelled_rows,
        coverage=coverage,
        status=status,
        metrics=metrics,
        baseline=baseline,
        severity="OK" if silent else judged.severity,
        why=f"{judged.why}; not raised: {silent}" if silent else judged.why,
    )


def check_sample(labelled: Columns, predicted: Columns) -> SampleCheck:
    """Compare the labelled rows with all rows of the window by their scores; by their answers without scores.

    A chi-squared test of labelled against unlabelled rows on the deciles of all scores, with bins of fewer
    than five expected rows pooled, beside the total variation between labelled and all.

    >>> score = np.linspace(0, 1, 1000)
    >>> every_second, the_high = {"score": score[::2]}, {"score": score[500:]}
    >>> [check_sample(part, {"score": score}).differs for part in (every_second, the_high)]
    [False, True]
    """
    part, whole = _binned(labelled, predicted)
    rest = whole - part
    if not part.sum() or not rest.sum():
        return SampleCheck(False, 0.0, 1.0)
    tv = 0.5 * float(np.abs(part / part.sum() - whole / whole.sum()).sum())
    p = _two_sample_p(part, rest)
    return SampleCheck(p < SAMPLE_ALPHA and tv >= SAMPLE_TV, tv, p)


# ---------------------------------------------------------------- the figures


def _status(labelled_rows: int, coverage: float, *, matured: bool) -> Status:
    if labelled_rows == 0:
        return "NO_LABELS"
    return "FINAL" if matured or coverage >= FINAL_COVERAGE else "PROVISIONAL"


def _metrics(
    labelled: Columns, known: Array, task: Task, classes: tuple[Scalar, ...], status: Status
) -> tuple[Metric, ...]:
    if status == "NO_LABELS":
        return ()
    score = labelled["score"][known].astype(np.float64)
    metrics = measure(
        task,
        labelled["label"][known],
        labelled["prediction"][known],
        None if np.isnan(score).all() else score,
        classes,
        rows_from="labels",
    )
    if status == "FINAL":
        return metrics
    return tuple(
        msgspec.structs.replace(each, status="PROVISIONAL") if each.status == "ESTIMATED" else each for each in metrics
    )


# ---------------------------------------------------------------- the verdict


class _Judgement(NamedTuple):
    severity: Severity
    why: str


def _judge(metrics: tuple[Metric, ...], baseline: Metric | None, tolerance: float | None) -> _Judgement:
    if not metrics:
        return _Judgement("OK", "no row of this window has a label yet")
    name = baseline.name if baseline is not None and baseline.interval is not None else metrics[0].name
    found = next((each for each in metrics if each.name == name), None)
    if found is None or found.interval is None:
        reason = metrics[0].reason or "the labels do not allow it, for instance all of one class"
        return _Judgement("OK", f"{name} cannot be measured here: {reason}")
    said = f"{name} {_figure(found.interval)} on {found.rows:,} labelled rows"
    if baseline is None or baseline.interval is None:
        return _Judgement("OK", f"{said}; nothing to compare with: no such figure at ship")
    limit = _tolerance(name, baseline.interval.value) if tolerance is None else tolerance
    change = difference(found.interval, baseline.interval, level=CHANGE_LEVEL)
    loss, certain = _loss(change, higher_is_better=baseline.higher_is_better)
    said += f" against {_figure(baseline.interval)} at ship ({baseline.rows_from})"
    if not certain or loss < limit:
        return _Judgement("OK", f"{said}: {_verdict(loss, certain)}; tolerance {limit:.3g}")
    severity: Severity = "CRITICAL" if loss >= 2 * limit else "WARNING"
    interval = f"99% interval {min(abs(change.lo), abs(change.hi)):.3g} to {max(abs(change.lo), abs(change.hi)):.3g}"
    return _Judgement(severity, f"{said}: worse by {loss:.3g} ({interval}), tolerance {limit:.3g}")


def _tolerance(name: str, baseline: float) -> float:
    return RELATIVE_TOLERANCE * abs(baseline) if name in LOWER_IS_BETTER else ABSOLUTE_TOLERANCE


def _loss(change: Interval, *, higher_is_better: bool) -> tuple[float, bool]:
    """How much was lost (below 0: gained), and whether the whole interval says that something was."""
    return (-change.value, change.hi < 0) if higher_is_better else (change.value, change.lo > 0)


def _verdict(loss: float, certain: bool) -> str:
    if loss <= 0:
        return "not worse"
    return f"worse by {loss:.3g}, within tolerance" if certain else f"worse by {loss:.3g}, within chance"


def _figure(interval: Interval) -> str:
    return f"{interval.value:.3g} ({interval.lo:.3g} to {interval.hi:.3g})"


# ---------------------------------------------------------------- may it speak


def _silenced(status: Status, coverage: float, labelled: Columns, known: Array, predicted: Columns) -> str:
    """Why a provisional window must not raise an alarm yet, "" when it may."""
    if status == "FINAL":
        return ""
    if coverage < ALARM_COVERAGE:
        return f"only {coverage:.0%} of the rows have a label yet"
    check = check_sample({name: values[known] for name, values in labelled.items()}, predicted)
    if check.differs:
        return (
            f"the {coverage:.0%} of rows with a label so far are no random part of all"
            f" (scores differ by {check.tv:.0%}, p = {check.p:.2g})"
        )
    return ""


def _binned(labelled: Columns, predicted: Columns) -> tuple[Array, Array]:
    """Counts of labelled and of all rows in common bins."""
    scores = predicted.get("score")
    if scores is not None and not np.isnan(scores.astype(np.float64)).all():
        edges = np.unique(np.nanquantile(scores, np.arange(1, _SAMPLE_BINS) / _SAMPLE_BINS))
        part, whole = (np.searchsorted(edges, each["score"], side="left") for each in (labelled, predicted))
        bins = len(edges) + 1
    else:
        levels = {level: i for i, level in enumerate(dict.fromkeys(predicted["prediction"].tolist()))}
        part, whole = (
            np.array([levels.get(value, len(levels)) for value in each["prediction"].tolist()], dtype=np.int64)
            for each in (labelled, predicted)
        )
        bins = len(levels) + 1
    return np.bincount(part, minlength=bins), np.bincount(whole, minlength=bins)


def _two_sample_p(a: Array, b: Array) -> float:
    share = (a + b) / (a.sum() + b.sum())
    small = share * min(a.sum(), b.sum()) < _MIN_EXPECTED
    a, b, share = (np.append(each[~small], each[small].sum()) for each in (a, b, share))
    used = share > 0
    if used.sum() < 2:
        return 1.0
    squares = sum(
        float(((each[used] - each.sum() * share[used]) ** 2 / (each.sum() * share[used])).sum()) for each in (a, b)
    )
    return float(special.chdtrc(int(used.sum()) - 1, squares))
