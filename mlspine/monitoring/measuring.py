"""Measuring quality once labels are there: what is known of each window, kept as it was known when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.ids import uuid7
from mlspine.core.types import Columns, LogSummary, PerformanceReport
from mlspine.monitoring import store
from mlspine.monitoring.alert import after_quality
from mlspine.monitoring.performance import measure_window
from mlspine.monitoring.window import Period, Span, event_now, period_for, spans_by
from mlspine.monitoring.yardstick import Yardsticks
from mlspine.ports import Database
from mlspine.predictions.service import Predictions

# Measuring reads every labelled row: not at every tick while traffic flows.
EVERY_MS = 60_000
_EVER = 2**62

Times = np.ndarray[Any, np.dtype[np.int64]]


class Measuring:
    """Performance reports of every endpoint with labels. Call from one thread at a time."""

    def __init__(
        self,
        *,
        db: Database,
        predictions: Predictions,
        yardsticks: Yardsticks,
        clock: Callable[[], int],
        min_rows: int,
        max_delay_ms: int,
    ) -> None:
        self._db = db
        self._predictions = predictions
        self._yardsticks = yardsticks
        self._clock = clock
        self._min_rows = min_rows
        self._max_delay_ms = max_delay_ms
        self._done: dict[tuple[str, Period], _Done] = {}
        self._watched_at_ms: dict[str, int] = {}

    def measure(self, endpoint: str, by: Period) -> list[PerformanceReport]:
        """What is known now, measured again where labels or rows have come since; [] before any label."""
        summary = self._predictions.summary(endpoint)
        done, now = self._done.get((endpoint, by)), self._clock()
        if summary.labelled_rows and (done is None or done.outdated(summary, now)):
            self._measure(summary, by, now)
            self._done[endpoint, by] = _Done(summary, now)
        return self.known(endpoint, by)

    def known(self, endpoint: str, by: Period, *, as_of_ms: int = _EVER) -> list[PerformanceReport]:
        """What was known at a moment of the log's own time, one report per release and window."""
        found = store.performance(self._db, endpoint, period=by, as_of_ms=as_of_ms)
        if by != "all":
            return found
        # The one window of everything begins where retention has got to: earlier beginnings are replaced.
        newest: dict[str, PerformanceReport] = {}
        for report in found:
            if report.as_of_ms >= newest.get(report.release_hash, report).as_of_ms:
                newest[report.release_hash] = report
        return sorted(newest.values(), key=lambda report: (report.from_at_ms, report.to_at_ms))

    def watch(self, endpoint: str, *, release_hash: str, force: bool) -> None:
        """Keep the quality alert as the live release's windows put it, once a minute at most unless forced.

        Measured by the shortest period that holds enough rows."""
        now = self._clock()
        if not force and now - self._watched_at_ms.get(endpoint, -EVERY_MS) < EVERY_MS:
            return
        self._watched_at_ms[endpoint] = now
        summary = self._predictions.summary(endpoint)
        covered_ms = summary.last_event_at_ms - summary.first_event_at_ms
        measured = self.measure(endpoint, period_for(summary.rows, covered_ms, self._min_rows))
        own = [report for report in measured if report.release_hash == release_hash]
        standing = store.open_alerts(self._db, endpoint)
        changed = after_quality(own, standing, now_ms=now, new_id=uuid7)
        with self._db.write() as tx:
            for alert in changed:
                store.save_alert(tx, alert)

    # ------------------------------------------------------------ inside

    def _measure(self, summary: LogSummary, by: Period, now: int) -> None:
        endpoint = summary.endpoint
        known = {(each.release_hash, each.from_at_ms): each for each in self.known(endpoint, by)}
        as_of_ms = event_now(
            high_water_at_ms=summary.last_event_at_ms,
            last_received_at_ms=summary.last_received_at_ms,
            now_ms=now,
        )
        for release_hash in sorted({each.release_hash for each in self._predictions.counters(endpoint)}):
            for report in self._measure_release(endpoint, release_hash, by, as_of_ms):
                self._keep(report, known.get((release_hash, report.from_at_ms)), by)

    def _measure_release(
        self, endpoint: str, release_hash: str, by: Period, as_of_ms: int
    ) -> Iterator[PerformanceReport]:
        # Labels first: a row labelled in between is then among the predicted ones too.
        labelled = self._predictions.labelled(endpoint, release_hash=release_hash)
        if not len(labelled["label"]):
            return
        predicted = self._predictions.predicted(endpoint, release_hash=release_hash)
        yardstick = self._yardsticks.of(endpoint, release_hash)
        labelled_at, predicted_at = _event_at_ms(labelled), _event_at_ms(predicted)
        for span in spans_by(by, predicted_at):
            yield measure_window(
                endpoint=endpoint,
                release_hash=release_hash,
                from_at_ms=span.from_at_ms,
                to_at_ms=span.to_at_ms,
                as_of_ms=as_of_ms,
                labelled=_within(labelled, labelled_at, span),
                predicted=_within(predicted, predicted_at, span),
                baseline=yardstick.version.metric,
                task=yardstick.release.signature.task,
                classes=yardstick.release.signature.classes,
                max_delay_ms=self._max_delay_ms,
            )

    def _keep(self, report: PerformanceReport, known: PerformanceReport | None, by: Period) -> None:
        """New knowledge is stored beside the old; a mere change of coverage renews what is there."""
        if known is not None and _says_the_same(known, report):
            report = msgspec.structs.replace(report, as_of_ms=known.as_of_ms)
            if report == known:
                return
        with self._db.write() as tx:
            store.add_performance(tx, report, period=by)


class _Done(NamedTuple):
    """What the log held when quality was last measured, and when that was."""

    summary: LogSummary
    at_ms: int

    def outdated(self, now: LogSummary, now_ms: int) -> bool:
        """Labels count at once, a corrected one too; rows alone, which change coverage, after a while."""
        before = self.summary
        if (now.labelled_rows, now.parked_labels) != (before.labelled_rows, before.parked_labels):
            return True
        if (now.segments, now.size_bytes) == (before.segments, before.size_bytes):
            return False
        return now.rows == before.rows or now_ms - self.at_ms >= EVERY_MS


def _event_at_ms(columns: Columns) -> Times:
    return columns["event_time"].astype("datetime64[ms]").astype(np.int64)


def _within(columns: Columns, at_ms: Times, span: Span) -> Columns:
    inside = (at_ms >= span.from_at_ms) & (at_ms < span.to_at_ms)
    return {name: values[inside] for name, values in columns.items()}


def _says_the_same(a: PerformanceReport, b: PerformanceReport) -> bool:
    told = ("from_at_ms", "labelled_rows", "status", "severity", "metrics")
    return all(getattr(a, name) == getattr(b, name) for name in told)
