"""A real Prometheus with the exported files: it reads both ports, and its own rules fire when answers fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk, ship_churn
from tests.needs import need

WAIT_S = 60.0
ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}


class Prometheus:
    """A Prometheus of the test's own, on loopback."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]

    def wait_for(self, path: str, found: Callable[[Any], bool], **query: str) -> Any:
        deadline = time.monotonic() + WAIT_S
        seen: Any = None
        while time.monotonic() < deadline:
            try:
                seen = self.ask(path, **query)
                if found(seen):
                    return seen
            except OSError:
                pass
            time.sleep(0.25)
        raise AssertionError(f"{path}: {seen}")


def counted(seen: Any) -> float:
    """The one value of an answer, -1 while there is none."""
    return float(seen["result"][0]["value"][1]) if seen["result"] else -1.0


@pytest.fixture
def exported(desk: Desk) -> Path:
    need("promtool", shutil.which("prometheus"), "not installed (Debian package prometheus)")
    ship_churn(desk)
    desk.env["MLSPINE_SERVING__PROCESSES"] = "2"
    desk.mlspine("serve", "churn")
    desk.mlspine("monitoring", "export", "prometheus")
    token = desk.mlspine("tokens", "create", "prometheus", "--role", "viewer", "--json").json
    folder = desk.folder / "prometheus"
    (folder / "mlspine.token").write_text(token["secret"])
    text = (folder / "prometheus.yml").read_text()
    (folder / "prometheus.yml").write_text(text.replace('"15s"', '"1s"'))
    return folder


@pytest.mark.long
@pytest.mark.slow
def test_prometheus_reads_both_ports_and_its_rules_fire(desk: Desk, exported: Path) -> None:
    prometheus = Prometheus(exported)
    try:
        both = prometheus.wait_for(
            "query", lambda seen: [each["value"][1] for each in seen["result"]] == ["1", "1"], query="up"
        )
        assert {each["metric"]["part"] for each in both["result"]} == {"inference", "control"}
        held = prometheus.wait_for(
            "query", lambda seen: bool(seen["result"]), query='mlspine_latency_target_seconds{endpoint="churn"}'
        )
        assert float(held["result"][0]["value"][1]) >= 0.1
        for _ in range(40):
            assert desk.post("/endpoints/churn/predict", ROW)[0] == 200
        # Whichever process a scrape reaches, it tells of both: counters add up, and none ever falls.
        total = 'mlspine_requests_total{endpoint="churn",code="200"}'
        prometheus.wait_for("query", lambda seen: counted(seen) == 40, query=f"sum({total})")
        prometheus.wait_for("query", lambda seen: counted(seen) >= 5, query=f"min(count_over_time({total}[1m]))")
        assert counted(prometheus.ask("query", query=f"sum(resets({total}[5m]))")) == 0
        assert counted(prometheus.ask("query", query=f"count(count by (process) ({total}))")) == 2
        pid = json.loads((desk.folder / ".mlspine/run/control.json").read_bytes())["pid"]
        os.kill(pid, signal.SIGSTOP)  # neither dead, so nothing restarts it, nor answering
        try:
            alerts = prometheus.wait_for(
                "alerts", lambda seen: any(each["labels"]["alertname"] == "MlspineDown" for each in seen["alerts"])
            )
        finally:
            os.kill(pid, signal.SIGCONT)
        assert [each["labels"]["part"] for each in alerts["alerts"]] == ["control"]
    finally:
        prometheus.process.terminate()
        prometheus.process.wait(timeout=20)
