"""A report as people meet it: typed, as a file without a network, followed from an alert, on a phone, printed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chromium import axe, chromium, look_as, overflow
from tests.desk import Desk

pytestmark = pytest.mark.long

SHIP = """
import mlspine, numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
rng = np.random.default_rng(0)
def rows(count, scale=1.0):
    return pd.DataFrame({"income": rng.gamma(3, 10, count) * scale, "<b>age</b>": rng.normal(45, 12, count),
                         "tenure": rng.integers(0, 30, count).astype(float)})
X = rows(4000)
y = ((X.income / 30 + X["<b>age</b>"] / 45 + rng.normal(0, 0.5, 4000)) > 2).astype(int)
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:3000], y[:3000])
mlspine.ship(model, X[:3000], y[:3000], name="credit", holdout=(X[3000:], y[3000:]))
rows(800, 1.3).to_json("rows.json", orient="records")
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    try:
        desk.python(SHIP)
        desk.mlspine("serve", "credit")
        rows = json.loads((desk.folder / "rows.json").read_text())
        assert desk.post("/endpoints/credit/predict", {"rows": rows})[0] == 200
        desk.mlspine("check", "credit")
        yield desk
    finally:
        desk.mlspine("down", check=False)


def test_the_terminal_the_file_the_json_and_the_alert_say_the_same(desk: Desk) -> None:
    alerts = desk.mlspine("alerts", "--json").json
    told = desk.mlspine("report", "credit", "--json").json
    typed = " ".join(desk.mlspine("report", "credit").out.split())
    written = desk.mlspine("report", "credit", "--html", "credit.html").out
    page = (desk.folder / "credit.html").read_text()
    assert "credit.html" in written
    assert told["severity"] == "WARNING"
    drift = [alert["why"] for alert in alerts if alert["cause"].startswith("drift:")]
    assert drift
    for why in drift:
        assert why in {feature["why"] for feature in told["features"]}
        assert why in typed
        assert why.replace(">", "&gt;") in page
    again = desk.mlspine("report", "credit", "--window", told["window"]["from"], "--json").json
    assert again["features"] == told["features"]


def test_it_is_readable_by_everybody_on_any_screen_and_prints(desk: Desk, tmp_path: Path) -> None:
    desk.mlspine("report", "credit", "--html", "credit.html")
    with chromium(tmp_path / "profile") as driver:
        for width in (1280, 390):
            for dark in (False, True):
                look_as(driver, width=width, dark=dark)
                driver.get((desk.folder / "credit.html").as_uri())
                driver.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
                assert overflow(driver) == [], (width, dark)
                assert axe(driver) == [], (width, dark)
        assert driver.get_log("browser") == []
        assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert driver.execute_script("return document.querySelectorAll('h3 b').length") == 0
        look_as(driver, width=1280)
        printed = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
        assert printed.startswith(b"%PDF")
        # The live page leads to it, and it has its looks there too.
        driver.get(desk.mlspine("look", "credit", "--no-browser").out.strip())
        assert driver.execute_script("return location.pathname") is not None
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(driver, 60).until(lambda each: each.execute_script("return document.getElementById('report')"))
        driver.execute_script("document.getElementById('report').click()")
        WebDriverWait(driver, 60).until(lambda each: each.execute_script("return document.querySelector('.verdict')"))
        assert "/endpoints/credit/report?window=" in driver.current_url
        assert "income" in driver.execute_script("return document.querySelector('.verdict').textContent")
        assert driver.execute_script("return getComputedStyle(document.body).maxWidth") == "960px"
        assert [each for each in driver.get_log("browser") if "Content Security" in each["message"]] == []
