"""The clients that play the flows: environments with an unmodified MLflow in them, and who plays which flow."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.wire.mlflow.recorder import MARK, recording
from tests.wire.mlflow.servers import Server

ROOT = Path(__file__).parents[3]
FLOWS = Path(__file__).parent / "flows"
PLAY_TIMEOUT_S = 900.0

# What each flow asks of a client. "one": it does not go through the client's code, so one client is enough.
NEEDS: dict[str, frozenset[str]] = {
    "experiments": frozenset(),
    "runs": frozenset(),
    "metrics": frozenset(),
    "datasets": frozenset(),
    "fluent": frozenset(),
    "files": frozenset(),
    "search_runs": frozenset(),
    "search_experiments": frozenset(),
    "registry": frozenset(),
    "search_registry": frozenset(),
    "logged_models": frozenset({"3"}),
    "search_logged_models": frozenset({"3"}),
    "sklearn_models": frozenset({"full"}),
    "autolog": frozenset({"full"}),
    "autolog_boosters": frozenset({"full", "boosters"}),
    "raw_tracking": frozenset({"one"}),
    "raw_writing": frozenset({"one"}),
    "raw_registry": frozenset({"one"}),
    "raw_models": frozenset({"one"}),
    "raw_files": frozenset({"one"}),
    "raw_forms": frozenset({"one"}),
}


class Client(NamedTuple):
    """An environment: the name of its folder, its interpreter, what it is able to play."""

    name: str
    python: Path
    able: frozenset[str]

    @property
    def flows(self) -> list[str]:
        return [flow for flow, needs in NEEDS.items() if needs <= self.able]


def environments() -> Path:
    """Where the environments are: MLSPINE_MLFLOW_ENVS, else where `make wire` puts them."""
    return Path(os.environ.get("MLSPINE_MLFLOW_ENVS", ROOT))


def find(name: str) -> Path:
    """The interpreter of an environment, by its short name, e.g. `v318`."""
    folder = environments() / (name if "MLSPINE_MLFLOW_ENVS" in os.environ else f".venv-mlflow-{name}")
    return folder / "bin" / "python"


SKINNY = Client("vskinny", find("vskinny"), frozenset({"3", "one"}))
CLIENTS = (
    SKINNY,
    Client("v318", find("v318"), frozenset({"3", "full", "boosters"})),
    Client("v222", find("v222"), frozenset({"full"})),
)
HERE = SKINNY._replace(python=Path(sys.executable))


def version(python: Path) -> str:
    """The MLflow version of an environment: of all of it, else of the client alone."""
    code = "import importlib.metadata as m; print({d.name: d.version for d in m.distributions()})"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    found = ast.literal_eval(done.stdout)
    return str(found.get("mlflow") or found.get("mlflow-skinny"))


def play(client: Client, server: Server, folder: Path, flows: list[str] | None = None) -> list[dict[str, Any]]:
    """Play flows in one process of the client's environment: the steps in order, each with its exchanges.

    folder: an empty one; the flows run from a copy in it, so that no repository lends them its commit.
    """
    shutil.copytree(FLOWS, folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "home").mkdir()
    with recording(server.url) as recorder:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "MLSPINE_"))} | {
            "HOME": str(folder / "home"),
            "MLFLOW_TRACKING_URI": recorder.url,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",  # it asks servers in a thread of its own time
            "AWS_EC2_METADATA_DISABLED": "true",  # nothing is asked beyond this machine
            "WIRE_RECORDER": recorder.url + MARK,
            "WIRE_SALT": salt(client),
            **({"MLFLOW_TRACKING_TOKEN": server.token} if server.token else {}),
        }
        done = subprocess.run(
            [client.python, "-W", "ignore", "play.py", *(client.flows if flows is None else flows)],
            cwd=folder / "flows",
            env=env,
            capture_output=True,
            text=True,
            timeout=PLAY_TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{client.name} against {server.name} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return _gather(done.stdout, recorder.exchanges)


def salt(client: Client) -> str:
    return f"salt{client.name}"


def _gather(said: str, exchanges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps as the client told them, each with what passed over the wire meanwhile."""
    # Whatever else a library writes to the standard output is not a step.
    steps = [json.loads(line) for line in said.splitlines() if line.startswith('{"flow"')]
    passed: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for exchange in sorted(exchanges, key=lambda each: each["number"]):
        shown = {name: value for name, value in exchange.items() if name not in ("number", "flow", "step")}
        passed.setdefault((exchange["flow"], exchange["step"]), []).append(shown)
    return [{**each, "exchanges": passed.pop((each["flow"], each["step"]), [])} for each in steps]
