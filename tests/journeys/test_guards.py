"""A release that does not answer, or answers what it may not: who answers instead, told on every wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk, ship_churn

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}
HANG, CRASH = 777.0, 666.0
SHIP = """
import os, time
import numpy as np, pandas as pd
import mlspine

class Moody:
    "Twice x, plus `extra`; raises while a file is there, hangs or aborts for certain values."
    def __init__(self, extra, file):
        self.extra, self.file = extra, file
    def predict(self, X):
        values = np.asarray(X, dtype=float)[:, 0]
        if self.file and os.path.exists(self.file):
            raise RuntimeError("not today")
        if self.file and (values == {hang}).any():
            time.sleep(60)
        if self.file and (values == {crash}).any():
            os.abort()
        return 2 * values + self.extra

X = pd.DataFrame({{"x": np.linspace(0, 10, 200)}})
for extra, file in {releases}:
    mlspine.ship(Moody(extra, file), X, name="twice", owner="ada@example.org")
"""


def ship(desk: Desk, *releases: tuple[float, str]) -> None:
    desk.python(SHIP.format(releases=list(releases), hang=HANG, crash=CRASH))


def ask(desk: Desk, x: float) -> tuple[int, str, Any]:
    """Status, path and first prediction."""
    status, headers, answer = desk.post("/endpoints/twice/predict", {"rows": [{"x": x}]})
    told = answer["predictions"][0]["prediction"] if status == 200 else answer["error"]["code"]
    return status, headers["mlspine-path"], told


def test_a_release_that_raises_hangs_or_crashes_is_answered_for_by_the_one_before(desk: Desk) -> None:
    mood = desk.folder / "bad mood"
    ship(desk, (0.0, ""), (1.0, str(mood)))
    desk.mlspine("serve", "twice:1")
    desk.mlspine("promote", "twice", "2")
    desk.mlspine("guards", "twice", "--deadline", "1")
    assert ask(desk, 3.0) == (200, "live", 7.0)
    assert ask(desk, HANG) == (200, "fallback", 2 * HANG)
    assert ask(desk, CRASH) == (200, "fallback", 2 * CRASH)
    mood.touch()
    assert ask(desk, 3.0) == (200, "fallback", 6.0)
    status, headers, told = desk.post(
        "/v2/models/twice/infer",
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [3.0]}]},
    )
    assert (status, headers["mlspine-path"], headers["mlspine-version"]) == (200, "fallback", "1")
    assert (told["outputs"][0]["data"], told["model_version"]) == ([6.0], "1")
    status, headers, told = desk.post("/v1/models/twice:predict", {"instances": [{"x": 3.0}]})
    assert (status, headers["mlspine-path"], told["predictions"]) == (200, "fallback", [6.0])
    acted = desk.mlspine("guards", "twice", "--json").json["acted"]
    assert acted["paths"]["fallback"] == 5
    counted = [line for line in desk.get("/metrics")[1].splitlines() if line.startswith("mlspine_fallback_total{")]
    assert [line.rpartition(" ")[2] for line in counted if 'path="fallback"' in line] == ["5"]
    assert "answered by fallback" in desk.mlspine("guards", "twice").out


def test_a_first_release_is_answered_for_by_the_declared_rule_and_else_by_nobody(desk: Desk) -> None:
    mood = desk.folder / "bad mood"
    ship(desk, (1.0, str(mood)))
    desk.mlspine("serve", "twice")
    mood.touch()
    assert ask(desk, 3.0)[:2] == (503, "cannot-answer")
    drilled = desk.mlspine("drill", "twice", "fallback", "--live", "--json", check=False)
    assert drilled.json[0]["passed"] is False
    assert "nobody stands behind the live release" in drilled.json[0]["why"]
    desk.mlspine("guards", "twice", "--answer", "-1")
    assert ask(desk, 3.0) == (200, "rule", -1.0)
    assert "✓ rule: -1.0: answered 20 of 20 rows" in desk.mlspine("guards", "twice", "--try").out
    assert desk.mlspine("drill", "twice", "fallback", "--live", "--json").json[0]["passed"] is True
    desk.mlspine("rollback", "twice")
    assert ask(desk, 3.0) == (200, "rule", -1.0)
    desk.mlspine("guards", "twice", "--off")
    assert ask(desk, 3.0) == (503, "cannot-answer", "unavailable")


def test_answers_that_may_not_be_are_clipped_or_held_back_on_every_wire(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    plain = desk.post("/endpoints/churn/predict", ROW)[2]["predictions"][0]
    desk.mlspine("guards", "churn", "--range", "0..0.001")
    clipped = desk.post("/endpoints/churn/predict", ROW)[2]["predictions"][0]
    assert clipped == {"prediction": plain["prediction"], "score": 0.001}
    desk.mlspine("guards", "churn", "--drop", "range", "--abstain", "0..1", "--reason", "nothing is certain")
    assert desk.post("/endpoints/churn/predict", ROW)[2]["predictions"] == [
        {"prediction": None, "score": plain["score"], "abstained": True}
    ]
    assert desk.post("/v1/models/churn:predict", {"instances": [ROW]})[2]["predictions"] == [None]
    assert desk.post("/endpoints/churn/invocations", {"dataframe_records": [ROW]})[2]["predictions"] == [None]
    tensors = [
        {"name": "monthly charge", "shape": [1], "datatype": "FP64", "data": [75.5]},
        {"name": "tenure", "shape": [1], "datatype": "INT64", "data": [3]},
        {"name": "contract", "shape": [1], "datatype": "BYTES", "data": ["month"]},
    ]
    (output,) = (
        each
        for each in desk.post("/v2/models/churn/infer", {"inputs": tensors})[2]["outputs"]
        if each["name"] == "predict"
    )
    assert (output["data"], output["parameters"]) == ([None], {"abstained": [0]})
    counts = desk.mlspine("guards", "churn", "--json").json["acted"]["rules"]
    assert counts == {"range": 1, "abstain": 4}
    asked = "select count(*), count(distinct _prediction) from log"
    assert desk.mlspine("log", "churn", asked, "--json").json["rows"] == [[6, 1]]  # the log keeps what the model said
    assert "nothing is certain" in desk.mlspine("ledger", "endpoint:churn").out


def test_a_guard_that_does_not_fit_is_refused_with_every_reason(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    refused = desk.mlspine("guards", "churn", "--answer", "maybe", "--monotonic", "tenur:up", check=False)
    assert refused.code == 2
    assert "answer 'maybe': churn:1 answers 0, 1" in refused.err
    assert "did you mean tenure?" in refused.err


@pytest.mark.long
def test_the_drills_of_fallback_and_restart_are_kept_as_evidence(desk: Desk, tmp_path: Path) -> None:
    ship_churn(desk)
    ship_churn(desk, C=0.01)
    desk.mlspine("serve", "churn:1")
    desk.mlspine("promote", "churn", "2")
    desk.mlspine("guards", "churn", "--answer", "0", "--score", "0.2")
    drilled = [desk.mlspine("drill", "churn", task, "--json").json[0] for task in ("fallback", "restart")]
    assert [(each["task"], each["passed"]) for each in drilled] == [("fallback", True), ("restart", True)], drilled
    assert any(line["command"] == "mlspine guards churn --try" for line in drilled[0]["lines"])
    assert drilled[1]["lines"][-1]["command"].startswith("kill -9 ")
    listed = desk.mlspine("drill", "churn", "--list", "--json").json
    assert {(each["kind"], each["passed"]) for each in listed} == {("drill:fallback", True), ("drill:restart", True)}
    assert desk.post("/endpoints/churn/predict", ROW)[1]["mlspine-path"] == "live"
