"""Makes docs/images/page.png by running the product: python -m tests.journeys.picture_of_the_page

A model of late flights, trained on January to March 2013, answers a tenth of those from April to July and learns how
they turned out; it is promoted once and rolled back once. Takes about two minutes; needs the extra `demo` and chromium.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.chromium import chromium, look_as, picture
from tests.desk import Desk

IMAGE = Path(__file__).resolve().parents[2] / "docs" / "images" / "page.png"
WIDTH, HEIGHT = 1280, 1480

SHIP = """
import mlspine
from mlspine.demo.flights import KEY, TIME, build_model, load_flights, split
cut = split(load_flights(), start="2013-01-01", holdout_from="2013-03-01", end="2013-04-01")
for trees in (60, 30):
    model = build_model().set_params(trees__max_iter=trees).fit(cut.X.drop(columns=[KEY, TIME]), cut.y)
    mlspine.ship(
        model, cut.X, cut.y, name="flights", holdout=(cut.X_holdout, cut.y_holdout), time=TIME, key=KEY,
        owner="ana@example.org", message=f"{trees} trees",
    )
"""

SEND = """
from mlspine.demo.flights import ARRIVED, KEY, TARGET, between, load_flights
from mlspine.demo.replay import by_hour, send
flights = between(load_flights(), "2013-04-01", "2013-08-01").iloc[::10]
outcome = send("http://127.0.0.1:{port}/endpoints/flights/predict", by_hour(flights))
assert outcome.failed == 0, outcome
arrived = flights[flights[ARRIVED].notna()]
arrived[[KEY, TARGET, ARRIVED]].set_axis(["key", "label", "label_time"], axis=1).to_parquet("outcomes.parquet")
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        try:
            _fly(desk)
            _picture(desk, Path(folder) / "profile")
        finally:
            desk.mlspine("down", check=False)


def _fly(desk: Desk) -> None:
    desk.python(SHIP)
    desk.mlspine("serve", "flights:1")
    desk.python(SEND.format(port=desk.port))
    desk.mlspine("labels", "add", "flights", "outcomes.parquet")
    desk.mlspine("promote", "flights", "2", "--reason", "fewer trees, answers faster")
    desk.mlspine("rollback", "flights", "--reason", "misses more storms")
    desk.mlspine("check", "flights")


def _picture(desk: Desk, profile: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    link = desk.mlspine("look", "flights", "--no-browser").out.strip()
    with chromium(profile) as driver:
        look_as(driver, width=WIDTH, height=HEIGHT)
        driver.get(link)
        WebDriverWait(driver, 60).until(lambda each: each.execute_script("return document.querySelector('.feature')"))
        picture(driver, IMAGE, width=WIDTH, height=HEIGHT)


if __name__ == "__main__":
    sys.exit(main())
