"""Renewing a served model from what it answered and what turned out to be true, typed at a terminal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.desk import Desk, ship_churn


def customers(count: int, *, seed: int) -> tuple[pd.DataFrame, list[int]]:
    """A world in which long tenure no longer keeps anybody."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "monthly charge": np.round(rng.normal(60, 20, count), 3),
            "tenure": rng.integers(0, 72, count),
            "contract": rng.choice(["month", "year", "two years"], count),
        }
    )
    risk = 0.04 * (frame["monthly charge"] - 60) + 1.5 * (frame["contract"] == "month") - 0.3
    return frame, (rng.random(count) < 1 / (1 + np.exp(-risk))).astype(int).tolist()


@pytest.mark.long
@pytest.mark.slow
def test_a_model_is_renewed_from_its_own_log_and_promoted(desk: Desk) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    nothing = desk.mlspine("retrain", "churn", check=False)
    assert nothing.code == 2
    assert "no logged prediction has a label yet" in nothing.err

    frame, truth = customers(1_600, seed=1)
    labels = []
    for begin in range(0, 1_600, 400):
        part = frame.iloc[begin : begin + 400]
        status, headers, _ = desk.post("/endpoints/churn/predict", {"rows": part.to_dict("records")})
        assert status == 200
        request = headers["mlspine-request-id"]
        labels += [f"{request}:{at},{truth[begin + at]}" for at in range(400)]
    (desk.folder / "truth.csv").write_text("id,label\n" + "\n".join(labels) + "\n")
    desk.mlspine("labels", "add", "churn", "truth.csv")

    renewed = desk.mlspine("retrain", "churn", "--json").json
    assert renewed["verdict"]["status"] == "PASSED", renewed["verdict"]["paragraph"]
    assert renewed["verdict"]["mode"] == "refresh"
    assert renewed["attempt"]["rows"] == 1_200
    assert renewed["version"]["stage"] == "Staging"

    promoted = desk.mlspine("promote", "churn", "2")
    assert "moved to version 2" in promoted.out
    itself = desk.mlspine("gate", "churn:2")
    assert "churn:2 is Production itself" in " ".join(itself.out.split())
    told = desk.mlspine("ledger", "model:churn").out
    assert "retrain" in told
    assert "stage" in told

    # The one it replaced lost: promoting it again is possible at tier low, and said.
    judge, outcome = customers(2_000, seed=2)
    judge.assign(churned=outcome).to_csv(desk.folder / "judge.csv", index=False)
    refused = desk.mlspine("gate", "churn:1", "--data", "judge.csv", "--target", "churned")
    assert "REFUSED" in refused.out
    warned = desk.mlspine("promote", "churn", "1")
    assert "churn:1 does not pass the gate" in warned.out
