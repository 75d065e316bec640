"""A model taken elsewhere as a container image. No engine runs here: the test does what the Dockerfile says."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk, ship_churn

ROW = {"monthly charge": 75.5, "tenure": 3, "contract": "month"}
WAIT_S = 60.0


class Container:
    """What an engine makes of a Dockerfile, by its own instructions: files, variables, one command.

    Packages are those of the test's interpreter, so RUN lines are read for what they name and not run.
    """

    def __init__(self, context: Path, root: Path) -> None:
        self.root = root
        self.variables: dict[str, str] = {}
        self.folder, self.user = "/", "root"
        self.command: list[str] = []
        self.health: list[str] = []
        self.installed = ""
        text = re.sub(r"\\\n\s*", "", (context / "Dockerfile").read_text())
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word and not word.startswith("#"):
                getattr(self, f"_{word.lower()}")(rest, context)

    def start(self, desk: Desk, **variables: str) -> subprocess.Popen[bytes]:
        """Run CMD with the image's variables and those of `docker run -e`, and nothing else."""
        env = {name: self._inside(value) for name, value in self.variables.items()}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        with (desk.folder / "container.log").open("wb") as log:
            return subprocess.Popen(
                self.command,
                cwd=self._inside(self.folder),
                env={"PATH": path, "HOME": str(self.root), **env, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_healthy(self, **variables: str) -> bool:
        env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **variables}
        return subprocess.run(self.health, env=env, capture_output=True, check=False).returncode == 0

    def _inside(self, path: str) -> str:
        return f"{self.root}{path}" if path.startswith("/srv/") else path

    def _from(self, rest: str, _: Path) -> None:
        self.base = rest

    def _env(self, rest: str, _: Path) -> None:
        self.variables |= dict(pair.split("=", 1) for pair in rest.split())

    def _run(self, rest: str, _: Path) -> None:
        self.installed += rest

    def _workdir(self, rest: str, _: Path) -> None:
        self.folder = rest
        Path(self._inside(rest)).mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str, context: Path) -> None:
        *sources, target = [word for word in rest.split() if not word.startswith("--")]
        for source in sources:
            to = Path(self._inside(target if target.startswith("/") else f"{self.folder}/{target}"))
            if (context / source).is_dir():
                shutil.copytree(context / source, to)
            else:
                shutil.copy(context / source, to)

    def _user(self, rest: str, _: Path) -> None:
        self.user = rest

    def _expose(self, rest: str, _: Path) -> None:
        self.ports = rest.split()

    def _volume(self, rest: str, _: Path) -> None:
        (volume,) = json.loads(rest)
        assert Path(self._inside(volume)).is_dir()

    def _healthcheck(self, rest: str, _: Path) -> None:
        self.health = json.loads(rest.partition("CMD ")[2])

    def _cmd(self, rest: str, _: Path) -> None:
        self.command = json.loads(rest)


def export(desk: Desk, *words: str) -> Any:
    return desk.mlspine("export", *words, "--json").json


def two_versions(desk: Desk) -> None:
    ship_churn(desk)
    ship_churn(desk, seed=1)
    desk.mlspine("serve", "churn:1")
    desk.post("/endpoints/churn/predict", [ROW])
    desk.mlspine("promote", "churn", "2", "--reason", "newer")


