"""The door of monitoring: judge what is due, measure what has labels, and tell people once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlspine.core.config import LogConfig, MonitoringConfig
from mlspine.core.errors import Invalid, MlspineError
from mlspine.core.ids import now_ms, uuid7
from mlspine.core.public import public
from mlspine.core.types import (
    Actor,
    Alert,
    CauseReport,
    DriftReport,
    Estimate,
    Limit,
    Metric,
    PerformanceReport,
    Severity,
    Silence,
)
from mlspine.governance.service import Governance
from mlspine.monitoring import store
from mlspine.monitoring.alert import after_report, cleared
from mlspine.monitoring.cause import Causes
from mlspine.monitoring.delays import LabelDelays, label_delays
from mlspine.monitoring.estimating import Estimating
from mlspine.monitoring.handling import AlertTest, Handling
from mlspine.monitoring.judging import Judging, MonitorState
from mlspine.monitoring.measuring import Blocks, Measuring
from mlspine.monitoring.presenting import Presenting
from mlspine.monitoring.slicing import QualitySlice
from mlspine.monitoring.telling import Telling
from mlspine.monitoring.window import DAY_MS, Period
from mlspine.monitoring.yardstick import Yardsticks
from mlspine.ports import Database, Notifier
from mlspine.predictions.service import Predictions
from mlspine.registry.service import Registry

log = logging.getLogger(__name__)

LIST_LIMIT = 10_000
JUDGING = "judging"


class Monitoring:
    """Windows, measurements and alerts of every endpoint in the log.

    A window's report, the mark up to which hours are judged, and what it does to alerts are one transaction;
    people are told afterwards, and again at the next check when a sink failed: killed anywhere, nothing is
    judged twice and nothing goes untold. Judging changes no traffic and reaches no ledger; what people do about
    alerts does.
    """

    def __init__(
        self,
        *,
        db: Database,
        predictions: Predictions,
        registry: Registry,
        notifiers: Sequence[Notifier],
        governance: Governance,
        clock: Callable[[], int] = now_ms,
        config: MonitoringConfig | None = None,
        label_delay_days: float = LogConfig().label_delay_days,
        owner_of: Callable[[str], str] = lambda endpoint: "",
        root: Path | None = None,
        beside_of: Callable[[str], frozenset[str]] = lambda endpoint: frozenset(),
    ) -> None:
        config = config or MonitoringConfig()
        yardsticks = Yardsticks(registry)
        self._db = db
        self._predictions = predictions
        self._clock = clock
        self._judging = Judging(
            db=db, predictions=predictions, yardsticks=yardsticks, clock=clock, config=config, beside_of=beside_of
        )
        self._measuring = Measuring(
            db=db,
            predictions=predictions,
            yardsticks=yardsticks,
            clock=clock,
            min_rows=config.min_rows,
            max_delay_ms=int(label_delay_days * DAY_MS),
        )
        self._estimating = Estimating(
            db=db,
            predictions=predictions,
            yardsticks=yardsticks,
            clock=clock,
            min_rows=config.min_rows,
            max_delay_ms=int(label_delay_days * DAY_MS),
        )
        self._causes = Causes(db=db, predictions=predictions, registry=registry, yardsticks=yardsticks, root=root)
        self._telling = Telling(db=db, notifiers=notifiers, clock=clock, owner_of=owner_of)
        self._handling = Handling(db=db, governance=governance, telling=self._telling, clock=clock)
        self._presenting = Presenting(db=db, predictions=predictions, monitoring=self)

    # ------------------------------------------------------------ judging

    def check(self, endpoint: str = "", *, force: bool = False) -> list[DriftReport]:
        """Judge every window that is due at one endpoint, or at all; watch quality; tell what is untold.

        force: complete the hours still open, and judge whatever has enough rows. Returns the new reports.
        """
        with self._db.lock("judging"):  # the scheduler, a person and another machine may all ask for a check
            names = [endpoint] if endpoint else self._predictions.endpoints()
            reports = [report for name in names for report in self._check(name, force)]
        self._telling.deliver()
        return reports

    @public("label")
    def check_now(self, endpoint: str = "") -> list[DriftReport]:
        """Judge what waits without waiting for the full hour; returns the new reports."""
        self._predictions.ingest()
        return self.check(endpoint, force=True)

    @public("read")
    def reports(
        self, endpoint: str, *, release_hash: str = "", from_at_ms: int = 0, limit: Limit = 100
    ) -> list[DriftReport]:
        """The newest windows of an endpoint (and release) that end after `from_at_ms`, oldest first."""
        _check_limit(limit)
        return store.reports(self._db, endpoint, release_hash=release_hash, from_at_ms=from_at_ms, limit=limit)

    @public("read")
    def document(
        self, endpoint: str, *, at_ms: int = 0, release_hash: str = "", causes: bool = False
    ) -> dict[str, Any]:
        """Everything about the window that holds a moment of event time, as one JSON document; with 0 the newest.

        Its figures are those stored when it was judged, so they are those of the alert it raised; quality over
        time is as known now. release_hash: the beginning of one will do, where two releases share a window.
        causes: look for them too, as `causes` does; it asks the model and takes seconds. Raises NotFound when no
        judged window holds the moment. The contract is `monitoring/document.schema.json`.
        """
        return self._presenting.document(endpoint, at_ms=at_ms, release_hash=release_hash, causes=causes)

    @public("read")
    def causes(self, endpoint: str, *, at_ms: int = 0, release_hash: str = "") -> CauseReport:
        """Where the change of a window comes from: columns by influence on this model's answers, since when, whose
        rows, and which rows to look at; of the window that holds a moment, with 0 of the newest that alerted.

        Asks the model itself in a process of its own where the release is trusted; nothing is written and
        serving is not touched. Raises NotFound when no such window was judged.
        """
        return self._causes.of(endpoint, at_ms=at_ms, release_hash=release_hash)

    @public("read")
    def state(self, endpoint: str, *, release_hash: str = "") -> MonitorState:
        """How far the watch over a release has come; without `release_hash`, the one of the newest rows."""
        return self._judging.state(endpoint, release_hash)

    # ------------------------------------------------------------ quality

    @public("read")
    def quality(self, endpoint: str, *, by: Period = "all") -> list[PerformanceReport]:
        """Realised quality per release and window of event time (UTC), oldest first; [] before any label.

        Measures again when labels or rows have come since, and stores what it finds beside what was known.
        """
        with self._db.lock("judging"):
            return self._measuring.measure(endpoint, by)

    @public("read")
    def quality_slices(self, endpoint: str, column: str, *, release_hash: str = "") -> list[QualitySlice]:
        """Realised quality per level of a logged column, the worst first; of the release that answered last unless one
        is named. Each is compared with all other rows at 99% for all slices together. [] before any label.

        Raises NotFound for a column that was not logged.
        """
        release_hash = release_hash or self._judging.newest_release(self._predictions.summary(endpoint))
        return self._measuring.sliced(endpoint, column, release_hash=release_hash) if release_hash else []

    @public("read")
    def quality_by_blocks(self, endpoint: str, blocks: Blocks, *, release_hash: str = "") -> list[Metric]:
        """The primary figure over all labelled rows with an interval for rows that depend within a day, or within a
        key; of the release that answered last unless one is named. [] before any label."""
        release_hash = release_hash or self._judging.newest_release(self._predictions.summary(endpoint))
        return self._measuring.blocked(endpoint, blocks, release_hash=release_hash) if release_hash else []

    @public("read")
    def label_delays(self, endpoint: str) -> LabelDelays:
        """How long the labels of an endpoint take, by what its rows have shown so far."""
        return label_delays(self._measuring.delays(endpoint))

    @public("read")
    def quality_as_of(self, endpoint: str, *, as_of_ms: int, by: Period = "all") -> list[PerformanceReport]:
        """What was known of an endpoint's quality at a moment of the log's own time, as it was reported then; where
        nothing had been measured by then, what the rows and labels dated until then say."""
        return self._measuring.as_of(endpoint, by, as_of_ms=as_of_ms)

    @public("read")
    def estimates(self, endpoint: str, *, by: Period = "all") -> list[Estimate]:
        """Quality without labels per release, window of event time (UTC) and metric, oldest first; [] before rows.

        by: "all" takes the shortest period whose windows hold enough rows. Estimates again when rows or labels have
        come since, and stores what it finds beside what was estimated before.
        """
        with self._db.lock("judging"):
            return self._estimating.estimate(endpoint, by)

    @public("read")
    def estimates_as_of(self, endpoint: str, *, as_of_ms: int, by: Period = "all") -> list[Estimate]:
        """What was estimated of an endpoint's quality at a moment of the log's own time."""
        return self._estimating.known(endpoint, by, as_of_ms=as_of_ms)

    def newest_estimate(self, endpoint: str, release_hash: str) -> Estimate | None:
        """What was last estimated of a release's primary metric; None before any. Estimates nothing anew."""
        return self._estimating.primary(endpoint, release_hash)

    def newest_estimates(self, endpoint: str, release_hash: str) -> list[Estimate]:
        """What was last estimated of each metric of a release; [] before any. Estimates nothing anew."""
        return list(self._estimating.newest(endpoint, release_hash).values())

    # ------------------------------------------------------------ alerts

    @public("read")
    def alerts(self, endpoint: str = "", *, open_only: bool = True, limit: Limit = 1000) -> list[Alert]:
        """The newest alerts of one endpoint ("": of all), oldest first; cleared ones without `open_only`."""
        _check_limit(limit)
        if open_only:
            return store.open_alerts(self._db, endpoint or None)[-limit:]
        return store.alerts(self._db, endpoint or None, limit=limit)

    @public("operate")
    def acknowledge(self, endpoint: str, *, cause: str = "", actor: Actor) -> list[Alert]:
        """Take on the open alerts of an endpoint ("": of the workspace itself), or the one of that cause.

        Sinks hear of them again only when they get worse. Writes a ledger line.
        """
        return self._handling.acknowledge(endpoint, cause, actor=actor)

    @public("operate")
    def silence(self, endpoint: str, *, for_s: float, cause: str = "", reason: str = "", actor: Actor) -> Silence:
        """For `for_s` seconds record alerts of an endpoint, or of one cause there, without sending them.

        cause: "drift" covers every "drift:..." too. What is open when it ends is sent then. Writes a ledger line.
        """
        return self._handling.silence(endpoint, cause, for_s=for_s, reason=reason, actor=actor)

    @public("operate")
    def unsilence(self, endpoint: str, *, cause: str = "", actor: Actor) -> list[Silence]:
        """End the silences of an endpoint, or of that cause there; writes a ledger line."""
        ended = self._handling.unsilence(endpoint, cause, actor=actor)
        self._telling.deliver()
        return ended

    @public("read")
    def silences(self) -> list[Silence]:
        """The silences that hold now, the first to end first."""
        return self._handling.silences()

    @public("operate")
    def send_test(self, *, actor: Actor) -> AlertTest:
        """Send an alert marked as a test to every sink now, and keep what they answered as evidence."""
        return self._handling.test(actor=actor)

    def raise_alert(self, endpoint: str, *, cause: str, severity: Severity, title: str, why: str, action: str) -> Alert:
        """Say that something observed directly is wrong; "" as endpoint means the workspace itself.

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
        self._telling.deliver()
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

    # ------------------------------------------------------------ inside

    def _check(self, endpoint: str, force: bool) -> list[DriftReport]:
        """One endpoint; what keeps it from being judged is an alert, and no obstacle to the others."""
        if not force and self._predictions.is_filling(endpoint):
            return []  # its log is being read in: hours of the past are not over yet
        try:
            reports = self._judging.check(endpoint, force=force)
            live = self._judging.newest_release(self._predictions.summary(endpoint))
            self._measuring.watch(endpoint, release_hash=live, force=force)
            self._estimating.watch(endpoint, release_hash=live, force=force)
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


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= LIST_LIMIT:
        raise Invalid(f"limit {limit} is outside 1 to {LIST_LIMIT}", hint="narrow it by endpoint or time")
