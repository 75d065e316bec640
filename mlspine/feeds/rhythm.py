"""How often something usually comes, and whether it is late by that measure. Pure.

Nothing is taken as a rhythm before it has been seen for long enough to hold a week's cycle, and every limit
is drawn from the feed's own past: a quiet night or weekend that happened before is not late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_HOURS = 168

LEAST_GAPS = 5
LEAST_SPAN_MS = 8 * DAY_MS  # a weekend is among the gaps
STALE_TIMES = 2.0  # the longest gap so far, so many times
KEPT_ARRIVALS = 200

LEAST_WEEKS = 2
WEEKS = 5
LEAST_EMPTY_HOURS = 2
LEAST_DAY_ROWS = 100
DROP_TIMES = 0.5  # below half of the lowest share an ordinary day has had


class Flow(NamedTuple):
    """Whether requests have stopped or fallen off. says: "" while all is as usual; learning: too young to say."""

    learning: bool
    says: str


def stale_after_ms(arrivals_at_ms: Sequence[int]) -> int | None:
    """How long after its last arrival a feed is stale: twice its longest gap. None while it is too young to say.

    >>> stale_after_ms([day * DAY_MS for day in (0, 1, 2, 3, 4, 7, 8, 9)]) // DAY_MS
    6
    """
    times = sorted(arrivals_at_ms)[-KEPT_ARRIVALS:]
    gaps = [late - early for early, late in pairwise(times)]
    if len(gaps) < LEAST_GAPS or times[-1] - times[0] < LEAST_SPAN_MS:
        return None
    return int(STALE_TIMES * max(gaps))


def silence(rows_by_hour: Mapping[int, int], *, now_ms: int) -> Flow:
    """Whether requests have stopped, from rows per hour (by the hour's start, ms) of the last weeks.

    An hour is expected to be busy when that hour of the week was in every other week known. Requests have
    stopped when more than 2 L + 1 busy hours in a row (two at least) stayed empty, L being the longest such row
    of the past; they have fallen off when the last 24 hours fell below half of the lowest share of its other
    weeks an earlier day had.
    """
    now = now_ms // HOUR_MS  # the hour that is not over yet
    rows = {at // HOUR_MS: count for at, count in rows_by_hour.items() if count and at // HOUR_MS < now}
    first = max(min(rows, default=now), now - WEEKS * WEEK_HOURS)
    if now - first < LEAST_WEEKS * WEEK_HOURS:
        return Flow(True, "")
    last = max(rows)
    past = _longest_empty(rows, first, last + 1)
    empty = _longest_empty(rows, first, now, since=last + 1)
    if empty >= LEAST_EMPTY_HOURS and empty > 2 * past + 1:
        return Flow(False, f"no request in {empty} hours that were busy in every week before")
    return Flow(False, _drop(rows, first, now))


def _longest_empty(rows: Mapping[int, int], first: int, end: int, *, since: int | None = None) -> int:
    """The longest row of empty hours among those that were busy in all other weeks; quiet hours do not count."""
    longest = run = 0
    for hour in range(first if since is None else since, end):
        if rows.get(hour):
            run = 0
        elif _busy(rows, hour, first, end):
            run += 1
            longest = max(longest, run)
    return longest


def _busy(rows: Mapping[int, int], hour: int, first: int, end: int) -> bool:
    others = [each for each in _same_slot(hour, first, end) if each != hour]
    return bool(others) and all(rows.get(each) for each in others)


def _same_slot(hour: int, first: int, end: int) -> range:
    return range(first + (hour - first) % WEEK_HOURS, end, WEEK_HOURS)


def _drop(rows: Mapping[int, int], first: int, now: int) -> str:
    days = [sum(rows.get(hour, 0) for hour in range(end - 24, end)) for end in range(now, first + 23, -24)]
    now_share, *past = [_share(days, day) for day in range(len(days))]
    known = [share for share in past if share is not None]
    if now_share is None or not known or now_share >= DROP_TIMES * min(1.0, *known):
        return ""
    return f"{days[0]:,} rows in the last 24 hours, {now_share:.0%} of the least on that weekday in other weeks"


def _share(days: Sequence[int], day: int) -> float | None:
    """A day's rows as a share of the fewest on the same weekday of the other weeks; None where those are few."""
    others = [days[other] for other in range(day % 7, len(days), 7) if other != day]
    return days[day] / min(others) if others and min(others) >= LEAST_DAY_ROWS else None
