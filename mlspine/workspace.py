"""The composition root: finds the workspace, reads its configuration, picks backends, builds the services."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from mlspine import migrations
from mlspine.advisor.service import Advisor
from mlspine.artifacts.service import Artifacts
from mlspine.backends.bucket import Buckets
from mlspine.backends.choose import is_shared, open_blobs, open_database
from mlspine.backends.notify import make_notifier
from mlspine.backends.processes import LocalProcesses
from mlspine.backends.prometheus import PrometheusCluster
from mlspine.core.address import local_url
from mlspine.core.config import Config, load_config
from mlspine.core.errors import NotFound
from mlspine.core.ids import now_ms
from mlspine.data.service import Data
from mlspine.deployment.examining import Examiner
from mlspine.deployment.moves import Moves
from mlspine.deployment.service import Deployment
from mlspine.feeds.service import Feeds
from mlspine.folder import RELEASES, base_plan, create, locate, running_options
from mlspine.governance.service import Governance
from mlspine.governance.tokens import Tokens
from mlspine.handover.service import Handover
from mlspine.interop.attached import Attached
from mlspine.machines.identity import bind
from mlspine.machines.service import Machines
from mlspine.monitoring.acting import Acting
from mlspine.monitoring.sentinels import SentinelWatch
from mlspine.monitoring.service import Monitoring
from mlspine.monitoring.status import StatusReader
from mlspine.predictions.service import Predictions
from mlspine.registry.catalogue import Catalogue
from mlspine.registry.lineage import Lineage
from mlspine.registry.sentinels import Sentinels
from mlspine.registry.service import Registry
from mlspine.registry.upkeep import Upkeep
from mlspine.replaying.service import Replaying
from mlspine.retraining.service import Retraining
from mlspine.reviewing.service import Reviewing
from mlspine.rollouts.service import Rollouts
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.reader import RunReader
from mlspine.tracking.service import Tracking
from mlspine.watching.service import Watching


class Services:
    """The rooms of one workspace, local or over HTTP: the same names either way."""

    path: Path
    config: Config
    governance: Governance
    tokens: Tokens
    data: Data
    artifacts: Artifacts
    tracking: Tracking
    models: LoggedModels
    runs: RunReader
    registry: Registry
    attached: Attached
    sentinels: Sentinels
    catalogue: Catalogue
    lineage: Lineage
    upkeep: Upkeep
    deployment: Deployment
    moves: Moves
    machines: Machines
    predictions: Predictions
    monitoring: Monitoring
    feeds: Feeds
    watching: Watching
    reviewing: Reviewing
    rollouts: Rollouts
    retraining: Retraining
    handover: Handover
    status: StatusReader
    advisor: Advisor
    control_url: str = ""


ROOMS: dict[str, type] = {
    "governance": Governance,
    "tokens": Tokens,
    "tracking": Tracking,
    "runs": RunReader,
    "registry": Registry,
    "attached": Attached,
    "sentinels": Sentinels,
    "catalogue": Catalogue,
    "lineage": Lineage,
    "upkeep": Upkeep,
    "deployment": Deployment,
    "moves": Moves,
    "machines": Machines,
    "predictions": Predictions,
    "monitoring": Monitoring,
    "feeds": Feeds,
    "watching": Watching,
    "reviewing": Reviewing,
    "rollouts": Rollouts,
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
        self.artifacts = Artifacts(db=self.db, blobs=self.blobs, drafts=path / "run" / "artifacts", clock=clock)
        self.tracking = Tracking(db=self.db, clock=clock)
        self.models = LoggedModels(db=self.db, clock=clock)
        self.runs = RunReader(db=self.db, tracking=self.tracking, models=self.models, artifacts=self.artifacts)
        self.registry = Registry(
            db=self.db,
            data=self.data,
            governance=self.governance,
            clock=clock,
            releases_dir=path / RELEASES,
            blobs=self.blobs if self.shared else None,
        )
        self.catalogue = Catalogue(
            db=self.db,
            tracking=self.tracking,
            models=self.models,
            artifacts=self.artifacts,
            governance=self.governance,
            clock=clock,
            releases_dir=path / RELEASES,
            blobs=self.blobs if self.shared else None,
        )
        self.lineage = Lineage(
            registry=self.registry,
            catalogue=self.catalogue,
            runs=self.runs,
            models=self.models,
            data=self.data,
            governance=self.governance,
        )
        self.upkeep = Upkeep(db=self.db, artifacts=self.artifacts, governance=self.governance, clock=clock)
        self.attached = Attached(db=self.db, registry=self.registry, governance=self.governance)
        self.deployment = Deployment(
            db=self.db,
            registry=self.registry,
            governance=self.governance,
            deployer=self.processes,
            base_plan=first_plan,
            clock=clock,
            latency_s=config.monitoring.latency_p99_s,
            watch_s=config.monitoring.watch_s,
            watch_share=config.monitoring.watch_share,
        )
        self.moves = Moves(
            db=self.db,
            registry=self.registry,
            catalogue=self.catalogue,
            deployment=self.deployment,
            governance=self.governance,
            gated_aliases=config.registry.gated_aliases,
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
            owner_of=self._owner_of,
            root=path.parent,
            beside_of=self.deployment.beside,
        )
        self.sentinels = Sentinels(db=self.db, registry=self.registry, governance=self.governance, clock=clock)
        self.sentinel_watch = SentinelWatch(
            examiner=Examiner(sentinels=self.sentinels, deployer=self.processes),
            deployment=self.deployment,
            deployer=self.processes,
            monitoring=self.monitoring,
        )
        self.acting = Acting(
            monitoring=self.monitoring,
            deployment=self.deployment,
            deployer=self.processes,
            policy=config.monitoring.on_critical,
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
        self.reviewing = Reviewing(
            db=self.db,
            predictions=self.predictions,
            monitoring=self.monitoring,
            registry=self.registry,
            governance=self.governance,
            clock=clock,
        )
        self.replaying = Replaying(
            predictions=self.predictions,
            registry=self.registry,
            deployment=self.deployment,
            governance=self.governance,
            clock=clock,
        )
        self.watching = Watching(
            db=self.db,
            registry=self.registry,
            deployment=self.deployment,
            predictions=self.predictions,
            monitoring=self.monitoring,
            governance=self.governance,
            workspace=path,
            objects=lambda: Buckets(config.store.endpoint),
            clock=clock,
        )
        self.rollouts = Rollouts(
            db=self.db,
            registry=self.registry,
            deployment=self.deployment,
            deployer=self.processes,
            governance=self.governance,
            monitoring=self.monitoring,
            clock=clock,
            machine=self.machines.id if self.shared else "",
            watch_s=config.monitoring.watch_s,
            watch_disagreement=config.monitoring.watch_disagreement,
            error_rate=config.monitoring.error_rate,
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
            feeds_of=lambda model: (*self.feeds.states(model), *self.watching.states(model)),
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

    def _owner_of(self, endpoint: str) -> str:
        """Who answers for what an endpoint serves now, "" when nobody does or it serves nothing."""
        try:
            served = self.deployment.get(endpoint)
            return self.registry.get(served.model, served.current.version).owner
        except NotFound:
            return ""
