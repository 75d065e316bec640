"""Labels that come late, out of order, twice and corrected, for days of the past: what is known now, and was then."""

from __future__ import annotations

import json

import pytest

from tests.desk import Desk

SHIP = """
import mlspine, numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
rng = np.random.default_rng(0)
X = pd.DataFrame({"amount": rng.normal(size=3000), "shop": rng.integers(0, 3, 3000).astype(float)})
y = (X["amount"] + rng.normal(size=3000) > 0).astype(int)
model = LogisticRegression().fit(X[:1500], y[:1500])
mlspine.ship(model, X[:1500], y[:1500], name="sales", holdout=(X[1500:], y[1500:]))
"""
DAY_MS = 86_400_000
FIRST_MS = 20_000 * DAY_MS  # 4 October 2024


def answer(desk: Desk, day: int, rows: int = 400) -> tuple[str, list[float]]:
    """One request of a day: its id and what was asked."""
    amounts = [((7 * row) % rows) / rows * 6 - 3 for row in range(rows)]
    body = {"rows": [{"amount": amount, "shop": float(row % 3)} for row, amount in enumerate(amounts)]}
    at = str(FIRST_MS + day * DAY_MS)
    status, headers, _ = desk.post("/endpoints/sales/predict", body, **{"Mlspine-Event-Time": at})
    assert status == 200
    return {name.lower(): value for name, value in headers.items()}["mlspine-request-id"], amounts


def send(desk: Desk, name: str, rows: list[dict[str, object]]) -> dict[str, int]:
    path = desk.folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows))
    receipt: dict[str, int] = desk.mlspine("labels", "add", "sales", name, "--json").json
    return receipt


@pytest.mark.long
def test_late_corrected_and_repeated_labels_through_the_command_line(desk: Desk) -> None:
    desk.python(SHIP)
    desk.mlspine("serve", "sales")
    asked = {day: answer(desk, day) for day in range(3)}

    def labels(day: int, *, wrong: bool = False, after_days: int = 1) -> list[dict[str, object]]:
        id_, amounts = asked[day]
        return [
            {
                "id": f"{id_}:{row}",
                "label": int((amount > 0) != wrong),
                "label_time": FIRST_MS + (day + after_days) * DAY_MS,
            }
            for row, amount in enumerate(amounts)
        ]

    # The youngest day first, then the oldest, of which a part came wrong, comes twice and is corrected later.
    assert send(desk, "day2.jsonl", labels(2))["matched"] == 400
    assert send(desk, "day0.jsonl", labels(0, wrong=True))["matched"] == 400
    again = send(desk, "day0.jsonl", labels(0, wrong=True))
    assert (again["matched"], again["duplicates"]) == (0, 400)

    by_day = desk.mlspine("quality", "sales", "--by", "day", "--json").json
    assert [report["labelled_rows"] for report in by_day] == [400, 0, 400]
    assert [report["status"] for report in by_day] == ["FINAL", "NO_LABELS", "FINAL"]
    assert by_day[0]["severity"] == "CRITICAL"  # every label of that day says the opposite
    desk.mlspine("check", "sales")
    causes = {alert["cause"] for alert in desk.mlspine("alerts", "--json").json}
    assert "quality:auc" in causes

    assert send(desk, "corrected.jsonl", labels(0, after_days=5))["matched"] == 400
    after = desk.mlspine("quality", "sales", "--by", "day", "--json").json
    assert after[0]["metrics"][0]["interval"]["value"] == 1.0
    assert after[0]["severity"] == "OK"
    assert after[2] == by_day[2]  # nothing came for it, nothing was measured again

    then = desk.mlspine("quality", "sales", "--by", "week", "--as-of", "2024-10-06", "--json").json
    assert sum(report["labelled_rows"] for report in then) == 400  # dated until then: the wrong ones of the first day
    slices = desk.mlspine("quality", "sales", "--slice", "shop", "--json").json
    assert {each["level"] for each in slices} == {"0.0", "1.0", "2.0"}
    assert "value [95%]" in desk.mlspine("quality", "sales", "--by", "day").out
    refused = desk.mlspine("quality", "sales", "--slice", "color", check=False)
    assert refused.code != 0
    assert "amount" in refused.err
