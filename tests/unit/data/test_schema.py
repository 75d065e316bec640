"""What the columns of a table look like."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlspine.core.columns import to_columns
from mlspine.data.schema import example_row, summarise

FRAME = pd.DataFrame(
    {
        "age": [20.0, np.nan, 40.0, np.inf],
        "city": ["Bern", "Bern", None, "Köln"],
        "plan": pd.Categorical(["a", "b", "a", None], categories=["b", "a", "c"]),
        "at": pd.to_datetime(["2024-01-02", None, "2024-01-01", "2024-01-03"]),
        "flag": [True, False, True, True],
    }
)


def test_a_summary_has_ranges_levels_nulls_and_an_example() -> None:
    age, city, plan, at, flag = summarise(*to_columns(FRAME))
    assert (age.low, age.high, age.missing_share, age.nullable) == (20.0, 40.0, 0.25, True)
    assert (city.levels, city.distinct, city.example) == (("Bern", "Köln"), 2, "Bern")
    assert plan.levels == ("b", "a", "c")
    assert (at.low, at.high) == ("2024-01-01T00:00:00", "2024-01-03T00:00:00")
    assert (flag.low, flag.high) == (False, True)


def test_free_text_shows_no_levels() -> None:
    frame = pd.DataFrame({"words": [f"a private remark {i}" for i in range(100)]})
    (words,) = summarise(*to_columns(frame))
    assert words.levels == ()
    assert words.distinct == 100


def test_the_example_is_a_row_without_nulls() -> None:
    columns, schema = to_columns(FRAME.iloc[[1, 0]])
    assert example_row(columns, schema) == {
        "age": 20.0,
        "city": "Bern",
        "plan": "a",
        "at": "2024-01-02T00:00:00",
        "flag": True,
    }


def test_an_all_null_column_has_a_summary_too() -> None:
    (empty,) = summarise(*to_columns(pd.DataFrame({"x": [np.nan, np.nan]})))
    assert (empty.low, empty.high, empty.missing_share, empty.example) == (None, None, 1.0, None)
