"""The reference at the hours of a window, and rows summed per group."""

from __future__ import annotations

import numpy as np
import pytest

from mlspine.stats import seasons as sea
from mlspine.stats.binned import Sums, binned, side_of, summed
from mlspine.stats.calibrate import floors_of
from mlspine.stats.compare import compare
from mlspine.stats.natural import calibrate
from mlspine.stats.profile import build_reference, profile, profile_blocks
from mlspine.stats.side import stacked

HOUR, DAY = sea.HOUR_MS, 24 * sea.HOUR_MS


def week_of_rows(count, seed=0, days=56):
    """(event_at_ms, number that follows the hour, level that follows the weekend, number that follows neither)."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(0, days * DAY, count))
    slot = sea.slots_of(at)
    warm = rng.standard_normal(count) + 2 * np.cos(2 * np.pi * (slot % 24) / 24)
    level = np.where(rng.random(count) < np.where(slot >= 24, 0.6, 0.3), "a", "b").astype(object)
    return at, {"warm": warm, "level": level, "still": rng.standard_normal(count)}


KINDS = {"warm": "numeric", "level": "categorical", "still": "numeric"}


def seasonal(count=60_000, seed=0):
    at, columns = week_of_rows(count, seed)
    reference = build_reference(columns, KINDS)
    found = calibrate(reference, columns, at, floors_of(reference, {}), min_rows=500).seasons
    return reference, found, at, columns


# ---------------------------------------------------------------- sums


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_sums_are_what_profiling_each_group_gives(kind):
    rng = np.random.default_rng(1)
    if kind == "numeric":
        values = rng.lognormal(size=5_000) + 1e6
        values[::7], values[::11], values[::13] = np.nan, np.inf, -np.inf
    else:
        values = rng.choice(np.array(["a", "b", None, "c"], dtype=object), 5_000)
    group = rng.integers(-1, 6, 5_000)
    reference = build_reference({"x": values[:3_000]}, {"x": kind})
    part = reference.parts[0]
    centre = reference.profile.parts[0].mean
    found = side_of(part, summed(part, binned(part, values, centre=centre), group, 6), centre=centre, low=0.0, high=1.0)
    expected = stacked(profile_blocks(reference, {"x": values}, group, 6))[0]
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found.m2, expected.m2, rtol=1e-9)


# ---------------------------------------------------------------- slots and what moves with them


def test_slots_are_hours_of_workdays_and_of_weekends():
    thursday, saturday = 0, 2 * DAY
    moments = np.array([thursday, thursday + 23 * HOUR, saturday, saturday + DAY + 5 * HOUR, saturday + 2 * DAY])
    assert sea.slots_of(moments).tolist() == [0, 23, 24, 29, 0]


def test_only_columns_that_move_with_the_clock_are_kept():
    reference, seasons, _, _ = seasonal()
    assert [reference.parts[each.position].column for each in seasons.parts] == ["warm", "level"]
    assert all(each.counts.dtype.itemsize <= 2 for each in seasons.parts)


def test_still_columns_are_rarely_taken_for_moving_ones():
    rng = np.random.default_rng(2)
    slot = rng.integers(0, sea.SLOTS, 20_000)
    reference = build_reference({"x": rng.standard_normal(20_000)}, {"x": "numeric"})
    part = reference.parts[0]

    def taken(amplitude):
        wave = amplitude * np.cos(2 * np.pi * slot / 24)
        rows = binned(part, rng.standard_normal(20_000) + wave, centre=0.0)
        return sea.moves(part, summed(part, rows, slot, sea.SLOTS))

    assert np.mean([taken(0.0) for _ in range(200)]) < 0.035  # nominal 1%
    # A tenth of an sd cannot be seen hour by hour, and is by its shape over the day.
    assert np.mean([taken(0.1) for _ in range(20)]) > 0.9


# ---------------------------------------------------------------- the mixture


def test_a_window_of_one_hour_is_compared_with_that_hour():
    reference, seasons, at, columns = seasonal(200_000)
    noon = sea.slots_of(at) == 0
    exact = profile(reference, {name: values[noon] for name, values in columns.items()})
    found = sea.matched(reference, seasons, np.eye(sea.SLOTS, dtype=np.int64)[0] * 500)
    assert found.id == reference.id
    np.testing.assert_allclose(found.profile.parts[0].counts, exact.parts[0].counts, atol=1e-5)
    assert found.profile.parts[0].mean == pytest.approx(exact.parts[0].mean)
    assert found.profile.parts[0].m2 == pytest.approx(exact.parts[0].m2)
    # The column that ignores the clock keeps every row.
    assert found.profile.parts[2] is reference.profile.parts[2]


def test_all_hours_as_they_were_are_the_whole_reference():
    reference, seasons, at, _ = seasonal()
    rows = np.bincount(sea.slots_of(at), minlength=sea.SLOTS)
    found = sea.matched(reference, seasons, rows).profile.parts[0]
    np.testing.assert_allclose(found.counts, reference.profile.parts[0].counts, rtol=1e-9)


def test_two_hours_count_as_many_rows_as_they_are_worth():
    counts = np.zeros((sea.SLOTS, 2))
    counts[3], counts[4] = [300, 100], [600, 600]
    slots = Sums(counts, np.zeros(sea.SLOTS), np.zeros(sea.SLOTS))
    shares = np.zeros((1, sea.SLOTS))
    shares[0, 3], shares[0, 4] = 0.5, 0.5
    found = sea.expected(slots, shares).counts[0]
    worth = 1 / (0.25 / 400 + 0.25 / 1200)
    assert found.sum() == pytest.approx(worth)
    assert found[0] / found.sum() == pytest.approx((0.75 + 0.5) / 2)


def test_a_slot_with_few_rows_borrows_and_no_row_counts_twice():
    counts = np.full((sea.SLOTS, 1), 30.0)
    slots = Sums(counts, np.zeros(sea.SLOTS), np.zeros(sea.SLOTS))
    everywhere = np.full((1, sea.SLOTS), 1 / sea.SLOTS)
    assert sea.expected(slots, everywhere).counts.sum() == pytest.approx(30 * sea.SLOTS)
    one = np.eye(sea.SLOTS)[5:6]
    # Five hours of 30 rows on workdays are too few, four hours of all days enough: five of two kinds.
    assert sea.LEAST_ROWS <= sea.expected(slots, one).counts.sum() < 2 * sea.LEAST_ROWS


def test_windows_of_any_hour_are_significant_as_often_as_unchanged_ones_may_be():
    reference, seasons, _, _ = seasonal(20_000)
    at, columns = week_of_rows(150_000, seed=5)
    hour = at // HOUR
    small = []
    for number in range(0, 1_300, 11):
        inside = hour == number
        slots = np.bincount(sea.slots_of(at[inside]), minlength=sea.SLOTS)
        window = profile(reference, {name: values[inside] for name, values in columns.items()})
        small.append(min(each.p for each in compare(sea.matched(reference, seasons, slots), window)))
    # 5% over three columns; against the whole reference it is every window.
    assert np.mean(np.array(small) < 0.05 / 3) < 0.11
    unmatched = [min(each.p for each in compare(reference, window))]
    assert unmatched[0] < 1e-6


def test_a_level_of_other_hours_is_not_new_and_one_seen_once_stays_rare():
    rng = np.random.default_rng(7)
    at = np.sort(rng.integers(0, 56 * DAY, 40_000))
    level = np.where(sea.slots_of(at) % 24 < 12, "day", "night").astype(object)
    level[rng.choice(40_000, 400, replace=False)] = [f"once {i}" for i in range(400)]
    reference = build_reference({"c": level}, {"c": "categorical"})
    found = calibrate(reference, {"c": level}, at, floors_of(reference, {}), min_rows=500).seasons
    own = sea.matched(reference, found, np.eye(sea.SLOTS, dtype=np.int64)[3]).profile.parts[0].counts
    night = reference.parts[0].levels.index("night")
    assert 0 < own[night] < 1e-3
    whole = reference.profile.parts[0].counts
    assert (own == 1).sum() / own.sum() == pytest.approx((whole == 1).sum() / whole.sum(), rel=0.1)
