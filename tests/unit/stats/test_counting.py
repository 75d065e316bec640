"""The fast ways of counting give what looking up every value gives, to the last row."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlspine.stats import counting, levels
from mlspine.stats.bins import Coded, LevelPart, NumericPart
from mlspine.stats.counting import count, count_blocks
from mlspine.stats.levels import levels_of
from mlspine.stats.profile import build_reference, profile, profile_blocks

# Numbers that single precision cannot tell from one another, that overflow it, or are smaller than it knows.
NEAR = [1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 0), 1 + 1e-9, 0.1, np.float32(0.1), 16_777_217.0, 16_777_216.0]
NEAR += [1e300, -1e300, 3.5e38, 5e-324, -5e-324, 0.0, -0.0, 1e-46, 50.37, 2.0**53, 2.0**53 + 2]
NUMBER = st.one_of(
    st.sampled_from([float(each) for each in NEAR]),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.floats(-100, 100),
    st.integers(-5, 5).map(float),
)
NUMBERS = st.lists(NUMBER, max_size=60).map(lambda values: np.array(values, dtype=float))
EDGES = st.lists(st.one_of(st.sampled_from([float(each) for each in NEAR]), st.floats(-100, 100)), max_size=12).map(
    lambda values: np.unique(np.array(values, dtype=float))
)


def looked_up(part, values):
    """One search per value, as slow as can be."""
    finite = values[np.isfinite(values)]
    inside = np.bincount(np.searchsorted(part.edges, finite, side="left"), minlength=part.bins)
    return [*inside, np.isnan(values).sum(), (values == -np.inf).sum(), (values == np.inf).sum()]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks and columns of a few rows take every path that millions take."""
    monkeypatch.setattr(counting, "CHUNK", 16)
    monkeypatch.setattr(levels, "_MANY", 1)


@settings(deadline=None)
@given(EDGES, NUMBERS)
def test_numbers_are_counted_as_if_each_were_looked_up(edges, values):
    part = NumericPart(column="x", edges=edges, centres=np.zeros(edges.size + 1))
    tally = count(part, values)
    assert tally.counts.tolist() == looked_up(part, values)
    finite = values[np.isfinite(values)]
    if finite.size:
        assert (tally.low, tally.high) == (finite.min() + 0.0, finite.max() + 0.0)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float16", "float32"])
def test_narrow_numbers_are_counted_as_the_wide_ones(dtype):
    values = np.random.default_rng(0).integers(0, 100, 500).astype(dtype)
    part = build_reference({"x": np.arange(90.0)}, {"x": "numeric"}).parts[0]
    assert count(part, values).counts.tolist() == looked_up(part, values.astype(float))


def test_moments_of_many_chunks_are_those_of_all_numbers():
    values = 1e9 + np.random.default_rng(1).standard_normal(1_000)
    part = NumericPart(column="x", edges=np.array([1e9]), centres=np.zeros(2))
    tally = count(part, values)
    exact = [Fraction(value) for value in values.tolist()]
    mean = sum(exact) / len(exact)
    assert tally.mean == pytest.approx(float(mean), rel=1e-15)
    assert tally.m2 == pytest.approx(float(sum((value - mean) ** 2 for value in exact)), rel=1e-12)


LEVELS = st.sampled_from(["a", "b", "c", "a b", "", None, float("nan"), 1, True, 2.5, ("x", 1)])


@settings(deadline=None)
@given(st.lists(LEVELS, max_size=60))
def test_shared_objects_are_counted_by_value(values):
    column = np.empty(len(values), dtype=object)
    column[:] = values
    plain = Counter(str(v) if isinstance(v, tuple) else v for v in values if v is not None and v == v)
    found, missing = levels_of(column)
    assert found == plain
    assert missing == len(values) - sum(plain.values())
    assert levels_of(levels.coded(column)) == (found, missing)


def test_unhashable_objects_are_counted_by_their_text():
    shared = [1, 2]
    column = np.empty(40, dtype=object)
    column[:] = [shared, None] * 20
    assert levels_of(column) == ({"[1, 2]": 20}, 20)


def test_codes_count_as_the_values_they_stand_for():
    part = LevelPart(column="c", levels=("a", "b"))
    codes = Coded(np.array([0, 1, -1, 2, 2, 3], dtype=np.int8), ("a", "b", "new", None))
    tally = count(part, codes)
    assert tally.counts.tolist() == [1, 1, 0, 2, 2]
    assert tally.names == {"new": 2}
    assert count(part, codes.plain()).counts.tolist() == tally.counts.tolist()


def test_blocks_of_any_order_are_counted_apart():
    part = LevelPart(column="c", levels=("a",))
    values = np.array(["a", "b", "a", "a"], dtype=object)
    found = count_blocks(part, values, np.array([2, 0, 3, 1]), np.array([0, 1, 1, 4]))
    assert [tally.counts.tolist() for tally in found] == [[1, 0, 0, 0], [0, 0, 0, 0], [2, 0, 1, 0]]


@settings(deadline=None)
@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=50))
def test_hours_and_weekdays_are_those_of_the_calendar(seconds):
    times = np.array(seconds, dtype="datetime64[s]").astype("datetime64[us]")
    reference = build_reference({"t": times}, {"t": "datetime"})
    hour, weekday = reference.profile.parts
    told = times.astype("datetime64[s]").tolist()
    if all(hasattr(each, "hour") for each in told):  # numpy gives plain integers beyond the year 9999
        assert hour.counts[:24].tolist() == [sum(each.hour == h for each in told) for h in range(24)]
        assert weekday.counts[:7].tolist() == [sum(each.weekday() == d for each in told) for d in range(7)]


def test_threads_change_nothing(monkeypatch):
    from mlspine.stats import spread

    rng = np.random.default_rng(2)
    columns = {
        "x": rng.standard_normal(400),
        "c": np.array(["a", "b", None], dtype=object)[rng.integers(0, 3, 400)],
        "t": np.datetime64("2026-01-01", "us") + rng.integers(0, 10**6, 400) * np.timedelta64(1, "s"),
    }
    kinds = {"x": "numeric", "c": "text", "t": "datetime"}
    plain = build_reference(columns, kinds)
    monkeypatch.setattr(spread, "THREADED_ROWS", 1)
    monkeypatch.setattr(spread, "cores", lambda: 4)
    threaded = build_reference(columns, kinds)
    assert threaded.id == plain.id
    for a, b in zip(threaded.profile.parts, plain.profile.parts, strict=True):
        assert (a.counts.tolist(), a.mean, a.m2) == (b.counts.tolist(), b.mean, b.m2)
    blocks = profile_blocks(plain, columns, rng.integers(0, 3, 400), 3)
    assert sum(each.rows for each in blocks) == profile(plain, columns).rows
