from __future__ import annotations

from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pytest

from mlspine.core.types import Columns
from mlspine.predictions import segment
from mlspine.predictions.segment import DAY_MS, due_for_merge, expired, rows_of
from mlspine.predictions.spool import Batch, encode_column, encode_columns
from mlspine.predictions.store import Segment


def objects(*values: object) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def through_parquet(columns: Columns, folder: Path, types: dict[str, str] | None = None) -> Columns:
    with segment.connect() as connection:
        segment.write(connection, folder / "x.parquet", columns, types or {})
        return segment.to_columns(connection.execute(f"select * from '{folder / 'x.parquet'}'"))


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.5, np.nan, np.inf, -0.0]),
        np.array([2**62, -1, 0]),
        np.array([True, False]),
        np.array(["2013-01-01T05:00:00.000001", "NaT"], dtype="datetime64[us]"),
        objects("a", None, 'quote " and \x00 zero', "ünï"),
        objects(None, None),
        objects(True, None, False),
        objects(1, None, 2),
        objects(1.5, None, 2),
        np.zeros(0),
        objects(),
        np.zeros(0, dtype=np.int64),
    ],
    ids=repr,
)
def test_every_kind_of_column_survives_parquet(values: np.ndarray, tmp_path: Path) -> None:
    back = through_parquet({"x": values}, tmp_path)["x"]
    assert len(back) == len(values)
    for got, sent in zip(back.tolist(), values.tolist(), strict=True):
        missing = (None, "NaT")
        if sent is None or sent != sent:
            assert got is None or got != got or got in missing
        else:
            assert got == sent


def test_a_vector_column_survives_parquet(tmp_path: Path) -> None:
    back = through_parquet({"v": np.arange(6.0).reshape(3, 2)}, tmp_path)["v"]
    assert [list(each) for each in back] == [[0, 1], [2, 3], [4, 5]]


def test_values_of_several_kinds_become_text(tmp_path: Path) -> None:
    assert through_parquet({"x": objects("a", 1, 2.5, None)}, tmp_path)["x"].tolist() == [
        "a",
        "1",
        "2.5",
        None,
    ]
    assert through_parquet({"x": objects(True, 2)}, tmp_path)["x"].tolist() == ["True", "2"]
    assert through_parquet({"x": objects(2**63, 1)}, tmp_path)["x"].tolist() == [str(2**63), "1"]


@pytest.mark.parametrize("name", ["two words", 'a "quoted" one', "select", "semi;colon", "ä.b", "it's", "x\ny"])
def test_any_column_name_survives_parquet(name: str, tmp_path: Path) -> None:
    assert list(through_parquet({name: np.ones(2)}, tmp_path)) == [name]


def test_files_written_with_different_types_read_as_one(tmp_path: Path) -> None:
    paths = []
    with segment.connect() as connection:
        for number, values in enumerate([objects(None), objects(True), objects(7), objects("text"), np.array([0.5])]):
            paths.append(str(tmp_path / f"{number}.parquet"))
            segment.write(connection, Path(paths[-1]), {"x": values, "n": np.array([number])}, {})
        read = connection.execute(f"select x from {segment.scan(paths, 'log')} order by n").fetchall()
    assert [row[0] for row in read] == [None, "true", "7", "text", "0.5"]


