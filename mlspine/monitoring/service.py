"""The door of monitoring: judge what is due, measure what has labels, and tell people once."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from mlspine.core.config import LogConfig, MonitoringConfig
from mlspine.core.errors import Invalid, MlspineError, NotFound
from mlspine.core.ids import now_ms, uuid7
from mlspine.core.public import public
from mlspine.core.types import (
    Alert,
    Columns,
    DriftReport,
    LogSummary,
    ModelVersion,
    PerformanceReport,
    Release,
    Severity,
    Struct,
    SubWindow,
)
from mlspine.monitoring import store
from mlspine.monitoring.alert import (
    DELIVERED,
    after_drift,
    after_quality,
    after_report,
    cleared,
    messages,
    undelivered,
    with_outcome,
)
from mlspine.monitoring.drift import judge
from mlspine.monitoring.performance import measure_window
from mlspine.monitoring.window import (
    DAY_MS,
    HOUR_MS,
    PERIOD_MS,
    Period,
    Span,
    alpha_for,
    closed_until,
    due_windows,
    event_now,
    expected_windows,
    late_rows,
    period_for,
    span_of,
    spans_by,
)
from mlspine.ports import Database, Notifier
from mlspine.predictions.service import Predictions
from mlspine.registry.release import read_baseline, read_release
from mlspine.registry.service import Registry
from mlspine.stats import profile as profiles
from mlspine.stats.baseline import Baseline
from mlspine.stats.profile import Profile, Reference

log = logging.getLogger(__name__)

LATE_HORIZON_MS = 48 * HOUR_MS  # hours judged longer ago are not looked at again
HISTORY = 2  # earlier reports a judgement looks back on: "2 of the last 3 windows"
QUALITY_EVERY_MS = 60_000  # measuring reads every labelled row: not at every tick while traffic flows
RETRY_FIRST_S = 5.0
RETRY_LAST_S = 300.0
LIST_LIMIT = 10_000
JUDGING = "judging"


class MonitorState(Struct, frozen=True, kw_only=True):
    """Where the watch over one release at an endpoint stands. `says` is the sentence for people."""

    endpoint: str
    release_hash: str
    status: Literal["no rows", "warming up", "judged"]
    severity: Severity
    rows_waiting: int  # logged and not judged yet
    rows_needed: int  # until the first window can be judged; 0 once one was
    late_rows: int  # came after their hour had been judged
    last_report: DriftReport | None
    says: str


class Monitoring:
    """Windows, reports and alerts of every endpoint in the log.

    A window's report, the mark up to which hours are judged, and what it does to alerts are one transaction;
    people are told afterwards, and again at the next check when a sink failed: killed anywhere, nothing is
    judged twice and nothing goes untold.
    """

    def __init__(
        self,
        *,
        db: Database,
        predictions: Predictions,
        registry: Registry,
        notifiers: Sequence[Notifier],
        clock: Callable[[], int] = now_ms,
        config: MonitoringConfig | None = None,
        label_delay_days: float = LogConfig().label_delay_days,
    ) -> None:
        self._db = db
        self._predictions = predictions
        self._registry = registry
        self._clock = clock
        self._config = config or MonitoringConfig()
        self._label_delay_ms = int(label_delay_days * DAY_MS)
        self._sinks = {name: _Sink(notifier) for name, notifier in _named(notifiers)}
        self._turn = threading.RLock()  # the scheduler and a person may both ask for a check
        self._seen: dict[str, tuple[int, ...]] = {}
        self._measured: dict[tuple[str, Period], _Measured] = {}
        self._watched_at_ms: dict[str, int] = {}
        self._judged_by = lru_cache(maxsize=16)(self._read_release)

    # ------------------------------------------------------------ judging

    def check(self, endpoint: str = "", *, force: bool = False) -> list[DriftReport]:
        """Judge every window that is due at one endpoint, or at all; then deliver what is untold.

        force: complete the hours still open, and judge what has enough rows. Returns the new reports.
        """
        with self._turn:
            names = [endpoint] if endpoint else self._predictions.endpoints()
            reports = [report for name in names for report in self._check_guarded(name, force)]
            self.deliver()
            return reports

    @public
    def check_now(self, endpoint: str = "") -> list[DriftReport]:
        """Judge what waits, without waiting for the full hour: whatever has enough rows."""
        self._predictions.ingest()
        return self.check(endpoint, force=True)

    @public
    def reports(
        self, endpoint: str, *, release_hash: str = "", from_at_ms: int = 0, limit: int = 100
    ) -> list[DriftReport]:
        """The newest judged windows of an endpoint (and release) that end after `from_at_ms`, oldest first."""
        _check_limit(limit)
        return store.reports(
            self._db, endpoint, release_hash=release_hash, from_at_ms=from_at_ms, limit=limit
        )

    @public
    def state(self, endpoint: str, *, release_hash: str = "") -> MonitorState:
        """How far the watch over a release has come; without `release_hash`, the one that answered last."""
        summary = self._predictions.summary(endpoint)
        release_hash = release_hash or self._newest_release(endpoint, summary)
        found = store.reports(self._db, endpoint, release_hash=release_hash, limit=1) if release_hash else []
        waiting = self._rows_waiting(endpoint, release_hash) if release_hash else 0
        return _state(
            endpoint,
            release_hash,
            last=found[0] if found else None,
            waiting=waiting,
            late=store.late_rows(self._db, endpoint, release_hash),
            min_rows=self._config.min_rows,
        )

    # ------------------------------------------------------------ quality

    @public
    def quality(self, endpoint: str, *, by: Period = "all") -> list[PerformanceReport]:
        """Realised quality per release and window of event time (UTC), oldest window first; [] before any label.

        Measures again when labels or rows have come since, and stores what it finds beside what was known
        before.
        """
        with self._turn:
            self._measure(endpoint, by)
            return self._known_quality(endpoint, by, as_of_ms=_EVER)

    @public
    def quality_as_of(self, endpoint: str, *, as_of_ms: int, by: Period = "all") -> list[PerformanceReport]:
        """What was known of an endpoint's quality at a moment of its own time line."""
        return self._known_quality(endpoint, by, as_of_ms=as_of_ms)

    # ------------------------------------------------------------ alerts

    @public
    def alerts(self, endpoint: str = "", *, open_only: bool = True, limit: int = 1000) -> list[Alert]:
        """Alerts of one endpoint ("": of all), oldest first; with `open_only` False cleared ones too."""
        _check_limit(limit)
        if open_only:
            return store.open_alerts(self._db, endpoint or None)[-limit:]
        return store.alerts(self._db, endpoint or None, limit=limit)

    def raise_alert(
        self, endpoint: str, *, cause: str, severity: Severity, title: str, why: str, action: str
    ) -> Alert:
        """Say that something observed directly is wrong ("" as endpoint: with the workspace itself).

        While it lasts, saying it again updates the one alert; people are told once, and again when it got
        worse.
        """
        now = self._clock()
        found = Alert(
            id=uuid7(now),
            endpoint=endpoint,
            cause=cause,
            severity=severity,
            title=title,
            why=why,
            action=action,
            opened_at_ms=now,
            updated_at_ms=now,
        )
        with self._db.write() as tx:
            standing = store.find_open(tx, endpoint, cause)
            changed = after_report(standing, found)
            if changed is not None:
                store.save_alert(tx, changed)
        if changed is not None:
            self.deliver()
        return changed or standing or found

    def clear_alert(self, endpoint: str, cause: str) -> bool:
        """Say that it is over; False when no such alert is open."""
        if store.find_open(self._db, endpoint, cause) is None:
            return False  # asked every few seconds: no transaction for nothing
        with self._db.write() as tx:
            standing = store.find_open(tx, endpoint, cause)
            if standing is not None:
                store.save_alert(tx, cleared(standing, now_ms=self._clock()))
        log.info("alert cleared", extra={"endpoint": endpoint, "cause": cause})
        return standing is not None

    def deliver(self) -> int:
        """Tell every sink what it has not taken yet; returns the messages delivered. Never raises for a sink.

        A sink that fails is left alone for a while, longer each time up to five minutes; its alerts wait.
        """
        delivered = 0
        for name, sink in self._sinks.items():
            if self._clock() < sink.retry_at_ms:
                continue
            for message, members in messages(undelivered(store.open_alerts(self._db), name)):
                outcome = sink.send(message, self._clock())
                self._keep_outcome(members, name, outcome)
                if outcome != DELIVERED:
                    break
                delivered += 1
        return delivered

    # ------------------------------------------------------------ inside: judging

    def _check_guarded(self, endpoint: str, force: bool) -> list[DriftReport]:
        """One endpoint's check; what keeps it from being judged is an alert and no obstacle to the others."""
        try:
            reports = self._check_endpoint(endpoint, force)
            self._watch_quality(endpoint, force)
        except MlspineError as exc:
            self.raise_alert(
                endpoint,
                cause=JUDGING,
                severity="CRITICAL",
                title=f"{endpoint}: live rows cannot be judged",
                why=exc.message,
                action=exc.hint or f"mlspine status {endpoint}",
            )
            return []
        self.clear_alert(endpoint, JUDGING)
        return reports

    def _check_endpoint(self, endpoint: str, force: bool) -> list[DriftReport]:
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
        reports = [
            report
            for release_hash in summary.rows_by_release
            for report in self._check_release(endpoint, release_hash, closed_at_ms, force)
        ]
        self._seen[endpoint] = seen
        return reports

    def _check_release(
        self, endpoint: str, release_hash: str, closed_at_ms: int, force: bool
    ) -> list[DriftReport]:
        mark = store.judged_until(self._db, endpoint, release_hash)
        horizon = max(0, mark - LATE_HORIZON_MS)
        hours = self._predictions.sub_windows(endpoint, release_hash=release_hash, from_at_ms=horizon)
        self._count_late(endpoint, release_hash, hours, horizon)
        due = due_windows(
            [hour for hour in hours if hour.start_at_ms >= mark],
            closed_at_ms=closed_at_ms,
            window_s=self._config.window_s,
            min_rows=self._config.min_rows,
            force=force,
        )
        return [self._judge(endpoint, release_hash, window) for window in due]

    def _count_late(self, endpoint: str, release_hash: str, hours: Sequence[SubWindow], horizon: int) -> None:
        judged = store.judged_rows(self._db, endpoint, release_hash, from_at_ms=horizon)
        late = late_rows(hours, judged)
        if not late:
            return
        with self._db.write() as tx:
            for start_at_ms, rows in late.items():
                store.mark_late(tx, endpoint, release_hash, start_at_ms=start_at_ms, late_rows=rows)

    def _judge(self, endpoint: str, release_hash: str, window: Sequence[SubWindow]) -> DriftReport:
        held = self._judged_by(endpoint, release_hash)
        learned = None if held.baseline.outputs else self._predictions.learned(endpoint, release_hash)
        outputs = held.baseline.outputs or (learned.reference if learned else None)
        span = span_of(window)
        report = judge(
            held.baseline,
            _merged_inputs(window, held.baseline.inputs),
            _merged_outputs(window, outputs) if outputs else None,
            learned_outputs=learned.reference if learned else None,
            alpha=self._alpha(endpoint, span),
            history=store.reports(self._db, endpoint, release_hash=release_hash, limit=HISTORY),
            endpoint=endpoint,
            release_hash=release_hash,
            version=held.version.version,
            from_at_ms=span.from_at_ms,
            to_at_ms=span.to_at_ms,
            judged_at_ms=self._clock(),
            min_rows=self._config.min_rows,
        )
        with self._db.write() as tx:
            store.add_report(tx, report)
            for hour in window:
                store.mark_judged(tx, endpoint, release_hash, start_at_ms=hour.start_at_ms, rows=hour.rows)
            standing = store.open_alerts(tx, endpoint)
            for alert in after_drift(report, standing, now_ms=self._clock(), new_id=uuid7):
                store.save_alert(tx, alert)
        return report

    def _alpha(self, endpoint: str, span: Span) -> float:
        """What this window may spend of the workspace's budget, by the windows of the last 30 days of event time."""
        spans = store.judged_spans(self._db, from_at_ms=span.to_at_ms - PERIOD_MS, to_at_ms=span.to_at_ms)
        spans.setdefault(endpoint, []).append(span)
        expected = expected_windows(spans.values(), until_at_ms=span.to_at_ms)
        return alpha_for(budget_per_30_days=self._config.budget_per_30_days, expected=expected)

    def _rows_waiting(self, endpoint: str, release_hash: str) -> int:
        mark = store.judged_until(self._db, endpoint, release_hash)
        hours = self._predictions.sub_windows(endpoint, release_hash=release_hash, from_at_ms=mark)
        return sum(hour.rows for hour in hours)

    def _read_release(self, endpoint: str, release_hash: str) -> _JudgedBy:
        version = self._version(endpoint, release_hash)
        release = read_release(Path(version.path))
        return _JudgedBy(version, release, read_baseline(Path(version.path), release))

    def _version(self, endpoint: str, release_hash: str) -> ModelVersion:
        """The version of the endpoint's own model; a release may carry two names."""
        try:
            own = self._registry.versions(endpoint)
        except NotFound:
            own = []
        found = next((each for each in own if each.release_hash == release_hash), None)
        return found or self._registry.by_hash(release_hash)

    def _newest_release(self, endpoint: str, summary: LogSummary) -> str:
        """The release of the newest hour of event time, "" before any row."""
        hours = self._predictions.sub_windows(endpoint, from_at_ms=summary.last_event_at_ms - HOUR_MS)
        return max(hours, key=lambda hour: (hour.start_at_ms, hour.rows)).release_hash if hours else ""

    # ------------------------------------------------------------ inside: measuring

    def _watch_quality(self, endpoint: str, force: bool) -> None:
        """Measure by the shortest period with enough rows, and keep the quality alert as it then stands."""
        now = self._clock()
        if not force and now - self._watched_at_ms.get(endpoint, -QUALITY_EVERY_MS) < QUALITY_EVERY_MS:
            return
        self._watched_at_ms[endpoint] = now
        summary = self._predictions.summary(endpoint)
        if not summary.labelled_rows:
            return
        covered_ms = summary.last_event_at_ms - summary.first_event_at_ms
        by = period_for(summary.rows, covered_ms, self._config.min_rows)
        self._measure(endpoint, by)
        newest = self._newest_release(endpoint, summary)
        reports = [
            report
            for report in self._known_quality(endpoint, by, as_of_ms=_EVER)
            if report.release_hash == newest
        ]
        with self._db.write() as tx:
            standing = store.open_alerts(tx, endpoint)
            for alert in after_quality(reports, standing, now_ms=now, new_id=uuid7):
                store.save_alert(tx, alert)

    def _measure(self, endpoint: str, by: Period) -> None:
        summary = self._predictions.summary(endpoint)
        before = self._measured.get((endpoint, by))
        now = self._clock()
        if not summary.labelled_rows or (before is not None and not before.outdated(summary, now)):
            return
        known = {
            (report.release_hash, report.from_at_ms): report
            for report in self._known_quality(endpoint, by, as_of_ms=_EVER)
        }
        as_of_ms = event_now(
            high_water_at_ms=summary.last_event_at_ms,
            last_received_at_ms=summary.last_received_at_ms,
            now_ms=now,
        )
        for release_hash in sorted({each.release_hash for each in self._predictions.counters(endpoint)}):
            for report in self._measure_release(endpoint, release_hash, by, as_of_ms):
                self._keep_measured(report, known.get((release_hash, report.from_at_ms)), by)
        self._measured[endpoint, by] = _Measured(summary, now)

    def _measure_release(
        self, endpoint: str, release_hash: str, by: Period, as_of_ms: int
    ) -> Iterator[PerformanceReport]:
        # Labels first: a row labelled in between is then among the predicted ones too.
        labelled = self._predictions.labelled(endpoint, release_hash=release_hash)
        if not len(labelled["label"]):
            return
        predicted = self._predictions.predicted(endpoint, release_hash=release_hash)
        held = self._judged_by(endpoint, release_hash)
        at_ms, labelled_at_ms = _event_at_ms(predicted), _event_at_ms(labelled)
        for span in spans_by(by, at_ms):
            yield measure_window(
                endpoint=endpoint,
                release_hash=release_hash,
                from_at_ms=span.from_at_ms,
                to_at_ms=span.to_at_ms,
                as_of_ms=as_of_ms,
                labelled=_within(labelled, labelled_at_ms, span),
                predicted=_within(predicted, at_ms, span),
                baseline=held.version.metric,
                task=held.release.signature.task,
                classes=held.release.signature.classes,
                max_delay_ms=self._label_delay_ms,
            )

    def _keep_measured(self, report: PerformanceReport, known: PerformanceReport | None, by: Period) -> None:
        """New knowledge is stored beside the old; a mere change of coverage renews what is there."""
        if known is not None and _says_the_same(known, report):
            report = msgspec.structs.replace(report, as_of_ms=known.as_of_ms)
            if report == known:
                return
        with self._db.write() as tx:
            store.add_performance(tx, report, period=by)

    def _known_quality(self, endpoint: str, by: Period, *, as_of_ms: int) -> list[PerformanceReport]:
        found = store.performance(self._db, endpoint, period=by, as_of_ms=as_of_ms)
        if by != "all":
            return found
        # The one window of everything begins where retention has got to: its older beginnings are replaced.
        newest: dict[str, PerformanceReport] = {}
        for report in found:
            if report.as_of_ms >= newest.get(report.release_hash, report).as_of_ms:
                newest[report.release_hash] = report
        return sorted(newest.values(), key=lambda report: (report.from_at_ms, report.to_at_ms))

    # ------------------------------------------------------------ inside: telling

    def _keep_outcome(self, members: Sequence[Alert], sink: str, outcome: str) -> None:
        with self._db.write() as tx:
            for member in members:
                standing = store.find_open(tx, member.endpoint, member.cause)
                # Cleared or grown worse while it was being told: then this outcome is of something else.
                if standing is not None and (standing.id, standing.severity) == (member.id, member.severity):
                    store.save_alert(tx, with_outcome(standing, sink, outcome))


