"""Rollback under load brings back the whole release: no request fails, recorded answers are exact."""

from __future__ import annotations

import json

import pytest

from tests.desk import Desk, ship_churn
from tests.journeys.kills import Callers

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}


def test_promote_and_rollback_under_load_fail_no_request_and_restore_exact_answers(desk: Desk) -> None:
    ship_churn(desk, C=1.0)
    ship_churn(desk, C=0.0001)
    desk.mlspine("serve", "churn:1")
    first = desk.post("/endpoints/churn/predict", ROW)[2]["predictions"]
    callers = Callers(f"http://127.0.0.1:{desk.port}/endpoints/churn/predict", ROW)
    try:
        promoted = desk.mlspine("promote", "churn", "2", "--json").json
        second = desk.post("/endpoints/churn/predict", ROW)[2]["predictions"]
        rolled_back = desk.mlspine("rollback", "churn", "--reason", "drill", "--json").json
    finally:
        callers.stop()
    restored = desk.post("/endpoints/churn/predict", ROW)[2]["predictions"]
    assert callers.failed == []
    assert len(callers.answered) > 100
    assert second != first
    assert restored == first
    assert promoted["revision"]["version"] == 2
    assert rolled_back["revision"]["version"] == 1
    assert rolled_back["effective_s"] < 0.5
    assert rolled_back["proof"]["reproduced_rows"] == rolled_back["proof"]["recorded_rows"] > 0
    told = json.loads(desk.mlspine("status", "churn", "--json").out)
    states = {claim["name"]: claim["state"] for claim in told["questions"]}
    assert states["how it is rolled back"] == "green"
    assert states["how it is updated"] == "green"


def test_shipping_the_same_again_returns_the_same_version(desk: Desk) -> None:
    assert "version 1" in ship_churn(desk).out
    assert "version 1" in ship_churn(desk).out
    assert [version["version"] for version in desk.mlspine("models", "churn", "--json").json] == [1]


@pytest.mark.long
def test_a_second_model_of_another_kind_leaves_the_first_endpoint_undisturbed(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    callers = Callers(f"http://127.0.0.1:{desk.port}/endpoints/churn/predict", ROW, threads=1)
    try:
        desk.python(
            "import mlspine, numpy as np, lightgbm\n"
            "rng = np.random.default_rng(0); X = rng.normal(size=(2000, 4)); y = X[:, 0] * 3 + rng.normal(size=2000)\n"
            "model = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1).fit(X, y)\n"
            "mlspine.ship(model, X, y, name='price')"
        )
        desk.mlspine("serve", "price")
    finally:
        callers.stop()
    assert callers.failed == []
    status, _, answer = desk.post("/endpoints/price/predict", {f"x{i}": 0.5 for i in range(4)})
    assert status == 200
    assert 0.5 < answer["predictions"][0]["prediction"] < 3
    assert len(desk.mlspine("status", "--json").json["endpoints"]) == 2
