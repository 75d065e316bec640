"""Limits from the weeks of the reference's own time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mlspine.stats import calibrate as cal
from mlspine.stats import natural as nat
from mlspine.stats.profile import build_reference


def daily(days, per_day=600, seed=0, swing=0.0):
    """Rows of consecutive days whose mean swings with the weekday: (event_at_ms, x)."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), per_day)
    at = day * nat.DAY_MS + np.tile(np.sort(rng.integers(0, nat.DAY_MS, per_day)), days)
    return at, rng.standard_normal(day.size) + swing * np.sin(2 * np.pi * day / 7)


def calibrated(columns, at, kind="numeric", floors=None):
    reference = build_reference(columns, dict.fromkeys(columns, kind))
    return nat.calibrate(reference, columns, at, cal.floors_of(reference, floors or {}), min_rows=500)


# ---------------------------------------------------------------- blocks


def test_a_block_is_whole_days_with_enough_rows():
    at = np.repeat(np.arange(10), [300, 300, 700, 100, 100, 400, 600, 500, 100, 50]) * nat.DAY_MS
    cut = nat.day_blocks(at, min_rows=500)
    assert cut.blocks == 5
    by_day = [cut.block[at == day * nat.DAY_MS] for day in range(10)]
    assert [int(of[0]) for of in by_day] == [0, 0, 1, 2, 2, 2, 3, 4, 4, 4]
    assert all(np.unique(of).size == 1 for of in by_day)


def test_row_order_does_not_matter_for_blocks():
    at, _ = daily(12)
    order = np.random.default_rng(1).permutation(at.size)
    cut, shuffled = nat.day_blocks(at, min_rows=500), nat.day_blocks(at[order], min_rows=500)
    assert cut.blocks == shuffled.blocks == 12
    np.testing.assert_array_equal(shuffled.block, cut.block[order])


def test_blocks_are_grouped_by_week_and_by_runs_where_there_are_few_weeks():
    monday = 4 * nat.DAY_MS  # 1 January 1970 was a Thursday
    weeks = nat.day_blocks(daily(70)[0] + monday, min_rows=500)
    assert np.bincount(weeks.group).tolist() == [7] * 10
    assert weeks.days == pytest.approx(7, rel=0.01)
    fewer = nat.day_blocks(daily(24)[0] + monday, min_rows=500)
    assert np.bincount(fewer.group).tolist() == [3] * 8
    assert fewer.days == pytest.approx(3, rel=0.01)


def test_too_few_rows_make_one_block_and_none_make_none():
    assert nat.day_blocks(np.arange(10), min_rows=500).blocks == 1
    assert nat.day_blocks(np.empty(0, dtype=np.int64), min_rows=500).blocks == 0


