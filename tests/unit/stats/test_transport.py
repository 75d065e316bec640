"""Columns given back their old shares: the shares are the reference's, and as little moves as they ask for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from mlspine.stats.profile import LevelPart, NumericPart, build_reference, profile
from mlspine.stats.transport import coupled, jittered, returned

LEVELS = LevelPart(column="c", levels=("a", "b", "c"))
NUMBERS = NumericPart(column="x", edges=np.array([0.0, 1.0, 2.0]), centres=np.array([-1.0, 0.5, 1.5, 3.0]))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=6, max_size=6).filter(any),
    st.lists(st.integers(0, 20), min_size=6, max_size=6).filter(any),
)
def test_levels_get_the_shares_asked_for_and_no_more_rows_move_than_the_total_variation(
    before: list[int], after: list[int]
) -> None:
    p, q = np.array(before), np.array(after)
    code = np.repeat(np.arange(6), np.round(20_000 * p / p.sum()).astype(int))
    new, _ = coupled(LEVELS, code, p, q, np.random.default_rng(0))
    shares = np.bincount(new, minlength=6) / code.size
    assert np.abs(shares - q / q.sum()).max() < 0.02
    assert (new != code).mean() == pytest.approx(np.abs(p / p.sum() - q / q.sum()).sum() / 2, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=7, max_size=7).filter(any),
    st.lists(st.integers(0, 20), min_size=7, max_size=7).filter(any),
)
def test_numbers_and_missing_values_get_the_shares_asked_for(before: list[int], after: list[int]) -> None:
    p, q = np.array(before), np.array(after)
    code = np.repeat(np.arange(7), np.round(20_000 * p / p.sum()).astype(int))
    new, inside = coupled(NUMBERS, code, p, q, np.random.default_rng(0))
    assert np.abs(np.bincount(new, minlength=7) / code.size - q / q.sum()).max() < 0.03
    assert ((inside >= 0) & (inside <= 1)).all()


def test_numbers_move_the_cheapest_way_on_a_line() -> None:
    rng = np.random.default_rng(1)
    old, served = rng.normal(size=20_000), rng.normal(0.7, 1.3, size=20_000)
    reference = build_reference({"x": old}, {"x": "numeric"})
    back = returned(reference, "x", {"x": served}, profile(reference, {"x": served}), rng=rng)
    assert np.abs(back - served).mean() == pytest.approx(wasserstein_distance(old, served), rel=0.05)


@pytest.mark.parametrize("kind", ["numeric", "categorical", "boolean", "datetime", "text"])
def test_a_column_with_its_own_shares_stays_as_it_is(kind: str) -> None:
    rng = np.random.default_rng(2)
    values = {
        "numeric": np.where(rng.random(500) < 0.1, np.nan, rng.normal(size=500)),
        "categorical": rng.choice(np.array(["a", "b", None], dtype=object), 500),
        "boolean": rng.random(500) < 0.3,
        "datetime": np.datetime64("2024-01-01", "us") + rng.integers(0, 10**12, 500).astype("timedelta64[us]"),
        "text": np.array(["x" * int(n) for n in rng.integers(1, 900, 500)], dtype=object),
    }[kind]
    reference = build_reference({"x": values}, {"x": kind})  # type: ignore[dict-item]
    back = returned(reference, "x", {"x": values}, reference.profile, rng=rng, stand_ins=values[:20])
    assert back.dtype == values.dtype
    same = (back == values) | ((back != back) & (values != values))
    assert same.all()


def test_hours_are_moved_back_by_hours() -> None:
    rng = np.random.default_rng(3)
    day = np.datetime64("2024-03-04", "us")
    old = day + (rng.integers(8, 12, 4000) * 3_600_000_000).astype("timedelta64[us]")
    reference = build_reference({"at": old}, {"at": "datetime"})
    served = {"at": old + np.timedelta64(10, "h")}
    back = returned(reference, "at", served, profile(reference, served), rng=rng)
    assert set(np.unique((back - day).astype("timedelta64[h]").astype(int)) % 24) == {8, 9, 10, 11}


def test_missing_values_come_and_go_with_the_types_they_need() -> None:
    rng = np.random.default_rng(4)
    old = np.where(rng.random(4000) < 0.3, np.nan, rng.integers(0, 9, 4000).astype(float))
    reference = build_reference({"n": old}, {"n": "numeric"})
    served = {"n": rng.integers(0, 9, 4000)}
    back = returned(reference, "n", served, profile(reference, served), rng=rng)
    assert np.isnan(back).mean() == pytest.approx(0.3, abs=0.03)
    whole = build_reference({"n": served["n"]}, {"n": "numeric"})
    more = returned(whole, "n", {"n": served["n"] * 2}, profile(whole, {"n": served["n"] * 2}), rng=rng)
    assert more.dtype == served["n"].dtype
    assert set(more.tolist()) <= set(range(9))


def test_chance_moves_less_the_more_rows_there_are() -> None:
    rng = np.random.default_rng(5)
    rows = {"x": rng.normal(size=2000)}
    reference = build_reference(rows, {"x": "numeric"})
    few, many = (
        np.abs(jittered(reference, "x", rows, rows_counted=n, rng=rng) - rows["x"]).mean() for n in (100, 10_000)
    )
    assert many < few / 4
