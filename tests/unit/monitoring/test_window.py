"""Which hours form a window, and how much significance it may spend."""

from __future__ import annotations

import datetime as dt
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.core.types import SubWindow
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
    rows_by_slot,
    span_of,
    spans_by,
)

DAY = 24


def hour(number: int, rows: int) -> SubWindow:
    return SubWindow(endpoint="churn", release_hash="r", start_at_ms=number * HOUR_MS, rows=rows, inputs=b"")


def windows(
    hours: list[SubWindow],
    *,
    closed: int = 1000,
    window_s: int = 3600,
    min_rows: int = 500,
    force: bool = False,
) -> list[list[int]]:
    """The due windows as the numbers of their hours."""
    due = due_windows(hours, closed_at_ms=closed * HOUR_MS, window_s=window_s, min_rows=min_rows, force=force)
    return [[each.start_at_ms // HOUR_MS for each in window] for window in due]


# ---------------------------------------------------------------- which hours are complete


def test_the_hour_being_received_is_open() -> None:
    at = 7 * HOUR_MS + 1
    assert closed_until(high_water_at_ms=at, last_received_at_ms=at, now_ms=at) == 7 * HOUR_MS


def test_an_hour_is_complete_once_event_time_has_passed_its_end() -> None:
    at = 8 * HOUR_MS
    assert closed_until(high_water_at_ms=at, last_received_at_ms=at, now_ms=at) == 8 * HOUR_MS


def test_silence_for_an_hour_completes_the_last_hour() -> None:
    at = 7 * HOUR_MS + 1
    just_before = closed_until(high_water_at_ms=at, last_received_at_ms=at, now_ms=at + HOUR_MS - 1)
    then = closed_until(high_water_at_ms=at, last_received_at_ms=at, now_ms=at + HOUR_MS)
    assert (just_before, then) == (7 * HOUR_MS, 8 * HOUR_MS)


def test_event_time_ahead_of_the_clock_closes_nothing_of_the_present() -> None:
    now = 7 * HOUR_MS + 1
    for force in (False, True):
        closed = closed_until(high_water_at_ms=10**6 * HOUR_MS, last_received_at_ms=now, now_ms=now, force=force)
        assert closed == (8 if force else 7) * HOUR_MS


def test_force_completes_the_last_hour_now() -> None:
    assert closed_until(high_water_at_ms=5, last_received_at_ms=5, now_ms=5, force=True) == HOUR_MS


def test_event_time_of_a_replay_counts_and_not_the_clock() -> None:
    years_later = 10**9 * HOUR_MS
    closed = closed_until(high_water_at_ms=7 * HOUR_MS, last_received_at_ms=years_later, now_ms=years_later + 1)
    assert closed == 7 * HOUR_MS


# ---------------------------------------------------------------- which windows are due


def test_an_hour_with_enough_rows_is_a_window() -> None:
    assert windows([hour(1, 500), hour(2, 900), hour(3, 500)]) == [[1], [2], [3]]


def test_small_hours_are_gathered_until_there_are_enough() -> None:
    assert windows([hour(1, 200), hour(2, 200), hour(5, 200), hour(6, 499)]) == [[1, 2, 5]]


def test_an_open_hour_waits() -> None:
    assert windows([hour(1, 500), hour(2, 500)], closed=2) == [[1]]


def test_a_longer_window_waits_for_its_time_even_with_enough_rows() -> None:
    hours = [hour(number, 600) for number in range(50)]
    assert windows(hours, window_s=DAY * 3600) == [list(range(24)), list(range(24, 48))]


def test_force_waives_the_time_and_never_the_rows() -> None:
    hours = [hour(number, 200) for number in range(4)]
    assert windows(hours, window_s=DAY * 3600, force=True) == [[0, 1, 2, 3]]
    assert windows(hours[:2], window_s=DAY * 3600, force=True) == []


def test_the_order_in_which_hours_are_stored_is_of_no_matter() -> None:
    assert windows([hour(3, 500), hour(1, 300), hour(2, 300)]) == [[1, 2], [3]]


@given(
    rows=st.lists(st.integers(1, 1200), max_size=60),
    closed=st.integers(0, 70),
    window_h=st.integers(1, 30),
    force=st.booleans(),
)
def test_every_window_is_big_enough_whole_and_judged_once(
    rows: list[int], closed: int, window_h: int, force: bool
) -> None:
    hours = [hour(number, count) for number, count in enumerate(rows)]
    due = due_windows(hours, closed_at_ms=closed * HOUR_MS, window_s=window_h * 3600, min_rows=500, force=force)
    taken = [each for window in due for each in window]
    assert taken == hours[: len(taken)]  # no hour twice, none skipped
    for window in due:
        assert sum(each.rows for each in window) >= 500
        assert span_of(window).to_at_ms <= closed * HOUR_MS
    for window in due[:-1]:
        assert len(window) >= window_h
    left = [each for each in hours[len(taken) :] if each.start_at_ms + HOUR_MS <= closed * HOUR_MS]
    assert sum(each.rows for each in left) < 500 or (len(left) < window_h and not force)


def test_rows_are_counted_by_hour_of_the_day_workdays_and_weekends_apart() -> None:
    thursday, saturday = [hour(5, 300), hour(5 + DAY, 40)], [hour(2 * DAY + 5, 200)]
    rows = rows_by_slot([*thursday, *saturday])
    assert {slot: int(count) for slot, count in enumerate(rows) if count} == {5: 340, 24 + 5: 200}


# ---------------------------------------------------------------- late rows


def test_rows_for_judged_hours_are_counted_and_those_after_the_mark_are_not() -> None:
    judged = {HOUR_MS: 500, 3 * HOUR_MS: 600}
    hours = [hour(0, 7), hour(1, 510), hour(2, 5), hour(3, 600), hour(4, 80)]
    assert late_rows(hours, judged) == {0: 7, HOUR_MS: 10, 2 * HOUR_MS: 5}


def test_nothing_is_late_before_anything_was_judged() -> None:
    assert late_rows([hour(1, 10)], {}) == {}


# ---------------------------------------------------------------- alpha


def hourly(start: int, count: int, width: int = 1) -> list[Span]:
    return [Span((start + n * width) * HOUR_MS, (start + (n + 1) * width) * HOUR_MS) for n in range(count)]


def test_hourly_windows_are_720_in_30_days_from_the_first_one_on() -> None:
    assert expected_windows([hourly(0, 1)], until_at_ms=HOUR_MS) == 720.0
    assert expected_windows([hourly(0, 500)], until_at_ms=500 * HOUR_MS) == 720.0


def test_endpoints_of_the_workspace_share_the_budget() -> None:
    assert expected_windows([hourly(0, 48), hourly(0, 24, width=2)], until_at_ms=48 * HOUR_MS) == 720.0 + 360.0


def test_windows_of_long_ago_and_of_the_future_do_not_count() -> None:
    until = 10 * PERIOD_MS
    old = hourly(0, 48)
    later = hourly(until // HOUR_MS, 48)
    assert expected_windows([old, later], until_at_ms=until) == 0.0


def test_quiet_nights_lower_the_rate() -> None:
    spans = [*hourly(0, 8), *hourly(24, 8)]
    assert expected_windows([spans], until_at_ms=32 * HOUR_MS) == pytest.approx(16 * 720 / 32)


@pytest.mark.parametrize("from_hour", [0, 9, 21, 100])
def test_the_first_month_of_a_young_endpoint_spends_the_budget_and_no_more(from_hour: int) -> None:
    # By day every hour is a window, by night one takes four.
    spans, end = [], from_hour
    while end < from_hour + 720:
        begin, end = end, end + (1 if 8 <= end % 24 < 20 else 4)
        spans.append(Span(begin * HOUR_MS, end * HOUR_MS))
    spent = 0.0
    for seen in range(1, len(spans) + 1):
        expected = expected_windows([spans[:seen]], until_at_ms=spans[seen - 1].to_at_ms)
        spent += alpha_for(budget_per_30_days=1.0, expected=expected)
    assert 0.9 < spent < 1.1


@pytest.mark.parametrize(
    ("budget", "expected", "alpha"),
    [
        (1.0, 720.0, 1 / 720),
        (1.0, 50.0, 0.01),
        (1.0, 0.0, 0.01),
        (2.0, 1440.0, 1 / 720),
        (0.1, 720.0, 0.1 / 720),
    ],
)
def test_alpha_spends_the_budget_and_at_most_one_percent(budget: float, expected: float, alpha: float) -> None:
    assert alpha_for(budget_per_30_days=budget, expected=expected) == pytest.approx(alpha)


# ---------------------------------------------------------------- the log's own time


def test_live_the_logs_time_is_the_clock() -> None:
    assert event_now(high_water_at_ms=10_000, last_received_at_ms=10_005, now_ms=12_000) == 11_995
    assert event_now(high_water_at_ms=99_000, last_received_at_ms=10_000, now_ms=12_000) == 12_000


def test_in_a_replay_it_stands_where_event_time_has_got_to() -> None:
    assert event_now(high_water_at_ms=5, last_received_at_ms=10**12, now_ms=10**12) == 5
    assert event_now(high_water_at_ms=5, last_received_at_ms=10**12, now_ms=10**12 + 300) == 305


# ---------------------------------------------------------------- periods


@given(
    days=st.lists(st.integers(0, 40_000), min_size=1, max_size=30),
    period=st.sampled_from([each for each in get_args(Period) if each != "all"]),
)
def test_every_event_lies_in_exactly_one_calendar_window(days: list[int], period: Period) -> None:
    times = np.array([day * DAY_MS + 12_345 for day in days], dtype=np.int64)
    spans = list(spans_by(period, times))
    assert spans == sorted(set(spans))
    for at_ms in times.tolist():
        (span,) = [each for each in spans if each.from_at_ms <= at_ms < each.to_at_ms]
        moment = dt.datetime.fromtimestamp(at_ms / 1000, tz=dt.UTC)
        first = dt.datetime.fromtimestamp(span.from_at_ms / 1000, tz=dt.UTC)
        last = dt.datetime.fromtimestamp((span.to_at_ms - 1) / 1000, tz=dt.UTC)
        if period == "day":
            assert first.date() == moment.date() == last.date()
        elif period == "week":
            assert first.isocalendar()[:2] == moment.isocalendar()[:2] == last.isocalendar()[:2]
            assert first.isoweekday() == 1
        else:
            assert (first.year, first.month, first.day) == (moment.year, moment.month, 1)
            assert last.month == moment.month


def test_everything_is_one_window_and_nothing_is_none() -> None:
    times = np.array([5, 3, 9], dtype=np.int64)
    assert list(spans_by("all", times)) == [Span(3, 10)]
    for period in get_args(Period):
        assert list(spans_by(period, times[:0])) == []


@pytest.mark.parametrize(
    ("rows", "days", "period"),
    [
        (500, 1, "day"),
        (499, 1, "week"),
        (500, 0, "day"),
        (72, 1, "week"),
        (71, 1, "month"),
        (0, 100, "month"),
    ],
)
def test_the_shortest_period_with_enough_rows_is_watched(rows: int, days: int, period: str) -> None:
    assert period_for(rows, days * DAY_MS, 500) == period
