"""Late by the feed's own past: outages are told, quiet nights and weekends are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlspine.feeds.rhythm import DAY_MS, HOUR_MS, WEEK_HOURS, silence, stale_after_ms

START = 400_000  # an hour since 1970
Rate = Callable[[int], float]


def steady(hour: int) -> float:
    return 40.0


def office(hour: int) -> float:
    """Busy on working days from 8 to 18, dead otherwise."""
    day, of_day = (hour // 24) % 7, hour % 24
    return 60.0 if day < 5 and 8 <= of_day < 18 else 0.0


def daily_cycle(hour: int) -> float:
    return 30.0 + 28.0 * np.sin(2 * np.pi * (hour % 24) / 24)


def bursts(hour: int) -> float:
    """A caller that sends in some hours and not in others, without any rhythm."""
    return 50.0 if np.random.default_rng(hour).random() < 0.5 else 0.0


def history(rate: Rate, hours: int, seed: int = 0) -> dict[int, int]:
    rng = np.random.default_rng(seed)
    return {(START + hour) * HOUR_MS: int(rng.poisson(rate(START + hour))) for hour in range(hours)}


def alarms(rate: Rate, *, weeks: int, seed: int) -> int:
    """Hours in which traffic that goes on as ever is called silent, from the second week on."""
    rows = history(rate, weeks * WEEK_HOURS, seed)
    first = 2 * WEEK_HOURS + 1
    return sum(
        silence({at: n for at, n in rows.items() if at < now}, now_ms=now).says != ""
        for now in ((START + hour) * HOUR_MS for hour in range(first, weeks * WEEK_HOURS, 5))
    )


@pytest.mark.parametrize("rate", [steady, office, daily_cycle, bursts])
def test_traffic_that_goes_on_as_ever_is_never_called_silent(rate: Rate) -> None:
    """Every fifth hour of 5 simulated weeks, twice: 200 looks at each kind of traffic, no alarm."""
    assert sum(alarms(rate, weeks=5, seed=seed) for seed in (0, 1)) == 0


@pytest.mark.parametrize(("rate", "after_hours"), [(steady, 3), (daily_cycle, 10)])
def test_an_outage_is_told_within_hours(rate: Rate, after_hours: int) -> None:
    rows = history(rate, 4 * WEEK_HOURS)
    end = (START + 4 * WEEK_HOURS) * HOUR_MS
    assert silence(rows, now_ms=end).says == ""
    assert "hours that were busy in every week before" in silence(rows, now_ms=end + after_hours * HOUR_MS).says


def test_an_outage_on_a_working_day_is_told_the_same_day_and_the_weekend_is_not() -> None:
    rows = history(office, 4 * WEEK_HOURS)
    now = START + 4 * WEEK_HOURS
    quiet_until = next(hour for hour in range(now, now + WEEK_HOURS) if office(hour) > 0)
    assert silence(rows, now_ms=quiet_until * HOUR_MS).says == ""
    busy = [hour for hour in range(now, now + WEEK_HOURS) if office(hour) > 0]
    assert silence(rows, now_ms=(busy[2] + 1) * HOUR_MS).says != ""


def test_what_was_silent_before_is_not_told_as_soon_again() -> None:
    rows = history(steady, 4 * WEEK_HOURS)
    for hour in range(200, 210):
        rows[(START + hour) * HOUR_MS] = 0
    end = (START + 4 * WEEK_HOURS) * HOUR_MS
    assert silence(rows, now_ms=end + 15 * HOUR_MS).says == ""
    assert silence(rows, now_ms=end + 23 * HOUR_MS).says != ""


def test_traffic_that_falls_to_a_trickle_is_told_after_a_day() -> None:
    rows = history(steady, 4 * WEEK_HOURS)
    now = START + 4 * WEEK_HOURS
    rows |= {(now + hour) * HOUR_MS: 2 for hour in range(24)}
    assert "in the last 24 hours" in silence(rows, now_ms=(now + 24) * HOUR_MS).says


def test_a_young_endpoint_is_not_judged() -> None:
    rows = history(steady, 13 * 24)
    told = silence(rows, now_ms=(START + 13 * 24 + 20) * HOUR_MS)
    assert told.learning
    assert told.says == ""
    assert silence({}, now_ms=START * HOUR_MS).learning


def test_a_feed_is_stale_after_twice_its_longest_gap() -> None:
    workdays = [day * DAY_MS for week in range(3) for day in range(7 * week, 7 * week + 5)]
    assert stale_after_ms(workdays) == 2 * 3 * DAY_MS  # the weekend


def test_a_feed_seen_for_less_than_a_week_has_no_rhythm_yet() -> None:
    assert stale_after_ms([hour * HOUR_MS for hour in range(100)]) is None
    assert stale_after_ms([0, 20 * DAY_MS]) is None
    assert stale_after_ms([]) is None
