"""Judging what is due: from hourly profiles to reports, marks and drift alerts, a transaction per window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from mlspine.core.config import MonitoringConfig
from mlspine.core.ids import uuid7
from mlspine.core.types import DriftReport, LogSummary, Severity, Struct, SubWindow
from mlspine.monitoring import store
from mlspine.monitoring.alert import after_drift
from mlspine.monitoring.drift import judge
from mlspine.monitoring.window import (
    HOUR_MS,
    PERIOD_MS,
    Span,
    alpha_for,
    closed_until,
    due_windows,
    expected_windows,
    late_rows,
    rows_by_slot,
    span_of,
)
from mlspine.monitoring.yardstick import Yardsticks
from mlspine.ports import Database
from mlspine.predictions.service import Predictions
from mlspine.stats import profile as profiles
from mlspine.stats.baseline import at_hours
from mlspine.stats.profile import Profile, Reference

LATE_HORIZON_MS = 48 * HOUR_MS  # hours judged longer ago are not looked at again
HISTORY = 2  # earlier reports a judgement looks back on: "2 of the last 3 windows"

Status = Literal["no rows", "warming up", "judged"]


class MonitorState(Struct, frozen=True, kw_only=True):
    """Where the watch over one release at an endpoint stands. `says` is the sentence for people."""

    endpoint: str
    release_hash: str
    status: Status
    severity: Severity
    rows_waiting: int  # logged and not judged yet
    rows_needed: int  # until the first window can be judged; 0 once one was
    late_rows: int  # came after their hour had been judged
    last_report: DriftReport | None
    says: str


class Judging:
    """Windows of every release in the log. Call `check` from one thread at a time.

    beside_of: the releases that answer only a part of an endpoint's requests. Their windows are judged and reported;
    alarms, and what windows may spend of the budget, are about what is live.
    """

    def __init__(
        self,
        *,
        db: Database,
        predictions: Predictions,
        yardsticks: Yardsticks,
        clock: Callable[[], int],
        config: MonitoringConfig,
        beside_of: Callable[[str], frozenset[str]] = lambda endpoint: frozenset(),
    ) -> None:
        self._db = db
        self._predictions = predictions
        self._yardsticks = yardsticks
        self._clock = clock
        self._config = config
        self._beside_of = beside_of
        self._seen: dict[str, tuple[int, ...]] = {}

    def check(self, endpoint: str, *, force: bool) -> list[DriftReport]:
        """Judge every window of an endpoint that is due; returns the new reports, oldest first."""
        summary = self._predictions.summary(endpoint)
        closed_at_ms = closed_until(
            high_water_at_ms=summary.last_event_at_ms,
            last_received_at_ms=summary.last_received_at_ms,
            now_ms=self._clock(),
            force=force,
        )
        seen = (summary.rows, summary.last_received_at_ms, closed_at_ms, force)
        if self._seen.get(endpoint) == seen:
            return []  # nothing came and no hour ended since the last check
        due = [
            (release_hash, window)
            for release_hash in self._releases(endpoint)
            for window in self._due(endpoint, release_hash, closed_at_ms, force)
        ]
        due.sort(key=lambda pair: span_of(pair[1]).to_at_ms)  # alerts live through time in its order
        reports = [self._judge(endpoint, release_hash, window) for release_hash, window in due]
        self._seen[endpoint] = seen
        return reports

    def state(self, endpoint: str, release_hash: str) -> MonitorState:
        """How far the watch over a release has come; "" means the one of the newest rows."""
        release_hash = release_hash or self.newest_release(self._predictions.summary(endpoint))
        if not release_hash:
            return _state(endpoint, "", last=None, waiting=0, late=0, min_rows=self._config.min_rows)
        found = store.reports(self._db, endpoint, release_hash=release_hash, limit=1)
        mark = store.judged_until(self._db, endpoint, release_hash)
        waiting = self._predictions.sub_windows(endpoint, release_hash=release_hash, from_at_ms=mark)
        return _state(
            endpoint,
            release_hash,
            last=found[0] if found else None,
            waiting=sum(hour.rows for hour in waiting),
            late=store.late_rows(self._db, endpoint, release_hash),
            min_rows=self._config.min_rows,
        )

    def newest_release(self, summary: LogSummary) -> str:
        """The release of the newest hour of event time, of those that are or were live; "" before any row."""
        beside = self._beside_of(summary.endpoint)
        since = summary.last_event_at_ms // HOUR_MS * HOUR_MS
        newest = self._predictions.sub_windows(summary.endpoint, from_at_ms=since)
        hours = [(hour.start_at_ms, hour.rows, hour.release_hash) for hour in newest]
        if all(of in beside or not of for _, _, of in hours):
            every = self._predictions.hourly_rows(summary.endpoint)
            hours = [(start, rows, of) for of, start, rows in every]
        return max((each for each in hours if each[2] and each[2] not in beside), default=(0, 0, ""))[2]

    # ------------------------------------------------------------ inside

    def _releases(self, endpoint: str) -> list[str]:
        # What a declared rule answered has no release, and nothing to be judged by.
        return sorted({each.release_hash for each in self._predictions.counters(endpoint)} - {""})

    def _due(self, endpoint: str, release_hash: str, closed_at_ms: int, force: bool) -> list[tuple[SubWindow, ...]]:
        mark = store.judged_until(self._db, endpoint, release_hash)
        horizon = max(0, mark - LATE_HORIZON_MS)
        hours = self._predictions.sub_windows(endpoint, release_hash=release_hash, from_at_ms=horizon)
        self._count_late(endpoint, release_hash, hours, horizon)
        return due_windows(
            [hour for hour in hours if hour.start_at_ms >= mark],
            closed_at_ms=closed_at_ms,
            window_s=self._config.window_s,
            min_rows=self._config.min_rows,
            force=force,
        )

    def _count_late(self, endpoint: str, release_hash: str, hours: Sequence[SubWindow], horizon: int) -> None:
        judged = store.judged_rows(self._db, endpoint, release_hash, from_at_ms=horizon)
        late = late_rows(hours, judged)
        if not late:
            return
        with self._db.write() as tx:
            for start_at_ms, rows in late.items():
                store.mark_late(tx, endpoint, release_hash, start_at_ms=start_at_ms, late_rows=rows)

    def _judge(self, endpoint: str, release_hash: str, window: Sequence[SubWindow]) -> DriftReport:
        report = self._report(endpoint, release_hash, window)
        beside = self._beside_of(endpoint)
        with self._db.write() as tx:
            store.add_report(tx, report)
            for hour in window:
                store.mark_judged(tx, endpoint, release_hash, start_at_ms=hour.start_at_ms, rows=hour.rows)
            standing = store.open_alerts(tx, endpoint)
            changed = after_drift(report, standing, now_ms=self._clock(), new_id=uuid7)
            for alert in () if release_hash in beside else changed:
                store.save_alert(tx, alert)
        return report

    def _report(self, endpoint: str, release_hash: str, window: Sequence[SubWindow]) -> DriftReport:
        yardstick = self._yardsticks.of(endpoint, release_hash)
        baseline = yardstick.baseline
        learned = None if baseline.outputs else self._predictions.learned(endpoint, release_hash)
        outputs = baseline.outputs or (learned.reference if learned else None)
        span = span_of(window)
        return judge(
            at_hours(baseline, rows_by_slot(window)),
            _merged_inputs(window, baseline.inputs),
            _merged_outputs(window, outputs) if outputs else None,
            learned_outputs=learned.reference if learned else None,
            alpha=self._alpha(endpoint, span),
            history=store.reports(self._db, endpoint, release_hash=release_hash, limit=HISTORY),
            endpoint=endpoint,
            release_hash=release_hash,
            version=yardstick.version.version,
            from_at_ms=span.from_at_ms,
            to_at_ms=span.to_at_ms,
            judged_at_ms=self._clock(),
            min_rows=self._config.min_rows,
        )

    def _alpha(self, endpoint: str, span: Span) -> float:
        """What this window may spend of the workspace's budget, going by 30 days of event time before it."""
        since = span.to_at_ms - PERIOD_MS
        spans = store.judged_spans(self._db, from_at_ms=since, to_at_ms=span.to_at_ms, but=self._beside_of)
        spans.setdefault(endpoint, []).append(span)
        expected = expected_windows(spans.values(), until_at_ms=span.to_at_ms)
        return alpha_for(budget_per_30_days=self._config.budget_per_30_days, expected=expected)


