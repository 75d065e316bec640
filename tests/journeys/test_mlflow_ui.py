"""MLflow's own pages, unmodified, in a real browser on our store: every page shows what the clients logged.

The picture in docs/images is made anew with MLSPINE_PICTURES=1.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.chromium import chromium, look_as, picture
from tests.desk import Desk
from tests.needs import need
from tests.wire.mlflow.clients import find

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

pytestmark = pytest.mark.wire

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "mlflow.png"
# What MLflow's pages ask of things nobody serves here: GenAI, gateways, accounts. They live without.
UNSERVED = ("/assistant/", "/users/current", "/traces/", "/scorers/", "/issues/")
ASSISTANT_CLOSE = '[data-component-id="mlflow.assistant.chat_panel.close"]'

LOG = """
import json, math, warnings; warnings.simplefilter("ignore")
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mlflow
from mlflow.entities import Metric
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

client = mlflow.MlflowClient()
X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X = X.iloc[:, :6]
mlflow.set_experiment("tumours")
runs = []
for C in (0.01, 1.0):
    with mlflow.start_run(run_name=f"C={C}") as run:
        model = LogisticRegression(C=C, max_iter=5000).fit(X, y)
        mlflow.log_params({"C": C, "solver": "lbfgs"})
        client.log_batch(run.info.run_id, [
            Metric("loss", math.exp(-step / 300) * (1 + C / 4), 1_700_000_000_000 + step, step) for step in range(1000)
        ])
        mlflow.log_metric("accuracy", 0.875 + C / 16)
        mlflow.log_input(mlflow.data.from_pandas(X.assign(y=y), targets="y", name="biopsies"), context="training")
        mlflow.log_text("<h1>Report of the run</h1>", "deep/report.html")
        figure, axes = plt.subplots(); axes.plot([1, 2, 3]); mlflow.log_figure(figure, "curve.png")
        with mlflow.start_run(run_name=f"fold of {C}", nested=True):
            mlflow.log_metric("accuracy", 0.5)
        model_id = mlflow.sklearn.log_model(model, name="model", registered_model_name="tumour").model_id
        runs.append(run.info.run_id)
