"""Dividing requests by command and HTTP: who is in stays in, the way back, what a shadow would have said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.desk import Desk, ship_churn
from tests.journeys.waiting import until

ROWS = [
    {"monthly charge": 20.0 + 5 * n, "tenure": 1 + n % 60, "contract": "month" if n % 2 else "year"} for n in range(40)
]
CUSTOMERS = [f"customer-{n}" for n in range(120)]


def releases(desk: Desk, customers: list[str]) -> dict[str, str]:
    """Who answers whom: the release named by each answer, by customer."""
    told = {}
    for n, customer in enumerate(customers):
        status, headers, _ = desk.post("/endpoints/churn/predict", ROWS[n % len(ROWS)], **{"Mlspine-Key": customer})
        assert status == 200
        told[customer] = headers["mlspine-release"]
    return told


def logged(desk: Desk, sql: str) -> list[list[Any]]:
    rows: list[list[Any]] = desk.mlspine("log", "churn", sql, "--json").json["rows"]
    return rows


def test_a_candidate_grows_is_taken_back_and_takes_over(desk: Desk) -> None:
    ship_churn(desk, C=1.0)
    ship_churn(desk, C=0.0001)
    desk.mlspine("serve", "churn:1")
    live, candidate = (each["release_hash"] for each in desk.mlspine("models", "churn", "--json").json)
    begun = desk.mlspine("split", "churn:2", "30%", "--reason", "look at it first", "--json").json
    assert (begun["revision"]["version"], begun["revision"]["cause"]) == (1, "traffic")
    first = releases(desk, CUSTOMERS)
    assert set(first.values()) == {live, candidate}
    assert 0.12 < sum(each == candidate for each in first.values()) / len(first) < 0.5  # 30% of 120, within 4 sd
    assert releases(desk, CUSTOMERS) == first  # the same again, by the same

    assert "version 2 answers 70% of the requests" in desk.mlspine("split", "churn", "70%").out
    grown = releases(desk, CUSTOMERS)
    assert all(grown[each] == candidate for each, release in first.items() if release == candidate)
    assert sum(each == candidate for each in grown.values()) > sum(each == candidate for each in first.values())

    paths = {path: (count, release) for path, count, release in logged(
        desk, "select _path, count(*), any_value(_release) from log group by 1"
    )}  # fmt: skip
    by_candidate = sum(each == candidate for told in (first, first, grown) for each in told.values())
    assert paths == {"candidate": (by_candidate, candidate), "live": (3 * len(CUSTOMERS) - by_candidate, live)}
    shown = desk.mlspine("split", "churn").out
    assert "version 1 is live; version 2 answers 70% of the requests" in shown
    assert "candidate" in shown
    assert "version 2 answers 70% of the requests" in desk.mlspine("status", "churn").out

    back = desk.mlspine("rollback", "churn").out
    assert "version 2 was taken back, the live version stays" in back
    assert set(releases(desk, CUSTOMERS[:20]).values()) == {live}

    desk.mlspine("split", "churn:2", "100%")
    assert set(releases(desk, CUSTOMERS[:20]).values()) == {candidate}
    promoted = desk.mlspine("promote", "churn", "2", "--json").json
    assert promoted["revision"]["traffic"]["candidate"] == 0
    assert set(releases(desk, CUSTOMERS[:20]).values()) == {candidate}
    ledger = desk.mlspine("ledger", "endpoint:churn").out
    assert "split" in ledger


@pytest.mark.long
def test_a_cohort_meets_the_candidate_and_nobody_else(desk: Desk) -> None:
    ship_churn(desk, C=1.0)
    ship_churn(desk, C=0.0001)
    desk.mlspine("serve", "churn:1")
    live, candidate = (each["release_hash"] for each in desk.mlspine("models", "churn", "--json").json)
    refused = desk.mlspine("split", "churn:2", "100%", "--cohort", "contrct=month", check=False)
    assert refused.code
    assert "did you mean contract?" in refused.err
    desk.mlspine("split", "churn:2", "100%", "--cohort", "contract=month")
    for row in ROWS[:6]:
        headers = desk.post("/endpoints/churn/predict", row)[1]
        assert headers["mlspine-release"] == (candidate if row["contract"] == "month" else live)
    assert "answers everything" in desk.mlspine("split", "churn", "--off").out
    assert desk.post("/endpoints/churn/predict", ROWS[1])[1]["mlspine-release"] == live


@pytest.mark.long
def test_a_shadow_answers_nobody_and_is_compared(desk: Desk) -> None:
    ship_churn(desk, C=1.0)
    ship_churn(desk, C=0.0001)
    desk.mlspine("serve", "churn:1")
    live = desk.mlspine("models", "churn", "--json").json[0]["release_hash"]
    desk.mlspine("shadow", "churn:2")
    assert set(releases(desk, CUSTOMERS[:40]).values()) == {live}
    until(lambda: logged(desk, "select count(*) from shadow") == [[40]], "the shadow's answers")
    assert logged(desk, "select count(*), count(distinct _version) from log") == [[40, 1]]
    compared = desk.mlspine("shadow", "churn", "--json").json
    assert compared["rows"] == 40
    assert compared["difference"] > 0.01  # of another strength of regularisation
    assert compared["arm"]["compared"] == 40
    assert "40 rows beside those of version 1" in desk.mlspine("shadow", "churn").out
    desk.mlspine("forget", CUSTOMERS[0], "--yes")
    assert logged(desk, "select count(*) from shadow") == [[39]]
    desk.mlspine("shadow", "churn", "--off")
    releases(desk, CUSTOMERS[:3])
    assert logged(desk, "select count(*) from shadow") == [[39]]
