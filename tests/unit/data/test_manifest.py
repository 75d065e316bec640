"""Names for data by its content."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl

from mlspine.core.columns import take, to_columns
from mlspine.data.manifest import overlap, row_digests, table_digest, twin_share

FRAME = pd.DataFrame(
    {
        "f": [1.5, np.nan, -0.0],
        "i": [1, 2, 3],
        "t": ["a", None, "b"],
        "d": pd.to_datetime(["2024-01-01", None, "2024-01-02"]),
    }
)


def test_equal_content_has_one_digest_whichever_library_holds_it() -> None:
    in_pandas, _ = to_columns(FRAME)
    in_polars, _ = to_columns(pl.from_pandas(FRAME))
    assert table_digest(in_pandas) == table_digest(in_polars)


def test_any_change_gives_another_digest() -> None:
    columns, _ = to_columns(FRAME)
    digests = {
        table_digest(columns),
        table_digest(columns | {"i": np.array([1, 2, 4])}),
        table_digest(columns | {"t": np.array(["a", "", "b"], dtype=object)}),
        table_digest({("j" if name == "i" else name): values for name, values in columns.items()}),
        table_digest(take(columns, np.array([1, 0, 2]))),
        table_digest(dict(reversed(columns.items()))),
        table_digest(take(columns, slice(0, 2))),
    }
    assert len(digests) == 7


def test_values_cannot_move_between_columns_unnoticed() -> None:
    one = {"a": np.array(["x", "yz"], dtype=object), "b": np.array(["", "w"], dtype=object)}
    other = {"a": np.array(["x", "y"], dtype=object), "b": np.array(["", "zw"], dtype=object)}
    assert table_digest(one) != table_digest(other)


def test_nan_and_zero_have_one_spelling_each() -> None:
    odd_nan = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)
    assert table_digest({"f": odd_nan}) == table_digest({"f": np.array([np.nan])})
    assert row_digests({"f": np.array([-0.0])}) == row_digests({"f": np.array([0.0])})


def test_rows_differ_by_any_value_and_by_the_column_it_stands_in() -> None:
    rows = {"a": np.array([1.0, 2.0, 1.0]), "b": np.array([2.0, 1.0, 2.0])}
    digests = row_digests(rows)
    assert digests[0] == digests[2]
    assert digests[0] != digests[1]


def test_many_different_rows_have_different_digests() -> None:
    grid = np.arange(200_000)
    assert len(np.unique(row_digests({"a": grid // 500, "b": grid % 500}))) == 200_000


def test_overlap_counts_rows_that_occur_on_both_sides() -> None:
    known = row_digests({"a": np.arange(10)})
    assert overlap(row_digests({"a": np.arange(7, 15)}), known) == 3


def test_twins_are_rows_with_an_equal_elsewhere() -> None:
    assert twin_share(row_digests({"a": np.array([1, 1, 2, 3])})) == 0.5
    assert twin_share(np.array([], dtype=np.uint64)) == 0.0
