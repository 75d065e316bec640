"""`mlspine models`: the list as ever, where a version comes from, what sets two apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import mlspine
from mlspine.core.errors import NotFound

Type = Callable[..., str]
Told = Callable[..., Any]


@pytest.fixture
def shipped(folder: Path) -> tuple[str, str]:
    """Two versions of a model out of a run each; the second on more columns."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200)})
    y = (X.a + X.b > 0).astype(int)
    ids = []
    for C, columns in ((1.0, ["a"]), (0.1, ["a", "b"])):
        with mlspine.log("churn", params={"C": C}) as run:
            run.metric("auc", C / 2)
            mlspine.ship(LogisticRegression(C=C).fit(X[columns], y), X[columns], y, name="churn", owner="ann")
        ids.append(run.id)
    return ids[0], ids[1]


def test_the_list_needs_no_subcommand(shipped: tuple[str, str], typed: Type, told: Told) -> None:
    assert [row["name"] for row in told("models")] == ["churn"]
    assert typed("models") == typed("models", "ls")
    assert [row["version"] for row in told("models", "churn")] == [1, 2]
    assert typed("models", "churn") == typed("models", "ls", "churn")
    assert [row["name"] for row in told("models", "ls", "--filter", "name LIKE 'ch%'")] == ["churn"]
    assert told("models", "ls", "--filter", "name = 'other'") == []


def test_an_account_leads_from_version_to_run_data_and_ledger(
    shipped: tuple[str, str], told: Told, typed: Type
) -> None:
    account = told("models", "show", "churn:1")
    assert account["version"]["version"] == 1
    assert account["run"]["run"]["id"] == shipped[0]
    assert (account["params"], account["metrics"]) == ({"C": "1.0"}, {"auc": 0.5})
    assert (account["data"]["rows"], account["data"]["columns"]) == (200, 1)
    assert account["data"]["digest"] == account["release"]["data"]
    assert [line["action"] for line in account["changes"]] == ["ship", "ship"]
    assert account["problems"] == []
    printed = typed("models", "show", "churn:1")
    assert shipped[0][:8] in printed
    assert "200 rows" in printed


def test_a_bare_name_is_production_else_the_newest(shipped: tuple[str, str], told: Told) -> None:
    from mlspine.workspace import Workspace

    assert told("models", "show", "churn")["version"]["version"] == 2
    workspace = Workspace.open()
    workspace.registry.set_stage("churn", 1, "Production")
    workspace.registry.set_alias("churn", alias="next", version=2)
    workspace.close()
    assert told("models", "show", "churn")["version"]["version"] == 1
    assert told("models", "show", "churn@next")["aliases"] == ["next"]
    with pytest.raises(NotFound):
        told("models", "show", "churn:9")


def test_an_account_says_what_is_gone(shipped: tuple[str, str], folder: Path, told: Told) -> None:
    release = next((folder / ".mlspine" / "releases").iterdir())
    number = next(each["version"] for each in told("models", "churn") if each["release_hash"] == release.name)
    (release / "model.pkl").write_bytes(b"other")
    account = told("models", "show", f"churn:{number}")
    assert account["release"] is None
    assert "model.pkl" in account["problems"][0] or "release" in account["problems"][0]


def test_two_versions_differ_part_by_part(shipped: tuple[str, str], told: Told, typed: Type) -> None:
    found = told("models", "diff", "churn:1", "churn:2")
    apart = {(each["part"], each["name"]): each for each in found["apart"]}
    assert (found["first"], found["second"], found["unknown"]) == ("churn:1", "churn:2", [])
    assert (apart["parameter", "C"]["first"], apart["parameter", "C"]["second"]) == ("1.0", "0.1")
    assert apart["metric", "auc"]["delta"] == pytest.approx(-0.45)
    assert (apart["signature", "b"]["first"], apart["signature", "b"]["second"]) == (None, "float64")
    assert (apart["data", "columns"]["first"], apart["data", "columns"]["second"]) == (1, 2)
    assert ("environment", "scikit-learn") not in apart
    assert told("models", "diff", "churn:1", "churn:1")["apart"] == []
    assert "nothing differs" in typed("models", "diff", "churn:1", "churn:1")
