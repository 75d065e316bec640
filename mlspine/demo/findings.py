"""From what mlspine reported over the year to the figures of the story. Pure: reports in, figures out."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlspine.core.types import (
    Alert,
    DriftReport,
    Effect,
    FeatureVerdict,
    Interval,
    PerformanceReport,
    Severity,
)
from mlspine.demo.figures import (
    AlertLine,
    Comparison,
    Distribution,
    DriftCell,
    FeatureDrift,
    Moment,
    MonthQuality,
    MonthTraffic,
    Renewal,
)
from mlspine.demo.flights import ARRIVED, TARGET, TIME
from mlspine.governance.promotion import NAMES
from mlspine.retraining.service import Concluded
from mlspine.stats.interval import bootstrap

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]
_ORDER: dict[Severity, int] = {"OK": 0, "INFO": 1, "WARNING": 2, "CRITICAL": 3}
_SHIFTS = ("js", "tv", "mean_sd")  # effects that a drawing of both distributions shows
_TOLD = ("WARNING", "CRITICAL")
RESAMPLES = 200


class Worst(NamedTuple):
    """The verdict that went furthest beyond its limit, and the window it is of."""

    ratio: float
    verdict: FeatureVerdict
    effect: Effect
    report: DriftReport


def month_of(at_ms: int) -> str:
    """The month of event time, UTC.

    >>> month_of(1_372_636_800_000)
    '2013-07'
    """
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m")


def judged(reports: Iterable[DriftReport]) -> list[DriftReport]:
    """Windows with a verdict, in order of event time."""
    return sorted((each for each in reports if each.status == "JUDGED"), key=lambda each: each.to_at_ms)


def warned(reports: Iterable[DriftReport]) -> list[DriftReport]:
    """Those of them that tell somebody."""
    return [each for each in judged(reports) if each.severity in _TOLD]


def drift_by_feature(reports: Iterable[DriftReport]) -> tuple[FeatureDrift, ...]:
    """Per column and month: windows, windows told as WARNING or worse, and the worst severity."""
    windows: Counter[tuple[str, str, str]] = Counter()
    told: Counter[tuple[str, str, str]] = Counter()
    worst: dict[tuple[str, str, str], Severity] = {}
    importance: dict[tuple[str, str], float] = {}
    for report in judged(reports):
        month = month_of(report.from_at_ms)
        for verdict in report.features:
            at: tuple[str, str, str] = (verdict.role, verdict.name, month)
            importance.setdefault(at[:2], verdict.importance)
            windows[at] += 1
            told[at] += verdict.severity in _TOLD
            worst[at] = max(worst.get(at, "OK"), verdict.severity, key=_ORDER.__getitem__)
    months = sorted({month for _, _, month in windows})
    return tuple(
        FeatureDrift(
            name=name,
            role=role,
            importance=share,
            cells=tuple(
                DriftCell(month=month, windows=windows[at], warned=told[at], severity=worst[at])
                for month in months
                if (at := (role, name, month)) in windows
            ),
        )
        for (role, name), share in importance.items()
    )


def most_moved(reports: Iterable[DriftReport]) -> Distribution | None:
    """The input whose distribution was told of in most windows, from both sides in its widest one."""
    found = [
        Worst(abs(effect.value) / effect.limit, verdict, effect, report)
        for report in warned(reports)
        for verdict in report.features
        if verdict.role == "input" and verdict.severity in _TOLD and _drawable(verdict)
        for effect in verdict.effects
        if effect.name in _SHIFTS and 0 < effect.limit <= abs(effect.value)
    ]
    if not found:
        return None
    windows = {(each.verdict.name, each.report.from_at_ms) for each in found}
    times = Counter(name for name, _ in windows)
    _, verdict, effect, report = max(found, key=lambda each: (times[each.verdict.name], each.ratio))
    return Distribution(
        name=verdict.name,
        effect=effect.name,
        value=effect.value,
        noise=effect.noise,
        limit=effect.limit,
        from_at_ms=report.from_at_ms,
        to_at_ms=report.to_at_ms,
        rows=report.rows,
        bins=verdict.bin_labels,
        reference_shares=verdict.reference_shares,
        window_shares=verdict.window_shares,
        why=verdict.why,
    )


def first_alert(reports: Iterable[DriftReport]) -> Moment | None:
    """The first window that told of drift, by its strongest column."""
    windows = warned(reports)
    if not windows:
        return None
    told = [verdict for verdict in windows[0].features if verdict.severity in _TOLD]
    strongest = max(told, key=lambda verdict: (_ORDER[verdict.severity], verdict.impact))
    others = f"; with it {', '.join(v.name for v in told if v is not strongest)}" if len(told) > 1 else ""
    return Moment(
        at_ms=windows[0].to_at_ms,
        kind="alert",
        title=f"{strongest.name} has drifted",
        detail=f"{strongest.why}{others}",
    )


def quality_rows(reports: Iterable[PerformanceReport], versions: dict[str, int]) -> tuple[MonthQuality, ...]:
    """Measured quality per month and release. versions: release hash -> version number."""
    rows = [
        MonthQuality(
            month=month_of(report.from_at_ms),
            version=versions[report.release_hash],
            predicted_rows=report.predicted_rows,
            labelled_rows=report.labelled_rows,
            metric=report.metrics[0].name if report.metrics else "auc",
            quality=report.metrics[0].interval if report.metrics else None,
            status=report.status,
        )
        for report in reports
    ]
    return tuple(sorted(rows, key=lambda row: (row.month, row.version)))


def quality_told(reports: Iterable[PerformanceReport]) -> list[Moment]:
    """The first month in which measured quality was worth telling of."""
    told = sorted((report for report in reports if report.severity in _TOLD), key=lambda report: report.to_at_ms)
    return [
        Moment(at_ms=report.to_at_ms, kind="quality", title="Quality below what was promised", detail=report.why)
        for report in told[:1]
    ]


def renewal(done: Concluded, *, at_ms: int, seconds: float) -> Renewal:
    """What `mlspine retrain` answered, as a figure of the story. at_ms: the day in the year it was asked."""
    version, gain = done.version, done.verdict.comparison.gain
    return Renewal(
        at_ms=at_ms,
        version=version.version,
        release_hash=version.release_hash,
        fitted_rows=done.attempt.rows if done.attempt else 0,
        verdict=done.verdict.status,
        passed=done.verdict.passed,
        metric=NAMES.get(gain.metric, gain.metric),
        candidate=gain.candidate,
        production=gain.production,
        gain=gain.interval,
        judged_rows=gain.rows,
        paragraph=done.verdict.paragraph,
        quality=version.metric.interval if version.metric else None,
        seconds=seconds,
    )


def alert_lines(alerts: Iterable[Alert]) -> tuple[AlertLine, ...]:
    """Alerts of one title as one line: how often, how long in all, and in the words of the longest."""
    by_title: dict[str, list[Alert]] = {}
    for alert in alerts:
        by_title.setdefault(alert.title.removeprefix(f"{alert.endpoint}: "), []).append(alert)
    lines = [
        AlertLine(
            severity=max((each.severity for each in same), key=_ORDER.__getitem__),
            title=title,
            why=max(same, key=lambda each: each.windows).why,
            times=len(same),
            windows=sum(each.windows for each in same),
            open=any(not each.cleared_at_ms for each in same),
        )
        for title, same in by_title.items()
    ]
    return tuple(sorted(lines, key=lambda line: (-_ORDER[line.severity], -line.windows)))


def traffic_by_month(flights: pd.DataFrame) -> tuple[MonthTraffic, ...]:
    """Flights per month of scheduled departure, those with an outcome, and how many of those were late."""
    months = flights[TIME].dt.strftime("%Y-%m")
    return tuple(
        MonthTraffic(
            month=str(month),
            flights=len(rows),
            labelled=int(rows[TARGET].notna().sum()),
            late_share=float(rows[TARGET].mean()) if rows[TARGET].notna().any() else 0.0,
        )
        for month, rows in flights.groupby(months)
    )


def compare(flights: pd.DataFrame, *, first: Array, second: Array, min_rows: int = 500) -> tuple[Comparison, ...]:
    """AUC and F1 of two releases on the same labelled flights of each month, and the second's gains over the first.

    flights: rows in order; first, second: their scores, P(late), shape (n,). Flights of one day share their
    weather and their queues, so intervals come from resampling whole days.
    """
    known = flights[ARRIVED].notna().to_numpy()
    late = flights[TARGET].to_numpy()[known].astype(bool)
    months = flights[TIME].dt.strftime("%Y-%m").to_numpy()[known]
    days = flights[TIME].dt.day_of_year.to_numpy()[known]
    first, second = first[known], second[known]
    rows = []
    for month in sorted(set(months)):
        at = months == month
        if at.sum() < min_rows:
            continue
        a, b = _Auc(late[at], first[at]), _Auc(late[at], second[at])
        f, g = _F1(late[at], first[at]), _F1(late[at], second[at])
        whole = np.arange(int(at.sum()))
        rows.append(
            Comparison(
                month=str(month),
                rows=int(at.sum()),
                first=_by_days(a, days[at]),
                second=_by_days(b, days[at]),
                gain=_by_days(lambda index, a=a, b=b: b(index) - a(index), days[at]),
                f1=(f(whole), g(whole)),
                f1_gain=_by_days(lambda index, f=f, g=g: g(index) - f(index), days[at]),
            )
        )
    return tuple(rows)


class _Auc:
    """The area under the curve of any resample of fixed rows, by counting per distinct score, not sorting."""

    def __init__(self, labels: Array, scores: Array) -> None:
        distinct, self._codes = np.unique(scores, return_inverse=True)
        self._levels = len(distinct)
        self._labels = labels.astype(np.float64)

    def __call__(self, index: Array) -> float:
        codes = self._codes[index]
        all_rows = np.bincount(codes, minlength=self._levels)
        positive = np.bincount(codes, weights=self._labels[index], minlength=self._levels)
        negative = all_rows - positive
        pairs = positive.sum() * negative.sum()
        below = np.cumsum(negative) - negative / 2
        return float((positive * below).sum() / pairs) if pairs else float("nan")


class _F1:
    """The F1 of answering "late" where that is the likelier, of any resample of fixed rows."""

    def __init__(self, labels: Array, scores: Array) -> None:
        answers = scores > 0.5
        self._hits = (labels & answers).astype(np.int64)
        self._sizes = labels.astype(np.int64) + answers

    def __call__(self, index: Array) -> float:
        sizes = int(self._sizes[index].sum())
        return 2 * int(self._hits[index].sum()) / sizes if sizes else 0.0


def _by_days(statistic: Any, days: Array) -> Interval:
    return bootstrap(statistic, len(days), blocks=days, resamples=RESAMPLES)


def _drawable(verdict: FeatureVerdict) -> bool:
    sizes = {len(verdict.bin_labels), len(verdict.reference_shares), len(verdict.window_shares)}
    return len(sizes) == 1 and sizes != {0} and sum(verdict.window_shares) > 0
