"""Logged requests are answered again by two releases, from a terminal, while the endpoint serves."""

from __future__ import annotations

import pytest

from tests.desk import Desk, ship_churn
from tests.journeys.test_review import rows as customers

OTHER_COLUMNS = """
import numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
rng = np.random.default_rng(0)
X = pd.DataFrame({"tenure": rng.integers(0, 72, 500), "income": rng.normal(0, 1, 500)})
model = LogisticRegression().fit(X, X.income > 0)
import mlspine; mlspine.ship(model, X, X.income > 0, name="churn")
"""


@pytest.mark.long
@pytest.mark.slow
def test_what_another_release_would_have_answered_is_seen_before_anybody_is_answered_by_it(desk: Desk) -> None:
    ship_churn(desk)
    ship_churn(desk, C=0.001)
    desk.mlspine("serve", "churn:1")
    refused = desk.mlspine("replay", "churn", "--against", "2", check=False)
    assert refused.code == 2
    assert "the log of churn holds no requests that could be answered again" in refused.err

    sent = customers(800)
    ids: list[str] = []
    for start in range(0, 800, 200):
        _, _, answer = desk.post("/endpoints/churn/predict", sent[start : start + 200])
        ids += [f"{answer['id']}:{row}" for row in range(200)]
    labels = "".join(f"{id_},{row['contract'] == 'month':d}\n" for id_, row in zip(ids[:600], sent, strict=False))
    (desk.folder / "labels.csv").write_text("id,label\n" + labels)
    desk.mlspine("labels", "add", "churn", "labels.csv")

    found = desk.mlspine("replay", "churn", "--against", "2", "--json").json
    assert (found["rows"], found["held"], found["a"]["version"], found["b"]["version"]) == (800, 800, 1, 2)
    (again,) = found["reproduced"]
    assert (again["rows"], again["same"]) == (800, 800)
    assert 0 < found["disagree"] < 800
    assert found["disagree"] == sum(each["rows"] for each in found["matrix"] if each["a"] != each["b"])
    assert found["right"]["rows"] == 600
    assert {each["id"] for each in found["different"]} <= set(ids)
    assert set(found["different"][0]["values"]) == set(sent[0])

    told = desk.mlspine("replay", "churn", "--release", "2", "--against", "live", "--rows", "300", "--html", "r.html")
    assert "release 1 gives 300 of its 300 logged answers again" in told.out
    assert "300 of 800 logged, the newest" in told.out
    assert found["verdict"].startswith(f"releases 1 and 2 differ on {found['disagree']} of 800 logged rows")
    page = (desk.folder / "r.html").read_text()
    assert "release 2 against 1" in page
    assert "<script" not in page
    over = desk.mlspine("replay", "churn", "--against", "2", "--max-disagreement", "0.0001", check=False)
    assert over.code == 3
    assert desk.mlspine("replay", "churn", "--against", "2", "--max-disagreement", "1").code == 0

    before = desk.mlspine("ledger", "--json").out
    for words, says in (
        (("--against", "7"), "no model version churn:7"),
        (("--against", "1"), "are the same release"),
        (("--against", "2", "--from", "2031-01-01"), "no logged row of churn lies in this span"),
        (("--against", "2", "--from", "yesterday"), "'yesterday' is not a time"),
        (("--against", "2", "--rows", "0"), "0 is not in the range"),
        (("--against", "2", "--html", "no/such/folder/r.html"), "give another path to --html"),
    ):
        answer = desk.mlspine("replay", "churn", *words, check=False)
        assert answer.code != 0
        assert says in answer.err
        assert "Traceback" not in answer.err
    assert desk.mlspine("ledger", "--json").out == before
    desk.python(OTHER_COLUMNS)
    other = desk.mlspine("replay", "churn", "--against", "3", check=False)
    assert "800 rows: release 1 was not asked about income" in other.err
    desk.mlspine("down")


@pytest.mark.long
@pytest.mark.slow
def test_columns_kept_out_of_the_log_are_told(desk: Desk) -> None:
    ship_churn(desk)
    ship_churn(desk, C=0.001)
    desk.mlspine("serve", "churn:1", "--redact", "tenure")
    desk.post("/endpoints/churn/predict", customers(50))
    refused = desk.mlspine("replay", "churn", "--against", "2", check=False)
    assert "none of the 50 logged rows of churn can be answered again by both releases" in refused.err
    assert "tenure was redacted from the log, and cannot be given as missing" in refused.err
    desk.mlspine("down")
