"""Conditions asked of real databases."""

from __future__ import annotations

import math

import pytest

from mlspine.ports import Database
from tests.unit.search.stored import Run, put, search


@pytest.fixture(scope="module")
def experiment(db: Database) -> int:
    return put(
        db,
        [
            Run(
                id="tree",
                name="Tree 1",
                status="FINISHED",
                user_id="ann",
                start_time=1000,
                end_time=2000,
                metrics={"loss": 0.5, "a b": 1.0},
                params={"model": "Tree", "note": "50% off"},
                tags={"team": "red", "empty": ""},
                datasets=[("iris", "d1", "train"), ("iris", "d2", "eval")],
            ),
            Run(
                id="line",
                name="line 2",
                status="FAILED",
                user_id="bob",
                start_time=3000,
                metrics={"loss": math.nan},
                params={"model": "tree", "note": r"back\slash"},
                tags={"team": "RED"},
                datasets=[("wine", "d1", None)],
            ),
            Run(id="none", name="ÉTÉ", metrics={"loss": -2.0}, params={"note": "50 of!"}),
        ],
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("params.model = 'Tree'", {"tree"}),
        ("params.model = 'TREE'", set()),
        ("params.model != 'Tree'", {"line"}),  # not the run without the param
        ("params.model IS NULL", {"none"}),
        ("params.model IS NOT NULL", {"tree", "line"}),
        ("params.absent != 'x'", set()),
        ("tags.empty = ''", {"tree"}),
        ("tags.empty IS NOT NULL", {"tree"}),
        ("metrics.loss > 0", {"tree"}),
        ("metrics.loss < 1", {"tree", "none"}),
        ("metrics.loss = 0", set()),  # NaN is kept as 0 beside its flag
        ("metrics.loss >= 0.5", {"tree"}),
        ("metrics.loss != 0.5", {"line", "none"}),
        ("metrics.loss != 0", {"tree", "line", "none"}),
        ("metrics.`a b` = 1", {"tree"}),
        ("metrics.absent != 1", set()),
        ("start_time > 1000", {"line"}),
        ("start_time >= 999.5", {"tree", "line"}),
        ("start_time != 1000", {"line"}),
        ("end_time < 99999999999999999999999", {"tree"}),
        ("status = 'FAILED'", {"line"}),
        ("user_id ILIKE 'A%'", {"tree"}),
        ("run_name LIKE 'T%'", {"tree"}),
        ("run_name LIKE 't%'", set()),
        ("run_name LIKE '%1'", {"tree"}),
        ("dataset.name = 'iris'", {"tree"}),
        ("dataset.name != 'iris'", {"line"}),
        ("dataset.digest = 'd1'", {"tree", "line"}),
        ("dataset.digest IN ('d2', 'd3')", {"tree"}),
        ("dataset.digest NOT IN ('d1')", {"tree"}),
        ("dataset.context = 'train'", {"tree"}),
        ("dataset.context != 'train'", {"tree"}),  # its other dataset
        ("dataset.context LIKE '%'", {"tree"}),
        ("dataset.name = 'iris' AND dataset.digest = 'd1' AND dataset.context = 'eval'", {"tree"}),
        ("params.model LIKE '%ree' AND metrics.loss != 0", {"tree", "line"}),
        ("params.model = 'Tree' AND tags.team = 'RED'", set()),
    ],
)
def test_conditions_find_the_runs_they_are_true_of(db: Database, experiment: int, text: str, found: set[str]) -> None:
    assert set(search(db, experiment, text)) == found


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("Tree", {"tree"}),
        ("tree", {"line"}),
        ("T%", {"tree"}),
        ("t%", {"line"}),
        ("_ree", {"tree", "line"}),
        ("%REE", set()),
        ("_", set()),
        ("%", {"tree", "line"}),
        ("", set()),
    ],
)
def test_like_tells_case_apart(db: Database, experiment: int, pattern: str, found: set[str]) -> None:
    assert set(search(db, experiment, f"params.model LIKE '{pattern}'")) == found


@pytest.mark.parametrize("pattern", ["TREE", "tree", "%REE", "_rEe"])
def test_ilike_does_not(db: Database, experiment: int, pattern: str) -> None:
    assert set(search(db, experiment, f"params.model ILIKE '{pattern}'")) == {"tree", "line"}


def test_ilike_folds_the_letters_of_ascii_only(db: Database, experiment: int) -> None:
    assert search(db, experiment, "run_name ILIKE 'Ét%'") == ["none"]
    assert search(db, experiment, "run_name ILIKE 'ét%'") == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"back\slash", {"line"}),
        (r"%\%", {"line"}),
        (r"50\%%", set()),
        ("50%", {"tree", "none"}),
        ("%!", {"none"}),
        ("%!%", {"none"}),
        ("50!%", set()),
    ],
)
def test_patterns_have_no_escape(db: Database, experiment: int, pattern: str, found: set[str]) -> None:
    assert set(search(db, experiment, f"params.note LIKE '{pattern}'")) == found


def test_ids_are_found_in_lists(db: Database, experiment: int) -> None:
    tree, line = f"{experiment}-tree", f"{experiment}-line"
    assert set(search(db, experiment, f"run_id IN ('{tree}', '{line}', 'x')")) == {"tree", "line"}
    assert set(search(db, experiment, f"run_id NOT IN ('{tree}', \"{line}\")")) == {"none"}
    many = ", ".join(f"'{at}'" for at in range(9_999))
    assert search(db, experiment, f"run_id IN ({many}, '{tree}')") == ["tree"]


def test_fifty_conditions_are_asked_at_once(db: Database, experiment: int) -> None:
    assert search(db, experiment, " AND ".join(["metrics.loss < 0.6"] * 50)) == ["tree", "none"]


def test_texts_that_look_like_sql_are_texts(db: Database, experiment: int) -> None:
    assert search(db, experiment, "params.model = 'x'' or 1 = 1 --'") == []
    assert search(db, experiment, "params.`a' or '1' = '1` IS NOT NULL") == []
    assert search(db, experiment, "params.model = ':p0 %s {row}' AND tags.`:p1 {row} %(p0)s` = 'x'") == []
