from __future__ import annotations

import numpy as np

from mlspine.core.columns import to_columns
from mlspine.retraining.slices import MOST_SLICES, slices


def parts(rows: dict[str, object], least_rows: int = 1) -> dict[str, int]:
    columns, schema = to_columns(rows)
    return {name: len(at) for name, at in slices(columns, schema, least_rows=least_rows)}


def test_levels_and_quarters_are_parts() -> None:
    found = parts({"city": ["Oslo"] * 30 + ["Bern"] * 70, "age": np.arange(100) / 2})
    assert found == {
        "city = Bern": 70,
        "city = Oslo": 30,
        "age <= 12.38": 25,
        "age 12.38 to 24.75": 25,
        "age 24.75 to 37.12": 25,
        "age > 37.12": 25,
    }


def test_small_parts_and_the_whole_are_none() -> None:
    assert parts({"city": ["Oslo"] * 3 + ["Bern"] * 97, "country": ["NO"] * 100}, least_rows=50) == {"city = Bern": 97}


def test_free_text_and_nulls_make_no_part_of_their_own() -> None:
    assert parts({"note": [f"note {i}" for i in range(100)], "age": np.full(100, np.nan)}) == {}


def test_there_is_an_end_to_them() -> None:
    wide = {f"c{i}": np.arange(100) / 2 for i in range(60)}
    assert len(parts(wide)) == MOST_SLICES
