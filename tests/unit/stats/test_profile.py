"""Counting rows on a reference's bins."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mlspine.core.errors import Conflict, Corrupt, Invalid
from mlspine.core.types import Field
from mlspine.stats.profile import (
    MAX_BINS,
    MAX_LEVELS,
    MAX_NAMES,
    LevelPart,
    NumericPart,
    build_reference,
    decode,
    decode_reference,
    empty,
    encode,
    encode_reference,
    kind_of,
    merge,
    profile,
    profile_blocks,
)

DAY = np.timedelta64(1, "D")
PINNED_SIGNS = [[-1, -1, -1, -1], [1, -1, 1, 1], [-1, -1, 1, 1], [-1, -1, 1, -1]]


def numbers(values):
    return {"x": np.asarray(values, dtype=float)}


def levels(*values):
    return {"c": np.array(values, dtype=object)}


def numeric_reference(values):
    return build_reference(numbers(values), {"x": "numeric"})


def test_every_field_type_has_a_kind():
    types = ("float", "int", "bool", "category", "text", "datetime", "vector")
    kinds = [kind_of(Field(name="x", type=type_, dtype="")) for type_ in types]
    assert kinds == ["numeric", "numeric", "boolean", "categorical", "text", "datetime", "vector"]


def test_edges_are_the_distinct_64_quantiles_of_the_reference():
    values = np.random.default_rng(0).lognormal(size=5_000)
    part = numeric_reference(values).parts[0]
    np.testing.assert_array_equal(part.edges, np.unique(np.quantile(values, np.arange(1, 64) / 64)))


def test_bins_are_closed_on_the_right():
    reference = numeric_reference(np.arange(1, 1001))
    part = reference.parts[0]
    at_edge = profile(reference, numbers([part.edges[10]])).parts[0].counts
    above = profile(reference, numbers([np.nextafter(part.edges[10], np.inf)])).parts[0].counts
    assert np.flatnonzero(at_edge).tolist() == [10]
    assert np.flatnonzero(above).tolist() == [11]


@pytest.mark.parametrize("distinct", [1, 2, 10, 62, 63, 64])
def test_up_to_64_distinct_values_get_one_bin_each(distinct):
    values = np.repeat(np.arange(distinct) * 1.5, np.arange(1, distinct + 1))
    reference = numeric_reference(values)
    part = reference.parts[0]
    filled = reference.profile.parts[0].counts[: part.bins]
    assert part.lattice
    assert part.bins <= MAX_BINS
    assert filled[filled > 0].tolist() == list(range(1, distinct + 1))


def test_a_constant_column_sees_other_values_on_both_sides():
    reference = numeric_reference([7.0] * 50)
    counts = profile(reference, numbers([6.9, 7.0, 7.0, 7.1])).parts[0].counts
    assert counts.tolist() == [1, 2, 1, 0, 0, 0]


def test_missing_and_infinite_numbers_are_counted_apart():
    reference = numeric_reference(np.arange(1000))
    tally = profile(reference, numbers([np.nan, np.nan, -np.inf, np.inf, np.inf, np.inf, 5.0])).parts[0]
    assert tally.counts[-3:].tolist() == [2, 1, 3]
    assert tally.counts.sum() == 7
    assert (tally.mean, tally.low, tally.high) == (5.0, 5.0, 5.0)


def test_counts_agree_with_numpy_histogram():
    rng = np.random.default_rng(1)
    reference = numeric_reference(rng.standard_normal(4_000))
    window = rng.standard_normal(3_000) * 2
    part = reference.parts[0]
    bounds = np.concatenate([[-np.inf], np.nextafter(part.edges, np.inf), [np.inf]])
    expected, _ = np.histogram(window, bounds)
    tally = profile(reference, numbers(window)).parts[0]
    np.testing.assert_array_equal(tally.counts[: part.bins], expected)
    assert tally.mean == pytest.approx(window.mean(), rel=1e-12)
    assert tally.m2 == pytest.approx(window.var() * window.size, rel=1e-12)


def test_integers_and_objects_with_none_are_read_as_numbers():
    reference = numeric_reference(np.arange(100))
    window = {"x": np.array([1, None, 3], dtype=object)}
    assert profile(reference, window).parts[0].counts[-3] == 1


def test_levels_are_kept_most_frequent_first():
    reference = build_reference(levels("b", "a", "a", None, float("nan"), "b", "a"), {"c": "categorical"})
    assert reference.parts[0].levels == ("a", "b")
    assert reference.profile.parts[0].counts.tolist() == [3, 2, 0, 0, 2]


def test_unseen_levels_are_counted_and_named():
    reference = build_reference(levels("a", "b"), {"c": "categorical"})
    tally = profile(reference, levels("a", "new", "new", "newer", None)).parts[0]
    assert tally.counts.tolist() == [1, 0, 0, 3, 1]
    assert tally.names == {"new": 2, "newer": 1}


def test_levels_match_by_value_whatever_type_carries_them():
    reference = build_reference({"c": np.array([1, 2, 2])}, {"c": "categorical"})
    tally = profile(reference, {"c": np.array([1.0, 2.0, np.nan, 3.0])}).parts[0]
    assert tally.counts.tolist() == [1, 1, 0, 1, 1]


def test_more_levels_than_are_kept_are_pooled_and_nothing_is_called_unseen():
    many = [f"level {i}" for i in range(MAX_LEVELS + 5)] + ["level 0"] * 3
    reference = build_reference(levels(*many), {"c": "categorical"})
    part = reference.parts[0]
    assert len(part.levels) == MAX_LEVELS
    assert part.pooled
    tally = profile(reference, levels("level 0", "never seen")).parts[0]
    assert tally.counts[-3:].tolist() == [1, 0, 0]
    assert tally.names == {}


def test_names_of_unseen_levels_are_bounded_and_keep_the_heavy_ones():
    reference = build_reference(levels("a"), {"c": "categorical"})
    values = ["heavy"] * 400 + [f"rare {i}" for i in range(600)]
    tally = profile(reference, levels(*values)).parts[0]
    assert len(tally.names) <= MAX_NAMES
    assert max(tally.names, key=tally.names.__getitem__) == "heavy"
    assert tally.counts[-2] == 1000


def test_long_names_are_cut():
    reference = build_reference(levels("a"), {"c": "categorical"})
    (name,) = profile(reference, levels("x" * 10_000)).parts[0].names
    assert len(name) == 80


def test_half_a_surrogate_pair_can_be_counted_and_stored():
    reference = build_reference(levels("a"), {"c": "categorical"})
    counted = profile(reference, levels("\ud800"))
    assert decode(encode(counted), reference).parts[0].names == {"?": 1}


def test_unhashable_values_are_levels_by_their_text():
    values = np.empty(2, dtype=object)
    values[:] = [[1, 2], [1, 2]]
    assert build_reference({"c": values}, {"c": "categorical"}).parts[0].levels == ("[1, 2]",)


def test_booleans_are_levels_and_may_be_missing():
    reference = build_reference({"b": np.array([True, False, True])}, {"b": "boolean"})
    window = {"b": np.array([True, None, False], dtype=object)}
    as_float = {"b": np.array([1.0, np.nan, 0.0])}
    for columns in (window, as_float):
        assert profile(reference, columns).parts[0].counts.tolist() == [1, 1, 0, 0, 1]


def test_text_that_repeats_is_counted_by_its_levels_and_free_text_by_length():
    carrier = np.array(["UA", "AA"] * 50, dtype=object)
    note = np.array([f"note number {i}" for i in range(99)] + [None], dtype=object)
    reference = build_reference({"carrier": carrier, "note": note}, {"carrier": "text", "note": "text"})
    assert reference.kinds == {"carrier": "categorical", "note": "text"}
    part = reference.parts[reference.parts_of("note")[0]]
    tally = reference.profile.parts[reference.parts_of("note")[0]]
    assert part.name == "length"
    assert tally.mean == pytest.approx(np.mean([len(text) for text in note[:-1]]))
    assert tally.counts[part.bins] == 1


def test_datetimes_are_hour_and_weekday_and_age_at_the_event():
    seen = np.array(["2024-01-01T05:30", "2024-01-06T23:10", "NaT"], dtype="datetime64[us]")
    event_at_ms = (seen[:1] + DAY).astype("datetime64[ms]").astype(np.int64).repeat(3)
    reference = build_reference({"at": seen}, {"at": "datetime"}, event_at_ms=event_at_ms)
    hour, weekday, age = reference.profile.parts
    assert [part.name for part in reference.parts] == ["hour", "weekday", "age"]
    assert np.flatnonzero(hour.counts[:24]).tolist() == [5, 23]
    assert np.flatnonzero(weekday.counts[:7]).tolist() == [0, 5]  # a Monday and a Saturday
    assert age.high == 86_400.0
    missing = [int(reference.profile.parts[i].counts[reference.parts[i].bins]) for i in range(3)]
    assert missing == [1, 1, 1]


def test_without_event_times_the_age_counts_no_row():
    seen = np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[us]")
    timed = build_reference({"at": seen}, {"at": "datetime"}, event_at_ms=np.array([0, 0]))
    assert profile(timed, {"at": seen}).parts[2].counts.sum() == 0
    assert len(build_reference({"at": seen}, {"at": "datetime"}).parts) == 2


def test_vectors_are_counted_by_four_fixed_projections():
    vectors = np.random.default_rng(2).standard_normal((500, 33))
    reference = build_reference({"v": vectors}, {"v": "vector"})
    assert len(reference.parts) == 4
    spreads = [np.sqrt(t.m2 / 500) for t in reference.profile.parts]
    assert all(0.85 < spread < 1.15 for spread in spreads)
    one_by_one = empty(reference)
    for row in vectors:
        one_by_one = merge(one_by_one, profile(reference, {"v": row[None]}))
    for a, b in zip(one_by_one.parts, reference.profile.parts, strict=True):
        np.testing.assert_array_equal(a.counts, b.counts)


def test_projections_never_change():
    # Pinned: a stored baseline must mean the same in every later version, on every platform.
    unit = np.eye(4)
    reference = build_reference({"v": unit}, {"v": "vector"})
    signs = [[int(2 * profile(reference, {"v": row[None]}).parts[k].mean) for row in unit] for k in range(4)]
    assert signs == PINNED_SIGNS


def test_an_empty_and_an_all_missing_column_can_be_profiled():
    for values in ([], [np.nan, np.nan]):
        reference = numeric_reference(values)
        counted = profile(reference, numbers([1.0, np.nan]))
        assert counted.parts[0].counts.tolist() == [1, 1, 0, 0]


def test_huge_numbers_are_counted_without_warnings():
    reference = numeric_reference(np.linspace(-1, 1, 500) * 1.7e308)
    assert reference.profile.parts[0].counts.sum() == 500


def test_blocks_are_the_profiles_of_their_rows():
    rng = np.random.default_rng(3)
    columns = {
        "x": np.where(rng.random(600) < 0.1, np.nan, rng.standard_normal(600)),
        "c": rng.choice(np.array(["a", "b", None], dtype=object), 600),
        "at": np.datetime64("2024-01-01", "us") + rng.integers(0, 10**6, 600) * np.timedelta64(1, "s"),
    }
    kinds = {"x": "numeric", "c": "categorical", "at": "datetime"}
    event_at_ms = rng.integers(1_704_067_200_000, 1_705_067_200_000, 600)
    reference = build_reference(columns, kinds, event_at_ms=event_at_ms)
    block = rng.integers(-1, 4, 600)
    for i, found in enumerate(profile_blocks(reference, columns, block, 4, event_at_ms=event_at_ms)):
        rows = {name: values[block == i] for name, values in columns.items()}
        expected = profile(reference, rows, event_at_ms=event_at_ms[block == i])
        assert found.rows == expected.rows
        for a, b in zip(found.parts, expected.parts, strict=True):
            np.testing.assert_array_equal(a.counts, b.counts)
            assert (a.mean, a.m2, a.low, a.high) == pytest.approx((b.mean, b.m2, b.low, b.high), rel=1e-9)


def test_profiles_of_different_references_do_not_mix():
    one, other = numeric_reference(np.arange(100)), numeric_reference(np.arange(101))
    with pytest.raises(Conflict, match="different references"):
        merge(one.profile, other.profile)
    with pytest.raises(Conflict, match="counts on reference"):
        decode(encode(one.profile), other)


def test_the_id_is_of_the_bins_and_not_of_the_counts():
    values = np.arange(64.0)
    assert numeric_reference(values).id == numeric_reference(np.repeat(values, 2)).id
    assert numeric_reference(values).id != numeric_reference(values + 1).id


def test_a_numeric_column_takes_68_counters_and_500_bytes_at_a_billion_rows():
    rng = np.random.default_rng(4)
    reference = numeric_reference(rng.standard_normal(50_000))
    part = reference.parts[0]
    assert part.counters + 1 <= 68  # with the row count
    counted = profile(reference, numbers(np.append(rng.standard_normal(60_000), [np.nan, np.inf, -np.inf])))
    for _ in range(14):
        counted = merge(counted, counted)
    assert counted.rows > 900_000_000
    assert len(encode(counted)) <= 500


def test_a_thousand_rows_take_about_a_hundred_bytes_a_column():
    rng = np.random.default_rng(5)
    columns = {f"x{i}": rng.standard_normal(1_000) for i in range(20)}
    reference = build_reference(columns, dict.fromkeys(columns, "numeric"))
    assert len(encode(reference.profile)) / 20 < 200


@pytest.mark.parametrize("cut", [0, 1, 5, 20, -1])
def test_damaged_profiles_are_corrupt(cut):
    reference = numeric_reference(np.arange(100))
    data = encode(reference.profile)
    with pytest.raises(Corrupt):
        decode(data[:cut], reference)


def test_a_profile_with_bytes_too_many_or_of_another_format_is_corrupt():
    reference = numeric_reference(np.arange(100))
    data = encode(reference.profile)
    with pytest.raises(Corrupt, match="1 bytes too many"):
        decode(data + b"\0", reference)
    with pytest.raises(Corrupt, match="not a profile"):
        decode(b"\xff" + data[1:], reference)


def test_references_come_back_as_they_were_and_the_same_bytes():
    columns = {"z": np.arange(300.0), "c": np.array(["a", 1, True, 2.5, None] * 60, dtype=object)}
    reference = build_reference(columns, {"z": "numeric", "c": "categorical"})
    data = encode_reference(reference)
    back = decode_reference(data)
    assert back.names == ("z", "c")
    assert encode_reference(back) == data
    assert encode(profile(back, columns)) == encode(reference.profile)


def test_a_tampered_reference_is_corrupt():
    data = encode_reference(numeric_reference(np.arange(300.0)))
    with pytest.raises(Corrupt, match="cannot be read"):
        decode_reference(data[:-10])
    changed = bytearray(data)
    place = changed.index(np.float64(numeric_reference(np.arange(300.0)).parts[0].edges[3]).tobytes())
    changed[place] ^= 1
    with pytest.raises(Corrupt, match="does not match"):
        decode_reference(bytes(changed))


def test_every_unusable_column_is_named_at_once():
    reference = build_reference(
        {"a": np.arange(5.0), "b": np.arange(5.0), "c": np.arange(5.0)},
        {"a": "numeric", "b": "numeric", "c": "numeric"},
    )
    with pytest.raises(Invalid) as absent:
        profile(reference, {"a": np.arange(4.0), "c": np.arange(3.0)})
    assert absent.value.details == ("b: no such column", "c: 3 rows, the others have 4")
    words = np.array(["x", "y"], dtype=object)
    with pytest.raises(Invalid) as unreadable:
        profile(reference, {"a": words, "b": np.zeros(2), "c": words})
    assert [line.split(":")[0] for line in unreadable.value.details] == ["a", "c"]


def test_event_times_of_another_length_are_refused():
    with pytest.raises(Invalid, match="event_at_ms: 2 rows"):
        build_reference(numbers([1, 2, 3]), {"x": "numeric"}, event_at_ms=np.array([0, 0]))


def test_withheld_columns_count_no_row():
    reference = build_reference({"a": np.arange(5.0), "b": np.arange(5.0)}, {"a": "numeric", "b": "numeric"})
    counted = profile(reference, {"b": np.arange(3.0)}, absent=("a",))
    assert counted.rows == 3
    assert [int(tally.counts.sum()) for tally in counted.parts] == [0, 3]


def test_columns_without_a_kind_are_left_out():
    reference = build_reference({"a": np.arange(5.0), "id": np.arange(5)}, {"a": "numeric"})
    assert reference.names == ("a",)


def test_part_types_tell_their_counters():
    number = NumericPart(column="x", edges=np.array([1.0]), centres=np.array([0.0, 2.0]))
    level = LevelPart(column="c", levels=("a", "b"))
    assert (number.bins, number.counters, level.bins, level.counters) == (2, 5, 4, 5)


def test_unseen_names_survive_merging_exactly_while_they_are_few():
    reference = build_reference(levels("a"), {"c": "categorical"})
    rng = np.random.default_rng(6)
    batches = [rng.choice([f"n{i}" for i in range(MAX_NAMES)], 40).astype(object) for _ in range(10)]
    merged = empty(reference)
    for batch in batches:
        merged = merge(merged, profile(reference, {"c": batch}))
    assert merged.parts[0].names == dict(Counter(np.concatenate(batches).tolist()))
