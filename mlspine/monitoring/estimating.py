"""Estimating quality before labels come: every window, kept as it was estimated when, and watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.ids import uuid7
from mlspine.core.types import Alert, Columns, Estimate, Interval, LogSummary
from mlspine.monitoring import estimate_store, store
from mlspine.monitoring.alert import QUALITY, after_report, cleared
from mlspine.monitoring.cutting import NO_ROWS, Cut, cut_out, joined, part_tallies
from mlspine.monitoring.estimated import Key, Source, estimate_cuts, is_news, newest
from mlspine.monitoring.together import together
from mlspine.monitoring.window import DAY_MS, Period, Span, event_now, period_for, spans_by
from mlspine.monitoring.yardstick import Yardstick, Yardsticks
from mlspine.ports import Database
from mlspine.predictions.service import Predictions
from mlspine.stats import tally as tallies
from mlspine.stats.blind import METRICS, MOST_WINDOWS
from mlspine.stats.interval import wilson
from mlspine.stats.score import class_index, measure
from mlspine.stats.tally import Bins, Tally, bins_of

ESTIMATE = "estimate:"
PRIMARY = ("auc", "accuracy", "mae")  # the first of them that a model has is watched
# Estimating reads rows: not at every tick while traffic flows. Windows are kept as counts once they were read.
EVERY_MS = 60_000
PATIENCE_MS = 600_000
RECHECK_MS = 3_600_000
MOST_KEPT = 5_000
_EVER = 2**62

Array = np.ndarray[Any, np.dtype[Any]]


class Estimating:
    """Estimates of every endpoint with rows. Call from one thread at a time."""

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
        self._said: dict[str, int] = {}
        self._bins: dict[tuple[str, str], Bins] = {}
        self._windows: dict[tuple[str, str, Period, int], _Window] = {}

    def estimate(self, endpoint: str, by: Period, *, patience_ms: int = 0) -> list[Estimate]:
        """What is estimated now, one per release, window and metric, oldest window first; [] before any row.

        by: "all" takes the shortest period whose windows hold enough rows. patience_ms: how long new rows alone
        may wait; labels count at once.
        """
        summary = self._predictions.summary(endpoint)
        period = self._period(summary) if by == "all" else by
        done, now = self._done.get((endpoint, period)), _Done(summary, self._clock())
        if summary.rows and (done is None or done.outdated(now, patience_ms)):
            self._estimate(summary, period)
            self._done[endpoint, period] = now
        return self.known(endpoint, period)

    def known(self, endpoint: str, by: Period, *, as_of_ms: int = _EVER) -> list[Estimate]:
        """What was estimated at a moment of the log's own time."""
        period = self._period(self._predictions.summary(endpoint)) if by == "all" else by
        return estimate_store.newest(self._db, endpoint, period=period, as_of_ms=as_of_ms)

    def newest(self, endpoint: str, release_hash: str) -> dict[str, Estimate]:
        """The newest estimate of each metric of a release, as stored."""
        return newest(self.known(endpoint, "all"), release_hash)

    def primary(self, endpoint: str, release_hash: str) -> Estimate | None:
        """The newest estimate of a release's primary metric, as stored."""
        latest = self.newest(endpoint, release_hash)
        return next((latest[metric] for metric in PRIMARY if metric in latest), None)

    def watch(self, endpoint: str, *, release_hash: str, force: bool) -> None:
        """Keep the alert on estimates that no longer hold; nothing is read when nothing came."""
        now = self._clock()
        if not force and now - self._watched_at_ms.get(endpoint, -EVERY_MS) < EVERY_MS:
            return
        self._watched_at_ms[endpoint] = now
        self.estimate(endpoint, "all", patience_ms=0 if force else PATIENCE_MS)
        own = [each for each in self.known(endpoint, "all") if each.release_hash == release_hash]
        primary = next((metric for metric in PRIMARY if any(each.metric == metric for each in own)), "")
        windows = [each for each in own if each.metric == primary]
        standing = store.open_alerts(self._db, endpoint)
        if any(alert.cause == QUALITY + primary for alert in standing):
            self._said[endpoint] = broken_since(windows)
        said = broken_since(windows) in (self._said.get(endpoint), 0)
        changed = after_estimates(windows, standing, said=said, now_ms=now, new_id=uuid7)
        if changed is not None:
            with self._db.write() as tx:
                store.save_alert(tx, changed)

    # ------------------------------------------------------------ inside

    def _period(self, summary: LogSummary) -> Period:
        return period_for(summary.rows, summary.last_event_at_ms - summary.first_event_at_ms, self._min_rows)

    def _estimate(self, summary: LogSummary, period: Period) -> None:
        endpoint = summary.endpoint
        as_of_ms = event_now(
            high_water_at_ms=summary.last_event_at_ms,
            last_received_at_ms=summary.last_received_at_ms,
            now_ms=self._clock(),
        )
        known = self.known(endpoint, period)
        for release_hash in sorted({each.release_hash for each in self._predictions.counters(endpoint)} - {""}):
            own = {(each.from_at_ms, each.metric): each for each in known if each.release_hash == release_hash}
            found = self._estimate_release(summary, release_hash, period, own, as_of_ms)
            fresh = [each for each in found if is_news(own.get((each.from_at_ms, each.metric)), each)]
            with self._db.write() as tx:
                for each in fresh:
                    estimate_store.add(tx, each, period=period)

    def _estimate_release(
        self, summary: LogSummary, release_hash: str, period: Period, known: dict[Key, Estimate], as_of_ms: int
    ) -> list[Estimate]:
        endpoint = summary.endpoint
        yardstick = self._yardsticks.of(endpoint, release_hash)
        source = self._source(endpoint, release_hash, yardstick)
        if source is None:
            return []
        cuts, truths = list[Cut](), dict[Key, Interval]()
        for span, window in self._read(source.bins, summary, release_hash, period):
            one = joined(window.rows, window.known, span, period, now_ms=as_of_ms, max_delay_ms=self._max_delay_ms)
            cuts += [one] if one.parts else []
            if one.matured:
                truths |= {(span.from_at_ms, metric): figure for metric, figure in window.figures.items()}
        return estimate_cuts(
            source,
            cuts,
            truths,
            known,
            period,
            endpoint=endpoint,
            release_hash=release_hash,
            as_of_ms=as_of_ms,
        )

    def _source(self, endpoint: str, release_hash: str, yardstick: Yardstick) -> Source | None:
        """Bins from the release where it carries labelled rows, else from its first labelled rows in the log."""
        if yardstick.baseline.tally:
            bins, parts, _ = tallies.decode(yardstick.baseline.tally)
            return Source(bins, parts)
        key = (endpoint, release_hash)
        if key not in self._bins:
            signature = yardstick.release.signature
            labelled = self._predictions.labelled(endpoint, release_hash=release_hash)
            found = bins_of(signature.task, signature.classes, labelled["score"])
            if found is None or not len(labelled["label"]):
                return Source(found, []) if found is not None else None
            self._bins[key] = found
        return Source(self._bins[key], [])

    def _read(self, bins: Bins, summary: LogSummary, release_hash: str, period: Period) -> list[tuple[Span, _Window]]:
        """The counts of every window of a release, oldest first; read anew where rows or labels of its time came."""
        endpoint = summary.endpoint
        states = self._states(bins, summary, release_hash, period)
        stale = [span for span, state in states.items() if self._kept(endpoint, release_hash, period, span) != state]
        if len(self._windows) + len(stale) > MOST_KEPT:
            self._windows.clear()
            stale = list(states)
        for group in together(stale, span=lambda span: span, rows=lambda span: states[span].rows):
            # Labels first: a row labelled in between is then among the predicted ones too.
            within: dict[str, Any] = {
                "release_hash": release_hash,
                "from_at_ms": group[0].from_at_ms,
                "to_at_ms": group[-1].to_at_ms,
            }
            any_label = any(states[span].labelled_rows for span in group)
            labelled = self._predictions.labelled(endpoint, **within) if any_label else NO_ROWS
            predicted = self._predictions.predicted(endpoint, **within)
            for span in group:
                own = cut_out(labelled, span)
                self._windows[endpoint, release_hash, period, span.from_at_ms] = _Window(
                    states[span],
                    part_tallies(bins, cut_out(predicted, span), span, period),
                    part_tallies(bins, own, span, period),
                    realised(bins, own),
                )
        return [(span, self._windows[endpoint, release_hash, period, span.from_at_ms]) for span in states]

    def _kept(self, endpoint: str, release_hash: str, period: Period, span: Span) -> _State | None:
        kept = self._windows.get((endpoint, release_hash, period, span.from_at_ms))
        return kept.state if kept is not None else None

    def _states(self, bins: Bins, summary: LogSummary, release_hash: str, period: Period) -> dict[Span, _State]:
        """What each window holds, by counts alone; windows without rows of the release are left out."""
        hours = [each for each in self._predictions.hourly_rows(summary.endpoint) if each[0] == release_hash]
        days = [each for each in self._predictions.label_days(summary.endpoint) if each.release_hash == release_hash]
        states = {}
        for span in _spans(summary, period):
            rows = sum(rows for _, start, rows in hours if span.from_at_ms <= start < span.to_at_ms)
            own = [day for day in days if span.from_at_ms <= day.start_at_ms < span.to_at_ms]
            labels = max((day.changed for day in own), default=0)
            if rows:
                states[span] = _State(rows, sum(day.labelled_rows for day in own), labels, bins.edges)
        return states


