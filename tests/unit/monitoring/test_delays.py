from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mlspine.monitoring.delays import DAY_MS, delays_of, label_delays
from mlspine.predictions.counting import delay_bin
from mlspine.predictions.store import LabelDay


def feed(*, ages: range, median_days: float, ever: float = 1.0, rows: int = 2_000) -> tuple[list, list]:
    """Days of rows, the youngest `ages.start` days old, whose labels take lognormal times and have come so far."""
    rng = np.random.default_rng(0)
    days, hours = [], []
    now = 1_000 * DAY_MS
    for age in ages:
        start = now - (age + 1) * DAY_MS
        event = start + rng.integers(0, DAY_MS, rows)
        took = rng.lognormal(np.log(median_days), 0.8, rows) * DAY_MS
        came = (rng.random(rows) < ever) & (event + took < now)
        bins = Counter(delay_bin(each) for each in took[came].tolist())
        days.append(
            LabelDay(release_hash="r", start_at_ms=start, labelled_rows=int(came.sum()), delays=bins, changed=1)
        )
        hours.append(("r", start, rows))
    return days, hours


@pytest.mark.parametrize("oldest", [6, 60])
def test_young_rows_do_not_make_the_feed_look_fast(oldest: int) -> None:
    days, hours = feed(ages=range(oldest), median_days=3.0)
    found = delays_of(days, hours, as_of_ms=1_000 * DAY_MS)
    # Of a lognormal median of 3 days half has come after 3 days; the naive share of labels that came says far less.
    assert found.at(3 * DAY_MS) == pytest.approx(0.5, abs=0.06)
    labels = sum((Counter(day.delays) for day in days), Counter[int]())
    naive = sum(n for number, n in labels.items() if number <= delay_bin(3 * DAY_MS)) / labels.total()
    assert naive > found.at(3 * DAY_MS) + (0.1 if oldest == 6 else -0.1)


def test_nearly_all_is_expected_when_the_formula_says_and_never_where_labels_stop_at_half() -> None:
    days, hours = feed(ages=range(60), median_days=2.0)
    found = delays_of(days, hours, as_of_ms=1_000 * DAY_MS)
    expected = 2.0 * np.exp(0.8 * 1.645)
    assert found.until_ms(0.95) == pytest.approx(expected * DAY_MS, rel=0.12)
    half, hours = feed(ages=range(60), median_days=2.0, ever=0.5)
    stopped = delays_of(half, hours, as_of_ms=1_000 * DAY_MS)
    assert stopped.until_ms(0.95) is None
    told = label_delays(stopped)
    assert told.share == pytest.approx(0.5, abs=0.02)
    assert told.half_ms == pytest.approx(2 * DAY_MS, rel=0.12)


def test_labels_are_waited_for_no_longer_than_they_come_and_as_allowed_while_that_is_unknown() -> None:
    days, hours = feed(ages=range(60), median_days=1.0, ever=0.6)
    found = delays_of(days, hours, as_of_ms=1_000 * DAY_MS)
    assert 4 * DAY_MS < found.settled_ms(30 * DAY_MS) < 12 * DAY_MS  # 99% of a lognormal(0, 0.8): 6.4 days
    assert found.settled_ms(90 * DAY_MS) == 90 * DAY_MS  # no row is that old
    young, hours = feed(ages=range(3), median_days=1.0)
    assert delays_of(young, hours, as_of_ms=1_000 * DAY_MS).settled_ms(30 * DAY_MS) == 30 * DAY_MS
    assert delays_of([], [], as_of_ms=0).settled_ms(5) == 5
