"""The door of roll-outs: bring a release forward by a canary, watch every switch, say how it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from mlspine.core.errors import Conflict, Invalid, NotFound
from mlspine.core.ids import now_ms, uuid7
from mlspine.core.plan import ProcessState
from mlspine.core.public import public
from mlspine.core.types import Actor, Limit, Struct
from mlspine.deployment.service import Deployment
from mlspine.governance.service import Governance, signature
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Database, Deployer
from mlspine.registry.service import Registry
from mlspine.rollouts import store
from mlspine.rollouts.canaries import Canaries
from mlspine.rollouts.counting import Counting
from mlspine.rollouts.counts import HOUR_MS, Compared, Counts, summed
from mlspine.rollouts.deciding import CanaryPlan, Evidence
from mlspine.rollouts.measuring import Beyond
from mlspine.rollouts.store import Rollout
from mlspine.rollouts.telling import Telling
from mlspine.rollouts.watches import Watches

LIST_LIMIT = 1_000
WHOLE = 100


class ArmState(Struct, frozen=True, kw_only=True):
    """What one release did in a roll-out."""

    version: int
    requests: int
    failures: int
    slow: int
    broken: int


class RolloutState(Struct, frozen=True, kw_only=True):
    """A roll-out as a person reads it. missing: what the next step, or the end of the watch, waits for."""

    rollout: Rollout
    older: ArmState
    newer: ArmState
    compared_rows: int
    disagreement: float
    says: str
    missing: tuple[str, ...]
    evidence: tuple[Evidence, ...]


class Rollouts:
    """Canaries and watched switches of all endpoints; at most one canary per endpoint is under way."""

    def __init__(
        self,
        *,
        db: Database,
        registry: Registry,
        deployment: Deployment,
        deployer: Deployer,
        governance: Governance,
        monitoring: Monitoring,
        clock: Callable[[], int] = now_ms,
        machine: str = "",
        watch_s: float = 0.0,
        watch_disagreement: float = 1.0,
        error_rate: float = 0.01,
    ) -> None:
        self._db = db
        self._registry = registry
        self._deployment = deployment
        self._deployer = deployer
        self._clock = clock
        telling = Telling(governance=governance, monitoring=monitoring)
        beyond = Beyond(
            registry=registry, deployer=deployer, monitoring=monitoring, clock=clock, most=watch_disagreement
        )
        self._counting = Counting(db=db, clock=clock, machine=machine)
        self._canaries = Canaries(db=db, deployment=deployment, beyond=beyond, telling=telling, clock=clock)
        self._watches = Watches(
            db=db,
            deployment=deployment,
            counting=self._counting,
            beyond=beyond,
            telling=telling,
            clock=clock,
            watch_s=watch_s,
            allowed=error_rate,
        )

    # ------------------------------------------------------------ asked by people

    @public("operate")
    def start(
        self,
        ref: str,
        *,
        canary: tuple[int, ...] = (5, 25, 50, 100),
        unit: str = "",
        hours: float = 24.0,
        step_minutes: float = 10.0,
        step_requests: int = 400,
        margin: float = 0.01,
        promotes: bool | None = None,
        actor: Actor,
    ) -> Rollout:
        """Let NAME:VERSION or NAME@alias answer a growing share of endpoint NAME's requests, as long as it does well.

        canary: per cent of the requests, growing. unit: the column whose value stays with its release. A step lasts
        so many minutes and requests of the candidate at least; before the last one so many hours have passed in all.
        margin: failures beyond those of the live release that are taken, as a share. promotes: whether it may take
        over by itself in the end; None: at tier low.

        Writes revisions with the cause "traffic" and a ledger line for each decision. Raises Denied when the gate
        refuses the candidate, Conflict while another canary is under way.
        """
        version = self._registry.resolve(ref)
        endpoint = self._deployment.get(version.model)
        plan = _plan(canary, unit, hours, step_minutes, step_requests, margin)
        under_way = [each for each in store.open_ones(self._db, endpoint.name) if each.kind == "canary"]
        if under_way:
            raise Conflict(
                f"version {under_way[0].version} is on its way at {endpoint.name} already",
                hint=f"see: mlspine rollout status {endpoint.name}; stop it: mlspine rollout abort {endpoint.name}",
            )
        live = endpoint.current
        if live.version in (0, version.version):
            what = "answers everything there already" if live.version else "has nothing to be compared with"
            raise Conflict(f"{ref} {what}", hint=f"see: mlspine status {endpoint.name}")
        if live.traffic.candidate:
            raise Conflict(
                f"version {live.traffic.candidate} answers a share of the requests of {endpoint.name}",
                hint=f"end that first: mlspine split {endpoint.name} --off",
            )
        if promotes is None:
            tiers = {version.tier, self._registry.get(endpoint.model, live.version).tier}
            promotes = tiers == {"low"}
        now = self._clock()
        rollout = Rollout(
            id=uuid7(now),
            endpoint=endpoint.name,
            kind="canary",
            version=version.version,
            release_hash=version.release_hash,
            against=live.version,
            against_hash=live.release_hash,
            plan=msgspec.structs.replace(plan, promotes=promotes),
            step_at_ms=now,
            started_at_ms=now,
            started_by=signature(actor),
            ends_at_ms=now + int(plan.horizon_hours * HOUR_MS),
        )
        with self._db.lock("rollouts"):
            return self._canaries.begin(rollout, actor=actor)

    @public("operate")
    def abort(self, name: str, *, actor: Actor, reason: str = "") -> Rollout:
        """End the canary of an endpoint: the live release answers everything. NotFound when none is under way."""
        with self._db.lock("rollouts"):
            found = next((each for each in store.open_ones(self._db, name) if each.kind == "canary"), None)
            if found is None:
                raise NotFound(f"no canary is under way at {name}", hint=f"see: mlspine rollout status {name}")
            return self._canaries.abort(found, actor=actor, why=reason or "no reason given")

    @public("read")
    def status(self, name: str = "") -> list[RolloutState]:
        """What is under way at one endpoint, or all; at one where nothing is, how the newest ended."""
        if name:
            self._deployment.get(name)
        found = store.open_ones(self._db, name)
        return [self._state(each) for each in found or (store.newest(self._db, name, 1) if name else [])]

    @public("read")
    def history(self, name: str = "", *, limit: Limit = 100) -> list[Rollout]:
        """The newest canaries and watches of one endpoint, or of all, newest first."""
        if not 1 <= limit <= LIST_LIMIT:
            raise Invalid(f"limit {limit} is outside 1 to {LIST_LIMIT}", hint="name an endpoint")
        return store.newest(self._db, name, limit)

    # ------------------------------------------------------------ duties

    def tally(self) -> None:
        """Count what the processes of this machine have answered since the last look. Each machine does."""
        states: Sequence[ProcessState] = self._deployer.observe()
        if not states:
            return
        self._deployment.settle()
        under_way = store.open_ones(self._db)
        endpoints = self._deployment.endpoints() if under_way else []
        for release in self._counting.count(states, under_way, endpoints):
            self.note_death(release)

    def decide(self) -> list[str]:
        """Do what the counts lead to; one machine does. Returns the endpoints at which something changed."""
        with self._db.lock("rollouts"):
            changed = [each.endpoint for each in self._watches.open_due()]
            for rollout in store.open_ones(self._db):
                after = (self._canaries if rollout.kind == "canary" else self._watches).look(rollout)
                if (after.state, after.step) != (rollout.state, rollout.step):
                    changed.append(rollout.endpoint)
        return changed

    def note_death(self, release_hash: str) -> None:
        """A process died inside a call of this release: two of those end its canary or watch."""
        if any(each.release_hash == release_hash for each in store.open_ones(self._db)):
            with self._db.write() as tx:
                store.add_crash(tx, release_hash)

    # ------------------------------------------------------------ inside

    def _state(self, rollout: Rollout) -> RolloutState:
        minutes = store.minutes(self._db, rollout)
        compared: Compared = store.compared(self._db, rollout)
        older, newer = summed([each.live for each in minutes]), summed([each.candidate for each in minutes])
        says, missing, evidence = rollout.why, tuple[str, ...](), tuple[Evidence, ...]()
        if rollout.kind == "canary" and rollout.state == "open":
            decision = self._canaries.decision(rollout)
            missing, evidence = decision.missing, decision.evidence
            says = rollout.why or decision.why
        elif rollout.kind == "watch":
            seen = self._watches.seen(rollout)
            evidence = seen.evidence
            says = rollout.why or seen.why
        return RolloutState(
            rollout=rollout,
            older=_arm(rollout.against, older if rollout.kind == "canary" else rollout.record.counts),
            newer=_arm(rollout.version, newer),
            compared_rows=compared.rows,
            disagreement=compared.mean,
            says=says,
            missing=missing,
            evidence=evidence,
        )


def _arm(version: int, counts: Counts) -> ArmState:
    return ArmState(
        version=version,
        requests=counts.requests,
        failures=counts.failures,
        slow=counts.slow,
        broken=counts.broken,
    )


def _plan(
    canary: tuple[int, ...], unit: str, hours: float, step_minutes: float, step_requests: int, margin: float
) -> CanaryPlan:
    steps = tuple(each for each in canary if each != WHOLE)
    problems = []
    if not steps or any(not 1 <= each < WHOLE for each in steps) or sorted(set(steps)) != list(steps):
        problems.append(f"steps {', '.join(map(str, canary))}: growing per cents of 1 to 99, then 100")
    if hours < 0 or step_minutes < 0 or step_requests < 1:
        problems.append(f"{hours:g} hours, {step_minutes:g} minutes, {step_requests} requests: not below 0, 0 and 1")
    if not 0 < margin < 1:
        problems.append(f"margin {margin:g}: a share between 0 and 1, e.g. 0.01")
    if problems:
        raise Invalid(
            "the canary cannot be carried out like that",
            details=problems,
            hint="e.g. mlspine rollout start NAME@candidate --canary 5,25,50,100",
        )
    return CanaryPlan(
        steps=steps, unit=unit, step_s=step_minutes * 60, step_requests=step_requests, hours=hours, margin=margin
    )
