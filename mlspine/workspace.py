"""The composition root: finds the workspace, reads its configuration, picks backends, builds the services."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlspine import migrations
from mlspine.backends.files import FileBlobStore
from mlspine.backends.notify import make_notifier
from mlspine.backends.processes import LocalProcesses
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.config import Config, load_config
from mlspine.core.errors import Invalid
from mlspine.core.ids import now_ms
from mlspine.core.types import Actor, Plan
from mlspine.data.service import Data
from mlspine.deployment.service import Deployment
from mlspine.governance.service import Governance
from mlspine.monitoring.service import Monitoring
from mlspine.monitoring.status import StatusReader
from mlspine.predictions.service import Predictions
from mlspine.registry.service import Registry

FOLDER = ".mlspine"
RELEASES = "releases"
RECENT_KEPT = 10


class Services:
    """The rooms of one workspace, local or over HTTP: the same names either way."""

    path: Path
    config: Config
    governance: Governance
    data: Data
    registry: Registry
    deployment: Deployment
    predictions: Predictions
    monitoring: Monitoring
    status: StatusReader
    control_url: str = ""


ROOMS: dict[str, type] = {
    "governance": Governance,
    "registry": Registry,
    "deployment": Deployment,
    "predictions": Predictions,
    "monitoring": Monitoring,
    "status": StatusReader,
}


class Workspace(Services):
    """One directory with everything in it: store, releases, log, the state of running processes."""

    def __init__(self, path: Path, config: Config, *, clock: Callable[[], int] = now_ms) -> None:
        self.path = path
        self.config = config
        self.db = SqliteDatabase(path / "store.db")
        self.db.migrate(migrations.scripts())
        self.blobs = FileBlobStore(path / "blobs")
        first_plan = base_plan(path, config)
        self.processes = LocalProcesses(path, first_plan)
        self.governance = Governance(db=self.db, clock=clock)
        self.data = Data(db=self.db, clock=clock)
        self.registry = Registry(
            db=self.db,
            data=self.data,
            governance=self.governance,
            clock=clock,
            releases_dir=path / RELEASES,
        )
        self.deployment = Deployment(
            db=self.db,
            registry=self.registry,
            governance=self.governance,
            deployer=self.processes,
            base_plan=first_plan,
            clock=clock,
        )
        self.predictions = Predictions(
            db=self.db,
            blobs=self.blobs,
            references_of=self.registry.references_of,
            governance=self.governance,
            clock=clock,
            spool_dir=path / "run" / "spool",
            config=config.log,
        )
        self.monitoring = Monitoring(
            db=self.db,
            predictions=self.predictions,
            registry=self.registry,
            notifiers=[make_notifier(text) for text in ("log", *config.monitoring.notify)],
            clock=clock,
            config=config.monitoring,
            label_delay_days=config.log.label_delay_days,
        )
        self.status = StatusReader(
            registry=self.registry,
            deployment=self.deployment,
            predictions=self.predictions,
            monitoring=self.monitoring,
            governance=self.governance,
            deployer=self.processes,
            config=config,
            workspace=str(path),
            clock=clock,
        )

    @classmethod
    def open(
        cls,
        path: Path | str | None = None,
        *,
        clock: Callable[[], int] = now_ms,
        overrides: dict[str, str] | None = None,
    ) -> Workspace:
        """Open the workspace at `path`, or the one found from here, creating it when there is none."""
        directory = Path(path).resolve() if path is not None else locate()
        create(directory)
        config = load_config(directory, overrides=running_options(directory) | (overrides or {}))
        return cls(directory, config, clock=clock)

    def close(self) -> None:
        self.db.close()


def locate(start: Path | None = None) -> Path:
    """Where the workspace is, by the documented order; the directory may not exist yet.

    MLSPINE_WORKSPACE; else the nearest `.mlspine/` or `mlspine.toml` upwards; else `.mlspine` at the git root;
    else here.
    """
    named = os.environ.get("MLSPINE_WORKSPACE")
    if named:
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
    fresh = not (directory / "store.db").exists()
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
        return [line for line in _recent_file().read_text().splitlines() if (Path(line) / "store.db").exists()]
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
    """Keep options for the next start."""
    draft = directory / "run" / "options.tmp"
    draft.write_bytes(msgspec.json.encode(options))
    draft.replace(directory / "run" / "options.json")


def base_plan(directory: Path, config: Config) -> Plan:
    """The plan of a workspace before anything is served: where to listen and how to restart control."""
    return Plan(
        number=0,
        workspace=str(directory),
        host=config.serving.host,
        port=config.serving.port,
        control_argv=control_argv(directory, config.serving.port, config.control.port),
    )


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
