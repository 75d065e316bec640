"""Rows and labels reach a served model by themselves: batches equal requests, feeds are pulled, schedules run."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.desk import Desk, ship_churn

ROWS = """
import numpy as np, pandas as pd
rng = np.random.default_rng(7)
n = 900
pd.DataFrame({
    "monthly charge": rng.normal(60, 20, n),
    "tenure": rng.integers(0, 72, n),
    "contract": rng.choice(["month", "year", "two years"], n),
}).to_csv("customers.csv", index=False)
"""
WAIT_S = 60.0


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, f"not within {WAIT_S:.0f} s: {what}"
        time.sleep(0.1)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.long
@pytest.mark.slow
def test_batches_equal_requests_and_feeds_run_by_themselves(desk: Desk) -> None:
    desk.env["MLSPINE_FEEDS__LABELS_EVERY_S"] = "0.5"
    desk.env["MLSPINE_FEEDS__SOURCE_EVERY_S"] = "0.5"
    ship_churn(desk)
    desk.python(ROWS)
    desk.mlspine("serve", "churn", "--detach")
    customers = [
        {"monthly charge": float(row["monthly charge"]), "tenure": int(row["tenure"]), "contract": row["contract"]}
        for row in read(desk.folder / "customers.csv")
    ]

    # The same rows over HTTP and in a batch: the same floats, in the same order.
    status, _, answered = desk.post("/endpoints/churn/predict", {"rows": customers})
    assert status == 200
    told = desk.mlspine("score", "churn", "-i", "customers.csv", "-o", "scores.csv", "--json").json
    assert (told["rows"], told["version"], told["logged"]) == (900, 1, True)
    scores = read(desk.folder / "scores.csv")
    assert [float(row["score"]) for row in scores] == [each["score"] for each in answered["predictions"]]
    assert [int(row["prediction"]) for row in scores] == [each["prediction"] for each in answered["predictions"]]
    counted = desk.mlspine("log", "churn", "select _path, count(*) from log group by 1 order by 1", "--json").json
    assert counted["rows"] == [["batch", 900], ["live", 900]]

    # Labels that somebody puts there are pulled without anybody asking; a source that breaks is one alert.
    desk.mlspine("feeds", "churn", "--labels", "truth/*.csv", "--source", "customers.csv")
    (desk.folder / "truth").mkdir()
    labels = [f"{row['id']},{row['prediction']}\n" for row in scores]
    (desk.folder / "truth" / "june.csv").write_text("id,label\n" + "".join(labels))
    until(lambda: _feeds(desk)["labels"]["rows"] == 900, "labels are pulled")
    assert "900 labelled rows" in desk.mlspine("status", "churn").out
    text = (desk.folder / "customers.csv").read_text()
    (desk.folder / "customers.csv").write_text(text.replace("tenure", "months", 1))
    until(lambda: "tenure" in _feeds(desk)["source"]["problem"], "the renamed column is noticed")
    alerts = desk.mlspine("alerts", "churn", "--json").json
    assert [each["cause"] for each in alerts if each["cause"].startswith("feed:source")] == ["feed:source:tenure"]
    (desk.folder / "customers.csv").write_text(text)
    until(lambda: not _feeds(desk)["source"]["problem"], "the mended source is noticed")

    # A schedule survives a restart, and runs once per due time.
    desk.mlspine("score", "churn", "-i", "customers.csv", "-o", "daily-{date}.parquet", "--every", "1d")
    until(lambda: _schedule(desk)["result"] != "", "the first run ends")
    assert _schedule(desk)["result"].startswith("900 rows to ")
    assert len(list(desk.folder.glob("daily-*.parquet"))) == 1
    desk.mlspine("down")
    desk.mlspine("up")
    after = _schedule(desk)
    assert after["next_due_at_ms"] > after["ended_at_ms"]
    assert len(desk.mlspine("schedules").out.splitlines()) == 2
    desk.mlspine("schedules", "--remove", after["id"])
    assert desk.mlspine("schedules", "--json").json == []

    # What requests are refused for is counted by field, off the path of those that are answered.
    bad = [{**row, "tenure": "many"} for row in customers[:1]]
    assert desk.post("/endpoints/churn/predict", {"rows": bad})[0] == 422
    process = desk.mlspine("status", "--json").json["processes"][0]
    assert process["endpoints"]["churn"]["refused_fields"] == {"tenure": 1}


def _feeds(desk: Desk) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(desk.mlspine("feeds", "churn", "--json").out)
    return found


def _schedule(desk: Desk) -> dict[str, object]:
    found: dict[str, object] = json.loads(desk.mlspine("schedules", "churn", "--json").out)[0]
    return found
