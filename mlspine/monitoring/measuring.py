"""Measuring quality once labels are there: what is known of each window, kept as it was known when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from mlspine.core.ids import uuid7
from mlspine.core.types import Columns, Metric, PerformanceReport
from mlspine.monitoring import store
from mlspine.monitoring.alert import after_quality
from mlspine.monitoring.cutting import NO_ROWS, cut_out
from mlspine.monitoring.delays import NEARLY_ALL, Delays, delays_of
from mlspine.monitoring.performance import FINAL_COVERAGE, measure_window
from mlspine.monitoring.slicing import QualitySlice, slices
from mlspine.monitoring.together import together
from mlspine.monitoring.window import DAY_MS, HOUR_MS, Period, Span, event_now, period_for, spans_by
from mlspine.monitoring.yardstick import Yardsticks
from mlspine.ports import Database
from mlspine.predictions.service import Predictions
from mlspine.predictions.store import LabelDay
from mlspine.registry.watched import is_watched_version
from mlspine.stats import blocks as by_blocks

Blocks = Literal["day", "key"]

EVERY_MS = 60_000
# A measurement that read more rows than this rests for so many times as long as it took.
AT_ONCE_ROWS, REST = 1_000_000, 20.0
SAMPLED_ROWS = 2_000_000
_EVER = 2**62


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
        self._free_at_s: dict[tuple[str, Period], float] = {}
        self._watched_at_ms: dict[str, int] = {}

    def measure(self, endpoint: str, by: Period) -> list[PerformanceReport]:
        """What is known now, measured again in the windows that labels or rows have come to; [] before any label.

        Measuring takes a twentieth of the time at most: after one that took long, what is known stands for a while.
        """
        free_at_s = self._free_at_s.get((endpoint, by), 0.0)
        began_s = time.monotonic()
        if began_s >= free_at_s:
            rows = self._measure(endpoint, by)
            took_s = time.monotonic() - began_s
            self._free_at_s[endpoint, by] = began_s + (REST * took_s if rows > AT_ONCE_ROWS else 0.0)
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

    def as_of(self, endpoint: str, by: Period, *, as_of_ms: int) -> list[PerformanceReport]:
        """What was reported by then; where nothing was, what the rows and labels dated until then say."""
        return self.known(endpoint, by, as_of_ms=as_of_ms) or self._dated(endpoint, by, as_of_ms)

    def _dated(self, endpoint: str, by: Period, as_of_ms: int) -> list[PerformanceReport]:
        days = [day for day in self._predictions.label_days(endpoint) if day.start_at_ms < as_of_ms]
        hours = [each for each in self._predictions.hourly_rows(endpoint) if each[1] < as_of_ms]
        reports = []
        for release_hash, (first, last) in sorted(self._predictions.event_spans(endpoint).items()):
            held = Span(first, min(last, as_of_ms))
            if held.from_at_ms >= held.to_at_ms:
                continue
            windows = list(_windows(by, release_hash, held, hours, days, as_of_ms, self._max_delay_ms))
            for window, labelled, predicted in self._read(endpoint, windows, as_of_ms=as_of_ms):
                report = self._report(endpoint, window, labelled, predicted, by, as_of_ms, self._max_delay_ms)
                reports += [report] if report.labelled_rows else []
        return sorted(reports, key=lambda report: (report.from_at_ms, report.release_hash))

    def sliced(self, endpoint: str, column: str, *, release_hash: str) -> list[QualitySlice]:
        """Quality of one release per level of a logged column, over all labelled rows in the log."""
        found = self._predictions.sliced(endpoint, column, release_hash=release_hash)
        signature = self._yardsticks.of(endpoint, release_hash).release.signature
        values = found.pop("value")
        return slices(found, values, task=signature.task, classes=signature.classes) if len(values) else []

    def blocked(self, endpoint: str, blocks: Blocks, *, release_hash: str) -> list[Metric]:
        """The primary figure of one release over all its labelled rows, with an interval by day or by key."""
        found = self._predictions.labelled(endpoint, release_hash=release_hash, with_key=blocks == "key")
        if not len(found["label"]):
            return []
        signature = self._yardsticks.of(endpoint, release_hash).release.signature
        if blocks == "key":
            place = np.array([key or f"row {row}" for row, key in enumerate(found["key"].tolist())])
        else:
            place = found["event_time"].astype("datetime64[D]").astype(np.int64)
        score = None if np.isnan(found["score"]).all() else found["score"]
        metric = by_blocks.measure(signature.task, found["label"], found["prediction"], score, signature.classes, place)
        return [metric] if metric is not None else []

    def delays(self, endpoint: str) -> Delays:
        """How long the endpoint's labels take, by all days so far."""
        days, hours = self._predictions.label_days(endpoint), self._predictions.hourly_rows(endpoint)
        return delays_of(days, hours, as_of_ms=self._event_now(endpoint))

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
        served_here = not (release_hash and is_watched_version(self._yardsticks.of(endpoint, release_hash).version))
        changed = after_quality(own, standing, now_ms=now, new_id=uuid7, served_here=served_here)
        with self._db.write() as tx:
            for alert in changed:
                store.save_alert(tx, alert)

    # ------------------------------------------------------------ inside

    def _measure(self, endpoint: str, by: Period) -> int:
        """Measure the windows that are due; returns the rows of those."""
        days = self._predictions.label_days(endpoint)
        if not any(day.labelled_rows for day in days):
            return 0
        as_of_ms, rows = self._event_now(endpoint), 0
        hours = self._predictions.hourly_rows(endpoint)
        spans = self._predictions.event_spans(endpoint)
        measured = {(each.release_hash, each.from_at_ms): each for each in store.measured(self._db, endpoint, by)}
        known = {(each.release_hash, each.from_at_ms): each for each in self.known(endpoint, by)}
        delays = delays_of(days, hours, as_of_ms=as_of_ms)
        delay_ms, nearly_ms = delays.settled_ms(self._max_delay_ms), delays.until_ms(NEARLY_ALL)
        for release_hash in sorted({day.release_hash for day in days if day.labelled_rows} & spans.keys()):
            held = Span(*spans[release_hash])
            gone = [
                start for release, start, _ in hours if release == release_hash and start + HOUR_MS <= held.from_at_ms
            ]
            due = []
            for window in _windows(by, release_hash, held, hours, days, as_of_ms, delay_ms):
                if measured.get((release_hash, window.from_at_ms)) == window:
                    continue
                if (
                    (release_hash, window.from_at_ms) in known
                    and by != "all"
                    and window.from_at_ms <= max(gone, default=-1)
                ):
                    continue  # its first rows have expired: what was measured with them stands
                due.append(window)
            rows += sum(window.predicted_rows for window in due)
            for window, labelled, predicted in self._read(endpoint, due):
                before = known.get((release_hash, window.from_at_ms))
                report = self._report(endpoint, window, labelled, predicted, by, as_of_ms, delay_ms)
                if report.status == "PROVISIONAL" and by != "all":
                    expected_ms = min(delay_ms, nearly_ms if nearly_ms is not None else delay_ms)
                    report = msgspec.structs.replace(report, expected_at_ms=window.to_at_ms + int(expected_ms))
                self._keep(report, before, by, window)
        return rows

    def _report(
        self,
        endpoint: str,
        window: store.Measured,
        labelled: Columns,
        predicted: Columns,
        by: Period,
        as_of_ms: int,
        delay_ms: int,
    ) -> PerformanceReport:
        yardstick = self._yardsticks.of(endpoint, window.release_hash)
        return measure_window(
            endpoint=endpoint,
            release_hash=window.release_hash,
            from_at_ms=window.from_at_ms,
            to_at_ms=window.to_at_ms,
            as_of_ms=as_of_ms,
            labelled=labelled,
            predicted=predicted,
            predicted_rows=window.predicted_rows,
            baseline=yardstick.version.metric,
            task=yardstick.release.signature.task,
            classes=yardstick.release.signature.classes,
            max_delay_ms=delay_ms,
            open_ended=by == "all",
        )

    def _read(
        self, endpoint: str, windows: Sequence[store.Measured], *, as_of_ms: int | None = None
    ) -> Iterator[tuple[store.Measured, Columns, Columns]]:
        """Each window of one release with its labelled rows, and of all its rows as many as say how those differ."""
        for group in together(windows, span=_span, rows=lambda window: window.predicted_rows):
            # Labels first: a row labelled in between is then among the predicted ones too.
            all_labelled = NO_ROWS
            if any(window.labelled_rows for window in group):
                all_labelled = self._predictions.labelled(endpoint, **_place(group, as_of_ms), as_of_ms=as_of_ms)
            parts = [(window, cut_out(all_labelled, _span(window))) for window in group]
            open_ = [window for window, labelled in parts if _says_little(window, labelled)]
            one_in = -(-max((window.predicted_rows for window in open_), default=1) // SAMPLED_ROWS)
            all_predicted = NO_ROWS
            if open_:
                all_predicted = self._predictions.predicted(endpoint, **_place(open_, as_of_ms), one_in=one_in)
            for window, labelled in parts:
                yield window, labelled, cut_out(all_predicted, _span(window)) if window in open_ else NO_ROWS

    def _event_now(self, endpoint: str) -> int:
        counters = self._predictions.counters(endpoint)
        return event_now(
            high_water_at_ms=max((each.last_event_at_ms for each in counters), default=0),
            last_received_at_ms=max((each.last_received_at_ms for each in counters), default=0),
            now_ms=self._clock(),
        )

    def _keep(
        self, report: PerformanceReport, known: PerformanceReport | None, by: Period, window: store.Measured
    ) -> None:
        """New knowledge is stored beside the old; a mere change of coverage renews what is there."""
        if known is not None and _says_the_same(known, report):
            report = msgspec.structs.replace(report, as_of_ms=known.as_of_ms)
        with self._db.write() as tx:
            if report != known:
                store.add_performance(tx, report, period=by)
            store.put_measured(tx, report.endpoint, by, window)


def _span(window: store.Measured) -> Span:
    return Span(window.from_at_ms, window.to_at_ms)


def _place(windows: Sequence[store.Measured], as_of_ms: int | None) -> dict[str, Any]:
    """Which rows of the log a group of windows of one release is made of."""
    to_at_ms = windows[-1].to_at_ms
    return {
        "from_at_ms": windows[0].from_at_ms,
        "to_at_ms": min(to_at_ms, as_of_ms or to_at_ms),
        "release_hash": windows[0].release_hash,
    }


def _says_little(window: store.Measured, labelled: Columns) -> bool:
    """Whether the labelled rows of a window may differ from all of it: not when nearly all have labels."""
    return bool(window.labelled_rows) and len(labelled["label"]) < FINAL_COVERAGE * window.predicted_rows


def _windows(
    by: Period,
    release_hash: str,
    held: Span,
    hours: Sequence[tuple[str, int, int]],
    days: Sequence[LabelDay],
    as_of_ms: int,
    delay_ms: int,
) -> Iterator[store.Measured]:
    """The windows of a release with what decides whether they are to be measured again, oldest first.

    held: the event times of the rows there are; hours, days: of all releases.
    """
    own = [
        (start, rows) for release, start, rows in hours if release == release_hash and start + HOUR_MS > held.from_at_ms
    ]
    labels = [day for day in days if day.release_hash == release_hash]
    starts, counts = (np.array(each, dtype=np.int64) for each in (zip(*own, strict=True) if own else ((), ())))
    spans = [held] if by == "all" else spans_by(by, starts)
    for span in spans:
        inside = (starts + HOUR_MS > span.from_at_ms) & (starts < span.to_at_ms)
        touched = [day for day in labels if span.from_at_ms - DAY_MS < day.start_at_ms < span.to_at_ms]
        yield store.Measured(
            release_hash=release_hash,
            from_at_ms=span.from_at_ms,
            to_at_ms=span.to_at_ms,
            changed=max((day.changed for day in touched), default=0),
            predicted_rows=int(counts[inside].sum()),
            labelled_rows=sum(day.labelled_rows for day in touched),
            phase=int(by != "all" and as_of_ms >= span.to_at_ms) + int(as_of_ms >= span.to_at_ms + delay_ms),
        )


def _says_the_same(a: PerformanceReport, b: PerformanceReport) -> bool:
    told = ("from_at_ms", "labelled_rows", "status", "severity", "metrics")
    return all(getattr(a, name) == getattr(b, name) for name in told)
