"""The README's one line and four commands, typed literally and in order in an empty folder."""

from __future__ import annotations

import re

from tests.desk import Desk, ship_churn

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}
# Words of the house that a newcomer must not need: only model, endpoint, alert and release may appear.
CONCEPTS = [
    "baseline",
    "revision",
    "ledger",
    "spool",
    "segment",
    "profile",
    "stage",
    "tier",
    "gate",
    "alias",
    "worker",
    "placement",
    "parity",
    "workspace",
    "artefact",
    "artifact",
    "lineage",
    "run",
    "experiment",
    "registry",
    "deployer",
    "sub-window",
    "window",
    "drift",
    "PSI",
    "significance",
]


def test_one_line_and_four_commands_take_a_model_to_a_reversible_endpoint(desk: Desk) -> None:
    shipped = ship_churn(desk)
    assert "release" in shipped.out
    assert "Next: mlspine serve churn" in shipped.out
    served = desk.mlspine("serve", "churn")
    status, headers, answer = desk.post("/endpoints/churn/predict", ROW)
    assert status == 200
    assert 0.5 < answer["predictions"][0]["score"] <= 1
    assert headers["mlspine-request-id"] == answer["id"]
    told = desk.mlspine("status", "churn")
    assert "warming up" in told.out
    rolled_back = desk.mlspine("rollback", "churn")
    assert "cannot answer" in rolled_back.out
    status, _, answer = desk.post("/endpoints/churn/predict", ROW)
    assert status == 503
    for text in (shipped.out, served.out, told.out, rolled_back.out):
        assert _concepts_in(text) == []
        assert "Traceback" not in text


def _concepts_in(text: str) -> list[str]:
    return [word for word in CONCEPTS if re.search(rf"\b{re.escape(word)}s?\b", text, re.IGNORECASE)]
