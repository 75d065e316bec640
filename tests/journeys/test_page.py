"""The page in a real browser: signed in by a link, true to the command line, live, harmless and usable by everybody."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.chromium import axe, chromium, look_as, overflow
from tests.desk import Desk

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

pytestmark = pytest.mark.slow

SCRIPT = "<script>window.owned = 1</script>"
IMAGE = '"><img src=x onerror="window.owned = 2">'
TURNED = "\u202egnp.exe"
LONG = "long " + "x" * 10_000
NAMES = [SCRIPT, IMAGE, TURNED, LONG, "' onfocus='window.owned=3' autofocus='"]
REASON = "</bdi></td><svg onload='window.owned=4'> \u0627\u0644\u0639\u0631\u0628\u064a\u0629 " + "y" * 10_000

# Scans of handwritten digits: five pixels and which half the stroke is heavier in, under names nobody should use.
SHIP = f"""
import mlspine, numpy as np, pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
names = {NAMES!r}
digits = load_digits()
X = pd.DataFrame(digits.data[:, [20, 26, 36, 42, 43]], columns=names)
left, right = digits.images[:, :, :4].sum((1, 2)), digits.images[:, :, 4:].sum((1, 2))
X["half"] = np.where(left > right, {SCRIPT!r}, {LONG!r})
y = (digits.target % 2).astype(int)
for C, message in ((1.0, "first"), (0.5, {IMAGE!r})):
    model = make_pipeline(make_column_transformer((OneHotEncoder(), ["half"]), remainder="passthrough"),
                          LogisticRegression(C=C, max_iter=2000)).fit(X[:900], y[:900])
    mlspine.ship(model, X[:900], y[:900], name="digits", holdout=(X[900:1200], y[900:1200]), owner={IMAGE!r},
                 message=message)
