"""Orders asked of real databases, in one page and in many."""

from __future__ import annotations

import math

import pytest

from mlspine.core.errors import Invalid
from mlspine.ports import Database
from mlspine.search import EXPERIMENTS, RUNS, build
from mlspine.search.order import MOST_ITEMS, sort_items
from tests.unit.search.stored import Run, put, search


@pytest.fixture(scope="module")
def experiment(db: Database) -> int:
    return put(
        db,
        [
            Run(id="a", start_time=10, end_time=5, metrics={"m": 2.0}, params={"p": "b"}, status="FINISHED"),
            Run(id="b", start_time=20, metrics={"m": math.nan}, params={"p": "B"}, status="FAILED"),
            Run(id="c", start_time=20, end_time=3, params={"p": "é"}, status="FINISHED"),
            Run(id="d", metrics={"m": -1.0}, status="FAILED"),
            Run(id="e", start_time=5, metrics={"m": 2.0, "n": 1.0}, status="FINISHED"),
            Run(id="f", start_time=30, metrics={"m": math.nan}, params={"p": ""}, status="FAILED"),
            Run(id="g", start_time=40, metrics={"n": 0.0}, status="KILLED"),
        ],
    )


@pytest.mark.parametrize(
    ("order_by", "found"),
    [
        ([], "gfbcaed"),  # newest first, then by id; without a start last
        (["metrics.m"], "daefbgc"),  # numbers, NaN, absent
        (["metrics.m DESC"], "aedfbgc"),  # NaN and absent stay last
        (["params.p"], "fbacged"),  # by bytes; absent last
        (["params.p DESC"], "cabfged"),
        (["end_time"], "cagfbed"),
        (["end_time DESC"], "acgfbed"),
        (["start_time"], "eabcfgd"),
        (["start_time ASC", "run_id DESC"], "eacbfgd"),
        (["run_id DESC"], "gfedcba"),
        (["run_name"], "gfbcaed"),  # all have the name ""
        (["status", "metrics.m DESC"], "dfbaecg"),
        (["status DESC", "metrics.m"], "gaecdfb"),
        (["metrics.m DESC", "metrics.n"], "eadfbgc"),
        (["metrics.n DESC", "params.p", "metrics.m"], "egfbacd"),
        (["metrics.absent DESC"], "gfbcaed"),
        (["tags.absent", "metrics.m"], "daefbgc"),
    ],
)
@pytest.mark.parametrize("size", [None, 1, 2, 3])
def test_rows_come_in_order_on_pages_of_any_size(
    db: Database, experiment: int, order_by: list[str], found: str, size: int | None
) -> None:
    assert "".join(search(db, experiment, order_by=order_by, size=size)) == found


@pytest.mark.parametrize("size", [None, 1, 2])
def test_filtered_rows_keep_the_order(db: Database, experiment: int, size: int | None) -> None:
    filtered = search(db, experiment, "status != 'KILLED'", order_by=["metrics.m DESC"], size=size)
    assert "".join(filtered) == "aedfbc"


def test_pages_do_not_shift_while_runs_are_added(db: Database) -> None:
    experiment = put(db, [Run(id=f"{at}", start_time=at) for at in range(4)])
    from mlspine.search import fetch_page

    def page(token: str) -> tuple[list[str], str]:
        query = build(RUNS, within=[experiment], max_results=2, page_token=token)
        rows, token = fetch_page(query, db.read, columns="r.id")
        return [row["id"].partition("-")[2] for row in rows], token

    first, token = page("")
    with db.write() as tx:
        tx.execute(
            "insert into run (no, id, experiment_id, name, user_id, status, start_time_ms, lifecycle_stage,"
            " artifact_uri) values (1000000, :id, :experiment, '', '', 'RUNNING', 99, 'active', '')",
            id=f"{experiment}-new",
            experiment=experiment,
        )
    second, end = page(token)
    assert (first, second, end) == (["3", "2"], ["1", "0"], "")


def test_ties_follow_the_order_asked_unless_it_has_them() -> None:
    def names(*order_by: str) -> list[str]:
        items = sort_items(order_by, RUNS)
        return [f"{item.key} {'desc' if item.descending else 'asc'}" for item in items]

    assert names() == ["start_time desc", "run_id asc"]
    assert names("metrics.m") == ["m asc", "start_time desc", "run_id asc"]
    assert names("start_time") == ["start_time asc", "run_id asc"]
    assert [item.key for item in sort_items([], EXPERIMENTS)] == ["creation_time", "experiment_id"]


def test_orders_name_a_field_once_and_are_bounded() -> None:
    with pytest.raises(Invalid, match="duplicate fields: 'm'"):
        build(RUNS, order_by=["metrics.m", "metrics.m DESC"])
    with pytest.raises(Invalid, match="21 items in order_by"):
        build(RUNS, order_by=[f"metrics.m{at}" for at in range(MOST_ITEMS + 1)])


def test_the_longest_order_is_asked_on_every_page(db: Database, experiment: int) -> None:
    order_by = ["metrics.m", *(f"metrics.m{at}" for at in range(MOST_ITEMS - 1))]
    assert "".join(search(db, experiment, order_by=order_by, size=2)) == "daefbgc"
