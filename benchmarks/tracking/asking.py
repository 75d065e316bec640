"""The client process from our side: find its environment, start it, and put questions to it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.tracking.servers import ROOT, Server

SETTING = "MLSPINE_MLFLOW_ENVS"
CLIENT = Path(__file__).with_name("client.py")


class Client:
    """A process in the client environment that answers one question at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: str, **about: Any) -> dict[str, Any]:
        """The answer of that function in client.py; raises RuntimeError with what went wrong there."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        if pipe_in is None or pipe_out is None:
            raise RuntimeError("the client has no pipes")
        pipe_in.write(json.dumps({"ask": question, **about}) + "\n")
        pipe_in.flush()
        line = pipe_out.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the client ended"}
        if "error" in answer:
            raise RuntimeError(f"{question}: {answer['error']}")
        return answer


@contextlib.contextmanager
def client_of(server: Server, environment: Path) -> Iterator[Client]:
    """An unmodified MLflow client that talks to this server.

    It does not try again by itself: a request that a server refuses or fails is counted, not hidden.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    settings = {
        "MLFLOW_TRACKING_URI": server.url,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    if server.token:
        settings["MLFLOW_TRACKING_TOKEN"] = server.token
    process = subprocess.Popen(
        [str(environment / "bin" / "python"), "-I", "-W", "ignore", str(CLIENT)],
        env=kept | settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Client(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
        process.wait()


def find_environment() -> Path:
    """The environment with the newest full MLflow; raises SystemExit saying how to make one."""
    named = os.environ.get(SETTING)
    places = [Path(part) for part in named.split(os.pathsep)] if named else sorted(ROOT.glob(".venv-mlflow-*"))
    candidates = [folder for place in places for folder in (place, *_children(place))]
    held = {folder: version for folder in candidates if (version := _mlflow_version(folder))}
    if not held:
        raise SystemExit(
            f"no environment with mlflow in {named or ROOT}: python -m venv .venv-mlflow-3, install mlflow"
        )
    return max(held, key=lambda folder: held[folder])


def _children(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() and not (place / "pyvenv.cfg").is_file() else []


def _mlflow_version(folder: Path) -> tuple[int, ...]:
    """The version of the full package there, () when there is none."""
    packages = [str(each) for each in folder.glob("lib/python*/site-packages")]
    found = (
        [each.version for each in importlib.metadata.distributions(name="mlflow", path=packages)] if packages else []
    )
    return tuple(int(part) for part in found[0].split(".")[:3]) if found else ()
