"""Two inference processes on one port, as a person sees them: counted, switched, killed, sent away, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlspine.backends.inference_process import is_process, told_pid
from tests.callers import Callers
from tests.desk import Desk, ship_churn

WAIT_S = 60.0
ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}
NAMES = ["inference-0", "inference-1"]
SHIP_FRAGILE = """
import ctypes
import numpy as np, mlspine
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

def native(values):
    # Takes its process along when asked for 666, as a faulty native library does.
    if (np.asarray(values) == 666.0).any():
        ctypes.string_at(0)
    return values

X = np.arange(40.0).reshape(-1, 1)
model = make_pipeline(FunctionTransformer(native), LinearRegression()).fit(X, X[:, 0] * 2)
mlspine.ship(model, X, X[:, 0] * 2, name="fragile")
"""


@pytest.fixture
def pair(desk: Desk) -> Desk:
    """A desk whose workspace answers with two processes."""
    desk.env["MLSPINE_SERVING__PROCESSES"] = "2"
    return desk


def until(told: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := told()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def run_folder(desk: Desk) -> Path:
    return desk.folder / ".mlspine" / "run"


def pids(desk: Desk) -> dict[str, int]:
    found = {f"inference-{index}": told_pid(run_folder(desk), f"inference-{index}") for index in range(4)}
    return {name: pid for name, pid in found.items() if pid is not None}


def states(desk: Desk) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.mlspine("status", "--json").json["processes"]
    return found


def both_answer(desk: Desk) -> bool:
    told = states(desk)
    return [each["process"] for each in told] == NAMES and all(each["ready"] for each in told)


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_are_counted_switched_killed_and_stopped(pair: Desk) -> None:
    ship_churn(pair)
    ship_churn(pair, seed=1, C=0.5)
    served = pair.mlspine("serve", "churn:1")
    assert "2 answer: inference-0, inference-1" in served.out
    told = pair.mlspine("status").out
    assert "2 processes answer: inference-0 " in told
    assert all(each["rss_bytes"] > 10e6 for each in states(pair))
    with Callers(pair.port, "/endpoints/churn/predict", ROW, threads=6, per_connection=20) as callers:
        promoted = pair.mlspine("promote", "churn", "2", "--json").json
        assert [word["process"] for word in promoted["acknowledgements"]] == NAMES
        pair.mlspine("rollback", "churn")
        callers.await_more(50)
    assert callers.failed == []
    assert set(callers.statuses) == {200}
    assert len({release for _, release in callers.releases}) == 2
    # One is killed: the other answers, and it comes back.
    before = pids(pair)
    with Callers(pair.port, "/endpoints/churn/predict", ROW, threads=6, per_connection=20) as callers:
        os.kill(before["inference-1"], signal.SIGKILL)
        until(lambda: pids(pair).get("inference-1") not in (None, before["inference-1"]), "it is started again")
        until(lambda: both_answer(pair), "both answer again")
    assert len(callers.failed) <= 6
    assert set(callers.statuses) == {200}
    assert pids(pair)["inference-0"] == before["inference-0"]
    (death,) = pair.mlspine("alerts", "--all", "--json").json
    assert death["cause"] == "process:inference-1"
    # Control is killed: both go on, and one of them starts it again.
    before, control = pids(pair), json.loads((run_folder(pair) / "control.json").read_bytes())["pid"]
    with Callers(pair.port, "/endpoints/churn/predict", ROW) as callers:
        os.kill(control, signal.SIGKILL)
        until(lambda: json.loads((run_folder(pair) / "control.json").read_bytes())["pid"] != control, "control is back")
        callers.await_more(50)
    assert callers.failed == []
    assert pids(pair) == before
    assert until(lambda: both_answer(pair), "both are still known")
    pair.mlspine("down")
    assert pids(pair) == {}
    assert not any(is_process(pid, b"mlspine") for pid in before.values())


@pytest.mark.long
@pytest.mark.slow
def test_two_native_crashes_move_a_release_to_a_worker_whichever_process_they_took_along(pair: Desk) -> None:
    pair.python(SHIP_FRAGILE)
    pair.mlspine("serve", "fragile")
    for _ in range(2):
        before = set(pids(pair).values())
        with pytest.raises(OSError):
            pair.post("/endpoints/fragile/predict", {"x0": 666.0})
        until(lambda seen=before: len(set(pids(pair).values()) - seen) == 1, "the process is started again")
        until(lambda: both_answer(pair), "both answer")
    moves = until(
        lambda: [line for line in pair.mlspine("ledger", "--json").out.splitlines() if '"move-to-worker"' in line],
        "the release moves out",
    )
    assert len(moves) == 1
    until(lambda: all(len(each["workers"]) == 1 for each in states(pair)), "each process has a worker for it")
    assert all(min(each["worker_rss_bytes"].values()) > 10e6 for each in states(pair))
    before = pids(pair)
    assert pair.post("/endpoints/fragile/predict", {"x0": 666.0})[0] == 503
    assert pair.post("/endpoints/fragile/predict", {"x0": 3.0})[0] == 200
    assert pids(pair) == before


@pytest.mark.long
@pytest.mark.slow
def test_the_foreground_follows_all_processes_and_a_new_count_holds_from_the_next_start(pair: Desk) -> None:
    ship_churn(pair)
    pair.mlspine("serve", "churn")
    pair.mlspine("down")
    pair.env["MLSPINE_SERVING__PROCESSES"] = "3"
    stay = subprocess.Popen(
        [sys.executable, "-m", "mlspine", "up", "--foreground"],
        cwd=pair.folder,
        env=pair.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until(lambda: len(states(pair)) == 3, "three answer")
    finally:
        stay.send_signal(signal.SIGTERM)
        said, _ = stay.communicate(timeout=60)
    assert all(f"inference-{index}" in said for index in range(3))
    assert said.endswith("stopped\n")
    assert pids(pair) == {}
