"""Natural variation over blocks of time, and the measured false-alarm rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mlspine.stats import calibrate as cal
from mlspine.stats.compare import Side, column_effects, sides
from mlspine.stats.profile import build_reference, profile, profile_blocks


def numeric(values):
    return build_reference({"x": np.asarray(values, dtype=float)}, {"x": "numeric"})


def daily(days, per_day=600, seed=0, swing=0.0):
    """Rows of consecutive days whose mean swings with the weekday: (event_at_ms, x)."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), per_day)
    at = day * cal.DAY_MS + np.tile(np.sort(rng.integers(0, cal.DAY_MS, per_day)), days)
    return at, rng.standard_normal(day.size) + swing * np.sin(2 * np.pi * day / 7)


# ---------------------------------------------------------------- blocks


def test_a_block_is_whole_days_with_enough_rows():
    at = np.repeat(np.arange(10), [300, 300, 700, 100, 100, 400, 600, 500, 100, 50]) * cal.DAY_MS
    block, count = cal.day_blocks(at, min_rows=500)
    assert count == 5
    by_day = [block[at == day * cal.DAY_MS] for day in range(10)]
    assert all(np.unique(of).size == 1 for of in by_day)
    assert [int(of[0]) for of in by_day] == [0, 0, 1, 2, 2, 2, 3, 4, 4, 4]


def test_row_order_does_not_matter_for_blocks():
    at, _ = daily(12)
    order = np.random.default_rng(1).permutation(at.size)
    block, count = cal.day_blocks(at, min_rows=500)
    shuffled, same_count = cal.day_blocks(at[order], min_rows=500)
    assert count == same_count == 12
    np.testing.assert_array_equal(shuffled, block[order])


def test_many_days_are_joined_into_at_most_120_blocks():
    block, count = cal.day_blocks(np.arange(1_000) * cal.DAY_MS, min_rows=1)
    assert count == 112
    assert np.bincount(block).tolist() == [9] * 111 + [1]


def test_too_few_rows_make_one_block_and_none_make_none():
    assert cal.day_blocks(np.arange(10), min_rows=500)[1] == 1
    assert cal.day_blocks(np.empty(0, dtype=np.int64), min_rows=500)[1] == 0


