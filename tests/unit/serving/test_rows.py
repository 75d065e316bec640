import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlspine.core.columns import to_jsonable_rows
from mlspine.core.errors import Invalid
from mlspine.core.types import Field, Schema
from mlspine.serving.rows import RowCodec


def field(name: str, kind: Any, **more: Any) -> Field:
    return Field(name=name, type=kind, dtype="", **more)


SCHEMA = Schema(
    fields=(
        field("city", "category", levels=("Bern", "Basel"), nullable=True),
        field("net income", "float"),
        field("age", "int"),
        field("score", "float", nullable=True),
        field("seen", "int", nullable=True),
        field("member", "bool"),
        field("note", "text", nullable=True),
        field("at", "datetime", nullable=True),
        field("embedding", "vector", width=2),
    )
)
ROW = {
    "city": "Bern",
    "net income": 1.5,
    "age": 30,
    "score": None,
    "seen": 4,
    "member": True,
    "note": None,
    "at": "2026-01-31T12:00:00+01:00",
    "embedding": [1, 2.5],
}


def columns_of(codec: RowCodec, body: Any) -> dict[str, list[Any]]:
    table = codec.decode(json.dumps(body).encode())
    return {name: values.tolist() for name, values in codec.columns([table]).items()}


def problems_of(body: Any, codec: RowCodec | None = None) -> tuple[str, ...]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Invalid) as caught:
        (codec or RowCodec(SCHEMA)).decode(raw)
    return caught.value.details or (caught.value.message,)


def test_every_type_arrives_in_its_column_convention() -> None:
    codec = RowCodec(SCHEMA)
    columns = codec.columns([codec.decode(json.dumps({"rows": [ROW, ROW]}).encode())])
    assert list(columns) == list(SCHEMA.names)
    assert {name: values.dtype.str for name, values in columns.items()} == {
        "city": "|O",
        "net income": "<f8",
        "age": "<i8",
        "score": "<f8",
        "seen": "<f8",
        "member": "|b1",
        "note": "|O",
        "at": "<M8[us]",
        "embedding": "<f8",
    }
    assert columns["embedding"].shape == (2, 2)
    assert np.isnan(columns["score"]).all()
    assert str(columns["at"][0]) == "2026-01-31T11:00:00.000000"


@pytest.mark.parametrize("body", [{"rows": [ROW]}, [ROW], ROW, {"columns": {k: [v] for k, v in ROW.items()}}])
def test_the_four_shapes_of_a_body_mean_the_same(body: Any) -> None:
    expected = columns_of(RowCodec(SCHEMA), {"rows": [ROW]})
    assert repr(columns_of(RowCodec(SCHEMA), body)) == repr(expected)


def test_rows_of_several_requests_stand_under_one_another() -> None:
    codec = RowCodec(SCHEMA)
    one = codec.decode(json.dumps([ROW | {"age": 1}, ROW | {"age": 2}]).encode())
    two = codec.decode(json.dumps({"columns": {k: [v] for k, v in (ROW | {"age": 3}).items()}}).encode())
    assert codec.columns([one, two])["age"].tolist() == [1, 2, 3]


def test_a_whole_number_may_be_spelled_as_a_float_but_not_have_a_fraction() -> None:
    assert columns_of(RowCodec(SCHEMA), [ROW | {"age": 30.0}])["age"] == [30]
    assert problems_of([ROW | {"age": 30.5}]) == ("rows[0].age: expected a whole number, got 30.5",)


def test_a_level_never_seen_in_training_is_not_bad_input() -> None:
    assert columns_of(RowCodec(SCHEMA), [ROW | {"city": "Chur"}])["city"] == ["Chur"]


def test_columns_that_are_not_the_models_are_left_out() -> None:
    assert "extra" not in columns_of(RowCodec(SCHEMA), [ROW | {"extra": object.__name__}])


