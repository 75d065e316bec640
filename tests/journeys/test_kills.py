"""kill -9 at random moments under load. Three rounds here; `make soak` runs 200 and keeps the table."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.desk import Desk, ship_churn
from tests.journeys.kills import Callers, Round, run_round

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}
KINDS = ("inference", "control", "worker")
BACK_WITHIN_S = 5.0
SHIP_SLOW = """
import mlspine, numpy as np
from sklearn.ensemble import RandomForestClassifier

class Mine:
    '''A class of the user's own, which runs in a process of its own.'''

    def __init__(self, forest):
        self.forest = forest

    def predict(self, rows):
        return self.forest.predict(np.asarray(rows))

rng = np.random.default_rng(0); X = rng.normal(size=(600, 3)); y = (X.sum(axis=1) > 0).astype(int)
mlspine.ship(Mine(RandomForestClassifier(100, random_state=0).fit(X, y)), X, y, name="slow")
"""


def rounds(desk: Desk, count: int, *, seed: int) -> list[Round]:
    ship_churn(desk)
    desk.python(SHIP_SLOW)
    desk.mlspine("serve", "churn")
    desk.mlspine("serve", "slow")
    base = f"http://127.0.0.1:{desk.port}/endpoints"
    callers = {
        "churn": Callers(f"{base}/churn/predict", ROW, threads=2),
        "slow": Callers(f"{base}/slow/predict", {"x0": 0.1, "x1": 0.2, "x2": 0.3}, threads=1),
    }
    rng, kills = random.Random(seed), list[float]()
    try:
        return [run_round(desk, callers, KINDS[n % len(KINDS)], rng, kills) for n in range(count)]
    finally:
        for each in callers.values():
            each.stop()


def _check(done: list[Round]) -> None:
    for each in done:
        assert each.missing == 0, each
        assert each.doubled == 0, each
        assert each.profile_rows == each.log_rows > 0, each
        assert each.ledger_intact, each


@pytest.mark.long
@pytest.mark.slow
def test_three_kills_lose_nothing_that_was_safe(desk: Desk) -> None:
    done = rounds(desk, 3, seed=1)
    _check(done)
    assert all(each.back_after_s < 60 for each in done)


@pytest.mark.soak
@pytest.mark.skipif("MLSPINE_SOAK" not in os.environ, reason="200 rounds take about half an hour: make soak")
def test_two_hundred_kills_lose_nothing_that_was_safe(desk: Desk) -> None:
    count = int(os.environ["MLSPINE_SOAK"])
    done = rounds(desk, count, seed=count)
    lines = [f"{count} rounds, 3 callers on 2 endpoints, control, inference and model worker in turn"]
    lines += [f"{kind}: {_summary([each for each in done if each.victim == kind])}" for kind in KINDS]
    with Path("benchmarks/results/kills.txt").open("a") as results:
        results.write("\n".join(lines) + "\n\n")
    _check(done)
    late = [each for each in done if each.back_after_s >= BACK_WITHIN_S]
    assert not late, late


def _summary(done: list[Round]) -> str:
    back = sorted(each.back_after_s for each in done)
    return (
        f"{len(done)} kills, back after median {back[len(back) // 2]:.2f} s, worst {back[-1]:.2f} s;"
        f" {sum(each.missing for each in done)} safe rows missing, {sum(each.doubled for each in done)} doubled,"
        f" {sum(each.profile_rows != each.log_rows for each in done)} rounds with profile rows unlike log rows,"
        f" {sum(not each.ledger_intact for each in done)} broken ledgers"
    )