@pytest.mark.parametrize("folder", ["plain", "month=3", "we[ir]d * name?", "it's"])
def test_segments_are_read_wherever_they_lie(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "x.parquet"
    with segment.connect() as connection:
        segment.write(connection, path, {"x": np.arange(3)}, {})
        result = connection.execute(f"select * from {segment.scan([str(path)], 'log')}")
        assert segment.to_columns(result)["x"].tolist() == [0, 1, 2]


def test_no_files_still_have_columns() -> None:
    for kind, columns in segment.COLUMNS_OF.items():
        with segment.connect() as connection:
            result = connection.execute(f"select * from {segment.scan([], kind)}")
            assert list(segment.to_columns(result)) == list(columns)


def request(rows: int = 1, **changes: object) -> Batch:
    batch = Batch(
        "shop", "r1", 1, 1, ["id"], [rows], [1_000], [0.5], encode_columns({"a": np.arange(rows) * 1.0}),
        encode_column("prediction", np.zeros(rows, dtype=np.int64)),
    )  # fmt: skip
    return msgspec.structs.replace(batch, **changes)


def test_batches_become_rows_in_the_order_they_were_answered() -> None:
    first = request(
        3,
        request_ids=["p", "q"],
        row_counts=[1, 2],
        received_at_ms=[10, 20],
        latency_s=[0.1, 0.2],
        callers=["me", "you"],
        event_at_ms=[1, 2, 3],
        keys=["k", None, "l"],
    )
    second = request(1, version=2, score=np.array([0.25]).tobytes(), dropped_rows=4)
    (rows,) = rows_of([first, second])
    assert rows.meta["_id"].tolist() == ["p", "q", "q", "id"]
    assert rows.meta["_row"].tolist() == [0, 0, 1, 0]
    assert rows.event_at_ms.tolist() == [1, 2, 3, 1000]  # without an event time: when it was received
    assert rows.received_at_ms.tolist() == [10, 20, 20, 1000]
    assert rows.meta["_key"].tolist() == ["k", None, "l", None]
    assert rows.meta["_caller"].tolist() == ["me", "you", "you", None]
    assert rows.meta["_latency_s"].tolist() == [0.1, 0.2, 0.2, 0.5]
    assert rows.meta["_version"].tolist() == [1, 1, 1, 2]
    assert rows.meta["_score"].tolist()[3] == 0.25
    assert np.isnan(rows.meta["_score"][:3]).all()
    assert rows.inputs["a"].tolist() == [0, 1, 2, 0]
    assert rows.dropped_rows == 4


def test_rows_part_by_endpoint_release_and_inputs() -> None:
    batches = [
        request(),
        request(endpoint="bank"),
        request(release_hash="r2"),
        request(inputs=[]),
        request(prediction=encode_column("prediction", objects("yes"))),
        request(),
    ]
    assert [rows.size for rows in rows_of(batches)] == [2, 1, 1, 1, 1]


def test_inputs_never_hide_the_log_s_own_columns_nor_each_other(tmp_path: Path) -> None:
    inputs = {"_id": np.array([1.0]), "Age": np.array([2.0]), "age": np.array([3.0]), "": np.array([4.0])}
    (rows,) = rows_of([request(inputs=encode_columns(inputs))])
    back = through_parquet(rows.log(), tmp_path)
    assert (back["_id"][0], back["_id_2"][0], back["Age"][0], back["age_2"][0], back["column"][0]) == (
        "id",
        1,
        2,
        3,
        4,
    )


def part(key: str, *, rows: int = 10, received_at_ms: int = 0, **changes: object) -> Segment:
    plain = Segment(
        key=key,
        kind="log",
        endpoint="shop",
        release_hash="r",
        rows=rows,
        size_bytes=100,
        first_event_at_ms=0,
        last_event_at_ms=0,
        first_received_at_ms=received_at_ms,
        last_received_at_ms=received_at_ms,
    )
    return msgspec.structs.replace(plain, **changes)


def test_sixteen_small_files_of_a_kind_endpoint_release_and_day_are_merged() -> None:
    alike = [part(f"{n:02}") for n in range(16)]
    assert due_for_merge(alike) == [alike]
    assert due_for_merge(alike[:15]) == []
    for other in (
        {"kind": "outcomes"},
        {"endpoint": "bank"},
        {"release_hash": "s"},
        {"last_received_at_ms": DAY_MS},
    ):
        assert due_for_merge([*alike[:15], part("15", **other)]) == []
    assert due_for_merge([part(f"{n:02}", rows=200_000) for n in range(16)]) == []  # large enough as they are


def test_a_year_of_one_row_a_second_leaves_few_files_and_rewrites_each_row_a_few_times() -> None:
    held: list[Segment] = []
    rewritten = 0
    for second in range(20_000):
        held.append(part(f"{second:06}", rows=1))
        for group in due_for_merge(held):
            rows = sum(each.rows for each in group)
            rewritten += rows
            held = [each for each in held if each not in group] + [part(f"{second:06}m", rows=rows)]
    assert sum(each.rows for each in held) == 20_000
    assert len(held) < 60
    assert rewritten < 6 * 20_000


def test_log_rows_expire_by_age_or_size_the_oldest_first_and_outcomes_by_the_label_delay() -> None:
    days = [part(f"{day}", received_at_ms=day * DAY_MS) for day in range(10)]
    outcomes = [part(f"o{day}", kind="outcomes", received_at_ms=day * DAY_MS) for day in range(10)]
    now = 10 * DAY_MS

    def gone(**limits: float) -> list[str]:
        found = expired(
            [*days, *outcomes],
            now_ms=now,
            **{"log_days": 99, "log_bytes": 10**9, "outcome_days": 99, **limits},
        )
        return sorted(each.key for each in found)

    assert gone() == []
    assert gone(log_days=7) == ["0", "1", "2"]
    assert gone(log_bytes=300) == ["0", "1", "2", "3", "4", "5", "6"]
    assert gone(outcome_days=8) == ["o0", "o1"]


def test_duckdb_loads_no_extensions_for_us() -> None:
    with segment.connect() as connection, pytest.raises(duckdb.Error):
        connection.execute("select * from 'https://127.0.0.1:1/x.parquet'")
