"""Laws of tables in flight: whatever goes in comes out again, and rows may be cut and joined anywhere."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mlspine.core.columns import concat, from_columns, parse_array, take, to_columns, to_jsonable_rows
from mlspine.data.manifest import row_digests, table_digest

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
whole = st.integers(-(2**53), 2**53)
# Within what pandas, when asked for its best dtypes, turns into whole numbers a float can hold.
floats = st.floats(-1e15, 1e15)
times = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1))
kinds: dict[str, Any] = {"text": texts, "whole": whole, "part": floats, "flag": st.booleans(), "time": times}


@st.composite
def records(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True))
    values = {name: draw(st.sampled_from(list(kinds))) for name in names}
    nullable = {name: draw(st.booleans()) for name in names}
    row = st.fixed_dictionaries(
        {name: st.none() | kinds[kind] if nullable[name] else kinds[kind] for name, kind in values.items()}
    )
    return draw(st.lists(row, min_size=1, max_size=6))


@given(records())
def test_records_come_back(rows: list[dict[str, Any]]) -> None:
    assert from_columns(*to_columns(rows)) == rows


@given(records())
def test_polars_frames_come_back(rows: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    assert_frame_equal(from_columns(*to_columns(frame)), frame)


@given(records())
def test_arrow_tables_come_back(rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    again = from_columns(*to_columns(table))
    assert again.schema == table.schema
    assert again.to_pylist() == table.to_pylist()


@given(records())
def test_pandas_frames_come_back(rows: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame(rows).convert_dtypes()
    pd.testing.assert_frame_equal(from_columns(*to_columns(frame)), frame)


@given(
    st.lists(st.none() | st.sampled_from(["a", "b", "c d", "ß"]), min_size=1),
    st.booleans(),
    st.permutations(["a", "b", "c d", "ß"]),
)
def test_categories_come_back(values: list[str | None], ordered: bool, levels: list[str]) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(values, categories=levels, ordered=ordered)})
    pd.testing.assert_frame_equal(from_columns(*to_columns(frame)), frame)


@given(
    st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1),
    st.sampled_from(["float32", "float64"]),
)
def test_matrices_come_back(rows: list[list[float]], dtype: str) -> None:
    matrix = np.array(rows, dtype=dtype)
    again = from_columns(*to_columns(matrix))
    assert again.dtype == matrix.dtype
    np.testing.assert_array_equal(again, matrix)


@given(records())
def test_json_brings_the_same_columns(rows: list[dict[str, Any]]) -> None:
    columns, schema = to_columns(rows)
    listed = json.loads(json.dumps(to_jsonable_rows(columns, schema)))
    for field in schema.fields:
        again = parse_array([row[field.name] for row in listed], field)
        assert again.dtype == columns[field.name].dtype
        np.testing.assert_array_equal(again, columns[field.name])


@given(records(), st.data())
def test_cut_and_joined_anywhere_is_the_same_table(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    columns, schema = to_columns(rows)
    at = data.draw(st.integers(0, len(rows)))
    joined = concat([take(columns, slice(0, at)), take(columns, slice(at, None))])
    assert from_columns(joined, schema) == rows
    assert table_digest(joined) == table_digest(columns)


@settings(max_examples=50)
@given(records(), st.randoms(use_true_random=False))
def test_a_row_has_the_same_digest_wherever_it_stands(rows: list[dict[str, Any]], random: Any) -> None:
    columns, _ = to_columns(rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    moved = row_digests(take(columns, np.array(order)))
    np.testing.assert_array_equal(moved, row_digests(columns)[order])
