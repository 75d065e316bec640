"""Laws of profiles: whatever the rows and however they are cut, the merged counts are those of one pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlspine.stats.profile import (
    Profile,
    build_reference,
    decode,
    decode_reference,
    empty,
    encode,
    encode_reference,
    merge,
    profile,
    profile_blocks,
)

NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, 2.5, float("nan"), float("inf"), -float("inf")]),
)
LEVELS = st.sampled_from(["a", "b", "c", "", "new", None, 1, True, 2.5])
ROW = st.tuples(NUMBERS, LEVELS, st.booleans(), st.integers(0, 10**9))
ROWS = st.lists(ROW, max_size=40)
KINDS = {"x": "numeric", "c": "categorical", "b": "boolean", "at": "datetime"}


def columns(rows):
    levels = np.empty(len(rows), dtype=object)
    levels[:] = [row[1] for row in rows]
    return {
        "x": np.array([row[0] for row in rows], dtype=float),
        "c": levels,
        "b": np.array([row[2] for row in rows], dtype=bool),
        "at": np.array([row[3] for row in rows], dtype="datetime64[s]").astype("datetime64[us]"),
    }


REFERENCE_ROWS = st.lists(
    st.tuples(NUMBERS, st.sampled_from(["a", "b", "c", None]), st.booleans(), st.integers(0, 10**9)),
    max_size=150,
)


def same_counts(a: Profile, b: Profile) -> bool:
    return a.rows == b.rows and all(
        np.array_equal(x.counts, y.counts) and (x.low, x.high, x.names) == (y.low, y.high, y.names)
        for x, y in zip(a.parts, b.parts, strict=True)
    )


@settings(deadline=None)
@given(REFERENCE_ROWS, ROWS, st.integers(0, 40), st.integers(0, 40))
def test_merged_pieces_equal_one_pass(before, rows, first, second):
    reference = build_reference(columns(before), KINDS)
    cuts = sorted((min(first, len(rows)), min(second, len(rows))))
    pieces = [rows[: cuts[0]], rows[cuts[0] : cuts[1]], rows[cuts[1] :]]
    a, b, c = (profile(reference, columns(piece)) for piece in pieces)
    whole = profile(reference, columns(rows))
    assert same_counts(merge(merge(a, b), c), whole)
    assert same_counts(merge(a, merge(b, c)), whole)
    assert encode(merge(a, b)) == encode(merge(b, a))
    assert encode(merge(a, empty(reference))) == encode(a)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=300), st.integers(1, 299))
def test_merged_moments_agree_within_1e_12(values, cut):
    reference = build_reference({"x": np.array([0.0])}, {"x": "numeric"})
    shifted = np.array(values) + 1e3
    merged = merge(*(profile(reference, {"x": piece}) for piece in (shifted[:cut], shifted[cut:]))).parts[0]
    whole = profile(reference, {"x": shifted}).parts[0]
    assert merged.mean == pytest.approx(whole.mean, rel=1e-12, abs=1e-9)
    assert merged.m2 == pytest.approx(whole.m2, rel=1e-12, abs=1e-12 * np.square(shifted).sum())


@settings(deadline=None)
@given(REFERENCE_ROWS, ROWS)
def test_every_row_is_counted_once_in_every_part(before, rows):
    reference = build_reference(columns(before), KINDS)
    counted = profile(reference, columns(rows))
    assert [int(tally.counts.sum()) for tally in counted.parts] == [len(rows)] * len(reference.parts)


@settings(deadline=None)
@given(REFERENCE_ROWS, ROWS)
def test_decoding_undoes_encoding(before, rows):
    reference = build_reference(columns(before), KINDS)
    back = decode_reference(encode_reference(reference))
    counted = profile(reference, columns(rows))
    assert encode(decode(encode(counted), back)) == encode(counted)
    assert encode_reference(back) == encode_reference(reference)


@settings(deadline=None)
@given(REFERENCE_ROWS, st.lists(st.integers(-1, 3), max_size=150))
def test_blocks_add_up_to_the_rows_in_them(before, blocks):
    reference = build_reference(columns(before), KINDS)
    block = np.resize(np.array([*blocks, 0]), len(before)).astype(np.int64)
    merged = empty(reference)
    for found in profile_blocks(reference, columns(before), block, 4):
        merged = merge(merged, found)
    inside = [row for row, of in zip(before, block, strict=True) if of >= 0]
    assert same_counts(merged, profile(reference, columns(inside)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=3), max_size=200), st.integers(1, 199))
def test_names_of_unseen_levels_keep_every_heavy_one(words, cut):
    reference = build_reference({"c": np.array(["known level"], dtype=object)}, {"c": "categorical"})
    pieces = [np.array(piece, dtype=object) for piece in (words[:cut], words[cut:])]
    names = merge(*(profile(reference, {"c": piece}) for piece in pieces)).parts[0].names
    heavy = {word for word in words if words.count(word) * 33 > len(words)}
    assert heavy <= set(names)
    assert all(count <= words.count(name) for name, count in names.items())