X[1200:].assign(**{{names[0]: 16.0 - X[names[0]]}}).to_json("rows.json", orient="records")
"""


class Page:
    """A browser at the page of a served model, signed in."""

    def __init__(self, desk: Desk, driver: WebDriver) -> None:
        self.desk = desk
        self.driver = driver
        self.home = f"http://127.0.0.1:{desk.control_port}/"
        self.endpoint = f"{self.home}endpoints/digits"
        self.rows = json.loads((desk.folder / "rows.json").read_text())

    def open(self, url: str) -> None:
        self.driver.get(url)

    def text(self, css: str = "main") -> str:
        from selenium.webdriver.common.by import By

        return self.driver.find_element(By.CSS_SELECTOR, css).text

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def wait_for(self, script: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 60, poll_frequency=0.2).until(lambda driver: driver.execute_script(script))

    def ask(self) -> None:
        assert self.desk.post("/endpoints/digits/predict", {"rows": self.rows})[0] == 200


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        desk = Desk(tmp_path_factory.mktemp("desk"))
        try:
            desk.python(SHIP)
            desk.mlspine("serve", "digits:1")
            desk.mlspine("promote", "digits", "2", "--reason", REASON)
            page = Page(desk, driver)
            page.ask()
            desk.mlspine("check", "digits")
            page.open(desk.mlspine("look", "--no-browser").out.strip())
            page.wait_for("return location.pathname === '/' && document.querySelector('article') !== null")
            yield page
        finally:
            desk.mlspine("down", check=False)


def test_a_link_signs_one_browser_in_and_no_second_one(page: Page) -> None:
    url = page.desk.mlspine("look", "digits", "--json").json["url"]
    with urllib.request.urlopen(url, timeout=30) as first:
        assert "HttpOnly" in first.headers["Set-Cookie"]
    status, body = page.desk.get(url.partition(str(page.desk.control_port))[2], port=page.desk.control_port)
    assert status == 401
    assert "used already" in body


def test_a_viewers_token_signs_in_by_the_form_and_leads_back(page: Page) -> None:
    from selenium.webdriver import Keys
    from selenium.webdriver.common.by import By

    secret = page.desk.mlspine("tokens", "create", "eve", "--role", "viewer", "--json").json["secret"]
    cookies = page.driver.get_cookies()
    page.driver.delete_all_cookies()
    try:
        page.open(page.endpoint)
        assert "Sign in" in page.text()
        page.driver.find_element(By.ID, "token").send_keys(secret, Keys.ENTER)
        page.wait_for("return location.pathname === '/endpoints/digits' && document.querySelector('.feature') !== null")
        assert page.text(".who span") == "eve, viewer"
        page.driver.find_element(By.CSS_SELECTOR, ".who button").click()
        page.wait_for("return location.pathname === '/signin'")
        page.open(page.endpoint)
        assert "Sign in" in page.text()
    finally:
        for cookie in cookies:
            page.driver.add_cookie(cookie)


def test_the_figures_are_those_of_the_command_line(page: Page) -> None:
    page.open(page.endpoint)
    told = page.desk.mlspine("status", "digits", "--json").json
    shown = page.text()
    speed = told["speed"]
    for figure in (
        told["verdict"],
        f"{speed['requests']:,}",
        f"{speed['p50_s'] * 1e3:.1f} · {speed['p95_s'] * 1e3:.1f} · {speed['p99_s'] * 1e3:.1f} ms",
        f"{told['metric']['interval']['value']:.3f}",
        f"{told['rows']:,}",
        told["next_step"],
        *(claim["evidence"] for claim in (*told["questions"], *told["checks"]) if len(claim["evidence"]) < 200),
    ):
        if " ago" not in figure:
            assert figure in shown
    assert told["drifted"][0] == SCRIPT
    assert len(told["alerts"]) == page.run("return document.querySelectorAll('#alerts .alert').length")


def test_every_feature_is_drawn_against_what_the_model_was_fitted_on(page: Page) -> None:
    page.open(page.endpoint)
    drawn = page.run(
        "return [...document.querySelectorAll('.feature')].map(f => ["
        " f.querySelector('bdi').textContent, f.querySelectorAll('.columns .was').length,"
        " f.querySelectorAll('.columns .now').length, f.querySelectorAll('.bins tbody th').length,"
        " f.querySelectorAll('.meter').length])"
    )
    assert len(drawn) == len(NAMES) + 1 + 2  # the columns, the score and the prediction
    for name, was, now, labels, meters in drawn:
        assert was == now == labels > 1, name
        assert meters > 1, name


def test_hostile_names_stay_words(page: Page) -> None:
    for url in (page.home, page.endpoint):
        page.open(url)
        page.run("for (const each of document.querySelectorAll('details')) each.open = true")
        assert page.run("return window.owned") is None
        assert page.run("return document.querySelectorAll('main img, main script, main [onload], h1 svg').length") == 0
    shown = page.text()
    assert SCRIPT in shown
    assert IMAGE in shown
    assert r"\u202egnp.exe" in shown
    assert f"({len(LONG):,} characters)" in shown
    assert f"({len(REASON):,} characters)" in shown
    # The policy stopped nothing: the page itself asks for nothing that it forbids.
    assert [each for each in page.driver.get_log("browser") if "Content Security" in each["message"]] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_it_fits_the_screen_and_breaks_no_rule_of_accessibility(page: Page, width: int, dark: bool) -> None:
    look_as(page.driver, width=width, dark=dark)
    for url in (page.home, page.endpoint, f"{page.home}signin", f"{page.home}endpoints/nothing"):
        page.open(url)
        assert overflow(page.driver) == [], url
        page.run("for (const each of document.querySelectorAll('details')) each.open = true")
        assert overflow(page.driver) == [], url
        assert axe(page.driver) == [], url
    look_as(page.driver)


def test_the_keyboard_shows_where_it_is(page: Page) -> None:
    from selenium.webdriver import ActionChains, Keys

    page.open(page.home)
    seen = []
    for _ in range(5):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        outline = (
            "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).left"
        )
        seen.append(page.run(f"return [document.activeElement.textContent.trim(), {outline}]"))
    assert seen[0][0] == "Skip to content"
    assert [each for each in seen if each[1].startswith("none")] == []
    assert "digits" in [text for text, _ in seen]


def test_it_lives_and_keeps_scroll_focus_and_what_was_opened(page: Page) -> None:
    page.open(page.endpoint)
    page.run(
        "window.same = true; const f = [...document.querySelectorAll('.feature')].at(-1); f.open = true;"
        "const s = f.querySelector('summary'); s.focus(); window.focused = s.id;"
        "window.top_of = () => Math.round(document.activeElement.getBoundingClientRect().top); window.at = top_of()"
    )
    before = page.desk.mlspine("status", "digits", "--json").json["speed"]["requests"]
    page.ask()
    page.wait_for(f"return document.querySelector('#numbers dd').textContent.trim().startsWith('{before + 1}')")
    assert page.run("return [window.same, document.activeElement.id === window.focused]") == [True, True]
    assert abs(page.run("return top_of() - at")) <= 1
    assert page.run("return document.activeElement.closest('details').open") is True


def test_without_a_script_everything_is_there(page: Page) -> None:
    page.open(page.endpoint)
    with_script = page.run("return document.querySelectorAll('main *').length")
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open(page.endpoint)
        without = page.driver.execute_cdp_cmd("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
        found = page.driver.execute_cdp_cmd("DOM.querySelectorAll", {"nodeId": without, "selector": "main *"})
        assert len(found["nodeIds"]) == with_script
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.long
def test_signing_out_is_told_to_the_other_tab_and_a_silent_server_too(page: Page) -> None:
    page.open(page.home)
    cookies = page.driver.get_cookies()
    page.driver.delete_all_cookies()
    page.wait_for("return document.getElementById('lost').textContent.includes('signed out')")
    for cookie in cookies:
        page.driver.add_cookie(cookie)
    page.open(page.home)
    page.desk.mlspine("down")
    page.wait_for("return document.getElementById('lost').textContent.includes('does not answer')")
    assert "digits" in page.text()
    page.desk.mlspine("up")
    page.wait_for("return document.getElementById('lost').textContent.includes('signed out')")