def test_short_blocks_are_hours_enough_for_a_window_and_only_where_windows_are_short():
    at = np.sort(np.random.default_rng(2).integers(0, 30 * cal.DAY_MS, 80_000))
    block, count = cal.short_blocks(at, min_rows=500)
    rows = np.bincount(block[block >= 0])
    assert count == rows.size == cal.MOST_BLOCKS
    assert rows.min() >= 500
    hours = [np.unique(at[block == i] // cal.HOUR_MS) for i in range(count)]
    assert all(np.ptp(of) < 24 for of in hours)
    assert cal.short_blocks(daily(10)[0], min_rows=500)[1] == 0


# ---------------------------------------------------------------- limits


def test_limits_are_the_upper_limits_of_each_block_against_the_others():
    at, x = daily(30, swing=0.5)
    reference = numeric(x)
    block, count = cal.day_blocks(at, min_rows=500)
    blocks = profile_blocks(reference, {"x": x}, block, count)
    found = cal.natural_limits(reference, blocks, cal.floors_of(reference, {}))["x"]
    shifts = []
    for i in range(count):
        inside, outside = x[block == i], x[block != i]
        shifts.append(abs(inside.mean() - outside.mean()) / outside.std())
    expected = np.mean(shifts) + 3 * np.std(shifts, ddof=1) * np.sqrt(1 + 1 / count)
    # A regular week: every block passes the limits of the others, so nothing is widened.
    assert found["mean_sd"] == pytest.approx(expected, rel=1e-9)


def test_many_columns_are_widened_together_so_that_fresh_days_pass(monkeypatch):
    rng = np.random.default_rng(8)
    day = np.repeat(np.arange(240), 600)
    # Heavy-tailed days in 30 columns: on many a day some column is beyond its own limit.
    columns = {f"x{i}": rng.standard_normal(day.size) + rng.standard_t(4, 240)[day] for i in range(30)}
    past = {name: values[day < 40] for name, values in columns.items()}
    reference = build_reference(past, dict.fromkeys(past, "numeric"))
    blocks = profile_blocks(reference, past, day[day < 40], 40)
    fresh = profile_blocks(reference, columns, np.where(day < 40, -1, day - 40), 200)
    floors = cal.floors_of(reference, {})

    def passing(limits):
        whole = sides([reference.profile])
        held = [
            effects[effect].value <= limit
            for name in limits
            for effects in [column_effects(reference, name, whole, sides(fresh))]
            for effect, limit in limits[name].items()
        ]
        return np.mean(np.all(held, axis=0))

    together = passing(cal.natural_limits(reference, blocks, floors))
    monkeypatch.setattr(cal, "_widening", lambda values, floors: 1.0)
    one_by_one = passing(cal.natural_limits(reference, blocks, floors))
    assert one_by_one < 0.75
    assert together > 0.85


def test_leaving_a_block_out_of_the_counts_equals_profiling_the_other_rows():
    at, x = daily(10, swing=0.4)
    x[::17] = np.nan
    reference = numeric(x)
    block, count = cal.day_blocks(at, min_rows=500)
    inside = sides(profile_blocks(reference, {"x": x}, block, count))
    (outside,) = (cal._less(total, part) for total, part in zip(sides([reference.profile]), inside, strict=True))
    for i in range(count):
        rest = profile(reference, {"x": x[block != i]}).parts[0]
        np.testing.assert_array_equal(outside.counts[i], rest.counts)
        assert outside.mean[i] == pytest.approx(rest.mean, rel=1e-9)
        assert outside.m2[i] == pytest.approx(rest.m2, rel=1e-9)


def test_few_blocks_use_the_t_quantile_of_the_same_tail():
    values = np.random.default_rng(3).random(10)
    t = stats.t.ppf(stats.norm.cdf(3), 9)
    expected = values.mean() + t * values.std(ddof=1) * np.sqrt(1.1)
    assert cal.upper_limit(values[:, None]) == pytest.approx(expected, rel=1e-9)


def test_an_upper_limit_holds_for_the_next_value_as_often_as_it_says():
    # 0.1% by the t quantile; the factor 3 from 20 blocks on leaves 0.4% at 25.
    draws = np.random.default_rng(4).standard_normal((26, 20_000))
    for count in (8, 25):
        assert (draws[-1] > cal.upper_limit(draws[:count])).mean() < 0.005


def test_an_upper_limit_is_never_below_what_was_seen():
    values = np.append(np.zeros(29), 10.0)[:, None]
    assert cal.upper_limit(values) == 10.0


def test_fewer_than_eight_blocks_leave_the_floors():
    at, x = daily(7, swing=5.0)
    reference = numeric(x)
    block, count = cal.day_blocks(at, min_rows=500)
    floors = cal.floors_of(reference, {})
    assert count == 7
    blocks = profile_blocks(reference, {"x": x}, block, count)
    assert cal.natural_limits(reference, blocks, floors) == floors


def test_no_limit_is_below_its_floor():
    at, x = daily(30, per_day=5_000)
    reference = numeric(x)
    block, count = cal.day_blocks(at, min_rows=500)
    blocks = profile_blocks(reference, {"x": x}, block, count)
    assert cal.natural_limits(reference, blocks, cal.floors_of(reference, {}))["x"]["mean_sd"] == 0.1


def test_levels_that_come_and_go_by_day_raise_the_unseen_limit():
    day = np.repeat(np.arange(20), 500)
    level = np.where(np.arange(day.size) % 25 == 0, day.astype(str), "always").astype(object)
    reference = build_reference({"c": level}, {"c": "categorical"})
    blocks = profile_blocks(reference, {"c": level}, day, 20)
    limits = cal.natural_limits(reference, blocks, cal.floors_of(reference, {}))
    assert limits["c"]["unseen_pp"] == pytest.approx(4.0)


def test_owners_floors_replace_the_usual_ones():
    reference = numeric(np.arange(100.0))
    floors = cal.floors_of(reference, {"x": {"mean_sd": 0.4}})
    assert floors == {"x": {"js": 0.1, "mean_sd": 0.4, "missing_pp": 2.0}}


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("numeric", np.arange(9.0), ("js", "mean_sd", "missing_pp")),
        ("boolean", np.array([True, False]), ("js", "tv", "missing_pp", "unseen_pp")),
        ("categorical", np.array(["a", "b"], dtype=object), ("js", "tv", "missing_pp", "unseen_pp")),
        ("datetime", np.array(["2024-01-01"], dtype="datetime64[us]"), ("js", "tv", "missing_pp")),
        ("vector", np.zeros((5, 3)), ("js", "mean_sd", "missing_pp")),
    ],
)
def test_which_effects_decide_follows_from_the_kind(kind, values, expected):
    reference = build_reference({"x": values}, {"x": kind})
    assert cal.deciding(reference, "x") == expected
    measured = column_effects(reference, "x", sides([reference.profile]), sides([reference.profile]))
    assert set(expected) - {"mean_sd"} <= set(measured)
    assert all(isinstance(side, Side) for side in sides([reference.profile]))


