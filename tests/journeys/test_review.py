"""A person looks at a fair sample, and sentinels keep a wrong release from taking traffic and bring one back."""

from __future__ import annotations

import json
import random
import time

import pytest

from tests.desk import Desk, ship_churn

ROW = {"monthly charge": 60.0, "tenure": 12, "contract": "month"}


def rows(n: int) -> list[dict[str, object]]:
    draw = random.Random(1)
    return [
        {
            "monthly charge": draw.gauss(60, 20),
            "tenure": draw.randrange(72),
            "contract": draw.choice(["month", "year", "two years"]),
        }
        for _ in range(n)
    ]


@pytest.mark.long
@pytest.mark.slow
def test_a_sample_is_drawn_looked_at_and_says_what_holds_for_all(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    desk.post("/endpoints/churn/predict", rows(600))
    nothing = desk.mlspine("review", "churn")
    assert "draw a sample: mlspine review draw churn" in nothing.out
    sample = desk.mlspine("review", "draw", "churn", "--size", "40", "--json").json
    assert (sample["rows"], sample["reasons"]) == (600, ["uncertain"])
    again = desk.mlspine("review", "draw", "churn", check=False)
    assert again.code != 0
    assert "still has answers to look at" in again.err
    waiting = desk.mlspine("review", "churn", "--json").json
    assert len(waiting) == 40
    assert set(waiting[0]["inputs"]) == set(ROW)
    assert sum("uncertain" in each["why"] for each in waiting) > 10
    assert min(each["inclusion"] for each in waiting) >= 0.5 * 40 / 600 - 1e-9
    for at, item in enumerate(waiting[:12]):
        verdict = "skip" if at == 11 else "wrong" if at < 3 else "right"
        desk.mlspine("review", "answer", "churn", item["prediction_id"], verdict)
    (estimate,) = desk.mlspine("review", "estimate", "churn", "--json").json
    assert (estimate["reviewed"], estimate["skipped"], estimate["waiting"]) == (11, 1, 28)
    weights = [1 / each["inclusion"] for each in waiting[:11]]
    assert estimate["interval"]["value"] == pytest.approx(sum(weights[3:]) / sum(weights))
    labels = desk.mlspine("log", "churn", "select count(*) as n from labelled", "--json").json
    assert labels["rows"] == [[11]]
    refused = desk.mlspine("review", "answer", "churn", waiting[20]["prediction_id"], "maybe", check=False)
    assert "'maybe' is no class of this model" in refused.err
    stranger = desk.mlspine("review", "answer", "churn", "0190-1:0", "right", check=False)
    assert "was not drawn" in stranger.err
    desk.mlspine("down")


@pytest.mark.long
@pytest.mark.slow
def test_a_release_that_misses_a_sentinel_takes_no_traffic_and_a_live_one_comes_back(desk: Desk) -> None:
    ship_churn(desk)
    ship_churn(desk, C=0.0001)  # answers almost the same to everybody
    (desk.folder / "mlspine.toml").write_text('[monitoring]\non_critical = "fallback"\n')
    desk.mlspine("serve", "churn:1")
    scores = {}
    for charge in (20.0, 120.0):
        row = ROW | {"monthly charge": charge}
        scores[charge] = desk.post("/endpoints/churn/predict", row)[2]["predictions"][0]["score"]
    before = desk.mlspine("log", "churn", "select count(*) from log", "--json").json["rows"]
    cases = [
        ROW | {"monthly charge": charge, "expected_score": score, "tolerance": 0.05, "why": "must tell them apart"}
        for charge, score in scores.items()
    ]
    (desk.folder / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    desk.mlspine("sentinels", "add", "churn", "cases.jsonl")
    assert "must tell them apart" in desk.mlspine("sentinels", "churn").out
    bad = [ROW | {"expected": 1, "tenur": 3}, {"expected": None}]
    (desk.folder / "bad.json").write_text(json.dumps(bad))
    refused = desk.mlspine("sentinels", "add", "churn", "bad.json", check=False)
    assert "did you mean 'tenure'?" in refused.err
    assert "row 2: neither expected nor expected_score" in refused.err
    barred = desk.mlspine("promote", "churn", "2", check=False)
    assert barred.code != 0
    assert "answers 1 of 2 sentinels otherwise" in barred.err
    # Asking is no traffic: nothing was recorded.
    assert desk.mlspine("log", "churn", "select count(*) from log", "--json").json["rows"] == before
    for each in desk.mlspine("sentinels", "churn", "--json").json:
        desk.mlspine("sentinels", "remove", "churn", each["id"][-12:], "--reason", "to let it in")
    desk.mlspine("promote", "churn", "2")
    desk.mlspine("sentinels", "add", "churn", "cases.jsonl")
    deadline = time.monotonic() + 110
    while desk.post("/endpoints/churn/predict", ROW)[2]["version"] != 1:
        assert time.monotonic() < deadline, desk.mlspine("alerts", "--all").out
        time.sleep(1)
    told = desk.mlspine("alerts", "churn", "--json").json
    assert any("went back from version 2 to 1 by itself" in each["title"] for each in told)
    assert "sentinel" in desk.mlspine("ledger", "endpoint:churn").out
    desk.mlspine("down")