def test_every_problem_is_told_at_once_with_its_place() -> None:
    bad = ROW | {"age": "old", "member": 1, "city": 5, "embedding": [1], "at": "yesterday", "net income": None}
    assert set(problems_of({"rows": [ROW, bad]})) == {
        'rows[1].age: expected a whole number, got "old"',
        "rows[1].member: expected true or false, got 1",
        "rows[1].city: expected a text or null, got 5",
        "rows[1].embedding: expected a list of 2 numbers, got [1]",
        'rows[1].at: expected an ISO 8601 time or null, got "yesterday"',
        "rows[1].net income: expected a number, got null",
    }


def test_a_missing_column_names_the_likely_misspelling() -> None:
    row = {name: value for name, value in ROW.items() if name != "age"} | {"agee": 30}
    assert problems_of([row]) == ("rows[0].age: missing (you sent 'agee')",)


def test_columns_of_different_lengths_are_told() -> None:
    body = {"columns": {name: [value] for name, value in ROW.items()} | {"age": [1, 2]}}
    assert "columns differ in length" in problems_of(body)[0]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b"{", "ends too early, at byte 1"),
        (b'{"rows": [1,]}', "byte 12"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 50_000, "nested too deeply"),
        (b"null", "expected an object with rows"),
        (b'{"rows": []}', "no rows"),
        (b'{"rows": 5}', "expected a list of rows"),
        (b"[]", "no rows"),
        (b'{"columns": 5}', "expected an object of columns"),
        (b"[5]", "expected an object with one value per column"),
    ],
)
def test_what_is_no_table_is_refused_in_words(body: bytes, said: str) -> None:
    assert said in problems_of(body)[0]


def test_many_problems_are_cut_short_with_their_number() -> None:
    said = problems_of([ROW | {"age": "x"}] * 100)
    assert said[-1] == "and 80 more"


def test_a_schema_of_one_number_beyond_64_bits_is_refused_not_wrapped() -> None:
    assert problems_of([ROW | {"age": 2**63}]) == (f"rows[0].age: expected a whole number, got {2**63}",)


def test_column_names_that_json_must_escape_still_work() -> None:
    codec = RowCodec(Schema(fields=(field('a"b\n', "float"), field("rows", "int"))))
    assert columns_of(codec, {'a"b\n': 1, "rows": 2}) == {'a"b\n': [1.0], "rows": [2]}


def test_a_model_column_called_rows_can_be_sent_alone() -> None:
    codec = RowCodec(Schema(fields=(field("rows", "int"),)))
    assert columns_of(codec, {"rows": 7}) == {"rows": [7]}
    assert columns_of(codec, {"rows": [{"rows": 7}]}) == {"rows": [7]}


def test_lists_in_column_order_are_rows_too() -> None:
    codec = RowCodec(Schema(fields=(field("a", "float"), field("b", "int"))))
    assert columns_of(codec, {"rows": [[1, 2], [3, 4]]}) == {"a": [1.0, 3.0], "b": [2, 4]}
    assert problems_of({"rows": [[1, 2, 3]]}, codec) == ("rows[0]: 3 values for 2 columns",)


