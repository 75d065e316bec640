"""What a team types in the journeys: rows as they come, rows that changed, outcomes, a repository."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from tests.desk import Desk

CONTRACTS = ("month", "year", "two years")


def rows(count: int, *, seed: int, tenure_up: int = 0) -> list[dict[str, Any]]:
    """Customers as `ship_churn` draws them; tenure_up: how much longer they have been customers."""
    rng = np.random.default_rng(seed)
    return [
        {"monthly charge": float(charge), "tenure": int(tenure) + tenure_up, "contract": str(contract)}
        for charge, tenure, contract in zip(
            rng.normal(60, 20, count), rng.integers(0, 72, count), rng.choice(CONTRACTS, count), strict=True
        )
    ]


def outcomes(customers: list[dict[str, Any]], *, seed: int) -> list[int]:
    """Who leaves, by the same law as in training."""
    risk = [
        0.04 * (c["monthly charge"] - 60) - 0.05 * c["tenure"] + 1.5 * (c["contract"] == "month") for c in customers
    ]
    return [int(each) for each in np.random.default_rng(seed).random(len(risk)) < 1 / (1 + np.exp(-np.array(risk)))]


def send(desk: Desk, customers: list[dict[str, Any]], *, batch: int = 500, hours_ago: int = 0) -> list[str]:
    """Ask for all of them; returns the prediction ids, row by row."""
    ids = []
    at = dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours_ago)
    headers = {"Mlspine-Event-Time": at.isoformat()} if hours_ago else {}
    for start in range(0, len(customers), batch):
        part = customers[start : start + batch]
        status, _, answer = desk.post("/endpoints/churn/predict", {"rows": part}, **headers)
        assert status == 200
        ids += [f"{answer['id']}:{row}" for row in range(len(part))]
    return ids


def write_labels(desk: Desk, ids: list[str], labels: list[int]) -> str:
    """A label file as an application would write it; returns its name."""
    lines = "".join(f"{name},{label}\n" for name, label in zip(ids, labels, strict=True))
    (desk.folder / "outcomes.csv").write_text("id,label\n" + lines)
    return "outcomes.csv"


def commit(desk: Desk) -> None:
    """The notebook's folder becomes a repository with one clean commit."""
    (desk.folder / "train.py").write_text("# fits churn\n")
    (desk.folder / ".gitignore").write_text("home/\n.mlspine/\n*.csv\n*.json\n")
    for words in (
        ["init", "-q"],
        ["config", "user.email", "ada@example.org"],
        ["config", "user.name", "Ada"],
        ["add", "."],
        ["commit", "-q", "-m", "train churn"],
    ):
        desk.run(["git", *words], check=True)