client.set_registered_model_alias("tumour", "candidate", 2)
client.update_model_version("tumour", 2, "the sharper one")
print(json.dumps({"runs": runs, "model_id": model_id}))
"""


class Pages(NamedTuple):
    """A browser at MLflow's pages, and what was logged."""

    desk: Desk
    driver: WebDriver
    runs: list[str]
    model_id: str

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.desk.control_port}/mlflow/"

    def open(self, place: str, *wanted: str, **query: Any) -> str:
        """The text of a page once it shows all that is wanted."""
        self.driver.get("about:blank")  # else only the part after # changes, and nothing is loaded
        self.driver.get(f"{self.root}#{place}?{urllib.parse.urlencode(query)}")
        return self.until(*wanted)

    def until(self, *wanted: str) -> str:
        from selenium.common import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        seen = ""

        def shows(driver: WebDriver) -> bool:
            nonlocal seen
            seen = driver.execute_script("return document.body.innerText")
            return all(each in seen for each in wanted)

        try:
            WebDriverWait(self.driver, 60, poll_frequency=0.3).until(shows)
        except TimeoutException:
            pytest.fail(f"{[each for each in wanted if each not in seen]} never came, but\n{seen}")
        return seen

    def until_drawn(self, css: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        script = "return document.querySelector(arguments[0]) !== null"
        WebDriverWait(self.driver, 60, poll_frequency=0.3).until(lambda driver: driver.execute_script(script, css))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    python = find("v318")
    builds = list(python.parents[1].glob("lib/python*/site-packages/mlflow/server/js/build"))
    need("mlflow", builds, f"no full mlflow at {python}: make wire brings it")
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        desk = Desk(tmp_path_factory.mktemp("desk"))
        desk.env["MLSPINE_CONTROL__MLFLOW_UI"] = str(builds[0])
        try:
            desk.mlspine("up", "--detach")
            desk.env["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{desk.control_port}"
            logged = desk.run([str(python), "-W", "ignore", "-c", LOG], check=True)
            told = next(line for line in logged.out.splitlines() if line.startswith('{"runs"'))
            pages = Pages(desk, driver, **json.loads(told))
            pages.open("/experiments", "tumours")
            driver.find_element("css selector", ASSISTANT_CLOSE).click()  # it covers a quarter of every page
            yield pages
        finally:
            desk.mlspine("down", check=False)


@pytest.fixture(autouse=True)
def nothing_fails(pages: Pages) -> Iterator[None]:
    """No page asked for anything that failed, but for what nobody serves here."""
    pages.driver.get_log("browser")
    yield
    failed = [
        entry["message"]
        for entry in pages.driver.get_log("browser")
        if entry["level"] == "SEVERE" and not any(part in entry["message"] for part in UNSERVED)
    ]
    assert failed == []


def test_the_list_of_experiments(pages: Pages) -> None:
    pages.open("/experiments", "tumours", "Default")


def test_the_table_of_runs_with_their_dataset_and_model(pages: Pages) -> None:
    pages.open("/experiments/1/runs", "C=0.01", "C=1.0", "biopsies", "4 matching runs")


def test_a_search_is_answered_by_our_filters(pages: Pages) -> None:
    shown = pages.open("/experiments/1/runs", "1 matching run", searchFilter="params.C = '1.0'")
    assert "C=0.01" not in shown


def test_the_charts_draw_every_step_sampled(pages: Pages) -> None:
    chosen = {"compareRunsMode": "CHART", "searchFilter": "", "workflowType": "machine_learning"}
    pages.open("/experiments/1/runs", "loss", "accuracy", "C=0.01", **chosen)
    pages.until_drawn(".scatterlayer .js-line")
    if os.environ.get("MLSPINE_PICTURES"):
        look_as(pages.driver, width=1280, height=720)
        picture(pages.driver, PICTURE, width=1280, height=720)


def test_two_runs_side_by_side(pages: Pages) -> None:
    chosen = {"runs": json.dumps(pages.runs), "experiments": '["1"]'}
    pages.open("/compare-runs", "Comparing 2 Runs", "0.9375", "lbfgs", "C=0.01", "C=1.0", **chosen)


def test_a_run_with_what_it_logged_used_and_made(pages: Pages) -> None:
    run = pages.runs[1]
    pages.open(f"/experiments/1/runs/{run}", "0.9375", "lbfgs", "biopsies", "tumour", "Finished", run)


def test_a_metric_of_a_thousand_steps(pages: Pages) -> None:
    pages.open(f"/experiments/1/runs/{pages.runs[1]}/model-metrics", "loss", "accuracy")
    pages.until_drawn(".scatterlayer .js-line")


def test_files_of_a_run_are_listed_and_shown(pages: Pages) -> None:
    run = f"/experiments/1/runs/{pages.runs[1]}/artifacts"
    pages.open(run, "deep", "curve.png")
    pages.open(f"{run}/curve.png", "Path: mlflow-artifacts:/1/")
    pages.until_drawn('img[src^="blob:"]')
    pages.open(f"{run}/deep/report.html", "report.html")
    pages.until_drawn("iframe")
    pages.driver.switch_to.frame(pages.driver.find_element("css selector", "iframe"))
    try:
        pages.until("Report of the run")
    finally:
        pages.driver.switch_to.default_content()


def test_a_logged_model_and_its_files(pages: Pages) -> None:
    pages.open(f"/experiments/1/models/{pages.model_id}", "Ready", "0.9375", "C=1.0")
    pages.open(f"/experiments/1/models/{pages.model_id}/artifacts", "MLmodel", "requirements.txt")


def test_registered_models_their_versions_and_aliases(pages: Pages) -> None:
    pages.open("/models", "tumour", "Version 2", "candidate")
    pages.open("/models/tumour", "Version 1", "Version 2")
    pages.open("/models/tumour/versions/2", "the sharper one", "candidate", "C=1.0")


def test_what_a_page_changes_is_changed(pages: Pages) -> None:
    """The pages' own way to write: a POST with this host's Origin, from a browser of the owner's."""
    pages.open(f"/experiments/1/runs/{pages.runs[0]}", "C=0.01")
    status = pages.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "fetch('ajax-api/2.0/mlflow/runs/set-tag', {method: 'POST', headers: {'Content-Type': 'application/json'},"
        " body: JSON.stringify({run_id: arguments[0], key: 'mlflow.note.content', value: 'written on the page'})})"
        ".then(answer => done(answer.status))",
        pages.runs[0],
    )
    assert status == 200
    pages.open(f"/experiments/1/runs/{pages.runs[0]}", "written on the page")


def test_the_links_that_clients_print_lead_to_the_run(pages: Pages) -> None:
    pages.driver.get("about:blank")
    pages.driver.get(f"http://127.0.0.1:{pages.desk.control_port}/#/experiments/1/runs/{pages.runs[1]}")
    pages.until("C=1.0", "0.9375")
    assert urllib.parse.urlsplit(pages.driver.current_url).path == "/mlflow/"
    pages.driver.get_log("browser")  # the page that led there said 401: nobody signed in at it
