"""Makes docs/images/report-*.png by running the product: python -m tests.journeys.picture_of_the_report

A model of late flights, trained on January to March 2013, answers a tenth of those from April to July and learns how
they turned out. The report of its newest window with a WARNING is written as a file and photographed, on a desktop and
on a phone. Takes about three minutes; needs the extra `demo` and chromium.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.chromium import chromium, look_as, picture
from tests.desk import Desk
from tests.journeys.picture_of_the_page import SEND

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
WIDTH, HEIGHT = 1000, 1150
PHONE_WIDTH, PHONE_HEIGHT = 390, 900

SHIP = """
import mlspine
from mlspine.demo.flights import KEY, TIME, build_model, load_flights, split
cut = split(load_flights(), start="2013-01-01", holdout_from="2013-03-01", end="2013-04-01")
model = build_model().set_params(trees__max_iter=30).fit(cut.X.drop(columns=[KEY, TIME]), cut.y)
mlspine.ship(model, cut.X, cut.y, name="flights", holdout=(cut.X_holdout, cut.y_holdout), time=TIME, key=KEY)
"""

WINDOWS = """
from mlspine.control import connect
for report in connect().monitoring.reports("flights", limit=5000):
    print(report.from_at_ms, report.severity, report.rows, [v.name for v in report.features if v.severity != "OK"])
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        try:
            desk.python(SHIP)
            desk.mlspine("serve", "flights:1")
            desk.python(SEND.format(port=desk.port))
            desk.mlspine("labels", "add", "flights", "outcomes.parquet")
            desk.mlspine("check", "flights")
            desk.mlspine("report", "flights", "--window", _window(desk), "--html", "report.html")
            _pictures(Path(folder) / "report.html", Path(folder) / "profile")
        finally:
            desk.mlspine("down", check=False)


def _window(desk: Desk) -> str:
    """The newest window that warned, the newest of all when none did."""
    from mlspine.monitoring.document import moment

    lines = [line.split(maxsplit=2) for line in desk.python(WINDOWS).out.splitlines()]
    loud = [line for line in lines if line[1] in ("WARNING", "CRITICAL")]
    return moment(int((loud or lines)[-1][0])) or "latest"


def _pictures(page: Path, profile: Path) -> None:
    with chromium(profile) as driver:
        for name, width, height, dark in (
            ("report-page", WIDTH, HEIGHT, False),
            ("report-phone", PHONE_WIDTH, PHONE_HEIGHT, True),
        ):
            look_as(driver, width=width, height=height, dark=dark)
            driver.get(page.as_uri())
            picture(driver, IMAGES / f"{name}.png", width=width, height=height)
        look_as(driver, width=WIDTH, height=HEIGHT)
        driver.get(page.as_uri())
        driver.find_element("css selector", "[aria-labelledby=quality-title]").screenshot(
            str(IMAGES / "report-quality.png")
        )


if __name__ == "__main__":
    sys.exit(main())
