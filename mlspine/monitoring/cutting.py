"""Cutting the log into windows for estimates: rows and outcomes counted by part of each window. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.types import Columns
from mlspine.monitoring.performance import FINAL_COVERAGE
from mlspine.monitoring.window import DAY_MS, Period, Span, spans_by
from mlspine.stats import tally as tallies
from mlspine.stats.blind import Matured
from mlspine.stats.tally import Bins, Tally

Array = np.ndarray[Any, np.dtype[Any]]

NO_ROWS: Columns = {
    "event_time": np.empty(0, dtype="datetime64[us]"),
    "prediction": np.empty(0),
    "score": np.empty(0),
    "label": np.empty(0),
}

# A part holds whole cycles of the day, and in months of the week: what differs between parts is not the clock.
PARTS: dict[Period, int] = {"month": 4, "week": 1, "day": 1, "all": 1}
LEAST_LABELLED = 30


class Cut(NamedTuple):
    """One window. number: its place among all windows of its length; matured: its labels are in."""

    span: Span
    number: int
    parts: tuple[Tally, ...]
    closed: bool
    matured: bool

    @property
    def rows(self) -> int:
        return int(sum(part.rows.sum() for part in self.parts))

    @property
    def labelled(self) -> int:
        return int(sum(part.labelled.sum() for part in self.parts))


def cut(
    bins: Bins, predicted: Columns, labelled: Columns, period: Period, *, now_ms: int, max_delay_ms: int
) -> list[Cut]:
    """The windows of rows with an answer, oldest first.

    predicted: event_time, prediction and score of all rows; labelled: the same and label of those with one.
    now_ms: on the log's own time line.
    """
    all_at, known_at = event_at_ms(predicted), event_at_ms(labelled)
    found = [
        joined(
            part_tallies(bins, _within(predicted, all_at, span), span, period),
            part_tallies(bins, _within(labelled, known_at, span), span, period),
            span,
            period,
            now_ms=now_ms,
            max_delay_ms=max_delay_ms,
        )
        for span in spans_by(period, all_at)
    ]
    return [one for one in found if one.parts]


def joined(
    rows: Sequence[Tally], known: Sequence[Tally], span: Span, period: Period, *, now_ms: int, max_delay_ms: int
) -> Cut:
    """One window from the tallies of all its rows and of those with a label, by part.

    It has matured when it is over and nearly all its rows have labels, or no more are expected.
    """
    parts = tuple(
        Tally(every.rows, own.labelled, own.outcomes)
        for every, own in zip(rows, known, strict=True)
        if every.rows.any() or own.labelled.any()
    )
    total, with_label = sum(part.rows.sum() for part in parts), sum(part.labelled.sum() for part in parts)
    closed = now_ms >= span.to_at_ms
    complete = with_label >= FINAL_COVERAGE * total or now_ms >= span.to_at_ms + max_delay_ms
    matured = bool(closed and complete and with_label >= LEAST_LABELLED)
    return Cut(span, index_of(span, period), parts, closed, matured)


def part_tallies(bins: Bins, columns: Columns, span: Span, period: Period) -> list[Tally]:
    """The rows of one window counted by part of its time."""
    place = part_of(event_at_ms(columns), span, period)
    wanted = [name for name in ("prediction", "score", "label") if name in columns]
    return [
        tallies.tally(bins, {name: columns[name][place == each] for name in wanted}) for each in range(PARTS[period])
    ]


def shipped(parts: Sequence[tuple[int, int, Tally]], period: Period, *, before: int) -> list[Matured]:
    """The labelled rows a release carries, as windows before the one of index `before`, oldest first.

    Rows without dates are one window right before it. Those dated later stay out: they may be live rows too.
    """
    if all(start == end for start, end, _ in parts):
        return [Matured((_middle(before - 1, 0, period),), tuple(part for _, _, part in parts), 1.0)]
    windows: dict[int, dict[int, Tally]] = {}
    for start, end, part in parts:
        span = next(iter(spans_by(period, np.array([(start + end) // 2]))))
        index, place = index_of(span, period), part_of(np.array([(start + end) // 2]), span, period)[0]
        if index < before:
            own = windows.setdefault(index, {})
            own[place] = own[place] + part if place in own else part
    return [
        Matured(
            tuple(_middle(index, place, period) for place in sorted(own)),
            tuple(own[place] for place in sorted(own)),
            float(before - index),
        )
        for index, own in sorted(windows.items())
    ]


def matured(cuts: Sequence[Cut], period: Period, *, before: int) -> list[Matured]:
    """Those of the windows that have matured, as seen from the window of index `before`."""
    return [
        Matured(
            tuple(_middle(each.number, place, period) for place in range(len(each.parts))),
            tuple(Tally(part.labelled, part.labelled, part.outcomes) for part in each.parts),
            float(before - each.number),
        )
        for each in cuts
        if each.matured and each.number < before
    ]


def middle_of(one: Cut, period: Period) -> float:
    """When a window is, counted in parts."""
    return (one.number + 0.5) * PARTS[period]


def index_of(span: Span, period: Period) -> int:
    """The window's number since 1970, windows of its length counted."""
    if period == "month":
        return int(np.datetime64(span.from_at_ms, "ms").astype("datetime64[M]").astype(np.int64))
    day = span.from_at_ms // DAY_MS
    return (day + 3) // 7 if period == "week" else day


def cut_out(columns: Columns, span: Span) -> Columns:
    """The rows of columns with an `event_time` that lie in a window."""
    return _within(columns, event_at_ms(columns), span)


def part_of(at_ms: Array, span: Span, period: Period) -> Array:
    """Which part of its window each moment lies in."""
    if PARTS[period] == 1:
        return np.zeros(len(at_ms), dtype=np.int64)
    days = (at_ms - span.from_at_ms) // DAY_MS
    length = max(1, (span.to_at_ms - span.from_at_ms) // DAY_MS // PARTS[period])
    place: Array = np.minimum(days // length, PARTS[period] - 1)
    return place


def event_at_ms(columns: Columns) -> Array:
    at_ms: Array = columns["event_time"].astype("datetime64[ms]").astype(np.int64)
    return at_ms


def _within(columns: Columns, at_ms: Array, span: Span) -> Columns:
    inside = (at_ms >= span.from_at_ms) & (at_ms < span.to_at_ms)
    return {name: values[inside] for name, values in columns.items()}


def _middle(index: int, place: int, period: Period) -> float:
    return index * PARTS[period] + place + 0.5
