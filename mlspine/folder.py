"""The folder of a workspace: where it is, what makes it one, and what is kept in it for the next start."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from pathlib import Path

import msgspec

from mlspine import login
from mlspine.core.config import Config, ServingConfig
from mlspine.core.errors import Invalid
from mlspine.core.machine import processes_for, shares_ports, usable_cpus, usable_memory_bytes
from mlspine.core.plan import Plan
from mlspine.core.types import Actor

FOLDER = ".mlspine"
RELEASES = "releases"
RECENT_KEPT = 10


def locate(start: Path | None = None) -> Path:
    """Where the workspace is, by the documented order; the directory may not exist yet.

    MLSPINE_WORKSPACE; else the nearest `.mlspine/` or `mlspine.toml` upwards; else `.mlspine` at the git root;
    else here.
    """
    named = os.environ.get("MLSPINE_WORKSPACE")
    if named:
        if login.is_url(named):
            login.refuse_server("this")
        return Path(named).expanduser().resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir() or (folder / "mlspine.toml").is_file():
            return folder / FOLDER
    for folder in (here, *here.parents):
        if (folder / ".git").exists():
            return folder / FOLDER
    return here / FOLDER


def create(directory: Path) -> None:
    """Make the directory a workspace if it is not one: its folders, and a .gitignore so nothing in it is committed."""
    if directory.exists() and not directory.is_dir():
        raise Invalid(
            f"{directory} is a file, not a workspace folder",
            hint="set MLSPINE_WORKSPACE to a folder, or move the file",
        )
    fresh = not (directory / "run").exists()
    for name in ("run/spool", RELEASES, "blobs"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    if fresh:
        (directory / ".gitignore").write_text("*\n")
        remember(directory)


def remember(directory: Path) -> None:
    """Keep the list of workspaces used recently, so that "not found" can say where else to look."""
    file = _recent_file()
    lines = [str(directory), *(line for line in recent() if line != str(directory))][:RECENT_KEPT]
    with contextlib.suppress(OSError):  # a home that cannot be written costs a hint, nothing else
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")


def recent() -> list[str]:
    """Workspaces used recently that still exist, newest first."""
    with contextlib.suppress(OSError):
        return [line for line in _recent_file().read_text().splitlines() if (Path(line) / "run").is_dir()]
    return []


def this_actor() -> Actor:
    """Whoever sits at this terminal: the owner of the process."""
    try:
        return Actor(name=getpass.getuser())
    except (KeyError, OSError):
        return Actor(name=f"uid-{os.getuid()}")


def running_options(directory: Path) -> dict[str, str]:
    """Options given to `serve` or `up` that later commands and restarts keep: setting -> text."""
    try:
        return msgspec.json.decode((directory / "run" / "options.json").read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def keep_options(directory: Path, options: dict[str, str]) -> None:
    """Keep options for the next start; for this user's eyes, since the URL of a sink is a secret."""
    draft = directory / "run" / "options.tmp"
    draft.touch(mode=0o600)
    draft.write_bytes(msgspec.json.encode(options))
    draft.replace(directory / "run" / "options.json")


def base_plan(directory: Path, config: Config) -> Plan:
    """The plan of a workspace before anything is served: where to listen and how to restart control."""
    return Plan(
        number=0,
        workspace=str(directory),
        host=config.serving.host,
        port=config.serving.port,
        runtime=config.serving.runtime,
        worker_memory_bytes=config.serving.worker_memory_bytes,
        control_argv=control_argv(directory, config.serving.port, config.control.port),
        processes=inference_processes(config.serving),
        grpc_port=config.serving.grpc_port,
    )


def inference_processes(serving: ServingConfig) -> int:
    """How many processes answer on the port: as configured, else by this machine's CPUs and memory; 1 where the system
    does not deal out one port's connections."""
    if not shares_ports():
        return 1
    return processes_for(usable_cpus(), usable_memory_bytes()) if serving.processes == "auto" else serving.processes


def control_argv(directory: Path, port: int, control_port: int) -> tuple[str, ...]:
    """The command that starts the control process of a workspace."""
    return (
        sys.executable,
        "-m",
        "mlspine.web.control",
        "--workspace",
        str(directory),
        "--port",
        str(port),
        "--control-port",
        str(control_port),
    )


def _recent_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "mlspine" / "workspaces"
