"""Realised quality of a window, once labels are there: the figure, its interval, and whether it fell. Pure.

A window speaks for itself only when its labels can be trusted to stand for all its rows. Labels that come
early are rarely a random part (a loan defaults early, a late flight is late), so a window is PROVISIONAL
until nearly all labels are in or their time is over, and raises no alarm before half of them are in.
Where the rows with labels differ from all by their scores, each counts for all those like it (`stats.weighting`), both
figures are shown, and where part of the scores has no label at all nothing is raised. While rows or labels still come,
a window is looked at again and again: it is judged by an interval valid for all looks together (`stats.sequential`).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Columns, Interval, Metric, PerformanceReport, Scalar, Severity, Task
from mlspine.stats import sequential
from mlspine.stats.interval import difference
from mlspine.stats.score import LOWER_IS_BETTER, is_missing, measure
from mlspine.stats.weighting import inverse_shares
from mlspine.stats.weighting import measure as measure_weighted

Array = np.ndarray[Any, np.dtype[Any]]
Status = Literal["FINAL", "PROVISIONAL", "NO_LABELS"]

FINAL_COVERAGE = 0.95
ALARM_COVERAGE = 0.5
ABSOLUTE_TOLERANCE = 0.02  # auc, accuracy, f1, r2: two points
RELATIVE_TOLERANCE = 0.05  # mae, rmse, brier: five per cent of the baseline
CHANGE_LEVEL = 0.99
MONTH_LEVEL, MONTH_MS = 0.95, 28 * 86_400_000
DAY_MS = 86_400_000
# Labelled rows are taken for a sample of all unless they differ both beyond chance and by this much.
SAMPLE_ALPHA = 0.01
SAMPLE_TV = 0.03
# Weighted figures need labels in (nearly) every part of the scores.
UNCOVERED_AT_MOST = 0.02
# Before so many labels the intervals are not normal enough to be looked at after each.
ROWS_TO_LOOK = 100
RARER_TO_LOOK = 30
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
    open_ended: bool = False,
    predicted_rows: int | None = None,
) -> PerformanceReport:
    """The quality of the predictions of one window, as known at `as_of_ms`.

    labelled: columns prediction, score, label of the rows with a label; predicted: prediction and score of
    all rows of the window. score is P(second class) for a binary task. as_of_ms and the window share one time
    line; labels come at most `max_delay_ms` after the event.
    baseline: the figure at ship; a change is judged on the metric of that name, by the 99% interval of the
    difference (95% for a month, of which there is one where days make thirty). tolerance: the loss that matters, in
    the metric's own units; 0.02, or 5% of the baseline where lower is better, when None. WARNING: certain and at least
    the tolerance; CRITICAL: at least twice of it.
    A window that is over and has its labels is judged once, by the fixed-n interval; until then, and always for an
    `open_ended` one that grows for ever, by the interval that stays valid however often it is looked at.
    predicted_rows: rows of the window in all, where `predicted` is a sample of them (or empty, with nearly all labels).

    >>> y = np.array([0, 1] * 500); right = {"prediction": y, "score": y * 0.8 + 0.1, "label": y}
    >>> report = measure_window(endpoint="e", release_hash="r", from_at_ms=0, to_at_ms=1, as_of_ms=2,
    ...     labelled=right, predicted=right, baseline=None, task="binary", max_delay_ms=10)
    >>> report.status, report.coverage, report.metrics[0].name, report.severity
    ('FINAL', 1.0, 'auc', 'OK')
    """
    known = ~is_missing(labelled["label"])
    labelled = {name: values[known] for name, values in labelled.items()}
    rows = len(predicted["prediction"]) if predicted_rows is None else predicted_rows
    labelled_rows = len(labelled["label"])
    coverage = min(1.0, labelled_rows / rows) if rows else 0.0
    over = as_of_ms >= to_at_ms
    status = _status(labelled_rows, coverage, matured=as_of_ms >= to_at_ms + max_delay_ms)
    metrics = _metrics(labelled, task, classes, status)
    sample = _sample(labelled, predicted, rows, task, classes)
    once = status == "FINAL" and over and not open_ended
    level = change_level(from_at_ms, to_at_ms)
    judged = _judge(_spoken(metrics, sample), baseline, tolerance, once=once, level=level, labels=labelled["label"])
    going_on = not over and to_at_ms - from_at_ms > DAY_MS and not open_ended
    silent = _silenced(status, coverage, sample, going_on=going_on) if judged.severity != "OK" else ""
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
        change=judged.change,
        sample=sample.says,
        weighted=sample.weighted,
    )


def change_level(from_at_ms: int, to_at_ms: int) -> float:
    """How sure a change must be: a budget over the windows of a month, so a month's one window may spend more.

    >>> change_level(0, DAY_MS), change_level(0, 30 * DAY_MS)
    (0.99, 0.95)
    """
    return MONTH_LEVEL if to_at_ms - from_at_ms >= MONTH_MS else CHANGE_LEVEL


def check_sample(labelled: Columns, predicted: Columns) -> SampleCheck:
    """Compare the labelled rows with all rows of the window by their scores; by their answers without scores.

    A chi-squared test of labelled against unlabelled rows on the deciles of all scores, with bins of fewer
    than five expected rows pooled, beside the total variation between labelled and all.

    >>> score = np.linspace(0, 1, 1000)
    >>> every_second, the_high = {"score": score[::2]}, {"score": score[500:]}
    >>> [check_sample(part, {"score": score}).differs for part in (every_second, the_high)]
    [False, True]
    """
    return _compared(*_cells(labelled, predicted))


# ---------------------------------------------------------------- the figures


def _status(labelled_rows: int, coverage: float, *, matured: bool) -> Status:
    if labelled_rows == 0:
        return "NO_LABELS"
    return "FINAL" if matured or coverage >= FINAL_COVERAGE else "PROVISIONAL"


def _metrics(labelled: Columns, task: Task, classes: tuple[Scalar, ...], status: Status) -> tuple[Metric, ...]:
    if status == "NO_LABELS":
        return ()
    score = _scores(labelled)
    metrics = measure(task, labelled["label"], labelled["prediction"], score, classes, rows_from="labels")
    if status == "FINAL":
        return metrics
    return tuple(
        msgspec.structs.replace(each, status="PROVISIONAL") if each.status == "ESTIMATED" else each for each in metrics
    )


def _scores(labelled: Columns) -> Array | None:
    score = labelled["score"].astype(np.float64)
    return None if np.isnan(score).all() else score


class _Sample(NamedTuple):
    """What the labelled rows are of all rows: "" when a random part, the weighted figures where it is not."""

    says: str = ""
    weighted: tuple[Metric, ...] = ()
    uncovered: float = 0.0


def _sample(labelled: Columns, predicted: Columns, rows: int, task: Task, classes: tuple[Scalar, ...]) -> _Sample:
    coverage = min(1.0, len(labelled["label"]) / rows) if rows else 0.0
    if coverage >= FINAL_COVERAGE or not len(labelled["label"]) or not len(predicted["prediction"]):
        return _Sample()
    part, cells = _cells(labelled, predicted)
    cells = cells * (rows / cells.sum())  # a sample of all rows stands for all
    check = _compared(part, cells)
    if not check.differs:
        return _Sample()
    weights = inverse_shares(part, cells)
    says = (
        f"the {coverage:.0%} of rows with a label so far are no random part of all"
        f" (scores differ by {check.tv:.0%}, p = {check.p:.2g})"
    )
    if weights.uncovered > UNCOVERED_AT_MOST:
        return _Sample(f"{says}; {weights.uncovered:.0%} of the scores have no label at all", (), weights.uncovered)
    weighted = measure_weighted(task, labelled["label"], labelled["prediction"], _scores(labelled), classes, weights)
    return _Sample(f"{says}; weighted, they say as much as {weights.effective_rows:,.0f} rows", weighted)


def _spoken(metrics: tuple[Metric, ...], sample: _Sample) -> tuple[Metric, ...]:
    """The figures a verdict is read off: the weighted ones where there are some."""
    weighted = {each.name: each for each in sample.weighted}
    return tuple(weighted.get(each.name, each) for each in metrics)


# ---------------------------------------------------------------- the verdict


class _Judgement(NamedTuple):
    severity: Severity
    why: str
    change: Interval | None = None


def _judge(
    metrics: tuple[Metric, ...],
    baseline: Metric | None,
    tolerance: float | None,
    *,
    once: bool,
    level: float,
    labels: Array,
) -> _Judgement:
    if not metrics:
        return _Judgement("OK", "no row of this window has a label yet")
    name = baseline.name if baseline is not None and baseline.interval is not None else metrics[0].name
    found = next((each for each in metrics if each.name == name), None)
    if found is None or found.interval is None:
        reason = metrics[0].reason or "the labels do not allow it, for instance all of one class"
        return _Judgement("OK", f"{name} cannot be measured here: {reason}")
    weighted = "weighted " if "weighted" in found.rows_from else ""
    said = f"{weighted}{name} {_figure(found.interval)} on {found.rows:,} labelled rows"
    if baseline is None or baseline.interval is None:
        return _Judgement("OK", f"{said}; nothing to compare with: no such figure at ship")
    limit = tolerance_of(name, baseline.interval.value) if tolerance is None else tolerance
    said += f" against {_figure(baseline.interval)} at ship ({baseline.rows_from})"
    if not once and (missing := _too_few(found, labels)):
        return _Judgement("OK", f"{said}: too early to say while labels come, {missing}")
    change = _change(found, baseline.interval, limit, once=once, level=level)
    loss, certain = _loss(change, higher_is_better=baseline.higher_is_better)
    if not certain or loss < limit:
        return _Judgement("OK", f"{said}: {_verdict(loss, certain)}; tolerance {limit:.3g}", change)
    severity: Severity = "CRITICAL" if loss >= 2 * limit else "WARNING"
    looks = f"{level:.0%} interval" + ("" if once else " for every look")
    interval = f"{looks} {min(abs(change.lo), abs(change.hi)):.3g} to {max(abs(change.lo), abs(change.hi)):.3g}"
    return _Judgement(severity, f"{said}: worse by {loss:.3g} ({interval}), tolerance {limit:.3g}", change)


def _change(found: Metric, baseline: Interval, limit: float, *, once: bool, level: float) -> Interval:
    """Window less baseline: by the fixed-n interval where it is looked at once, else by one valid at every look."""
    assert found.interval is not None
    if once:
        return difference(found.interval, baseline, level=level)
    if found.interval.method == "Wilson":
        hits = round(found.interval.value * found.rows)
        if min(hits, found.rows - hits) < sequential.EXACT_BELOW:
            return sequential.share_difference((hits, found.rows), baseline, level=level)
    # Tightest where CRITICAL begins: what is smaller waits for more labels, what is larger is found sooner.
    return sequential.difference(found.interval, baseline, scale=max(2 * limit, 1e-9), level=level)


def _too_few(found: Metric, labels: Array) -> str:
    """What is missing before intervals can be trusted at every look; "" when nothing is."""
    if found.interval is not None and found.interval.method == "Wilson":
        return ""  # few rows are judged by the exact form
    if found.rows < ROWS_TO_LOOK:
        return f"{ROWS_TO_LOOK} labelled rows are needed"
    if found.name in ("auc", "f1"):
        rarer = int(np.unique(labels.astype(str), return_counts=True)[1].min())
        if rarer < RARER_TO_LOOK:
            return f"{RARER_TO_LOOK} labels of the rarer class are needed"
    return ""


def tolerance_of(name: str, baseline: float) -> float:
    """The loss that matters where the owner has not said: 0.02, or 5% of the baseline where lower is better."""
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


def _silenced(status: Status, coverage: float, sample: _Sample, *, going_on: bool) -> str:
    """Why a window must not raise an alarm yet, "" when it may."""
    if going_on:
        return "the window is not over, and its first days need not be like the rest"
    if status == "FINAL":
        return ""
    if coverage < ALARM_COVERAGE:
        return f"only {coverage:.0%} of the rows have a label yet"
    return sample.says if sample.says and not sample.weighted else ""


def _cells(labelled: Columns, predicted: Columns) -> tuple[Array, Array]:
    """The cell of each labelled row, and all rows by cell: deciles of all scores, or the answers without scores."""
    scores = predicted.get("score")
    if scores is not None and not np.isnan(scores.astype(np.float64)).all():
        edges = np.unique(np.nanquantile(scores, np.arange(1, _SAMPLE_BINS) / _SAMPLE_BINS))
        part, whole = (np.searchsorted(edges, each["score"], side="left") for each in (labelled, predicted))
        cells = len(edges) + 1
    else:
        levels = {level: i for i, level in enumerate(dict.fromkeys(predicted["prediction"].tolist()))}
        part, whole = (
            np.array([levels.get(value, len(levels)) for value in each["prediction"].tolist()], dtype=np.int64)
            for each in (labelled, predicted)
        )
        cells = len(levels) + 1
    return part, np.bincount(whole, minlength=cells)


def _compared(labelled: Array, cells: Array) -> SampleCheck:
    part = np.bincount(labelled, minlength=len(cells))
    rest = np.maximum(cells - part, 0)
    if not part.sum() or not rest.sum():
        return SampleCheck(False, 0.0, 1.0)
    tv = 0.5 * float(np.abs(part / part.sum() - cells / cells.sum()).sum())
    p = _two_sample_p(part, rest)
    return SampleCheck(p < SAMPLE_ALPHA and tv >= SAMPLE_TV, tv, p)


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
