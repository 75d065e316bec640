from __future__ import annotations

import json
import math
from pathlib import Path

import duckdb
import numpy as np
import pytest

from mlspine.core.errors import Invalid, NotFound
from mlspine.core.types import Columns
from mlspine.predictions.labels import as_number, from_rows, read_file, to_predictions_type, to_segment

NOON_MS = 1_357_041_600_000  # 2013-01-01T12:00:00Z


def stored(table: dict, **changes: object) -> Columns:
    return to_segment(table, **{"received_at_ms": 5, "source": "test", "all_matches": False, **changes})


def times(table: dict) -> list[int]:
    return stored(table)["label_time"].astype("datetime64[ms]").astype(int).tolist()


def test_a_csv_is_read_as_text_so_that_keys_keep_their_zeros(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("key,label,other\n007,1,x\n08,0,y\n")
    assert read_file(tmp_path / "l.csv") == {"key": ["007", "08"], "label": ["1", "0"]}


def test_parquet_and_json_keep_what_they_say(tmp_path: Path) -> None:
    rows = [
        {"id": "a:0", "label": True, "label_time": "2013-01-01T12:00:00Z"},
        {"id": "b", "label": False, "label_time": "2013-01-01T13:00:00+01:00"},
    ]
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "l.json").write_text(json.dumps(rows))
    duckdb.sql(f"select * from '{tmp_path}/l.json'").write_parquet(str(tmp_path / "l.parquet"))
    for name in ("l.jsonl", "l.json", "l.parquet"):
        columns = stored(read_file(tmp_path / name))
        assert columns["_id"].tolist() == ["a", "b"]
        assert columns["label"].tolist() == ["true", "false"]
        assert columns["label_number"].tolist() == [1.0, 0.0]
        assert columns["label_time"].astype("datetime64[ms]").astype(int).tolist() == [NOON_MS, NOON_MS]


@pytest.mark.parametrize(
    "sql",
    [
        "timestamp '2013-01-01 12:00'",
        "timestamptz '2013-01-01 12:00:00+00:00'",
        "timestamp_ns '2013-01-01 12:00'",
        f"{NOON_MS}::bigint",
        f"{NOON_MS}::double",
        f"'{NOON_MS}'",
        "'2013-01-01T12:00:00.000Z'",
        "'2013-01-01 14:00:00+02:00'",
    ],
)
def test_a_label_time_may_be_written_in_any_usual_way(sql: str, tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    duckdb.sql(f"select 4711 as key, 1 as label, {sql} as label_time").write_parquet(str(path))
    table = read_file(path)
    assert times(dict(table)) == [NOON_MS]
    assert stored(dict(table))["_key"].tolist() == ["4711"]


def test_a_label_without_a_time_is_of_the_moment_it_came() -> None:
    assert times({"key": ["k", "l"], "label": [1, 1], "label_time": [None, ""]}) == [5, 5]
    assert stored({"key": ["k"], "label": [1], "label_time": [7]})["timed"].tolist() == [True]
    assert stored({"key": ["k"], "label": [1]})["timed"].tolist() == [False]


def test_ids_name_a_row_or_the_only_one() -> None:
    columns = stored({"id": ["r-1:3", "r-1", "r:x", "r-1:0"], "label": [1, 1, 1, 1]})
    assert columns["_id"].tolist() == ["r-1", "r-1", "r:x", "r-1"]
    rows = columns["_row"].tolist()
    assert (rows[0], rows[3]) == (3, 0)
    assert math.isnan(rows[1])
    assert math.isnan(rows[2])


def test_an_id_wins_over_a_key_beside_it() -> None:
    columns = stored({"id": ["r:0", None], "key": ["k", "l"], "label": [1, 0]})
    assert columns["_key"].tolist() == [None, "l"]


def test_keys_are_written_alike_whatever_their_type() -> None:
    written = stored({"key": [4711, 4711.0, "4711", " 4711 ", np.int64(4711)], "label": [1] * 5})
    assert written["_key"].tolist() == ["4711"] * 5


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("id,outcome", ["'label'"]),
        ("key,lable", ["'label'", "is it 'lable'?"]),
        ("customer,label", ["'id'", "'key'"]),
        ("x,y", ["'label'", "'id'", "found: x, y"]),
    ],
)
def test_missing_columns_are_all_named_with_those_there_are(header: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(header + "\n1,2\n")
    with pytest.raises(Invalid) as refused:
        read_file(tmp_path / "l.csv")
    for word in [*words, "id or key, label, and optionally label_time"]:
        assert word in str(refused.value)


def test_every_wrong_row_is_named_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        stored({"key": ["a", None, "c"], "label": [1, 1, None], "label_time": ["tomorrow", None, 10**17]})
    assert len(refused.value.details) == 4
    text = str(refused.value)
    assert "4 problems in 3 labels; none was stored" in text
    assert "row 2: neither id nor key" in text
    assert "row 3: no label" in text
    assert "row 1: label_time 'tomorrow'" in text


def test_a_long_list_of_problems_is_cut() -> None:
    with pytest.raises(Invalid) as refused:
        stored({"key": [None] * 100, "label": [1] * 100})
    assert refused.value.details[-1] == "and 92 more"


def test_a_missing_file_a_strange_ending_and_broken_bytes_say_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.csv"):
        read_file(tmp_path / "gone.csv")
    (tmp_path / "l.xlsx").write_bytes(b"PK")
    with pytest.raises(Invalid, match=r"'\.xlsx' is not read"):
        read_file(tmp_path / "l.xlsx")
    (tmp_path / "l.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(Invalid, match=r"l\.parquet cannot be read"):
        read_file(tmp_path / "l.parquet")


def test_rows_given_one_by_one_may_differ_in_what_they_name() -> None:
    table = from_rows([{"id": "r:0", "label": 1}, {"key": "k", "label": "late", "label_time": NOON_MS}])
    columns = stored(dict(table))
    assert columns["_id"].tolist() == ["r", None]
    assert columns["_key"].tolist() == [None, "k"]
    assert columns["label"].tolist() == ["1", "late"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("2.5", 2.5),
        ("True", 1),
        ("false", 0),
        ("-3e2", -300),
        ("nan", None),
        ("x", None),
        (None, None),
    ],
)
def test_labels_are_numbers_where_they_look_like_it(text: str | None, number: float | None) -> None:
    got = as_number(text)
    assert math.isnan(got) if number is None else got == number


def test_labels_take_the_type_of_the_answers() -> None:
    texts, numbers = np.array(["1", "0"], dtype=object), np.array([1.0, 0.0])
    for answers, kind in [
        (np.zeros(2), "f"),
        (np.zeros(2, int), "i"),
        (np.zeros(2, bool), "b"),
        (texts, "O"),
    ]:
        assert to_predictions_type(texts, numbers, answers).dtype.kind == kind
    assert to_predictions_type(texts, np.array([1.0, np.nan]), np.zeros(2, int)).tolist() == ["1", "0"]