def test_optional_columns_may_come_or_not() -> None:
    also = [field("when", "datetime", nullable=True), field("who", "category", nullable=True, levels=("", 0))]
    codec = RowCodec(Schema(fields=(field("a", "float"),)), also=also)
    rows = [{"a": 1}, {"a": 2, "when": "2026-01-01", "who": 7}, {"a": 3, "who": "x", "when": 1000}]
    columns = codec.columns([codec.decode(json.dumps(rows).encode())])
    assert columns["who"].tolist() == [None, 7, "x"]
    assert np.isnat(columns["when"]).tolist() == [True, False, False]
    assert problems_of([{"a": 1, "when": "never"}], codec) == (
        'rows[0].when: expected an ISO 8601 time or null, got "never"',
    )


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*SCHEMA.names, "x"]), values), max_size=4))
def test_any_json_gives_a_table_or_a_refusal(rows: list[dict[str, Any]]) -> None:
    codec = RowCodec(SCHEMA)
    try:
        table = codec.decode(json.dumps({"rows": rows}).encode())
    except Invalid:
        return
    assert len(codec.columns([table])["age"]) == len(rows)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_table_or_a_refusal(body: bytes) -> None:
    with pytest.raises(Invalid):
        RowCodec(SCHEMA).decode(body)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1), st.text(max_size=4)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_rows_survive_the_way_through_json(rows: list[tuple[float, int, str]]) -> None:
    schema = Schema(fields=(field("f", "float"), field("i", "int"), field("t", "text")))
    columns = {
        "f": np.array([row[0] for row in rows]),
        "i": np.array([row[1] for row in rows], dtype=np.int64),
        "t": np.array([row[2] for row in rows], dtype=object),
    }
    codec = RowCodec(schema)
    back = codec.columns([codec.decode(json.dumps(to_jsonable_rows(columns, schema)).encode())])
    for name, expected in columns.items():
        np.testing.assert_array_equal(back[name], expected)


# ---------------------------------------------------------------- the quick ways, beside the thorough one

ALSO = (field("who", "text", nullable=True), field("when", "datetime", nullable=True))
values = st.fixed_dictionaries(
    {
        "city": st.sampled_from(["Bern", "Oslo", None]),
        "net income": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
        "age": st.integers(-(2**63), 2**63 - 1) | st.just(3.0),
        "score": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "seen": st.none() | st.integers(-9, 9),
        "member": st.booleans(),
        "note": st.none() | st.text(max_size=3),
        "at": st.none() | st.sampled_from(["2026-01-31T12:00:00Z", 0]),
        "embedding": st.lists(st.floats(0, 1), min_size=2, max_size=2),
    },
)


