"""`mlspine runs`: what is listed, shown, compared; the same on screen and as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import mlspine
from mlspine.cli.run_tables import list_text, sparkline
from mlspine.core.errors import Invalid, NotFound
from mlspine.tracking.sheet import RunLine, RunList
from mlspine.workspace import Workspace

Type = Callable[..., str]
Told = Callable[..., Any]


@pytest.fixture
def logged(folder: Path) -> dict[str, str]:
    """Three runs of an experiment and one of another, by name."""
    ids = {}
    for place, (name, auc) in enumerate((("one", 0.7), ("two", 0.9), ("three", math.nan))):
        with mlspine.log("churn", name=name, params={"C": place, "solver": "lbfgs"}) as run:
            run.metric("auc", auc)
            for step in range(20):
                run.metric("loss", 1.0 / (step + 1))
        ids[name] = run.id
    with mlspine.log("price", name="parent") as run, mlspine.log("price", name="child") as child:
        child.metric("auc", 0.99)
    return ids | {"parent": run.id, "child": child.id}


def names(found: Any) -> list[str]:
    return [run["name"] for run in found["runs"]]


def test_runs_are_found_by_filter_experiment_and_order(logged: dict[str, str], told: Told) -> None:
    assert names(told("runs", "ls")) == ["child", "parent", "three", "two", "one"]
    assert names(told("runs", "ls", "--experiment", "churn", "--order", "metrics.auc DESC")) == ["two", "one", "three"]
    assert names(told("runs", "ls", "--experiment", "1", "--filter", "metrics.auc > 0.8")) == ["two"]
    assert names(told("runs", "ls", "--filter", "params.C = '0'")) == ["one"]
    assert told("runs", "ls", "--filter", "params.C = '0'")["runs"][0]["metrics"] == {"auc": 0.7, "loss": 0.05}
    with pytest.raises(Invalid):
        told("runs", "ls", "--filter", "bogus >")


def test_pages_follow_each_other(logged: dict[str, str], told: Told) -> None:
    first = told("runs", "ls", "--limit", "3")
    second = told("runs", "ls", "--limit", "3", "--page", first["next_page_token"])
    assert names(first) + names(second) == ["child", "parent", "three", "two", "one"]
    assert second["next_page_token"] == ""


def test_deleted_runs_are_listed_when_asked(logged: dict[str, str], folder: Path, told: Told) -> None:
    workspace = Workspace.open()
    workspace.tracking.delete_run(logged["one"])
    workspace.close()
    assert "one" not in names(told("runs", "ls"))
    assert names(told("runs", "ls", "--deleted")) == ["one"]
    assert len(names(told("runs", "ls", "--all"))) == 5


def test_experiments_are_listed_with_their_runs(logged: dict[str, str], told: Told, typed: Type) -> None:
    found = {each["experiment"]["name"]: each["runs"] for each in told("runs", "ls", "--experiments")}
    assert found == {"Default": 0, "churn": 3, "price": 2}
    assert "churn" in typed("runs", "ls", "--experiments")
    with pytest.raises(click.UsageError, match="--filter"):
        typed("runs", "ls", "--experiments", "--filter", "metrics.auc > 0")


def test_a_list_shows_the_columns_that_differ(logged: dict[str, str], typed: Type) -> None:
    printed = typed("runs", "ls", "--experiment", "churn")
    head = printed.splitlines()[0].split()
    assert {"auc", "C"} < set(head)
    assert "solver" not in head
    assert "loss" not in head


def test_a_list_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    page = RunList(runs=tuple(line(params={f"parameter {n}": f"{who} {n}" for n in range(9)}) for who in "ab"))
    printed = list_text(page).splitlines()
    assert max(map(len, printed)) <= 90
    assert "parameter 0" in printed[0]
    assert printed[-1].startswith("and ")


def test_a_run_is_called_by_id_its_beginning_or_its_name(logged: dict[str, str], told: Told) -> None:
    whole = told("runs", "show", logged["two"])
    assert whole == told("runs", "show", logged["two"][:10]) == told("runs", "show", "two")
    with pytest.raises(NotFound, match="nobody"):
        told("runs", "show", "nobody")
    with pytest.raises(NotFound):
        told("runs", "show", logged["two"][:3])


def test_a_name_that_two_runs_have_is_refused_with_their_ids(folder: Path, told: Told) -> None:
    ids = []
    for _ in range(2):
        with mlspine.log(name="twin") as run:
            ids.append(run.id)
    with pytest.raises(Invalid, match="more than one") as refused:
        told("runs", "show", "twin")
    assert sorted(line.split()[0] for line in refused.value.details) == sorted(ids)


def test_a_run_is_shown_with_its_course_and_its_family(logged: dict[str, str], told: Told, typed: Type) -> None:
    sheet = told("runs", "show", "three")
    assert sheet["run"]["metrics"] == {"auc": None, "loss": 0.05}
    history = next(each for each in sheet["histories"] if each["metric"] == "loss")
    assert (history["steps"][0], history["steps"][-1], history["values"][0]) == (0, 19, 1.0)
    assert sheet["run"]["duration_s"] >= 0
    assert [each["name"] for each in told("runs", "show", "parent")["children"]] == ["child"]
    assert told("runs", "show", "child")["parent"]["id"] == logged["parent"]
    printed = typed("runs", "show", "three")
    assert "█" in printed
    assert "NaN" in printed
    assert "lbfgs" in printed


def test_runs_are_compared_by_what_differs(logged: dict[str, str], told: Told, typed: Type) -> None:
    found = told("runs", "compare", "one", "two")
    rows = {row["name"]: row for row in found["differing"]}
    assert rows["C"]["values"] == ["0", "1"]
    assert rows["auc"]["deltas"][1] == pytest.approx(0.2)
    assert "solver" not in rows
    assert "(+0.2)" in typed("runs", "compare", "one", "two")
    with pytest.raises(Invalid, match="1 run"):
        typed("runs", "compare", "one")


def test_the_best_run_has_a_number_under_the_metric(logged: dict[str, str], told: Told) -> None:
    assert names(told("runs", "best", "--metric", "auc")) == ["child"]
    assert names(told("runs", "best", "--metric", "auc", "--experiment", "churn")) == ["two"]
    assert names(told("runs", "best", "--metric", "auc", "--min", "--limit", "9")) == ["one", "two", "child"]
    with pytest.raises(NotFound, match="nothing"):
        told("runs", "best", "--metric", "nothing")


def test_the_shell_completes_names_and_makes_no_workspace(folder: Path, request: pytest.FixtureRequest) -> None:
    from click.shell_completion import ShellComplete

    from mlspine.cli.main import cli

    def completed(text: str) -> list[str]:
        shell = ShellComplete(cli, {}, "mlspine", "_MLSPINE_COMPLETE")
        return [each.value for each in shell.get_completions(["runs", "show"], text)]

    assert completed("t") == []
    assert not (folder / ".mlspine").exists()
    request.getfixturevalue("logged")
    assert completed("t") == ["three", "two"]


def test_a_flat_history_is_a_flat_line() -> None:
    assert sparkline([2.0, 2.0, 2.0]) == "▁▁▁"
    assert sparkline([2.0, None]) == ""


def line(**fields: Any) -> RunLine:
    known: dict[str, Any] = {
        "id": "0" * 32,
        "name": "calm-otter-412",
        "experiment_id": 0,
        "experiment": "Default",
        "user": "",
        "status": "FINISHED",
        "deleted": False,
        "started_at_ms": 1,
        "ended_at_ms": 2,
        "duration_s": 0.001,
        "metrics": {},
        "params": {},
        "tags": {},
    }
    return RunLine(**(known | fields))
