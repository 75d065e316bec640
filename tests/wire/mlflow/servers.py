"""The two servers that are asked the same: `mlflow server` and a workspace of ours, each on a store of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.desk import Desk, free_port

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


class Server(NamedTuple):
    name: str
    url: str
    token: str = ""


@contextlib.contextmanager
def mlflow_server(python: Path, folder: Path) -> Iterator[Server]:
    """`mlflow server` of that environment on SQLite, with one worker, files in the same folder."""
    port = free_port()
    command = [
        str(python),
        "-m",
        "mlflow",
        "server",
        "--workers",
        "1",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    env["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    server = Server("mlflow", f"http://127.0.0.1:{port}")
    try:
        _wait_for(server, process, folder / "server.log")
        yield server
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with all it started; its workers for jobs need not take their time."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(server.url + "/health", timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"mlflow server does not answer:\n{log.read_text()[-2000:]}")


@contextlib.contextmanager
def our_server(folder: Path) -> Iterator[Server]:
    """`mlspine up` in an empty folder."""
    desk = Desk(folder)
    desk.mlspine("up")
    said = json.loads((folder / ".mlspine" / "run" / "control.json").read_bytes())
    try:
        yield Server("mlspine", said["url"], said["token"])
    finally:
        desk.mlspine("down", check=False)
