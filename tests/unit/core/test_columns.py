"""Tables in and out: the same container, dtypes and nulls, or a refusal that names the column."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal as assert_polars_equal

from mlspine.core.columns import (
    Rebuild,
    concat,
    conform,
    from_columns,
    parse_array,
    row_count,
    take,
    to_columns,
    to_jsonable_rows,
)
from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Field, Schema

TIMES = ["2024-01-01 10:00", None, "2024-07-01 23:59", "2024-03-31 02:30"]
PANDAS: dict[str, Any] = {
    "float with nan": [1.5, np.nan, 2.0, 3.0],
    "int8": np.array([1, -2, 3, 4], dtype="int8"),
    "uint32": np.array([1, 2, 3, 4_000_000_000], dtype="uint32"),
    "int64 beyond float": np.array([2**62 + 1, 2, 3, 4]),
    "float32": np.array([1.1, 2, 3, 4], dtype="float32"),
    "bool": [True, False, True, True],
    "object with None": pd.Series(["x", None, "y", "z"], dtype=object),
    "object with nan": pd.Series(["x", np.nan, "y", "z"], dtype=object),
    "object with NA": pd.Series(["x", pd.NA, "y", "z"], dtype=object),
    "object flags": pd.Series([True, None, False, True], dtype=object),
    "object integers": pd.Series([1, None, 2, 3], dtype=object),
    "object floats": pd.Series([1.5, None, 2.0, 3.5], dtype=object),
    "object of nulls": pd.Series([None] * 4, dtype=object),
    "default text": pd.Series(["a", None, "b", "ü"]),
    "string": pd.Series(["a", None, "b", "c"], dtype="string"),
    "python string": pd.Series(["a", None, "b", "c"], dtype="string[python]"),
    "category": pd.Categorical(["a", None, "b", "a"], categories=["b", "a", "never seen"]),
    "ordered integer category": pd.Categorical([3, 1, 3, 3], categories=[3, 1, 2], ordered=True),
    "float category": pd.Categorical([1.5, 2.5, None, 1.5]),
    "bool category": pd.Categorical([True, False, True, True]),
    "object category": pd.Categorical(pd.Series(["a", "b", "a", "b"], dtype=object)),
    "int8 category": pd.Categorical(np.array([1, 2, 1, 1], dtype="int8")),
    "empty category": pd.Categorical([None] * 4, categories=pd.Index([], dtype=object)),
    "Int64": pd.array([1, None, 2, 3], dtype="Int64"),
    "Int64 without nulls": pd.array([2**62 + 1, 4, 2, 3], dtype="Int64"),
    "UInt8": pd.array([1, None, 2, 255], dtype="UInt8"),
    "boolean": pd.array([True, None, False, True], dtype="boolean"),
    "boolean of nulls": pd.array([None] * 4, dtype="boolean"),
    "Float32": pd.array([1.5, None, 2, 3], dtype="Float32"),
    "datetime": pd.to_datetime(TIMES),
    "datetime in ns": pd.to_datetime(TIMES).astype("datetime64[ns]"),
    "datetime in s": pd.to_datetime(TIMES).astype("datetime64[s]"),
    "datetime in Berlin": pd.to_datetime(
        ["2024-01-01 10:00", None, "2024-07-01 23:59", "2024-05-01 02:30"]
    ).tz_localize("Europe/Berlin"),
    "datetime in UTC": pd.to_datetime(TIMES).tz_localize("UTC"),
    "datetime with offset": pd.to_datetime(["2024-01-01 10:00+02:00"] * 4),
    "arrow integers": pd.array([1, None, 2, 3], dtype="int64[pyarrow]"),
    "arrow text": pd.array(["a", None, "b", "c"], dtype=pd.ArrowDtype(pa.string())),
    "arrow flags": pd.array([True, None, True, False], dtype="bool[pyarrow]"),
    "arrow times": pd.array([dt.datetime(2024, 1, 1), None] * 2, dtype=pd.ArrowDtype(pa.timestamp("us", "UTC"))),
}
POLARS: dict[str, pl.Series] = {
    "integers with null": pl.Series([1, None, 2]),
    "small": pl.Series([1, 2, 3], dtype=pl.UInt8),
    "floats with null": pl.Series([1.5, None, 2.0]),
    "floats with nan": pl.Series([1.5, float("nan"), 2.0]),
    "float32": pl.Series([1.5, 2.5, 2.0], dtype=pl.Float32),
    "flags": pl.Series([True, None, False]),
    "text": pl.Series(["a", None, "b"]),
    "categorical": pl.Series(["a", None, "b"], dtype=pl.Categorical),
    "enum": pl.Series(["a", None, "b"], dtype=pl.Enum(["b", "a", "never"])),
    "date": pl.Series([dt.date(2024, 1, 1), None, dt.date(1969, 1, 1)]),
    "time": pl.Series([dt.datetime(2024, 1, 1, 1), None, dt.datetime(1969, 1, 1)]),
    "zoned": pl.Series(
        [dt.datetime(2024, 1, 1), None, dt.datetime(2020, 1, 1)], dtype=pl.Datetime("ms", "Europe/Berlin")
    ),
    "nothing": pl.Series([None, None, None]),
}
ARROW: dict[str, pa.Array] = {
    "integers": pa.array([1, None, 2]),
    "small": pa.array([1, 2, 3], pa.int8()),
    "floats": pa.array([1.5, None, 2.5]),
    "float32": pa.array([1.5, None, 2.0], pa.float32()),
    "half": pa.array([np.float16(1.5), None, np.float16(2)], pa.float16()),
    "flags": pa.array([True, None, False]),
    "text": pa.array(["a", None, "b"]),
    "large text": pa.array(["a", None, "b"], pa.large_string()),
    "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
    "integer dictionary": pa.array([3, None, 1]).dictionary_encode(),
    "date": pa.array([dt.date(2024, 1, 1), None, dt.date(1969, 1, 1)]),
    "date in ms": pa.array([dt.date(2024, 1, 1), None, dt.date(2020, 1, 1)], pa.date64()),
    "time": pa.array([dt.datetime(2024, 1, 1), None, dt.datetime(2020, 1, 1)], pa.timestamp("ms")),
    "zoned": pa.array([dt.datetime(2024, 1, 1), None, dt.datetime(2020, 1, 1)], pa.timestamp("us", "Europe/Berlin")),
    "nothing": pa.nulls(3),
}


@pytest.mark.parametrize("name", PANDAS)
def test_a_pandas_column_comes_back_as_it_was(name: str) -> None:
    frame = pd.DataFrame({name: PANDAS[name]})
    pd.testing.assert_frame_equal(from_columns(*to_columns(frame)), frame)


def test_a_frame_of_all_kinds_comes_back_as_it_was() -> None:
    frame = pd.DataFrame(PANDAS)
    pd.testing.assert_frame_equal(from_columns(*to_columns(frame)), frame)


@pytest.mark.parametrize("name", POLARS)
def test_a_polars_column_comes_back_as_it_was(name: str) -> None:
    frame = pl.DataFrame({name: POLARS[name]})
    assert_polars_equal(from_columns(*to_columns(frame)), frame)


@pytest.mark.parametrize("name", ARROW)
def test_an_arrow_column_comes_back_as_it_was(name: str) -> None:
    table = pa.table({name: ARROW[name]})
    again = from_columns(*to_columns(table))
    assert again.schema == table.schema
    assert again.equals(table)


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[1.5, 2.0], [np.nan, 4.0]]),
        np.arange(6, dtype="int16").reshape(3, 2),
        np.zeros((3, 2), dtype="float32"),
        np.array([[True, False]]),
        np.array([[1, "a"], [2, None]], dtype=object),
        np.array([["a", "bb"], ["c", "d"]]),
        np.array([(1, 2.5, "a")], dtype=[("whole", "i4"), ("part", "f8"), ("text", "U3")]),
        np.array([(1, [0.5, 1.5])], dtype=[("id", "i4"), ("embedding", "f4", (2,))]),
        np.array(["a text", "another"]),
        np.array([1, 2, 3]),
    ],
    ids=lambda matrix: str(matrix.dtype),
)
def test_a_numpy_array_comes_back_as_it_was(matrix: np.ndarray[Any, Any]) -> None:
    again = from_columns(*to_columns(matrix))
    assert again.dtype == matrix.dtype
    np.testing.assert_array_equal(again, matrix)


def test_records_come_back_as_they_were() -> None:
    zoned = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
    rows = [
        {"n": 1, "t": "x", "none": None, "f": 1.5, "b": True, "at": zoned},
        {"n": None, "t": None, "none": None, "f": 2.5, "b": None, "at": zoned},
    ]
    assert from_columns(*to_columns(rows)) == rows


def test_a_dict_of_arrays_and_lists_comes_back_as_it_was() -> None:
    data = {"a": np.array([1, 2]), "l": ["x", None], "v": np.ones((2, 3), dtype="float32")}
    columns, schema = to_columns(data)
    again = from_columns(columns, schema)
    assert schema.field("v").width == 3
    assert again["l"] == ["x", None]
    np.testing.assert_array_equal(again["v"], data["v"])
    assert again["v"].dtype == np.float32


def test_a_list_of_texts_is_one_column() -> None:
    columns, schema = to_columns(["one document", "another"])
    assert schema.names == ("x0",)
    assert from_columns(columns, schema) == ["one document", "another"]


def test_integer_column_labels_come_back_as_integers() -> None:
    frame = pd.DataFrame(np.zeros((2, 3)))
    columns, schema = to_columns(frame)
    assert list(columns) == ["0", "1", "2"]
    assert from_columns(columns, schema).columns.tolist() == [0, 1, 2]


def test_arrays_follow_the_conventions_of_columns() -> None:
    frame = pd.DataFrame(PANDAS)
    columns, schema = to_columns(frame)
    allowed = {
        ("float", False): "float64",
        ("float", True): "float64",
        ("int", False): "int64",
        ("int", True): "float64",
        ("bool", False): "bool",
        ("bool", True): "object",
        ("text", False): "object",
        ("text", True): "object",
        ("category", False): "object",
        ("category", True): "object",
        ("datetime", False): "datetime64[us]",
        ("datetime", True): "datetime64[us]",
    }
    for field in schema.fields:
        assert str(columns[field.name].dtype) == allowed[field.type, field.nullable], field
    assert columns["category"].tolist() == ["a", None, "b", "a"]
    assert columns["datetime in Berlin"][0] == np.datetime64("2024-01-01T09:00:00")


def test_the_schema_keeps_levels_in_their_order() -> None:
    _, schema = to_columns(pd.DataFrame(PANDAS))
    assert schema.field("category").levels == ("b", "a", "never seen")
    assert schema.field("ordered integer category").levels == (3, 1, 2)
    assert schema.field("ordered integer category").ordered
    assert schema.field("datetime in Berlin").time_zone == "Europe/Berlin"


REFUSED: dict[str, tuple[Any, str]] = {
    "mixed objects": (
        pd.DataFrame({"m": pd.Series([1, "a"], dtype=object)}),
        "column 'm' mixes int (1), str ('a')",
    ),
    "lists": (pd.DataFrame({"l": [[1], [2]]}), "column 'l' holds list ([1])"),
    "timedeltas": (pd.DataFrame({"t": pd.to_timedelta([1, 2])}), "column 't' holds timedelta64"),
    "intervals": (pd.DataFrame({"p": pd.cut([1, 2, 3], 2)}), "column 'p' has levels such as Interval"),
    "two nulls": (
        pd.DataFrame({"o": pd.Series(["a", None, np.nan], dtype=object)}),
        "mixes the nulls None and nan",
    ),
    "wide unsigned": (pd.DataFrame({"u": np.array([2**64 - 1], dtype="uint64")}), "18446744073709551615"),
    "wide with null": (pd.DataFrame({"i": pd.array([2**60, None], dtype="Int64")}), "cannot keep exactly"),
    "nanoseconds": (
        pd.DataFrame({"t": pd.to_datetime(["2024-01-01 00:00:00.000000001"])}),
        "does not fit microsec",
    ),
    "sparse": (pd.DataFrame({"s": pd.arrays.SparseArray([0, 1])}), "Sparse"),
    "label tuples": (pd.DataFrame({("a", "b"): [1]}), "column label ('a', 'b') is not text"),
    "same name twice": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column 'a' appears more than once"),
    "null and nan": (pl.DataFrame({"f": [1.0, None, float("nan")]}), "both null and NaN"),
    "nested polars": (pl.DataFrame({"l": [[1], [2]]}), "column 'l' holds List"),
    "nested arrow": (pa.table({"l": [[1], [2]]}), "column 'l' holds list"),
    "three axes": (np.zeros((2, 2, 2)), "3 axes"),
    "ragged records": ([{"a": 1}, {"b": 2}], "row 1 has other keys than row 0: a, b"),
    "unequal lengths": ({"a": [1, 2], "b": [1]}, "columns differ in length"),
    "text": ("rows.csv", "cannot read rows from builtins.str"),
    "nothing": (None, "cannot read rows from builtins.NoneType"),
    "empty list": ([], "no rows"),
    "two zones": (
        [{"t": dt.datetime(2024, 1, 1)}, {"t": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)}],
        "mixes time zones",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_travel_is_refused_by_name(case: str) -> None:
    data, said = REFUSED[case]
    with pytest.raises(Invalid) as caught:
        to_columns(data)
    assert said in str(caught.value)
    assert caught.value.hint


def test_all_columns_that_cannot_travel_are_listed_at_once() -> None:
    frame = pd.DataFrame({"ok": [1], "a": [[1]], "b": pd.to_timedelta([1])})
    with pytest.raises(Invalid) as caught:
        to_columns(frame)
    assert len(caught.value.details) == 2
    assert "'a'" in caught.value.details[0]
    assert "'b'" in caught.value.details[1]


def test_sparse_matrices_are_refused_with_the_way_out() -> None:
    from scipy.sparse import csr_matrix

    with pytest.raises(Invalid, match="sparse matrix") as caught:
        to_columns(csr_matrix(np.eye(3)))
    assert "transform=" in caught.value.hint


def test_names_for_a_matrix_and_for_nothing_else() -> None:
    columns, _ = to_columns(np.zeros((2, 2)), names=["a", "b"])
    assert list(columns) == ["a", "b"]
    with pytest.raises(Invalid, match="3 names for 2 columns"):
        to_columns(np.zeros((2, 2)), names=["a", "b", "c"])
    with pytest.raises(Invalid, match="which has its own"):
        to_columns(pd.DataFrame({"a": [1]}), names=["b"])


def test_an_unseen_category_becomes_null_in_the_frame_and_stays_in_the_columns() -> None:
    columns, schema = to_columns(pd.DataFrame({"c": pd.Categorical(["a", "b"])}))
    columns["c"] = np.array(["a", "new"], dtype=object)
    assert from_columns(columns, schema)["c"].isna().tolist() == [False, True]
    assert columns["c"].tolist() == ["a", "new"]


def test_rebuild_ignores_other_columns_and_names_missing_ones() -> None:
    columns, schema = to_columns(pd.DataFrame({"age": [1], "income": [2.0]}))
    rebuild = Rebuild(schema)
    assert list(rebuild(columns | {"other": np.array([1])})) == ["age", "income"]
    with pytest.raises(Invalid, match="missing: age") as caught:
        rebuild({"aeg": columns["age"], "income": columns["income"]})
    assert caught.value.details == ("age (did you mean aeg?)",)


def test_rows_are_taken_counted_and_put_together() -> None:
    columns, schema = to_columns(pd.DataFrame({"a": [1, 2, 3], "t": ["x", None, "z"]}))
    head, tail = take(columns, slice(0, 1)), take(columns, np.array([1, 2]))
    assert row_count(tail) == 2
    pd.testing.assert_frame_equal(from_columns(concat([head, tail]), schema), from_columns(columns, schema))
    with pytest.raises(ValueError, match="nothing"):
        concat([])


def test_putting_together_flags_with_and_without_nulls_keeps_both() -> None:
    together = concat([{"b": np.array([True])}, {"b": np.array([None], dtype=object)}])
    assert together["b"].tolist() == [True, None]


# ---------------------------------------------------------------- JSON


def _through_json(columns: Columns, schema: Schema) -> Columns:
    rows = json.loads(json.dumps(to_jsonable_rows(columns, schema)))
    return {field.name: parse_array([row[field.name] for row in rows], field) for field in schema.fields}


@pytest.mark.parametrize("data", [pd.DataFrame(PANDAS), pl.DataFrame(POLARS)], ids=["pandas", "polars"])
def test_rows_survive_json(data: Any) -> None:
    columns, schema = to_columns(data)
    again = _through_json(columns, schema)
    for name, values in columns.items():
        assert again[name].dtype == values.dtype, name
        np.testing.assert_array_equal(again[name], values, err_msg=name)


def test_json_rows_say_null_and_iso_8601() -> None:
    frame = pd.DataFrame(
        {"f": [np.nan], "t": pd.to_datetime(["2024-01-01"]), "z": pd.to_datetime(["2024-01-01"], utc=True)}
    )
    assert to_jsonable_rows(*to_columns(frame)) == [
        {"f": None, "t": "2024-01-01T00:00:00", "z": "2024-01-01T00:00:00Z"}
    ]


def _field(type_: str, **more: Any) -> Field:
    return Field(name="age", type=type_, dtype="", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        (_field("float"), [1, 2.5, None], np.array([1, 2.5, np.nan])),
        (_field("int"), [1, 3.0], np.array([1, 3])),
        (_field("int"), [2**63 - 1], np.array([2**63 - 1])),
        (_field("int", nullable=True), [1, None], np.array([1, np.nan])),
        (_field("bool"), [True], np.array([True])),
        (
            _field("datetime"),
            ["2024-01-01T00:00:00Z", 1704067200000, None],
            np.array(["2024-01-01", "2024-01-01", "NaT"], "M8[us]"),
        ),
        (
            _field("datetime", time_zone="Europe/Berlin"),
            ["2024-07-01T12:00:00"],
            np.array(["2024-07-01T10:00"], "M8[us]"),
        ),
        (_field("vector", width=2), [[1, 2], [3, 4.5]], np.array([[1, 2], [3, 4.5]])),
    ],
)
def test_json_values_become_one_column(field: Field, values: list[Any], expected: np.ndarray[Any, Any]) -> None:
    got = parse_array(values, field)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_a_level_never_seen_is_kept_and_a_value_of_another_type_is_not() -> None:
    field = _field("category", levels=("a", "b"))
    assert parse_array(["new", None], field).tolist() == ["new", None]
    with pytest.raises(Invalid, match="one of its levels, got 3"):
        parse_array([3], field)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (_field("float"), "1.5", "takes a number, got '1.5'"),
        (_field("float"), True, "takes a number, got True"),
        (_field("float"), 10**400, "takes a number"),
        (_field("int"), 1.5, "takes a whole number, got 1.5"),
        (_field("int"), None, "takes a whole number, never null, got null"),
        (_field("int"), 2**63, "takes a whole number"),
        (_field("bool"), 1, "takes true or false, got 1"),
        (_field("bool"), None, "never null"),
        (_field("text"), 5, "takes text, got 5"),
        (_field("datetime"), "yesterday", "takes an ISO 8601 time, got 'yesterday'"),
        (_field("datetime"), 10**30, "takes an ISO 8601 time"),
        (_field("datetime"), 1.5, "takes an ISO 8601 time"),
        (_field("vector", width=2), [1], "takes a list of 2 numbers, got [1]"),
    ],
)
def test_a_json_value_that_does_not_fit_is_refused_by_name(field: Field, value: Any, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_array([value], field)
    assert "'age'" in caught.value.message
    assert said in caught.value.message


def test_every_bad_value_is_located() -> None:
    with pytest.raises(Invalid) as caught:
        parse_array([1.0, "a", 2.0, "b", *["c"] * 10], _field("float"))
    assert caught.value.details[:2] == ("age[1]: 'a'", "age[3]: 'b'")
    assert caught.value.details[-1] == "and 7 more"


# ---------------------------------------------------------------- another table, the same schema


def test_a_second_table_takes_the_order_and_types_of_the_first() -> None:
    _, schema = to_columns(pd.DataFrame({"f": [1.5], "i": [1], "c": pd.Categorical(["a"])}))
    columns, own = to_columns(pd.DataFrame({"c": ["b"], "extra": [0], "i": [2.0], "f": [3]}))
    again = conform(columns, schema, own)
    assert list(again) == ["f", "i", "c"]
    assert (again["f"].dtype, again["i"].dtype) == (np.float64, np.int64)


def test_a_second_table_of_other_types_is_refused_with_every_column() -> None:
    _, schema = to_columns(pd.DataFrame({"f": [1.5], "t": ["a"], "i": [1]}))
    columns, own = to_columns(pd.DataFrame({"f": ["x"], "t": [1], "i": [1.5]}))
    with pytest.raises(Invalid) as caught:
        conform(columns, schema, own)
    assert len(caught.value.details) == 3
    with pytest.raises(Invalid, match="missing: i"):
        conform({"f": columns["f"], "t": columns["t"]}, schema, own)
