"""Renewing a model by its recipe, and the gate for one shipped by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingRegressor

from mlspine.core.errors import Denied, Invalid, NotFound
from mlspine.core.types import Actor
from mlspine.registry.prepare import prepare
from mlspine.registry.release import read_release
from mlspine.retraining.renewal import gate, retrain
from mlspine.workspace import Workspace
from tests.unit.retraining.conftest import ANN, pipeline, rows, ship


def actions(workspace: Workspace) -> list[str]:
    return [entry.action for entry in workspace.governance.entries()]


def test_a_drifted_world_renews_the_model_and_stages_it(workspace: Workspace, here: Path) -> None:
    ship(workspace, rows(2_000), owner="ann@example.org", tier="medium")
    rows(3_000, seed=1, drift=0.04).to_parquet(here / "new.parquet")
    said: list[str] = []
    done = retrain(workspace, "churn", data="new.parquet", actor=ANN, say=said.append)
    assert (done.version.version, done.version.stage, done.staged) == (2, "Staging", True)
    assert (done.verdict.status, done.verdict.mode) == ("PASSED", "refresh")
    assert done.verdict.comparison.gain.rows == 750
    assert "the newest rows of new.parquet" in done.verdict.paragraph
    assert (done.version.owner, done.version.tier) == ("ann@example.org", "medium")
    assert done.version.metric is not None
    assert done.version.metric.rows_from == "holdout"
    assert actions(workspace) == ["ship", "ship", "retrain", "stage"]
    assert workspace.registry.get("churn", 2).stage == "Staging"
    assert len(said) == 4


def test_what_was_tried_is_evidence_with_its_numbers(workspace: Workspace, here: Path) -> None:
    ship(workspace, rows(2_000))
    rows(3_000, seed=1, drift=0.04).to_csv(here / "new.csv", index=False)
    done = retrain(workspace, "churn", data="new.csv", actor=ANN)
    (tried,) = workspace.governance.evidence("model:churn", kind="retrain")
    (judged,) = workspace.governance.evidence("model:churn", kind="gate")
    assert (tried.passed, judged.passed) == (True, True)
    assert tried.document["rows"] == 2_250
    assert tried.document["release"] == judged.document["release"] == done.version.release_hash
    assert judged.document["comparison"]["gain"]["metric"] == "f1"
    assert judged.document["margin"] == 0.02
    assert judged.document["paragraph"] == done.verdict.paragraph


def test_the_same_rows_and_seed_give_the_same_release_in_another_process(workspace: Workspace, here: Path) -> None:
    ship(workspace, rows(1_000))
    rows(1_000, seed=1).to_csv(here / "new.csv", index=False)
    first = retrain(workspace, "churn:1", data="new.csv", actor=ANN)
    code = (
        "from mlspine.core.types import Actor; from mlspine.retraining.renewal import retrain;"
        " from mlspine.workspace import Workspace;"
        f" workspace = Workspace.open({str(workspace.path)!r});"
        " print(retrain(workspace, 'churn:1', data='new.csv', actor=Actor(name='bob')).version.release_hash)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == first.version.release_hash
    assert len(workspace.registry.versions("churn")) == 2


def test_the_renewed_release_carries_recipe_code_and_side_columns_on(workspace: Workspace, here: Path) -> None:
    parent = ship(workspace, rows(1_000), source="fresh/*.csv", labels="truth.csv")
    rows(1_000, seed=1).to_csv(here / "new.csv", index=False)
    child = retrain(workspace, "churn", data="new.csv", actor=ANN).version
    before, after = (read_release(Path(each.path)) for each in (parent, child))
    assert after.settings == before.settings
    assert after.code == before.code
    assert after.signature == before.signature
    assert after.environment == before.environment
    assert child.captured["data"]["source"] == "fresh/*.csv"
    assert child.captured["labels_from"] == "truth.csv"
    assert child.captured["recipe"] == parent.captured["recipe"]


def test_the_declared_source_is_read_from_the_folder_of_the_workspace(
    workspace: Workspace, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(workspace, rows(1_000), source="fresh/*.csv")
    (here / "fresh").mkdir()
    rows(600, seed=1).to_csv(here / "fresh" / "a.csv", index=False)
    rows(600, seed=2).to_csv(here / "fresh" / "b.csv", index=False)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    done = retrain(workspace, "churn", actor=ANN)
    assert done.attempt is not None
    assert done.attempt.rows_from == "the source fresh/*.csv"
    assert done.attempt.rows == 900


def test_rows_production_was_fitted_on_do_not_judge(workspace: Workspace, here: Path) -> None:
    old = rows(2_000)
    ship(workspace, old)
    both = rows(1_000, seed=1)
    both["day"] -= both["day"].max() - old["day"].min()  # older than what Production saw
    pd.concat([old.tail(500), both]).to_csv(here / "new.csv", index=False)
    done = retrain(workspace, "churn", data="new.csv", actor=ANN)
    assert done.verdict.comparison.excluded == 375
    assert done.verdict.status == "NOT_ESTIMABLE"


def test_fitting_again_on_what_production_saw_is_production_itself(workspace: Workspace, here: Path) -> None:
    frame = rows(1_000)
    ship(workspace, frame.head(750))
    frame.to_csv(here / "same.csv", index=False)
    done = retrain(workspace, "churn", data="same.csv", actor=ANN)
    assert done.verdict.status == "PRODUCTION_ITSELF"
    assert "is Production itself" in done.verdict.paragraph
    assert not done.staged


def test_a_renewal_that_fails_is_kept_as_tried_and_leaves_no_version(workspace: Workspace, here: Path) -> None:
    ship(workspace, rows(1_000))
    rows(50, seed=1).to_csv(here / "new.csv", index=False)
    with pytest.raises(Invalid, match="does not keep the data contract"):
        retrain(workspace, "churn", data="new.csv", actor=ANN)
    (tried,) = workspace.governance.evidence("model:churn", kind="retrain")
    assert not tried.passed
    assert "at least 100 are needed" in tried.document["why"]
    assert len(workspace.registry.versions("churn")) == 1


def test_without_rows_anywhere_the_words_that_bring_some_are_said(workspace: Workspace) -> None:
    ship(workspace, rows(500))
    with pytest.raises(Invalid, match="no logged prediction has a label yet") as refused:
        retrain(workspace, "churn", actor=ANN)
    assert "mlspine retrain churn --data FILE" in refused.value.hint
    with pytest.raises(NotFound):
        retrain(workspace, "chrun", actor=ANN)


def test_what_nobody_vouched_for_is_not_loaded(workspace: Workspace, here: Path) -> None:
    frame = rows(500)
    X, y = frame.drop(columns="churned"), frame["churned"]
    prepared = prepare(pipeline().fit(X, y), X, y, name="churn", releases_dir=workspace.path / "releases", time="day")
    workspace.registry.register(prepared, actor=Actor(name="laptop", kind="client"))
    frame.to_csv(here / "new.csv", index=False)
    with pytest.raises(Denied, match="not trusted yet"):
        retrain(workspace, "churn", data="new.csv", actor=ANN)


def test_numbers_are_renewed_and_judged_by_their_error(workspace: Workspace, here: Path) -> None:
    frame = rows(3_000).drop(columns=["contract"])
    frame["churned"] = frame["charge"] * 2 + frame["tenure"] + np.random.default_rng(0).normal(0, 5, 3_000)
    X, y = frame[["charge", "tenure"]], frame["churned"]
    first = prepare(
        HistGradientBoostingRegressor(random_state=0).fit(X[:300], y[:300]),
        X[:300],
        y[:300],
        name="cost",
        releases_dir=workspace.path / "releases",
    )
    workspace.registry.register(first, actor=ANN)
    frame[300:].to_csv(here / "new.csv", index=False)
    done = retrain(workspace, "cost", data="new.csv", actor=ANN)
    assert done.verdict.comparison.gain.metric == "mae"
    assert done.verdict.passed
    assert "nothing dates them" in done.verdict.comparison.rows_from


# ---------------------------------------------------------------- shipped by hand


def test_a_version_shipped_by_hand_meets_the_same_gate(workspace: Workspace, here: Path) -> None:
    ship(workspace, rows(2_000), model=DummyClassifier(strategy="uniform", random_state=0))
    workspace.registry.set_stage("churn", 1, "Production")
    ship(workspace, rows(2_000, seed=1))
    rows(1_000, seed=2).to_csv(here / "judge.csv", index=False)
    done = gate(workspace, "churn:2", data="judge.csv", actor=ANN)
    assert (done.verdict.mode, done.verdict.status, done.version.stage) == ("new recipe", "PASSED", "Staging")
    assert done.verdict.comparison.excluded == 0
    assert actions(workspace)[-1] == "stage"


def test_a_version_already_served_is_not_moved_by_a_verdict(workspace: Workspace, here: Path) -> None:
    ship(workspace, rows(1_000), model=DummyClassifier(strategy="uniform", random_state=0))
    ship(workspace, rows(1_000, seed=1))
    workspace.registry.set_stage("churn", 2, "Production")
    rows(1_000, seed=2).to_csv(here / "judge.csv", index=False)
    itself = gate(workspace, "churn:2", data="judge.csv", actor=ANN)
    assert itself.verdict.status == "PRODUCTION_ITSELF"
    worse = gate(workspace, "churn:1", data="judge.csv", actor=ANN)
    assert worse.verdict.status == "REFUSED"
    assert workspace.registry.get("churn", 2).stage == "Production"


def test_old_releases_are_judged_with_the_doubt_said(workspace: Workspace, here: Path) -> None:
    old = ship(workspace, rows(1_000), model=DummyClassifier(strategy="uniform", random_state=0))
    ship(workspace, rows(1_000, seed=1))
    files = Path(old.path) / "mlspine" / "files.json"
    listed = msgspec.json.decode(files.read_bytes())
    del listed["mlspine/fitted_rows.bin"]
    files.write_bytes(msgspec.json.encode(listed))
    rows(1_000, seed=2).to_csv(here / "judge.csv", index=False)
    done = gate(workspace, "churn:2", data="judge.csv", actor=ANN)
    assert "churn:1 was shipped before digests of its rows were kept" in done.verdict.paragraph


def test_which_version_must_be_said(workspace: Workspace) -> None:
    ship(workspace, rows(500))
    ship(workspace, rows(500, seed=1))
    with pytest.raises(Invalid):
        gate(workspace, "churn", actor=ANN)
