"""One judged window with all that is known around it: what a report, a page and another program are made from."""

from __future__ import annotations

from typing import Protocol

from mlspine.core.errors import NotFound
from mlspine.core.types import Alert, CauseReport, DriftReport, Estimate, PerformanceReport
from mlspine.monitoring import store
from mlspine.monitoring.document import Document, document, moment
from mlspine.monitoring.window import Period, period_for
from mlspine.ports import Database
from mlspine.predictions.service import Predictions

LABELS_PER_POINT = 300  # quality is shown by the shortest period that holds so many on average
ALERTS_READ = 1000


class Known(Protocol):
    """What is asked of monitoring about an endpoint."""

    def quality(self, endpoint: str, *, by: Period = "all") -> list[PerformanceReport]: ...

    def estimates(self, endpoint: str, *, by: Period = "all") -> list[Estimate]: ...

    def causes(self, endpoint: str, *, at_ms: int = 0, release_hash: str = "") -> CauseReport: ...

    def alerts(self, endpoint: str = "", *, open_only: bool = True, limit: int = 1000) -> list[Alert]: ...


class Presenting:
    """Finds a stored window and puts beside it what labels, estimates and alerts say."""

    def __init__(self, *, db: Database, predictions: Predictions, monitoring: Known) -> None:
        self._db = db
        self._predictions = predictions
        self._monitoring = monitoring

    def document(self, endpoint: str, *, at_ms: int, release_hash: str, causes: bool) -> Document:
        """The document of the window that holds a moment, the newest with 0; raises NotFound."""
        report = store.find_report(self._db, endpoint, at_ms=at_ms, release_hash=release_hash)
        if report is None:
            raise self._missing(endpoint, at_ms, release_hash)
        log = self._predictions.summary(endpoint)
        period = period_for(log.labelled_rows, log.last_event_at_ms - log.first_event_at_ms, LABELS_PER_POINT)
        return document(
            report,
            realised=self._monitoring.quality(endpoint, by=period),
            estimated=self._monitoring.estimates(endpoint, by=period),
            alerts=self._alerts(report),
            causes=self._causes(report) if causes else None,
        )

    def _causes(self, report: DriftReport) -> CauseReport:
        return self._monitoring.causes(report.endpoint, at_ms=report.from_at_ms, release_hash=report.release_hash)

    def _alerts(self, report: DriftReport) -> list[Alert]:
        """Those this very window speaks of; with the newest window also what else is open."""
        newest = store.find_report(self._db, report.endpoint, at_ms=0, release_hash="")
        told = {verdict.why for verdict in report.features}
        every = self._monitoring.alerts(report.endpoint, open_only=False, limit=ALERTS_READ)
        return [each for each in every if not each.cleared_at_ms and (newest == report or each.why in told)]

    def _missing(self, endpoint: str, at_ms: int, release_hash: str) -> NotFound:
        of = f" of release {release_hash}" if release_hash else ""
        newest = store.find_report(self._db, endpoint, at_ms=0, release_hash=release_hash)
        if newest is None:
            return NotFound(
                f"no window of {endpoint}{of} has been judged yet",
                hint=f"see how many rows it waits for: mlspine status {endpoint}",
            )
        return NotFound(
            f"no judged window of {endpoint}{of} holds {moment(at_ms)}",
            hint=f"the newest ends at {moment(newest.to_at_ms)}: mlspine report {endpoint} --window latest",
        )
