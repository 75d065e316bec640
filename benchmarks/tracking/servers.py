"""The four servers of the comparison: each started in a folder, timed, and ended with all its processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from benchmarks.tracking import processes
from tests.desk import free_port

Kind = Literal["echo", "mlflow server", "mlflow, one worker", "mlspine"]
KINDS: tuple[Kind, ...] = get_args(Kind)
START_TIMEOUT_S = 180.0
ANSWER_TIMEOUT_S = 60.0
POLL_S = 0.005
ROOT = Path(__file__).parents[2]


class Server(NamedTuple):
    """A running server: where it answers, and how long it took from the command to its first answers."""

    kind: Kind
    port: int
    token: str
    mark: str
    health_s: float
    first_run_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        return processes.pids_of(self.mark)


@contextlib.contextmanager
def running(kind: Kind, folder: Path, environment: Path, *, profile_to: Path | None = None) -> Iterator[Server]:
    """The server on the store in `folder`, which is made when it is not there.

    environment: the client environment; `mlflow server` is started from it.
    profile_to: where our server writes what its threads did (see profiled.py).
    Raises RuntimeError with the end of its log when it does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark, port, log = secrets.token_hex(8), free_port(), folder / "server.log"
    began = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(
            _command(kind, folder, environment, port, profile_to),
            cwd=ROOT,
            env=_settings(folder, mark),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        waiting = _Waiting(process, log, began + START_TIMEOUT_S)
        token = _token(folder, waiting) if kind == "mlspine" else ""
        _until_answered(port, "GET", "/health", None, token, waiting)
        health_s = time.perf_counter() - began
        body = {"experiment_id": "0", "start_time": int(time.time() * 1000)}
        _until_answered(port, "POST", "/api/2.0/mlflow/runs/create", body, token, waiting)
        yield Server(kind, port, token, mark, health_s, time.perf_counter() - began)
    finally:
        if kind == "mlspine" and profile_to is None:
            subprocess.run([*OURS, "down"], env=_settings(folder, mark), capture_output=True, check=False)
        processes.end(mark)
        process.wait()


OURS = (sys.executable, "-m", "mlspine")


def _command(kind: Kind, folder: Path, environment: Path, port: int, profile_to: Path | None) -> list[str]:
    if kind == "echo":
        return [sys.executable, "-m", "benchmarks.tracking.echo", str(port)]
    ports = ["--port", str(free_port()), "--control-port", str(port)]
    if kind == "mlspine" and profile_to is not None:
        return [sys.executable, "-m", "benchmarks.tracking.profiled", str(profile_to), str(folder), *ports]
    if kind == "mlspine":
        return [*OURS, "up", *ports]
    store = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    workers = ["--workers", "1"] if kind == "mlflow, one worker" else []
    return [str(environment / "bin" / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), *store, *workers]


def _settings(folder: Path, mark: str) -> dict[str, str]:
    """The environment of a server: nothing of the caller's own settings, no word to anybody outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLSPINE_", "MLFLOW_"))}
    return kept | {
        processes.MARK: mark,
        "MLSPINE_WORKSPACE": str(folder),
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


class _Waiting(NamedTuple):
    """How long to wait for a server, and what says that waiting is vain."""

    process: subprocess.Popen[bytes]
    log: Path
    deadline: float

    def go_on(self, why: str) -> None:
        """Sleep a moment; raises RuntimeError when the server failed or its time is up."""
        # `mlspine up` leaves with 0 when the server stands; the others stay
        if self.process.poll() not in (None, 0) or time.perf_counter() > self.deadline:
            end = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{why}; it left with {self.process.poll()}, and the end of its log is:\n{end}")
        time.sleep(POLL_S)


def _token(folder: Path, waiting: _Waiting) -> str:
    """Our control tells where it listens, and its token, in a file of the workspace."""
    while True:
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads((folder / "run" / "control.json").read_bytes())["token"])
        waiting.go_on("the server does not come up")


def _until_answered(
    port: int, method: str, path: str, body: dict[str, Any] | None, token: str, waiting: _Waiting
) -> None:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        finally:
            connection.close()
        if status == 200:
            return
        waiting.go_on(f"{method} {path} is answered with {status or 'nothing'}")
