"""Windows of event time: which hours are complete, which form the next window, how strictly it is judged.

Profiles are kept per hour. A window is one hour when that hour has enough rows, and grows hour by hour until
it has: every row is judged once, in the order of event time. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mlspine.core.types import SubWindow
from mlspine.stats.seasons import SLOTS, slots_of

Array = np.ndarray[Any, np.dtype[Any]]
Period = Literal["all", "month", "week", "day"]

HOUR_MS = 3_600_000
IDLE_MS = HOUR_MS
DAY_MS = 24 * HOUR_MS
PERIOD_MS = 30 * DAY_MS
LARGEST_ALPHA = 0.01


class Span(NamedTuple):
    """Event time from (included) to (excluded)."""

    from_at_ms: int
    to_at_ms: int


def closed_until(*, high_water_at_ms: int, last_received_at_ms: int, now_ms: int, force: bool = False) -> int:
    """The event time before which hours are complete.

    high_water_at_ms: the newest event time received. The hour it lies in is still open, unless nothing has
    been received for an hour (by `now_ms`) or `force` closes it. Event time ahead of `now_ms` counts as
    `now_ms`: one caller whose clock is wrong must not close the hours of all others.

    >>> at = 2 * HOUR_MS + 5
    >>> closed_until(high_water_at_ms=at, last_received_at_ms=at, now_ms=at) // HOUR_MS
    2
    """
    hour = min(high_water_at_ms, now_ms) // HOUR_MS * HOUR_MS
    idle = now_ms - last_received_at_ms >= IDLE_MS
    return hour + HOUR_MS if idle or force else hour


def event_now(*, high_water_at_ms: int, last_received_at_ms: int, now_ms: int) -> int:
    """What time it is on the log's own time line.

    Live, that is the clock. For rows replayed from the past it is the newest event time, moved on by the time
    that has passed since it was received: a label of 2013 is not late because it is read today.

    >>> event_now(high_water_at_ms=1_000, last_received_at_ms=50_000, now_ms=50_250)
    1250
    """
    return min(now_ms, high_water_at_ms + max(0, now_ms - last_received_at_ms))


def due_windows(
    hours: Iterable[SubWindow], *, closed_at_ms: int, window_s: int, min_rows: int, force: bool = False
) -> list[tuple[SubWindow, ...]]:
    """The windows that can be judged now, oldest first, from the unjudged hours of one endpoint and release.

    A window ends with the first complete hour that gives it both `window_s` of event time and `min_rows`;
    `force` waives the time, never the rows. Hours left over wait for the next call.
    """
    windows, held = [], list[SubWindow]()
    for hour in sorted(hours, key=lambda each: each.start_at_ms):
        if hour.start_at_ms + HOUR_MS > closed_at_ms:
            break
        held.append(hour)
        span_ms = hour.start_at_ms + HOUR_MS - held[0].start_at_ms
        if sum(each.rows for each in held) >= min_rows and span_ms >= window_s * 1000:
            windows.append(tuple(held))
            held = []
    if force and held and sum(each.rows for each in held) >= min_rows:
        windows.append(tuple(held))
    return windows


def span_of(window: Sequence[SubWindow]) -> Span:
    """From the beginning of a window's first hour to the end of its last."""
    return Span(window[0].start_at_ms, window[-1].start_at_ms + HOUR_MS)


def rows_by_slot(window: Sequence[SubWindow]) -> Array:
    """Rows of a window per slot of the week (48,): hour of the day, workdays first, then weekends."""
    slot = slots_of(np.array([hour.start_at_ms for hour in window], dtype=np.int64))
    rows = np.zeros(SLOTS, dtype=np.int64)
    np.add.at(rows, slot, [hour.rows for hour in window])
    return rows


def late_rows(hours: Iterable[SubWindow], judged: Mapping[int, int]) -> dict[int, int]:
    """Rows that arrived for hours already judged, by the hour's start; they are counted and not judged again.

    judged: rows of each hour as it was judged, by its start. An hour inside the judged time that had no rows
    then is late as a whole.
    """
    if not judged:
        return {}
    mark = max(judged)
    return {
        hour.start_at_ms: extra
        for hour in hours
        if hour.start_at_ms <= mark and (extra := hour.rows - judged.get(hour.start_at_ms, 0)) > 0
    }


def expected_windows(histories: Iterable[Sequence[Span]], *, until_at_ms: int) -> float:
    """Windows the whole workspace will judge in 30 days, going by the 30 days before.

    histories: per endpoint, the windows judged so far, whatever the release. Each endpoint contributes its
    count over the time they cover: a young one counts at its present rate.

    >>> hourly = [Span(n * HOUR_MS, (n + 1) * HOUR_MS) for n in range(48)]
    >>> expected_windows([hourly], until_at_ms=48 * HOUR_MS)
    720.0
    """
    total = 0.0
    for history in histories:
        recent = [span for span in history if until_at_ms - PERIOD_MS < span.to_at_ms <= until_at_ms]
        if recent:
            covered = max(span.to_at_ms for span in recent) - min(span.from_at_ms for span in recent)
            total += len(recent) * PERIOD_MS / covered
    return total


def alpha_for(*, budget_per_30_days: float, expected: float) -> float:
    """The significance one window may spend, so that false alarms stay within the budget: at most 0.01.

    >>> alpha_for(budget_per_30_days=1.0, expected=720.0)
    0.001388888888888889
    """
    return min(LARGEST_ALPHA, budget_per_30_days / expected) if expected > 0 else LARGEST_ALPHA


# ---------------------------------------------------------------- windows of measured quality


def spans_by(period: Period, event_at_ms: Array) -> Iterator[Span]:
    """The calendar days, ISO weeks or months (UTC) that hold these times, oldest first; "all" as one span.

    event_at_ms: int64, any order, may be empty.
    """
    if event_at_ms.size == 0:
        return
    if period == "all":
        yield Span(int(event_at_ms.min()), int(event_at_ms.max()) + 1)
        return
    if period == "month":
        months = np.unique(event_at_ms.astype("datetime64[ms]").astype("datetime64[M]"))
        for month in months:
            yield Span(_ms(month), _ms(month + 1))
        return
    days = np.unique(event_at_ms // DAY_MS)
    length = 7 if period == "week" else 1
    # 1970-01-01 was a Thursday: three days after a Monday.
    for start in np.unique(days - (days + 3) % length if period == "week" else days).tolist():
        yield Span(start * DAY_MS, (start + length) * DAY_MS)


def period_for(rows: int, covered_ms: int, min_rows: int) -> Period:
    """The shortest period that holds `min_rows` on average, for alerts on measured quality.

    >>> [period_for(rows, 30 * DAY_MS, 500) for rows in (15_000, 3_000, 600, 10)]
    ['day', 'week', 'month', 'month']
    """
    per_day = rows * DAY_MS / max(covered_ms, DAY_MS)
    if per_day >= min_rows:
        return "day"
    return "week" if 7 * per_day >= min_rows else "month"


def _ms(moment: Any) -> int:
    return int(moment.astype("datetime64[ms]").astype(np.int64))
