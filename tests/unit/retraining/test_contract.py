"""Fresh rows against what was learned at ship: every problem at once, each with its column and values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlspine.core.columns import to_columns
from mlspine.core.errors import Invalid
from mlspine.data.schema import ColumnSummary
from mlspine.registry.release import read_release
from mlspine.retraining.contract import Kept, check
from mlspine.retraining.fresh import Fresh
from mlspine.workspace import Workspace
from tests.unit.retraining.conftest import rows, ship

Checker = Callable[[pd.DataFrame], Kept]


@pytest.fixture
def checked(workspace: Workspace) -> Checker:
    """The contract of a model of customers, asked about other rows."""
    shipped = rows(1_000)
    shipped["contract"] = pd.Categorical(shipped["contract"])
    version = ship(workspace, shipped)
    release = read_release(Path(version.path))
    learned = msgspec.convert(version.captured["schema"], type=list[ColumnSummary])

    def ask(frame: pd.DataFrame) -> Kept:
        columns, schema = to_columns(frame)
        labels = columns.pop("churned", None)
        return check(Fresh(columns, schema, labels, "churned", "new.csv"), release, learned)

    return ask


def problems(checked: Checker, frame: pd.DataFrame) -> tuple[str, ...]:
    with pytest.raises(Invalid, match="does not keep the data contract") as refused:
        checked(frame)
    return refused.value.details


def test_rows_like_those_at_ship_pass_without_a_word(checked: Checker) -> None:
    kept = checked(rows(500, seed=1))
    assert kept.warnings == ()
    assert kept.labels.dtype == np.int64
    assert list(kept.columns) == ["day", "charge", "tenure", "contract"]


def test_all_problems_are_told_at_once(checked: Checker) -> None:
    frame = rows(500, seed=1).rename(columns={"charge": "charges"})
    frame["tenure"] = frame["tenure"].astype(str) + " months"
    frame["churned"] = frame["churned"].map({0: "0", 1: "perhaps"})
    told = problems(checked, frame)
    assert "charge: missing; did you mean charges?" in told
    assert any(line.startswith("tenure: expected int, got text, such as '") for line in told)
    assert any("labels are no class of the model (0, 1): 'perhaps'" in line for line in told)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("tenure", None, "tenure: 50 of 500 values are null, and none was at ship"),
        ("charge", None, "charge: 50 of 500 values are null, and none was at ship"),
    ],
)
def test_nulls_that_the_model_cannot_take_stop_it(checked: Checker, column: str, value: Any, told: str) -> None:
    frame = rows(500, seed=1)
    frame[column] = frame[column].astype(float)
    frame.loc[:49, column] = value
    assert told in problems(checked, frame)


def test_one_class_alone_and_too_few_rows_stop_it(checked: Checker) -> None:
    assert "churned: fewer than 2 rows of class 1" in problems(checked, rows(500, seed=1).assign(churned=0))
    assert "churned: 99 labelled rows; at least 100 are needed" in problems(checked, rows(99, seed=1))
    assert "labels: there are none" in problems(checked, rows(500).drop(columns="churned"))


def test_a_moved_world_is_said_and_no_problem(checked: Checker) -> None:
    frame = rows(500, seed=1)
    frame["charge"] += 500
    frame.loc[:99, "contract"] = "century"
    frame["churned"] = frame["churned"].astype(float)
    frame.loc[:9, "churned"] = np.nan
    kept = checked(frame)
    assert len(kept.labels) == 490
    assert any(line.startswith("charge: 100% of values outside") for line in kept.warnings)
    assert any("hold levels never seen, which count as null: 'century'" in line for line in kept.warnings)
    assert "churned: 10 of 500 rows have no label and are left out" in kept.warnings


def test_dates_and_flags_are_read_as_files_write_them(checked: Checker) -> None:
    frame = rows(500, seed=1)
    frame["day"] = frame["day"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    assert checked(frame).columns["day"].dtype.kind == "M"
