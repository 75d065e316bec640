"""Runs and models read through control and from elsewhere, and a workspace that is backed up while it works."""

from __future__ import annotations

import json
import threading
import time
import urllib.request

import pytest

from tests.desk import Desk, ship_churn

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}
LOG = """
import mlspine
for n in range(4):
    with mlspine.log("tries", name=f"try-{n}", params={"C": n}) as run:
        for step in range(10):
            run.metric("auc", 0.6 + n / 10 + step / 1000)
"""


class Loggers:
    """Threads that log points over MLflow's wire until they are stopped, and know what was acknowledged."""

    def __init__(self, desk: Desk, threads: int) -> None:
        self._api = f"http://127.0.0.1:{desk.control_port}/api/2.0/mlflow"
        self._stop = threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.slowest_s = 0.0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._log) for _ in range(threads)]

    def __enter__(self) -> Loggers:
        for each in self._threads:
            each.start()
        while len(self.acknowledged) < len(self._threads) and not self.failures:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()

    def _log(self) -> None:
        try:
            run = self._post("runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
            while not self._stop.is_set():
                step = self.acknowledged.get(run, 0)
                began_s = time.monotonic()
                self._post("runs/log-metric", {"run_id": run, "key": "loss", "value": 1, "timestamp": 1, "step": step})
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
                self.acknowledged[run] = step + 1
        except Exception as exc:
            self.failures.append(repr(exc))

    def _post(self, path: str, body: object) -> dict[str, dict[str, dict[str, str]]]:
        request = urllib.request.Request(
            f"{self._api}/{path}", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            told: dict[str, dict[str, dict[str, str]]] = json.loads(response.read())
            return told


@pytest.mark.long
@pytest.mark.slow
def test_a_backup_under_load_is_whole_and_serves_elsewhere(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    status, _, before = desk.post("/endpoints/churn/predict", [ROW])
    assert status == 200
    with Loggers(desk, threads=4) as loggers:
        begun = dict(loggers.acknowledged)
        made = desk.mlspine("backup", "kept.tar", "--json").json
        more = dict(loggers.acknowledged)
    assert loggers.failures == []
    assert all(more[run] > count for run, count in begun.items()), "nobody logged meanwhile"
    assert loggers.slowest_s < 5
    other = Desk(tmp_path_factory.mktemp("other"))
    try:
        back = other.mlspine("restore", str(desk.folder / "kept.tar"), "--json").json
        assert (back["files"], back["ledger_lines"]) == (made["files"], made["ledger_lines"])
        other.mlspine("up")
        status, _, after = other.post("/endpoints/churn/predict", [ROW])
        assert status == 200
        assert (after["release"], after["predictions"]) == (before["release"], before["predictions"])
        for run, count in begun.items():
            points = other.mlspine("runs", "show", run, "--json").json["histories"][0]["steps"]
            assert points[-1] + 1 >= count
        assert "intact" in other.mlspine("ledger", "--verify").out
        refused = other.mlspine("restore", str(desk.folder / "kept.tar"), "--replace", check=False)
        assert refused.code != 0
        assert "mlspine down" in refused.err
    finally:
        other.mlspine("down", check=False)


@pytest.mark.long
@pytest.mark.slow
def test_the_same_is_read_from_the_store_through_control_and_from_elsewhere(desk: Desk) -> None:
    ship_churn(desk)
    desk.python(LOG)
    asked = [
        ("runs", "ls", "--filter", "metrics.auc > 0.75", "--order", "metrics.auc DESC"),
        ("runs", "ls", "--experiments"),
        ("runs", "show", "try-2"),
        ("runs", "compare", "try-0", "try-3"),
        ("runs", "best", "--metric", "auc", "--experiment", "tries"),
        ("models", "ls", "--filter", "name = 'churn'"),
        ("models", "show", "churn"),
        ("models", "diff", "churn:1", "churn:1"),
        ("gc", "--older-than", "1h"),
    ]
    alone = [desk.mlspine(*words, "--json").json for words in asked]
    assert [run["name"] for run in alone[0]["runs"]] == ["try-3", "try-2"]
    desk.mlspine("up")
    assert [desk.mlspine(*words, "--json").json for words in asked] == alone
    made = desk.mlspine("tokens", "create", "ann", "--role", "admin", "--json").json
    url = f"http://127.0.0.1:{desk.control_port}"
    elsewhere = {"MLSPINE_WORKSPACE": url, "MLSPINE_TOKEN": made["secret"]}
    changing = alone[:6] + alone[7:]  # the account of a model has the place of its release
    assert [desk.mlspine(*words, "--json", **elsewhere).json for words in asked[:6] + asked[7:]] == changing
    run = alone[2]["run"]["id"]
    request = urllib.request.Request(
        f"{url}/api/2.0/mlflow/runs/delete",
        data=json.dumps({"run_id": run}).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()
    assert desk.mlspine("gc", "--older-than", "0s", "--json").json["runs"] == 1
    assert desk.mlspine("gc", "--older-than", "0s", "--yes", "--json").json["runs"] == 1
    assert desk.mlspine("runs", "show", run, check=False).code != 0
    refused = desk.mlspine("backup", "kept.tar", check=False, **elsewhere)
    assert refused.code != 0