# ---------------------------------------------------------------- false alarms


@pytest.mark.parametrize(("hits", "trials"), [(0, 10_000), (3, 200), (98, 10_000), (50, 50)])
def test_clopper_pearson_is_scipys_exact_interval(hits, trials):
    found = cal.clopper_pearson(hits, trials)
    expected = stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-12)


def mixed(rows, seed=5):
    rng = np.random.default_rng(seed)
    columns = {f"x{i}": rng.standard_normal(rows) for i in range(6)}
    columns["skewed"] = rng.lognormal(size=rows)
    columns["nulls"] = np.where(rng.random(rows) < 0.05, np.nan, rng.random(rows))
    columns["count"] = rng.poisson(0.4, rows).astype(float)
    columns["level"] = rng.choice(np.array(list("abcdefgh"), dtype=object), rows)
    columns["tail"] = (1 / rng.random(rows)).astype(int).astype(str).astype(object)
    return columns, {n: "categorical" if n in ("level", "tail") else "numeric" for n in columns}


@pytest.mark.parametrize("rows", [600, 20_000])
def test_the_measured_false_alarm_rate_is_the_promised_one(rows):
    columns, kinds = mixed(rows)
    alarms = cal.self_check([build_reference(columns, kinds)], rows=500)
    assert 0.003 < alarms.rate.value < 0.015
    assert alarms.rate.lo < alarms.rate.value < alarms.rate.hi
    assert alarms.critical_p is None


def test_a_rate_above_twice_alpha_is_answered_by_a_stricter_level(monkeypatch):
    columns, kinds = mixed(2_000)
    reference = build_reference(columns, kinds)
    # A combination that is too small by a factor of ten stands in for a column the formulas do not fit.
    honest = cal.cauchy
    monkeypatch.setattr(cal, "cauchy", lambda p: honest(p) / 10)
    alarms = cal.self_check([reference], rows=500)
    assert alarms.rate.value > 2 * cal.ALPHA
    assert alarms.critical_p is not None
    assert alarms.critical_p < cal.ALPHA / len(columns) / 3


def test_the_self_check_is_the_same_for_the_same_seed():
    columns, kinds = mixed(1_000)
    reference = build_reference(columns, kinds)
    first, second = (cal.self_check([reference], rows=500, draws=1_000, seed=7) for _ in range(2))
    assert first == second


def test_columns_without_rows_and_no_columns_raise_no_alarm():
    assert cal.self_check([], rows=500, draws=1_000).rate.value == 0.0
    assert cal.self_check([numeric([])], rows=500, draws=1_000).rate.value == 0.0
