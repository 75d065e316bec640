"""What the page shows: one read of the services for everybody who looks within the same second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from starlette.concurrency import run_in_threadpool

from mlspine.advisor.service import Advised
from mlspine.core.errors import MlspineError
from mlspine.core.observed import since_ms
from mlspine.core.plan import Proof, Revision
from mlspine.core.types import Actor, Alert, DriftReport, Evidence, ModelVersion, PerformanceReport
from mlspine.handover.card import Card
from mlspine.monitoring.claims import EndpointStatus
from mlspine.monitoring.document import Document
from mlspine.monitoring.presenting import LABELS_PER_POINT
from mlspine.monitoring.status import WorkspaceStatus
from mlspine.monitoring.window import Period, period_for
from mlspine.workspace import Services

log = logging.getLogger(__name__)

FRESH_S = 1.0
ADVICE_FRESH_S = 30.0  # it follows from days, and reads everything
READS_AT_ONCE = 2
KEPT = 64  # endpoints whose last read is held
ALERTS_SHOWN, REVISIONS_SHOWN, EVIDENCE_SHOWN = 30, 50, 20

T = TypeVar("T")


class Detail(NamedTuple):
    """One endpoint, with everything behind its status."""

    status: EndpointStatus
    since_at_ms: int  # when the oldest serving process started, 0 when none answers
    report: DriftReport | None  # newest judged window of the live release
    period: Period
    quality: list[PerformanceReport]
    past_alerts: list[Alert]
    revisions: list[Revision]  # newest first
    switch_times: dict[str, float]
    version: ModelVersion | None
    proof: Proof | None
    evidence: list[Evidence]
    card: Card


class Looking:
    """Reads for the page. The store is asked at most once a second for each thing, however many look."""

    def __init__(self, services: Services, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        gate = asyncio.Semaphore(READS_AT_ONCE)
        self._status = Shared(lambda _: services.status.read(), gate=gate, clock_s=clock_s)
        self._advised = Shared(self._read_advice, gate=gate, clock_s=clock_s, fresh_s=ADVICE_FRESH_S)
        self._details = Shared(self._read_detail, gate=gate, clock_s=clock_s)
        self._documents = Shared(self._read_document, gate=gate, clock_s=clock_s)

    async def status(self) -> WorkspaceStatus:
        """What `mlspine status --json` says."""
        return await self._status.get("")

    async def advised(self) -> Advised | None:
        """What `mlspine advise --json` says, None when that cannot be worked out."""
        return await self._advised.get("")

    async def endpoint(self, name: str) -> Detail:
        """Everything about one endpoint; raises NotFound."""
        return await self._details.get(name)

    async def document(self, name: str, at_ms: int, release_hash: str, causes: bool) -> Document:
        """One judged window with all about it, the newest with 0; raises NotFound."""
        return await self._documents.get(f"{at_ms} {release_hash[:64]} {int(causes)} {name}")

    def _read_document(self, key: str) -> Document:
        at_ms, release_hash, causes, name = key.split(" ", 3)
        return self._services.monitoring.document(
            name, at_ms=int(at_ms), release_hash=release_hash, causes=causes == "1"
        )

    def _read_detail(self, name: str) -> Detail:
        services = self._services
        read = services.status.read(name)
        status = read.endpoints[0]
        log = services.predictions.summary(name)
        period = period_for(log.labelled_rows, log.last_event_at_ms - log.first_event_at_ms, LABELS_PER_POINT)
        live = status.release_hash
        return Detail(
            status=status,
            since_at_ms=since_ms(read.processes),
            report=services.monitoring.state(name, release_hash=live).last_report if live else None,
            period=period,
            quality=services.monitoring.quality(name, by=period),
            past_alerts=[
                alert
                for alert in reversed(services.monitoring.alerts(name, open_only=False, limit=ALERTS_SHOWN))
                if alert.cleared_at_ms
            ],
            revisions=services.deployment.revisions(name)[::-1][:REVISIONS_SHOWN],
            switch_times=services.deployment.switch_times(name),
            version=services.registry.get(status.model, status.version) if status.version else None,
            proof=services.deployment.proof(live) if live else None,
            evidence=services.governance.evidence(f"endpoint:{name}", limit=EVIDENCE_SHOWN),
            card=services.handover.card(status.model),
        )

    def _read_advice(self, _: str) -> Advised | None:
        try:
            return self._services.advisor.advise()
        except MlspineError as exc:  # what is wrong shows in the status beside it
            log.warning("no advice", extra={"why": exc.message})
            return None


class Shared(Generic[T]):
    """One read at a time per key, kept for `fresh_s`: whoever comes meanwhile gets the same.

    gate: how many reads of any key may run at once; the others wait on the event loop, not in a thread.
    """

    def __init__(
        self,
        read: Callable[[str], T],
        *,
        gate: asyncio.Semaphore,
        clock_s: Callable[[], float] = time.monotonic,
        fresh_s: float = FRESH_S,
    ) -> None:
        self._read = read
        self._gate = gate
        self._clock_s = clock_s
        self._fresh_s = fresh_s
        self._running: dict[str, asyncio.Task[T]] = {}
        self._held: dict[str, tuple[float, T]] = {}

    async def get(self, key: str) -> T:
        held = self._held.get(key)
        if held is not None and self._clock_s() - held[0] < self._fresh_s:
            return held[1]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._run(key))
        return await asyncio.shield(task)  # a viewer who goes away ends nobody else's read

    async def _run(self, key: str) -> T:
        try:
            async with self._gate:
                value = await run_in_threadpool(self._read, key)
            self._held.pop(key, None)
            while len(self._held) >= KEPT:
                del self._held[next(iter(self._held))]
            self._held[key] = (self._clock_s(), value)
            return value
        finally:
            del self._running[key]


def visible(status: WorkspaceStatus, actor: Actor) -> WorkspaceStatus:
    """What an actor limited to some endpoints may see of the workspace: those, and nothing of the rest."""
    if not actor.scope:
        return status
    return WorkspaceStatus(
        workspace="",
        serving=status.serving,
        processes=status.processes,
        endpoints=tuple(each for each in status.endpoints if each.name in actor.scope),
        alerts=(),
    )