def _state(
    endpoint: str, release_hash: str, *, last: DriftReport | None, waiting: int, late: int, min_rows: int
) -> MonitorState:
    needed = 0 if last else max(0, min_rows - waiting)
    status: Status = "judged" if last else "warming up"
    if last is not None:
        says = f"{last.severity}: the last {last.rows:,} rows were judged, {waiting:,} wait"
    elif not waiting:
        status, says = "no rows", f"no rows yet, {needed:,} are needed"
    elif needed:
        says = f"warming up, {needed:,} more rows"
    else:
        says = "warming up: enough rows, judged when their hour is over"
    return MonitorState(
        endpoint=endpoint,
        release_hash=release_hash,
        status=status,
        severity=last.severity if last else "OK",
        rows_waiting=waiting,
        rows_needed=needed,
        late_rows=late,
        last_report=last,
        says=says,
    )


def _merged_inputs(window: Sequence[SubWindow], reference: Reference) -> Profile:
    return _merged([hour.inputs for hour in window if hour.inputs], reference)


def _merged_outputs(window: Sequence[SubWindow], reference: Reference) -> Profile:
    # Hours from before the score baseline was learned count nothing.
    counted = [hour.outputs for hour in window if hour.outputs and hour.outputs_reference_id == reference.id]
    return _merged(counted, reference)


def _merged(encoded: Sequence[bytes], reference: Reference) -> Profile:
    total = profiles.empty(reference)
    for data in encoded:
        total = profiles.merge(total, profiles.decode(data, reference))
    return total
