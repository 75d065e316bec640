"""The composition root: finds the workspace, reads its configuration, picks backends, builds the services."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import msgspec

from mlspine import login, migrations
from mlspine.advisor.service import Advisor
from mlspine.backends.choose import is_shared, open_blobs, open_database
from mlspine.backends.notify import make_notifier
from mlspine.backends.processes import LocalProcesses
from mlspine.backends.prometheus import PrometheusCluster
from mlspine.core.address import local_url
from mlspine.core.config import Config, load_config
from mlspine.core.errors import Invalid
from mlspine.core.ids import now_ms
from mlspine.core.types import Actor, Plan
from mlspine.data.service import Data
from mlspine.deployment.service import Deployment
from mlspine.feeds.service import Feeds
from mlspine.governance.service import Governance
from mlspine.governance.tokens import Tokens
from mlspine.handover.service import Handover
from mlspine.machines.identity import bind
from mlspine.machines.service import Machines
from mlspine.monitoring.service import Monitoring
from mlspine.monitoring.status import StatusReader
from mlspine.predictions.service import Predictions
from mlspine.registry.service import Registry
from mlspine.retraining.service import Retraining

FOLDER = ".mlspine"
RELEASES = "releases"
RECENT_KEPT = 10


class Services:
    """The rooms of one workspace, local or over HTTP: the same names either way."""

    path: Path
    config: Config
    governance: Governance
    tokens: Tokens
    data: Data
    registry: Registry
    deployment: Deployment
    machines: Machines
    predictions: Predictions
    monitoring: Monitoring
    feeds: Feeds
    retraining: Retraining
    handover: Handover
    status: StatusReader
    advisor: Advisor
    control_url: str = ""


ROOMS: dict[str, type] = {
    "governance": Governance,
    "tokens": Tokens,
    "registry": Registry,
    "deployment": Deployment,
    "machines": Machines,
    "predictions": Predictions,
    "monitoring": Monitoring,
    "feeds": Feeds,
    "retraining": Retraining,
    "handover": Handover,
    "status": StatusReader,
    "advisor": Advisor,
}


class Workspace(Services):
    """One directory with everything in it: store, releases, log, the state of running processes.

    shared: store and log are elsewhere, for several machines; the directory holds what is this machine's own.
    """

    def __init__(self, path: Path, config: Config, *, clock: Callable[[], int] = now_ms) -> None:
        self.path = path
        self.config = config
        self.shared = is_shared(config.store)
        self.db = open_database(config.store, path)
        self.db.migrate(migrations.scripts())
        self.blobs = open_blobs(config.store, path)
        if self.shared:
            bind(self.db, self.blobs)
        self.machines = Machines(
            db=self.db,
            run_dir=path / "run",
            url=local_url(config.serving.host, config.serving.port),
            version=version("mlspine"),
            alone=not self.shared,
            clock=clock,
        )
        first_plan = base_plan(path, config)
        self.processes = LocalProcesses(path, first_plan)
        self.governance = Governance(db=self.db, clock=clock)
        self.tokens = Tokens(db=self.db, governance=self.governance, clock=clock)
        self.data = Data(db=self.db, clock=clock)
        self.registry = Registry(
            db=self.db,
            data=self.data,
            governance=self.governance,
            clock=clock,
            releases_dir=path / RELEASES,
            blobs=self.blobs if self.shared else None,
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
            machine=self.machines.id if self.shared else "",
        )
        self.monitoring = Monitoring(
            db=self.db,
            predictions=self.predictions,
            registry=self.registry,
            notifiers=[make_notifier(text) for text in ("log", *config.monitoring.notify)],
            governance=self.governance,
            clock=clock,
            config=config.monitoring,
            label_delay_days=config.log.label_delay_days,
        )
        self.feeds = Feeds(
            db=self.db,
            registry=self.registry,
            predictions=self.predictions,
            monitoring=self.monitoring,
            governance=self.governance,
            workspace=path,
            clock=clock,
            config=config.feeds,
        )
        self.retraining = Retraining(db=self.db, registry=self.registry, governance=self.governance, clock=clock)
        self.handover = Handover(
            db=self.db,
            registry=self.registry,
            deployment=self.deployment,
            predictions=self.predictions,
            feeds=self.feeds,
            monitoring=self.monitoring,
            governance=self.governance,
            config=config,
            workspace=str(path),
            sinks=[make_notifier(text).name for text in config.monitoring.notify],
            clock=clock,
        )
        self.status = StatusReader(
            registry=self.registry,
            deployment=self.deployment,
            predictions=self.predictions,
            monitoring=self.monitoring,
            governance=self.governance,
            deployer=self.processes,
            machines=self.machines,
            config=config,
            workspace=str(path),
            feeds_of=self.feeds.states,
            clock=clock,
        )
        metrics = config.advisor.cluster_metrics
        self.advisor = Advisor(
            db=self.db,
            registry=self.registry,
            deployment=self.deployment,
            predictions=self.predictions,
            monitoring=self.monitoring,
            feeds=self.feeds,
            machines=self.machines,
            governance=self.governance,
            tokens=self.tokens,
            status=self.status,
            deployer=self.processes,
            config=config,
            workspace=path,
            cluster=PrometheusCluster(metrics).use if metrics else None,
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