def test_short_blocks_are_hours_enough_for_a_window_and_only_where_windows_are_short():
    at = np.sort(np.random.default_rng(2).integers(0, 300 * nat.DAY_MS, 600_000))
    cut = nat.short_blocks(at, min_rows=500)
    rows = np.bincount(cut.block[cut.block >= 0])
    assert cut.blocks == rows.size == cut.group.size == nat.MOST_BLOCKS
    assert rows.min() >= 500
    hours = [np.unique(at[cut.block == i] // nat.HOUR_MS) for i in range(0, cut.blocks, 50)]
    assert all(np.ptp(of) < 24 for of in hours)
    # Half of the blocks were kept, so a group stands for half a week.
    assert 3 < cut.days < 4.5
    assert nat.short_blocks(daily(10)[0], min_rows=500).blocks == 0


# ---------------------------------------------------------------- the limit of one effect


def test_the_limit_is_a_t_prediction_limit_of_the_logarithm():
    largest = np.random.default_rng(3).lognormal(0.0, 0.3, 12)
    logs = np.log(largest)
    wide = stats.t.isf(0.01, 11) * logs.std(ddof=1) * math.sqrt(1 + 1 / 12)
    assert nat.upper_limit(largest, 0.1, reach=math.inf, tail=0.01) == pytest.approx(np.exp(logs.mean() + wide))


@pytest.mark.parametrize("weeks", [8, 12, 50])
def test_the_largest_of_one_more_week_passes_as_often_as_it_may(weeks):
    rng = np.random.default_rng(4)
    # Largest of seven heavy-tailed days, not exactly lognormal. The cap is far from all of them.
    largest = np.abs(rng.standard_t(6, (4_000, weeks + 1, 7))).max(axis=2)
    beyond = [each[-1] > nat.upper_limit(each[:-1], 0.1, reach=math.inf, tail=0.02) for each in largest]
    # 2% were the logarithms normal; of the largest of seven from a t with 6 degrees it is up to 2.6%.
    assert 0.01 < np.mean(beyond) < 0.03


def test_a_limit_stays_below_what_the_effect_can_reach():
    largest = np.array([0.9, 0.95, 0.97, 0.92, 0.99, 1.0, 0.8, 0.95])
    limit = nat.upper_limit(largest, 0.1, reach=1.0, tail=1e-6)
    assert 0.9 < limit < 1.0
    assert nat.upper_limit(100 * largest, 2.0, reach=100.0, tail=1e-6) == pytest.approx(100 * limit, rel=1e-3)


def test_one_wild_week_does_not_put_the_limit_out_of_reach():
    largest = np.array([0.1] * 11 + [8.0])
    assert nat.upper_limit(largest, 0.1, reach=math.inf, tail=1e-9) == pytest.approx(24.0)


# ---------------------------------------------------------------- limits of columns


def test_a_steady_column_has_a_tight_limit_and_a_wandering_one_a_wide_one():
    rng = np.random.default_rng(8)
    at, steady = daily(84, seed=8)
    week = at // (7 * nat.DAY_MS)
    wandering = steady + rng.standard_normal(13)[week]
    limits = calibrated({"steady": steady, "wandering": wandering}, at).limits
    assert limits["steady"]["mean_sd"] < 0.3
    assert 1.5 < limits["wandering"]["mean_sd"] < 9.0


def test_fresh_weeks_stay_within_the_limits_as_often_as_promised():
    alerts = weeks = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        at, _ = daily(140, per_day=500, seed=seed)
        week = at // (7 * nat.DAY_MS)
        columns = {f"x{i}": rng.standard_normal(at.size) + 0.3 * rng.standard_t(5, 21)[week] for i in range(4)}
        past = at < 84 * nat.DAY_MS
        limits = calibrated({name: values[past] for name, values in columns.items()}, at[past]).limits
        for name, values in columns.items():
            mean, sd = values[past].mean(), values[past].std()
            for number in range(12, 20):
                days = (
                    values[week == number].reshape(-1, 500).mean(axis=1) if (week == number).any() else np.array([mean])
                )
                alerts += bool(np.any(np.abs(days - mean) / sd > limits[name]["mean_sd"]))
        weeks += 8
    # Half an alert in 30 days over all effects of all columns; the means are a third of those effects.
    assert alerts / weeks < nat.NATURAL_ALERTS * 7 / 30


def test_what_the_clock_does_is_no_variation():
    at, x = daily(60, seed=9)
    hour = 2 * np.pi * (at % nat.DAY_MS) / nat.DAY_MS
    found = calibrated({"x": x + 3 * np.sin(hour)}, at)
    assert found.limits["x"]["mean_sd"] < 0.2
    assert found.seasons is not None
    assert calibrated({"x": x}, at).seasons is None


def test_hours_of_a_few_windows_are_held_against_the_same_hours():
    rng = np.random.default_rng(6)
    at = np.sort(rng.integers(0, 60 * nat.DAY_MS, 120_000))
    x = rng.standard_normal(at.size) + 3 * np.sin(2 * np.pi * at / nat.DAY_MS)
    assert calibrated({"x": x}, at).limits_short["x"]["mean_sd"] < 0.2


def test_fewer_than_eight_blocks_leave_the_floors():
    at, x = daily(7, swing=5.0)
    found = calibrated({"x": x}, at)
    assert found.limits == {"x": {"js": 0.1, "mean_sd": 0.1, "missing_pp": 2.0}}
    assert (found.limits_short, found.seasonality, found.seasons) == ({}, nat.NOT_CALIBRATED, None)


def test_no_limit_is_below_its_floor():
    at, x = daily(30, per_day=5_000)
    assert calibrated({"x": x}, at).limits["x"]["mean_sd"] == 0.1
    assert calibrated({"x": x}, at, floors={"x": {"mean_sd": 0.4}}).limits["x"]["mean_sd"] == 0.4


def test_levels_that_come_and_go_by_day_raise_the_unseen_limit():
    day = np.repeat(np.arange(70), 500)
    level = np.where(np.arange(day.size) % 25 == 0, day.astype(str), "always").astype(object)
    limits = calibrated({"c": level}, day * nat.DAY_MS, kind="categorical").limits
    # Every day has 4% of rows at a level of its own, some days' levels being among the week's others.
    assert 4.0 <= limits["c"]["unseen_pp"] < 12.0