class _State(NamedTuple):
    """What of the log a window was read from: its rows, and the change of the labels that last touched it."""

    rows: int
    labelled_rows: int
    labels_changed: int
    edges: tuple[float, ...]


class _Window(NamedTuple):
    """One window as last read."""

    state: _State
    rows: list[Tally]
    known: list[Tally]
    figures: dict[str, Interval]


class _Done(NamedTuple):
    """What the log held when quality was last estimated, and when that was."""

    summary: LogSummary
    at_ms: int

    def outdated(self, now: _Done, patience_ms: int) -> bool:
        before, after = self.summary, now.summary
        if (after.labelled_rows, after.parked_labels) != (before.labelled_rows, before.parked_labels):
            return True
        waited = now.at_ms - self.at_ms
        if (after.rows, after.segments, after.size_bytes) != (before.rows, before.segments, before.size_bytes):
            return waited >= patience_ms
        return waited >= RECHECK_MS  # windows close, and mature without their last labels


def realised(bins: Bins, labelled: Columns) -> dict[str, Interval]:
    """The figures of labelled rows that can be estimated, as `mlspine quality` measures them."""
    if not len(labelled["label"]):
        return {}
    score = labelled["score"].astype(np.float64)
    metrics = measure(
        bins.task,
        labelled["label"],
        labelled["prediction"],
        None if np.isnan(score).all() else score,
        bins.classes,
        rows_from="labels",
    )
    figures = {each.name: each.interval for each in metrics if each.interval is not None}
    if bins.task == "binary":
        figures |= _precision_and_recall(bins, labelled)
    return {name: figures[name] for name in METRICS[bins.task] if name in figures}


