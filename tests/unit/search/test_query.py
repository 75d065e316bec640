"""How a page is asked for: its size, its experiments, and the way a database takes to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Invalid
from mlspine.ports import Database
from mlspine.search import (
    EXPERIMENTS,
    LOGGED_MODELS,
    MODEL_VERSIONS,
    REGISTERED_MODELS,
    RUNS,
    Dialect,
    Query,
    build,
    fetch_page,
)
from tests.unit.search.stored import Run, put, search


@pytest.mark.parametrize(
    ("dialect", "default", "most"),
    [
        (RUNS, 1000, 50_000),
        (EXPERIMENTS, 1000, 50_000),
        (REGISTERED_MODELS, 100, 1000),
        (MODEL_VERSIONS, 10_000, 200_000),
    ],
)
def test_pages_have_a_default_and_a_greatest_size(dialect: Dialect, default: int, most: int) -> None:
    assert build(dialect).page_rows == default
    assert build(dialect, max_results=most).page_rows == most
    for size in (0, -1, most + 1):
        with pytest.raises(Invalid, match=f"Invalid value {size} for parameter 'max_results'.* 1 to {most}"):
            build(dialect, max_results=size)


def test_logged_models_come_in_smaller_pages_than_too_great_ones() -> None:
    assert build(LOGGED_MODELS).page_rows == 100
    assert build(LOGGED_MODELS, max_results=10**9).page_rows == 50_000
    with pytest.raises(Invalid):
        build(LOGGED_MODELS, max_results=0)


def test_runs_of_other_experiments_are_not_found(db: Database) -> None:
    first, second = put(db, [Run(id="a", metrics={"m": 1.0})]), put(db, [Run(id="b", metrics={"m": 2.0})])

    def found(within: list[int], *order_by: str) -> list[str]:
        query = build(RUNS, within=within, order_by=order_by)
        return [row["id"] for row in fetch_page(query, db.read, columns="r.id")[0]]

    assert found([first]) == [f"{first}-a"]
    assert found([first, second], "metrics.m DESC") == [f"{second}-b", f"{first}-a"]
    assert found([second], "metrics.m") == [f"{second}-b"]
    assert found([]) == []


def test_experiments_asked_at_once_are_bounded() -> None:
    with pytest.raises(Invalid, match="10001 experiments"):
        build(RUNS, within=range(10_001))


def test_conditions_and_parameters_of_the_store_are_asked_too(db: Database) -> None:
    experiment = put(db, [Run(id="a", status="FAILED"), Run(id="b")])
    query = build(RUNS, within=[experiment])
    rows, _ = fetch_page(query, db.read, columns="r.id", where=["r.status = :status"], status="FAILED")
    assert [row["id"] for row in rows] == [f"{experiment}-a"]


@pytest.mark.parametrize("order_by", [["metrics.m"], ["metrics.m DESC"], ["metrics.m", "params.p"]])
@pytest.mark.parametrize("size", [None, 1, 2, 3, 5])
def test_reading_by_the_index_of_a_metric_gives_what_sorting_gives(
    db: Database, order_by: list[str], size: int | None
) -> None:
    nan = float("nan")
    values = [3.0, nan, None, 1.0, 2.0, nan, None, 2.0, -1.0]
    runs = [
        Run(id=f"{at}", start_time=at % 4 or None, metrics={} if value is None else {"m": value})
        for at, value in enumerate(values)
    ]
    experiment = put(db, runs)
    by_index = search(db, experiment, order_by=order_by, size=size)
    sorted_whole = search(db, experiment, "status = 'FINISHED'", order_by=order_by, size=size)
    assert by_index == sorted_whole
    assert len(by_index) == len(runs)


# ---------------------------------------------------------------- plans


@pytest.fixture
def sqlite(tmp_path: Path) -> Any:
    database = SqliteDatabase(tmp_path / "store.db")
    database.migrate(migrations.scripts())
    yield database
    database.close()


def plan(sqlite: SqliteDatabase, query: Query, part: int = 0) -> str:
    sql = query.sql(query.parts[part], columns="r.id", where=["r.lifecycle_stage = 'active'"])
    return " | ".join(row["detail"] for row in sqlite.read(f"explain query plan {sql}", **query.params, page_rows=101))


def test_the_best_by_a_metric_are_read_from_its_index(sqlite: SqliteDatabase) -> None:
    best = build(RUNS, within=[1], order_by=["metrics.m DESC"])
    next_page = build(
        RUNS,
        within=[1],
        order_by=["metrics.m DESC"],
        page_token=best.token_after({"sort_0": 0, "sort_1": 0.5, "sort_2": None, "sort_3": "a"}),
    )
    for query, bound in ((best, "is_nan=?)"), (next_page, "is_nan=? AND value<?)")):
        assert f"run_metric_by_value (experiment_id=? AND key=? AND {bound}" in plan(sqlite, query)
        assert "FOR ORDER BY" not in plan(sqlite, query)
        assert len(query.parts) == 2


def test_conditions_or_several_experiments_are_sorted_whole() -> None:
    for asked in ({"filter": "params.a = 'x'", "within": [1]}, {"within": [1, 2]}, {}):
        assert len(build(RUNS, order_by=["metrics.m"], **asked).parts) == 1


def test_the_newest_are_read_from_the_index_of_starts_and_conditions_by_primary_key(sqlite: SqliteDatabase) -> None:
    details = plan(sqlite, build(RUNS, within=[1], filter="params.a = 'x' AND metrics.m < 1 AND tags.b IS NULL"))
    assert "run_by_start (experiment_id=?)" in details
    assert "FOR ORDER BY" not in details
    assert details.count("USING PRIMARY KEY (run_no=? AND key=?)") == 3
    assert "SCAN" not in details
