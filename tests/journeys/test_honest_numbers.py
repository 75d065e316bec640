"""No metric from rows the model was fitted on, and no alert when nothing changed."""

from __future__ import annotations

import pytest

from tests.desk import Desk

SHIP_FOREST = """
import mlspine, numpy as np
from sklearn.ensemble import RandomForestClassifier

def rows(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    y = (rng.random(n) < 1 / (1 + np.exp(-X[:, 0] - 0.5 * X[:, 1]))).astype(int)
    return X, y

X, y = rows(2000, 0)
model = RandomForestClassifier(50, random_state=0, n_jobs=1).fit(X, y)
assert model.score(X, y) == 1.0  # overfit on purpose
version = mlspine.ship(model, X, y, name="forest")
"""


@pytest.mark.long
@pytest.mark.slow
def test_an_overfit_forest_claims_no_false_metric_and_ten_thousand_unseen_rows_raise_no_alert(
    desk: Desk,
) -> None:
    desk.python(SHIP_FOREST)
    metric = desk.mlspine("models", "forest", "--json").json[0]["metric"]
    assert metric["rows_from"] == "out-of-fold"
    assert 0.6 < metric["interval"]["value"] < 0.85  # the best any model can do here is about 0.77
    desk.mlspine("serve", "forest")
    desk.python(
        "import json, urllib.request, numpy as np\n"
        "rng = np.random.default_rng(99)\n"
        f"url = 'http://127.0.0.1:{desk.port}/endpoints/forest/predict'\n"
        "for _ in range(10):\n"
        "    rows = [{f'x{i}': float(v) for i, v in enumerate(row)} for row in rng.normal(size=(1000, 6))]\n"
        "    request = urllib.request.Request(url, json.dumps({'rows': rows}).encode())\n"
        "    urllib.request.urlopen(request, timeout=60).read()\n"
    )
    reports = desk.mlspine("check", "forest", "--json").json
    assert sum(report["rows"] for report in reports) == 10_000
    told = desk.mlspine("status", "forest", "--json").json
    assert told["alerts"] == []
    assert told["verdict"] == "healthy"


@pytest.mark.slow
def test_a_shifted_input_alerts_naming_it_first_through_the_sink_given(desk: Desk) -> None:
    desk.python(SHIP_FOREST)
    desk.mlspine("serve", "forest", "--notify", f"command:tee {desk.folder}/told.json")
    desk.python(
        "import json, urllib.request, numpy as np\n"
        "rng = np.random.default_rng(7)\n"
        f"url = 'http://127.0.0.1:{desk.port}/endpoints/forest/predict'\n"
        "X = rng.normal(size=(2000, 6)); X[:, 0] += 0.5\n"
        "rows = [{f'x{i}': float(v) for i, v in enumerate(row)} for row in X]\n"
        "request = urllib.request.Request(url, json.dumps({'rows': rows}).encode())\n"
        "urllib.request.urlopen(request, timeout=60).read()\n"
    )
    desk.mlspine("check", "forest")
    told = desk.mlspine("status", "forest", "--json").json
    assert told["verdict"] == "alert"
    assert told["drifted"][0] == "x0"
    assert '"endpoint":"forest"' in (desk.folder / "told.json").read_text()
