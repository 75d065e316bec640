"""Status from nothing green to all green: each claim turns when it is exercised, and not before."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.desk import Desk, ship_churn
from tests.journeys.team import commit, outcomes, rows, send, write_labels


def green(desk: Desk) -> set[str]:
    """The claims that are green, as the page asks for them."""
    control = json.loads((desk.folder / ".mlspine" / "run" / "control.json").read_text())
    request = urllib.request.Request(
        f"{control['url']}/api/status/read",
        json.dumps({"name": "churn"}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {control['token']}"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        (told,) = json.loads(response.read())["endpoints"]
    return {claim["name"] for claim in (*told["questions"], *told["checks"]) if claim["state"] == "green"}


@pytest.mark.long
@pytest.mark.slow
def test_every_question_and_check_turns_green_when_it_is_exercised(desk: Desk) -> None:
    commit(desk)
    ship_churn(desk)
    ship_churn(desk, C=0.5)
    assert desk.mlspine("status", "--json").json["endpoints"] == []

    desk.mlspine("serve", "churn:1", "--notify", f"command:tee {desk.folder}/told.json")
    so_far = {"how it gets to production", "code versioned", "release versioned", "deployment automated"}
    assert green(desk) == so_far

    desk.mlspine("promote", "churn", "2")
    so_far |= {"how it is updated"}
    assert green(desk) == so_far

    customers = rows(800, seed=11)
    ids = send(desk, customers)
    so_far |= {"how data reaches it", "data reliability"}
    assert green(desk) == so_far

    desk.mlspine("check", "churn")
    assert green(desk) == so_far  # judged, but nobody knows whether alerts arrive
    desk.mlspine("alerts", "test")
    so_far |= {"monitoring"}
    assert green(desk) == so_far

    desk.mlspine("labels", "add", "churn", write_labels(desk, ids, outcomes(customers, seed=12)))
    so_far |= {"quality", "production evaluation"}
    assert green(desk) == so_far

    desk.mlspine("drill", "churn", "rollback")
    so_far |= {"how it is rolled back", "rollback"}
    assert green(desk) == so_far

    desk.mlspine("card", "churn", "--set", "owner=ada@example.org")
    assert green(desk) == so_far  # an owner, but nobody has followed the other runbook
    desk.mlspine("drill", "churn", "deploy")
    so_far |= {"documentation"}
    assert green(desk) == so_far
    assert len(so_far) == 13  # five questions, eight checks
