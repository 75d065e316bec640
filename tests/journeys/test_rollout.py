"""Canaries and watched switches by command and HTTP: a good release takes over, bad ones come back by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.desk import SHIP_CHURN, Desk
from tests.journeys.kills import Callers
from tests.journeys.waiting import until

SHORT = ("--min-hours", "0", "--step-minutes", "0", "--step-requests", "60")
SHIP = """
import os, random
import numpy as np, pandas as pd
import mlspine

class Flaky:
    "Twice x, plus a little; fails every third call while a file is there."
    def __init__(self, extra, file):
        self.extra, self.file = extra, file
    def predict(self, X):
        if self.file and os.path.exists(self.file) and random.random() < 0.34:
            raise RuntimeError("not today")
        return 2 * np.asarray(X, dtype=float)[:, 0] + self.extra

X = pd.DataFrame({{"x": np.linspace(0, 10, 200)}})
for extra, file in {releases}:
    mlspine.ship(Flaky(extra, file), X, name="twice", owner="ada@example.org")
"""


def served(desk: Desk, *releases: tuple[float, Path | str]) -> Callers:
    """Version 1 of `twice` answers two callers."""
    desk.python(SHIP.format(releases=[(extra, str(file)) for extra, file in releases]))
    desk.mlspine("serve", "twice:1")
    return Callers(f"http://127.0.0.1:{desk.port}/endpoints/twice/predict", {"rows": [{"x": 3.0}]})


def history(desk: Desk, name: str = "twice") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.mlspine("rollout", "history", name, "--json").json
    return found


def newest(desk: Desk, name: str = "twice") -> dict[str, Any]:
    return next(iter(history(desk, name)), {"state": "", "kind": ""})


def test_a_good_candidate_takes_over_under_load_and_is_watched(desk: Desk) -> None:
    callers = served(desk, (0.0, ""), (0.001, ""))
    try:
        begun = desk.mlspine("rollout", "start", "twice:2", "--canary", "20,50,100", *SHORT)
        assert "version 2 answers 20% of the requests of twice beside version 1" in begun.out
        assert "canary of version 2, step" in desk.mlspine("status", "twice").out
        until(lambda: any(each["state"] == "promoted" for each in history(desk)), "the candidate takes over")
        until(lambda: newest(desk)["kind"] == "watch", "the switch is watched")
    finally:
        callers.stop()
    assert callers.failed == []
    assert desk.post("/endpoints/twice/predict", {"rows": [{"x": 3.0}]})[1]["mlspine-version"] == "2"
    actions = [json.loads(line)["action"] for line in desk.mlspine("ledger", "--json").out.splitlines()]
    for action in ("canary start", "canary step", "canary promoted", "promote"):
        assert action in actions
    told = desk.mlspine("rollout", "status", "twice").out
    assert "twice: version 2, put live" in told
    assert "disagreement" in told
    assert "is watched" in desk.mlspine("status", "twice").out


def test_a_candidate_that_fails_comes_back_and_no_caller_notices(desk: Desk) -> None:
    mood = desk.folder / "bad mood"
    callers = served(desk, (0.0, ""), (0.001, mood))
    try:
        desk.mlspine("rollout", "start", "twice:2", "--canary", "20,100")
        mood.touch()
        until(lambda: newest(desk)["state"] == "returned", "the candidate comes back")
    finally:
        callers.stop()
    assert callers.failed == []
    assert "failed" in newest(desk)["why"]
    (alert,) = (each for each in desk.mlspine("alerts", "twice", "--json").json if each["cause"] == "rollout")
    assert alert["severity"] == "CRITICAL"
    answered = [desk.post("/endpoints/twice/predict", {"rows": [{"x": 3.0}]})[1] for _ in range(30)]
    assert {each["mlspine-version"] for each in answered} == {"1"}
    assert "came back" not in desk.mlspine("rollout", "status").out
    assert "canary of version 2, step 1 of 1 (20%): returned" in desk.mlspine("rollout", "status", "twice").out


def test_inverted_scores_come_back_after_a_promotion(desk: Desk) -> None:
    desk.python(SHIP_CHURN.format(seed=0, C=1.0))
    desk.python(SHIP_CHURN.format(seed=0, C=1.0).replace(".fit(X_train, y_train)", ".fit(X_train, 1 - y_train)"))
    desk.mlspine("serve", "churn:1")
    desk.mlspine("promote", "churn", "2")
    until(lambda: newest(desk, "churn")["state"] == "returned", "the release before comes back")
    assert "opposite ways" in newest(desk, "churn")["why"]
    row = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}
    assert desk.post("/endpoints/churn/predict", row)[1]["mlspine-version"] == "1"


def test_an_aborted_canary_leaves_the_live_version_alone(desk: Desk) -> None:
    callers = served(desk, (0.0, ""), (0.001, ""))
    try:
        desk.mlspine("rollout", "start", "twice:2")
        refused = desk.mlspine("rollout", "start", "twice:2", check=False)
        assert refused.code != 0
        assert "version 2 is on its way at twice already" in refused.err
        ended = desk.mlspine("rollout", "abort", "twice", "--reason", "wrong week")
    finally:
        callers.stop()
    assert ended.out.strip() == "ended: version 1 answers all requests of twice"
    assert (newest(desk)["state"], newest(desk)["why"]) == ("aborted", "wrong week")
    assert callers.failed == []