def after_estimates(
    windows: Sequence[Estimate],
    open_alerts: Sequence[Alert],
    *,
    said: bool,
    now_ms: int,
    new_id: Callable[[], str],
) -> Alert | None:
    """The alert that the estimates of one metric open, update or clear; None for nothing new.

    windows: of one release, oldest first. BROKEN stands until two matured windows in a row are back inside their
    intervals (`stats.backtest`). said: people know of this row of BROKEN windows, by an alert on measured quality;
    they are not told the same twice.
    """
    if not windows:
        return None
    newest = windows[-1]
    cause = ESTIMATE + newest.metric
    standing = next((alert for alert in open_alerts if alert.cause == cause), None)
    if newest.status != "BROKEN":
        return cleared(standing, now_ms=now_ms) if standing is not None else None
    if standing is None and said:
        return None
    return after_report(standing, _alert(newest, cause, now_ms=now_ms, id_=new_id()))


# ---------------------------------------------------------------- below


def broken_since(windows: Sequence[Estimate]) -> int:
    """Where the present row of BROKEN windows begins, event time in ms; 0 where the newest is not BROKEN."""
    began = 0
    for each in reversed(windows):
        if each.status != "BROKEN":
            break
        began = each.from_at_ms
    return began


def _alert(estimate: Estimate, cause: str, *, now_ms: int, id_: str) -> Alert:
    return Alert(
        id=id_,
        endpoint=estimate.endpoint,
        cause=cause,
        severity="WARNING",
        title=f"{estimate.endpoint}: quality can no longer be estimated from scores",
        why=estimate.why,
        action=f"mlspine quality {estimate.endpoint}",
        opened_at_ms=now_ms,
        updated_at_ms=now_ms,
        impact=1.0,
    )


def _precision_and_recall(bins: Bins, labelled: Columns) -> dict[str, Interval]:
    truth = class_index(labelled["label"], bins.classes)
    answer = class_index(labelled["prediction"], bins.classes)
    hits = int(((truth == 1) & (answer == 1)).sum())
    answered, true = int(((answer == 1) & (truth >= 0)).sum()), int((truth == 1).sum())
    shares = {"precision": (hits, answered), "recall": (hits, true)}
    return {name: wilson(part, whole) for name, (part, whole) in shares.items() if whole}


def _spans(summary: LogSummary, period: Period) -> list[Span]:
    """The newest windows that the log's rows can lie in, oldest first."""
    days = np.arange(summary.first_event_at_ms // DAY_MS, summary.last_event_at_ms // DAY_MS + 1) * DAY_MS
    return list(spans_by(period, days))[-MOST_WINDOWS:]
