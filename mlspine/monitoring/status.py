"""How every endpoint of a workspace is doing: the facts, gathered from all rooms, and the claims that follow."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mlspine.core.config import Config
from mlspine.core.errors import NotFound
from mlspine.core.ids import now_ms
from mlspine.core.observed import counted
from mlspine.core.plan import Endpoint, ProcessState
from mlspine.core.public import public
from mlspine.core.types import Alert, Evidence, FeedState, Struct
from mlspine.deployment.service import Deployment
from mlspine.governance.service import Governance
from mlspine.machines.service import Machine, Machines, Outage
from mlspine.monitoring.claims import EndpointStatus, Facts, Speed, answer
from mlspine.monitoring.elsewhere import is_elsewhere, told_elsewhere
from mlspine.monitoring.exercised import KINDS
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Deployer
from mlspine.predictions.service import Predictions
from mlspine.registry.service import Registry


class WorkspaceStatus(Struct, frozen=True, kw_only=True):
    """All endpoints of a workspace, and whether the processes behind them run."""

    workspace: str
    serving: bool
    processes: tuple[ProcessState, ...]
    endpoints: tuple[EndpointStatus, ...]
    alerts: tuple[Alert, ...]  # those that belong to no single endpoint
    machines: tuple[Machine, ...] = ()
    outages: tuple[Outage, ...] = ()  # the newest of the last week, newest first


class StatusReader:
    """Reads the facts of endpoints and answers; writes nothing."""

    def __init__(
        self,
        *,
        registry: Registry,
        deployment: Deployment,
        predictions: Predictions,
        monitoring: Monitoring,
        governance: Governance,
        deployer: Deployer,
        machines: Machines,
        config: Config,
        workspace: str,
        feeds_of: Callable[[str], tuple[FeedState, ...]] = lambda model: (),
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._feeds_of = feeds_of
        self._registry = registry
        self._deployment = deployment
        self._predictions = predictions
        self._monitoring = monitoring
        self._governance = governance
        self._deployer = deployer
        self._machines = machines
        self._config = config
        self._workspace = workspace
        self._clock = clock

    @public("read")
    def read(self, name: str = "") -> WorkspaceStatus:
        """The status of endpoint `name`, or of all; NotFound for a name that nothing serves under."""
        endpoints = [self._deployment.get(name)] if name else self._deployment.endpoints()
        self.refresh()
        processes = self._deployer.observe()
        alerts = tuple(self._monitoring.alerts("", open_only=True))
        return WorkspaceStatus(
            workspace=self._workspace,
            serving=bool(processes) or (bool(endpoints) and all(each.current.cause == "watch" for each in endpoints)),
            processes=processes,
            endpoints=tuple(_told(self._facts(endpoint, processes, alerts)) for endpoint in endpoints),
            alerts=tuple(alert for alert in alerts if not alert.endpoint),
            machines=tuple(self._machines.machines()),
            outages=tuple(self._machines.outages()),
        )

    @public("read")
    def refresh(self) -> None:
        """Bring everything answered so far into the log, so that what is read next includes it."""
        self._deployer.flush()
        self._predictions.ingest()

    def _facts(self, endpoint: Endpoint, processes: tuple[ProcessState, ...], alerts: tuple[Alert, ...]) -> Facts:
        release_hash = endpoint.current.release_hash
        state = self._monitoring.state(endpoint.name, release_hash=release_hash)
        serving = self._config.serving
        try:
            version = self._registry.get(endpoint.model, endpoint.current.version)
        except NotFound:
            version = None  # version 0: the endpoint cannot answer
        qualities = self._monitoring.quality(endpoint.name, by="all")
        return Facts(
            endpoint=endpoint,
            url=f"http://{serving.host}:{serving.port}/endpoints/{endpoint.name}/predict",
            version=version,
            proof=self._deployment.proof(release_hash) if release_hash else None,
            revisions=tuple(self._deployment.revisions(endpoint.name)),
            switch_times=self._deployment.switch_times(endpoint.name),
            speed=_speed(endpoint.name, processes),
            log=self._predictions.summary(endpoint.name),
            report=state.last_report,
            rows_needed=state.rows_needed,
            quality=next((each for each in reversed(qualities) if each.release_hash == release_hash), None),
            alerts=tuple(alert for alert in alerts if alert.endpoint == endpoint.name),
            error_rate=self._config.monitoring.error_rate,
            now_ms=self._clock(),
            feeds=self._feeds_of(endpoint.model),
            evidence=self._evidence(endpoint),
            sinks=len(self._config.monitoring.notify),
            delivered_at_ms=_delivered(self._monitoring.alerts(open_only=False)),
            estimate=self._monitoring.newest_estimate(endpoint.name, release_hash),
        )

    def _evidence(self, endpoint: Endpoint) -> tuple[Evidence, ...]:
        subjects = (f"endpoint:{endpoint.name}", f"model:{endpoint.model}", "workspace")
        return tuple(
            each for subject in subjects for kind in KINDS for each in self._governance.evidence(subject, kind=kind)
        )


# ---------------------------------------------------------------- words


def _told(facts: Facts) -> EndpointStatus:
    status = answer(facts)
    return told_elsewhere(status, facts) if is_elsewhere(facts) else status


def _speed(endpoint: str, processes: tuple[ProcessState, ...]) -> Speed | None:
    if not processes:
        return None
    told = counted(processes, endpoint)
    return Speed(**msgspec.structs.asdict(told)) if told else Speed()


def _delivered(alerts: list[Alert]) -> int:
    """When an alert last reached a person: a sink that is not the log took it."""
    return max(
        (
            alert.updated_at_ms
            for alert in alerts
            if any(sink != "log" and outcome == "ok" for sink, outcome in alert.delivered.items())
        ),
        default=0,
    )