def plain(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns as lists that compare, NaN and NaT as None."""
    return {name: [None if one != one else one for one in each.tolist()] for name, each in columns.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=1, max_size=3), st.sampled_from([(), ALSO]))
def test_however_rows_are_spelled_they_are_read_as_value_by_value(rows: list[dict[str, Any]], also: Any) -> None:
    codec = RowCodec(SCHEMA, also=also)
    thorough = [codec._read_row(row, "", []) for row in rows]
    expected = plain(codec._assemble(thorough))
    listed = [[row[name] for name in SCHEMA.names] for row in rows]
    by_column = {name: [row[name] for row in rows] for name in SCHEMA.names}
    for body in ({"rows": rows}, rows, {"rows": listed}, listed, {"columns": by_column}):
        assert plain(codec.columns([codec.decode(json.dumps(body).encode())])) == expected
    for given_rows in (rows, listed):
        assert plain(codec.columns([codec.read_rows(given_rows)])) == expected
    assert plain(codec.columns([codec.read_columns(by_column)])) == expected


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({"rows": [[1.0, 2.0], {"a": 1, "b": 2}]}, 2),
        ([{"a": 1, "b": 2}, [1.0, 2.0]], 2),
        ({"columns": {"a": [1], "b": [2, 3]}}, 0),
        ({"columns": {"a": [], "b": []}}, 0),
        ({"rows": []}, 0),
        ([[1.0]], 0),
        ({"a": 1}, 0),
    ],
)
def test_what_the_quick_ways_pass_over_is_read_or_refused_with_care(body: Any, rows: int) -> None:
    codec = RowCodec(Schema(fields=(field("a", "float"), field("b", "float"))))
    if rows:
        assert codec.decode(json.dumps(body).encode()).size == rows
    else:
        assert problems_of(body, codec)


BARE = RowCodec(Schema(fields=(field("a", "float"), field("b", "float", nullable=True))))


def test_a_matrix_of_floats_stays_one_and_is_copied() -> None:
    given = np.array([[1, 2], [3, np.nan]], dtype=np.float32)
    table = BARE.read_matrix(given)
    assert table.matrix is not None
    assert (table.matrix.dtype, table.matrix.flags.c_contiguous, table.matrix.flags.writeable) == (
        np.float64,
        True,
        True,
    )
    assert not np.shares_memory(table.matrix, given)
    assert plain(BARE.columns([table])) == {"a": [1.0, 3.0], "b": [2.0, None]}
    rows = BARE.read_rows([[5, 6]])
    assert plain(BARE.columns([table, rows])) == {"a": [1.0, 3.0, 5.0], "b": [2.0, None, 6.0]}
    assert (BARE.first(table, "b"), BARE.first(table, "c")) == (2.0, None)


def test_a_null_in_a_matrix_is_refused_where_there_can_be_none() -> None:
    with pytest.raises(Invalid) as told:
        BARE.read_matrix(np.array([[1.0, 2.0], [np.nan, np.nan], [np.nan, 1.0]]))
    assert told.value.details == ("columns.a[1]: expected a number, got NaN (and 1 more)",)


NUMBERS = RowCodec(
    Schema(
        fields=(
            field("n", "int"),
            field("m", "int", nullable=True),
            field("yes", "bool"),
            field("kind", "category", levels=(1, 2)),
            field("x", "float"),
        )
    ),
    also=ALSO,
)


def test_a_matrix_becomes_whole_numbers_booleans_and_categories_by_value() -> None:
    columns = NUMBERS.columns([NUMBERS.read_matrix(np.array([[3.0, np.nan, 1.0, 2.0, np.inf]]))])
    assert columns["n"].dtype == np.int64
    assert plain(columns) == {
        "n": [3],
        "m": [None],
        "yes": [True],
        "kind": [2.0],
        "x": [np.inf],
        "who": [None],
        "when": [None],
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([3.5, 1, 1, 1, 1], "n[0]: expected a whole number, got 3.5"),
        ([np.nan, 1, 1, 1, 1], "n[0]: expected a whole number, got NaN"),
        ([2.0**63, 1, 1, 1, 1], "n[0]: expected a whole number"),
        ([1, 0.5, 1, 1, 1], "m[0]: expected a whole number or null, got 0.5"),
        ([1, 1, 2, 1, 1], "yes[0]: expected true or false, got 2"),
        ([1, 1, 1, 1, np.nan], "x[0]: expected a number, got NaN"),
    ],
)
def test_values_a_column_cannot_hold_are_told_by_place(row: list[float], said: str) -> None:
    with pytest.raises(Invalid) as told:
        NUMBERS.read_matrix(np.array([row]))
    assert said in told.value.details[0]


@pytest.mark.parametrize(("shape", "said"), [((2, 3), "3 columns, the model takes 2"), ((0, 2), "no rows")])
def test_a_matrix_of_another_shape_is_refused(shape: tuple[int, int], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        BARE.read_matrix(np.zeros(shape))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([2**63], dtype=np.uint64), "n[0]: expected a whole number, got 9223372036854775808"),
        (np.array([[1]]), "n[0]: expected a whole number, got [1]"),
        (np.array(["1"], dtype=object), 'n[0]: expected a whole number, got "1"'),
        (np.array([True]), "n[0]: expected a whole number, got true"),
    ],
)
def test_arrays_that_fit_no_whole_number_are_refused(array: Any, said: str) -> None:
    columns = {"n": array, "m": [1], "yes": np.array([True]), "kind": np.array([1]), "x": np.array([1], dtype=np.int8)}
    with pytest.raises(Invalid) as told:
        NUMBERS.read_columns(columns)
    assert said in told.value.details[0]


def test_vectors_come_as_matrices() -> None:
    codec = RowCodec(Schema(fields=(field("v", "vector", width=2), field("w", "vector", width=1, nullable=True))))
    given = {"v": np.array([[1, 2]], dtype=np.float32), "w": np.array([[np.nan]])}
    assert codec.columns([codec.read_columns(given)])["v"].tolist() == [[1.0, 2.0]]
    with pytest.raises(Invalid, match="1 problem"):
        codec.read_columns(given | {"v": np.array([[np.nan, 2.0]])})
