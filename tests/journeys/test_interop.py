"""A team leaves an MLflow server and could go back: what it holds is in mlspine, and on another server, unchanged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlspine.interop.attach import RELEASE_TAG, STAGE_TAG, fetch_model, write_back
from mlspine.interop.connection import Connection
from mlspine.interop.rest import RestSource
from mlspine.interop.sqlite import SqliteSource
from tests.desk import Desk
from tests.mlflow_stores import everything, write_mlflow_store
from tests.needs import need
from tests.wire.mlflow.clients import find
from tests.wire.mlflow.servers import Server, mlflow_server

FILL = Path(__file__).parent / "fill_mlflow.py"


@pytest.fixture(scope="module")
def client() -> Path:
    python = find("v318")
    need("mlflow", python.exists(), f"{python} absent: make wire brings it")
    return python


@pytest.fixture(scope="module")
def filled(client: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real MLflow server with one of everything in it."""
    with mlflow_server(client, tmp_path_factory.mktemp("filled")) as server:
        env = {**os.environ, "MLFLOW_TRACKING_URI": server.url}
        subprocess.run([client, "-W", "ignore", FILL], env=env, check=True, timeout=300, capture_output=True)
        yield server


@pytest.fixture
def another(client: Path, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "another").mkdir()
    with mlflow_server(client, tmp_path / "another") as server:
        yield server


def held(server: Server) -> dict[tuple[str, ...], object]:
    """Everything a server holds."""
    token = {"MLFLOW_TRACKING_TOKEN": server.token} if server.token else {}
    source = RestSource(Connection(server.url, environment=token))
    try:
        return everything(source)
    finally:
        source.close()


@pytest.mark.wire
def test_what_goes_through_mlspine_to_another_mlflow_server_is_the_same(
    filled: Server, another: Server, desk: Desk
) -> None:
    brought = desk.mlspine("import", "mlflow", filled.url, "--json").json
    assert brought["not_brought"] == []
    desk.mlspine("export", "mlflow", another.url)
    before, after = held(filled), held(another)
    assert before.keys() == after.keys()
    assert {key: after[key] for key in before if before[key] != after[key]} == {}


@pytest.mark.wire
def test_an_export_that_was_killed_goes_on(filled: Server, another: Server, desk: Desk) -> None:
    desk.mlspine("import", "mlflow", filled.url)
    for wait_s in (1.0, 1.5, 2.5):
        command = [sys.executable, "-m", "mlspine", "export", "mlflow", another.url]
        process = subprocess.Popen(command, cwd=desk.folder, env=desk.env, stderr=subprocess.DEVNULL)
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
    desk.mlspine("export", "mlflow", another.url)
    assert held(another) == held(filled)


@pytest.mark.wire
def test_the_file_and_the_server_say_the_same(filled: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = next(tmp_path_factory.getbasetemp().glob("filled*"))
    source = SqliteSource(f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts")
    assert everything(source) == held(filled)
    source.close()


@pytest.mark.wire
@pytest.mark.parametrize("uri", ["models:/forest@champion", "models:/forest/1", "models:/forest/Production"])
def test_a_model_is_taken_from_a_server_that_stays_and_told_what_became_of_it(
    uri: str, filled: Server, tmp_path: Path
) -> None:
    fetched = fetch_model(uri, filled.url, tmp_path / "model")
    assert (fetched.name, fetched.version) == ("forest", 1)
    assert (tmp_path / "model" / "MLmodel").read_text() == "flavors: {}\n"
    assert (tmp_path / "model" / "data" / "model.bin").stat().st_size == 5000
    write_back(fetched, {STAGE_TAG: "Production", RELEASE_TAG: "abc"})
    connection = Connection(filled.url)
    version, _ = RestSource(connection).version("forest", 1)
    connection.close()
    assert (version.tags[STAGE_TAG], version.tags[RELEASE_TAG]) == ("Production", "abc")


def test_a_workspace_is_a_source_for_another(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    uri = write_mlflow_store(tmp_path / "mlflow")
    first, second = _desk(tmp_path / "first"), _desk(tmp_path / "second")
    first.mlspine("import", "mlflow", uri)
    try:
        server = _up(first)
        second.mlspine("import", "mlflow", server.url, MLFLOW_TRACKING_TOKEN=server.token)
        assert held(_up(second)) == held(server)
    finally:
        first.mlspine("down", check=False)
        second.mlspine("down", check=False)


def _desk(folder: Path) -> Desk:
    folder.mkdir()
    return Desk(folder)


def _up(desk: Desk) -> Server:
    desk.mlspine("up")
    said = json.loads((desk.folder / ".mlspine" / "run" / "control.json").read_bytes())
    return Server("mlspine", said["url"], said["token"])
