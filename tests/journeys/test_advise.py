"""What the adviser, the effort ledger and the cost report say to somebody who deploys a first and a second model."""

from __future__ import annotations

import json

import pytest

from tests.desk import Desk, ship_churn

SHIP_PROGRESSION = """
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
X, y = load_diabetes(return_X_y=True, as_frame=True)
model = HistGradientBoostingRegressor(max_iter=30).fit(X, y)
import mlspine; mlspine.ship(model, X, y, name="progression")
"""
CUSTOMER = {"monthly charge": 60.0, "tenure": 5, "contract": "month"}


@pytest.mark.long
@pytest.mark.slow
def test_the_second_deployment_costs_less_and_status_says_what_is_next(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "chrun", check=False)
    desk.mlspine("serve", "churn")
    for _ in range(30):
        assert desk.post("/endpoints/churn/predict", {"rows": [CUSTOMER]})[0] == 200
    desk.mlspine("check", "churn")
    said = desk.mlspine("status").out.splitlines()
    desk.python(SHIP_PROGRESSION)
    desk.mlspine("serve", "progression")
    report = desk.mlspine("effort", "--json").json

    assert said[-1].startswith("next: somebody who is told of alerts (alerts reach nobody). Not yet: feature store,")
    assert said[-1].endswith("because 1 model, 0.5 req/s, 0 shared features.")
    first, second = report["deployments"]
    assert [first["model"], second["model"]] == ["churn", "progression"]
    assert first["until_answering"]["new_concepts"] == ["model", "release", "endpoint"]
    assert (first["in_all"]["lines"], first["in_all"]["commands"], first["in_all"]["failed"]) == (1, 4, 1)
    assert (second["in_all"]["lines"], second["in_all"]["commands"], second["in_all"]["new_concepts"]) == (1, 1, [])
    assert second["in_all"]["minutes"] < first["in_all"]["minutes"]
    assert "progression after churn: 1 line and 1 command instead of 1 line and 4 commands" in report["second"]

    advice = desk.mlspine("advise").out
    for title in ("Next: somebody who is told of alerts", "After that", "Fine as it is", "Not yet"):
        assert title in advice
    assert desk.mlspine("advise", "--json").json["maturity"]["target"] == 1
    cost = desk.mlspine("cost", "churn", "--json").json
    (release,) = cost["releases"]
    assert (release["endpoint"], release["version"], release["requests"]) == ("churn", 1, 30)
    assert 0 < release["calls_s"] < release["cpu_s"]
    assert "CPU-hours offered" in desk.mlspine("cost").out


def test_before_the_first_model_there_is_nothing_to_count(desk: Desk) -> None:
    assert "nothing has been deployed from here yet" in desk.mlspine("effort").out
    assert "no request has been metered yet" in desk.mlspine("cost").out
    advised = desk.mlspine("advise", "--json").json
    assert advised["next"] is None
    assert {each["kind"] for each in advised["advice"]} == {"not yet"}
    unknown = desk.mlspine("cost", "nobody", check=False)
    assert unknown.code != 0
    assert "no endpoint" in unknown.err


def test_help_is_no_effort_and_leaves_nothing_behind(desk: Desk) -> None:
    desk.mlspine("--help")
    assert not (desk.folder / ".mlspine").exists()


def test_the_record_holds_no_values_of_options(desk: Desk) -> None:
    desk.mlspine("models")
    desk.mlspine("up", "--notify", "command:/bin/echo secret-word", "--port", str(desk.port))
    record = (desk.folder / ".mlspine" / "effort.jsonl").read_text()
    assert [json.loads(line)["what"] for line in record.splitlines()] == ["models", "up"]
    assert "secret-word" not in record
