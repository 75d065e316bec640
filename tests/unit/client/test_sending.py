"""Rows in every form callers have, as they travel."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mlspine.client.rows import Described, as_bytes, as_json, read
from mlspine.core.errors import Invalid

FLOATS = msgspec.convert({"columns": [{"name": "a", "type": "float"}, {"name": "b", "type": "float"}]}, Described)
NUMBERS = msgspec.convert({"columns": [{"name": "a", "type": "int"}, {"name": "b", "type": "bool"}]}, Described)
TEXTS = msgspec.convert({"columns": [{"name": "a", "type": "text"}]}, Described)


def told(rows: Any) -> Any:
    return json.loads(as_json(read(rows)).data)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"a": 1}], {"rows": [{"a": 1}]}),
        ([[1, 2]], {"rows": [[1, 2]]}),
        ([np.array([1.0, 2.0])], {"rows": [[1.0, 2.0]]}),
        ({"a": 1, "v": [1, 2]}, {"rows": [{"a": 1, "v": [1, 2]}]}),
        ({"a": [1, 2]}, {"columns": {"a": [1, 2]}}),
        ({"a": np.array([1.5, np.nan])}, {"columns": {"a": [1.5, None]}}),
        (np.array([[1.5, np.nan]]), {"rows": [[1.5, None]]}),
        (np.array([["x", 1]], dtype=object), {"rows": [["x", 1]]}),
        (pd.DataFrame({"a": [1.5, np.nan]}), {"columns": {"a": [1.5, None]}}),
        (
            pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "t": pd.to_datetime(["2026-01-01", None])}),
            {"columns": {"a": [1, None], "t": ["2026-01-01T00:00:00", None]}},
        ),
        (pl.DataFrame({"a": ["x", None]}), {"columns": {"a": ["x", None]}}),
        (pa.table({"a": [True, False]}), {"columns": {"a": [True, False]}}),
        (
            [{"a": np.int64(1), "b": pd.Timestamp("2026-01-01"), "c": pd.NaT, "d": dt.date(2026, 1, 1), "e": pd.NA}],
            {"rows": [{"a": 1, "b": "2026-01-01T00:00:00", "c": None, "d": "2026-01-01", "e": None}]},
        ),
    ],
)
def test_rows_of_every_form_become_json(rows: Any, expected: Any) -> None:
    assert told(rows) == expected


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros(3), "1 axes"),
        ([{"a": object()}], "cannot be sent"),
        ([{"a": float("inf")}], "no infinity"),
        ([[None, float("-inf")]], "no infinity"),
        (7, "cannot read rows"),
        ("rows", "cannot read rows"),
    ],
)
def test_what_is_no_table_is_refused(rows: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        told(rows)


def parts(rows: Any, described: Described) -> tuple[dict[str, Any], bytes]:
    body = as_bytes(read(rows), described)
    assert body is not None
    length = int(body.headers["Inference-Header-Content-Length"])
    return json.loads(body.data[:length]), body.data[length:]


def test_a_matrix_travels_as_one_tensor() -> None:
    X = np.asfortranarray([[1.0, 2.0], [3.0, np.inf]])
    head, raw = parts(X, FLOATS)
    assert head["inputs"] == [
        {"name": "rows", "shape": [2, 2], "datatype": "FP64", "parameters": {"binary_data_size": 32}}
    ]
    assert head["parameters"] == {"binary_data_output": True}
    assert raw == X.astype("<f8", order="C").tobytes()
    head, raw = parts(X.astype(np.float32), FLOATS)
    assert (head["inputs"][0]["datatype"], raw) == ("FP32", X.astype("<f4").tobytes(order="C"))
    assert parts(X.astype(">f8"), FLOATS)[1] == X.astype("<f8").tobytes(order="C")


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table, lambda columns: columns])
def test_tables_are_put_in_the_endpoints_order(kind: Any) -> None:
    columns = {"b": np.array([2.0, 4.0]), "more": np.array([9.0, 9.0]), "a": np.array([1.0, 3.0])}
    head, raw = parts(kind(columns), FLOATS)
    assert head["inputs"][0]["shape"] == [2, 2]
    assert np.frombuffer(raw).tolist() == [1.0, 2.0, 3.0, 4.0]


def test_whole_numbers_and_booleans_keep_their_types() -> None:
    columns = {"a": np.array([2**60 + 1]), "b": np.array([True])}
    head, raw = parts(columns, NUMBERS)
    assert [(each["name"], each["datatype"]) for each in head["inputs"]] == [("a", "INT64"), ("b", "BOOL")]
    assert raw == (2**60 + 1).to_bytes(8, "little") + b"\1"


@pytest.mark.parametrize(
    ("rows", "described"),
    [
        (np.zeros((1, 1)), TEXTS),
        (np.zeros((1, 1)), Described()),
        (pd.DataFrame({"a": [1.0]}), FLOATS),
        ({"a": np.array([1.0])}, FLOATS),
    ],
)
def test_what_bytes_cannot_carry_is_left_to_json(rows: Any, described: Described) -> None:
    assert as_bytes(read(rows), described) is None


def test_only_arrays_of_numbers_count_as_values_for_bytes() -> None:
    assert read(np.zeros((3, 4))).values == 12
    assert read(pd.DataFrame({"a": [1, 2], "b": [True, False]})).values == 4
    assert read(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})).values == 0
    assert read([[1.0, 2.0]]).values == 0
    assert read(np.array([[1.0, np.inf]])).needs_bytes
    assert not read(np.array([[1.0, np.nan]])).needs_bytes