def wait_until_healthy(container: Container, process: subprocess.Popen[bytes], log: Path, **variables: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not container.is_healthy(**variables):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@pytest.mark.long
@pytest.mark.slow
def test_what_runs_from_the_image_is_looked_after_from_elsewhere(desk: Desk, tmp_path: Path) -> None:
    two_versions(desk)
    (desk.folder / "home" / "mlspine-0-py3-none-any.whl").write_bytes(b"stands for a wheel")
    made = export(desk, "compose", "churn", "out", "--wheel", "home/mlspine-0-py3-none-any.whl")
    desk.mlspine("down")
    container = Container(desk.folder / "out", tmp_path / "root")
    assert container.base.startswith("python:3.")
    assert container.user == "10001:10001"
    assert "pip install --no-cache-dir -r requirements.txt" in container.installed
    assert Path(container.root / "srv/mlspine/requirements.txt").read_text().startswith("./mlspine-0-py3")
    ports = {"MLSPINE_SERVING__PORT": str(desk.port), "MLSPINE_CONTROL__PORT": str(desk.control_port)}
    process = container.start(desk, **ports)
    try:
        wait_until_healthy(container, process, desk.folder / "container.log", **ports)
        (tmp_path / "laptop").mkdir()
        look_after(desk, Desk(tmp_path / "laptop"), made["token"])
        assert "0.0.0.0" in (desk.folder / "container.log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


def look_after(server: Desk, laptop: Desk, token: str) -> None:
    """Everything a person does to a served model, from a machine that has nothing but the URL and a token."""
    url = f"http://127.0.0.1:{server.control_port}"
    status, headers, body = server.post("/endpoints/churn/predict", [ROW])
    assert (status, len(body["predictions"])) == (200, 1)
    assert laptop.mlspine("login", url, check=False, MLSPINE_TOKEN="mlspine_0_wrong").code != 0
    laptop.mlspine("login", url, MLSPINE_TOKEN=token)
    assert laptop.mlspine("status", "churn", "--json").json["version"] == 2
    request_id = next(value for name, value in headers.items() if name.lower() == "mlspine-request-id")
    (laptop.folder / "labels.csv").write_text(f"id,label\n{request_id}:0,1\n")
    assert laptop.mlspine("labels", "add", "churn", "labels.csv", "--json").json["matched"] == 1
    assert laptop.mlspine("alerts", "--all", "--json").json == []
    laptop.mlspine("alerts", "test")
    laptop.mlspine("rollback", "churn")
    assert laptop.mlspine("status", "churn", "--json").json["version"] == 1
    lines = [json.loads(line) for line in laptop.mlspine("ledger", "--json").out.splitlines()]
    assert [line["action"] for line in lines[:2]] == ["ship", "ship"]
    assert {"export", "token-create", "test alerts"} <= {line["action"] for line in lines}
    assert (lines[-1]["action"], lines[-1]["actor"]) == ("rollback", "client:admin")
    assert laptop.mlspine("ledger", "--verify").code == 0


@pytest.mark.long
@pytest.mark.slow
def test_the_image_carries_the_endpoint_and_none_of_peoples_data(desk: Desk) -> None:
    two_versions(desk)
    desk.python(
        "import mlspine, numpy as np\n"
        "from sklearn.linear_model import Ridge\n"
        "rng = np.random.default_rng(0); X = rng.normal(size=(300, 2)); y = X.sum(axis=1)\n"
        "mlspine.ship(Ridge().fit(X, y), X, y, name='other')"
    )
    desk.mlspine("tokens", "create", "laptop", "--role", "viewer")
    desk.mlspine("check", "churn")
    made = export(desk, "image", "churn", "out")
    with sqlite3.connect(desk.folder / "out/workspace/store.db") as store:
        counts = {
            table: store.execute(f'select count(*) from "{table}"').fetchone()[0]
            for (table,) in store.execute("select name from sqlite_master where type = 'table'")
        }
        tokens = store.execute("select name, role, secret_sha256 from access_token").fetchall()
    store.close()
    filled = {table for table, count in counts.items() if count}
    assert counts["model_version"] == 2
    assert counts["revision"] == 2
    assert filled - {"migration", "schema_migration"} <= {
        *("ledger", "ledger_head", "model", "model_version", "model_alias", "endpoint", "revision"),
        *("switch_time", "native_crash", "evidence", "access_token"),
    }, filled
    assert [token[:2] for token in tokens] == [("admin", "admin")]
    files = [path for path in (desk.folder / "out").rglob("*") if path.is_file()]
    assert not any(made["token"].split("_", 2)[2].encode() in file.read_bytes() for file in files)
    assert len(list((desk.folder / "out/workspace/releases").iterdir())) == 2
    again = desk.mlspine("export", "image", "churn", "out", check=False)
    assert (again.code, "is not empty" in again.err) == (5, True)


def test_only_what_is_served_can_be_exported(desk: Desk) -> None:
    refused = desk.mlspine("export", "image", "nobody", "out", check=False)
    assert refused.code == 4
    assert not (desk.folder / "out").exists()