_EVER = 2**62


class _JudgedBy(NamedTuple):
    """A release as monitoring needs it."""

    version: ModelVersion
    release: Release
    baseline: Baseline


class _Measured(NamedTuple):
    """What the log held when quality was last measured, and when that was."""

    summary: LogSummary
    at_ms: int

    def outdated(self, now: LogSummary, now_ms: int) -> bool:
        """New labels count at once; rows alone, which only change coverage, after a minute."""
        before = self.summary
        if (now.labelled_rows, now.parked_labels) != (before.labelled_rows, before.parked_labels):
            return True
        if (now.segments, now.size_bytes) == (before.segments, before.size_bytes):
            return False
        return now.rows == before.rows or now_ms - self.at_ms >= QUALITY_EVERY_MS


class _Sink:
    """A notifier, and when it may be tried again after a failure."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._pause_s = 0.0
        self.retry_at_ms = 0

    def send(self, alert: Alert, now_ms: int) -> str:
        """ "ok", or what went wrong in a sentence."""
        try:
            self._notifier.send(alert)
        except Exception as exc:
            outcome = exc.message if isinstance(exc, MlspineError) else f"{type(exc).__name__}: {exc}"
            self._pause_s = min(RETRY_LAST_S, max(RETRY_FIRST_S, 2 * self._pause_s))
            self.retry_at_ms = now_ms + int(self._pause_s * 1000)
            log.warning(
                "alert not delivered",
                extra={"sink": self._notifier.name, "cause": alert.cause, "why": outcome},
                exc_info=not isinstance(exc, MlspineError),
            )
            return outcome
        self._pause_s, self.retry_at_ms = 0.0, 0
        return DELIVERED


def _named(notifiers: Sequence[Notifier]) -> Iterator[tuple[str, Notifier]]:
    """Each notifier under a name of its own: two webhooks on one host are two sinks."""
    seen: Counter[str] = Counter()
    for notifier in notifiers:
        seen[notifier.name] += 1
        count = seen[notifier.name]
        yield (notifier.name if count == 1 else f"{notifier.name}#{count}"), notifier


def _state(
    endpoint: str, release_hash: str, *, last: DriftReport | None, waiting: int, late: int, min_rows: int
) -> MonitorState:
    needed = 0 if last else max(0, min_rows - waiting)
    status: Literal["no rows", "warming up", "judged"] = "judged" if last else "warming up"
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
    counted = [hour.inputs for hour in window if hour.inputs]
    return _merged(counted, reference)


def _merged_outputs(window: Sequence[SubWindow], reference: Reference) -> Profile:
    # Hours from before the score baseline was learned count nothing, or on nothing that can be compared.
    counted = [hour.outputs for hour in window if hour.outputs and hour.outputs_reference_id == reference.id]
    return _merged(counted, reference)


def _merged(encoded: Sequence[bytes], reference: Reference) -> Profile:
    total = profiles.empty(reference)
    for data in encoded:
        total = profiles.merge(total, profiles.decode(data, reference))
    return total


def _event_at_ms(columns: Columns) -> np.ndarray[Any, np.dtype[np.int64]]:
    return columns["event_time"].astype("datetime64[ms]").astype(np.int64)


def _within(columns: Columns, at_ms: np.ndarray[Any, np.dtype[np.int64]], span: Span) -> Columns:
    inside = (at_ms >= span.from_at_ms) & (at_ms < span.to_at_ms)
    return {name: values[inside] for name, values in columns.items()}


def _says_the_same(a: PerformanceReport, b: PerformanceReport) -> bool:
    told = ("labelled_rows", "status", "metrics", "severity", "from_at_ms")
    return all(getattr(a, name) == getattr(b, name) for name in told)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIST_LIMIT:
        raise Invalid(
            f"limit {limit} is outside 1 to {LIST_LIMIT}", hint="narrow it down by endpoint or time"
        )
