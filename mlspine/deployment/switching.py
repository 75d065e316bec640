"""One change of an endpoint, carried out: proved first, stored whole with its ledger line, pushed and acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from mlspine.core.errors import Conflict, Invalid
from mlspine.core.ids import now_ms
from mlspine.core.plan import (
    Acknowledgement,
    Cause,
    Guards,
    LogSettings,
    Placement,
    PlannedEndpoint,
    Proof,
    Revision,
    Traffic,
)
from mlspine.core.types import Actor, Decision, ModelVersion, Struct
from mlspine.deployment import dividing, guards, store
from mlspine.deployment.endpoint import next_number, rollback_target, trail
from mlspine.deployment.examining import Examiner
from mlspine.deployment.judging import Judge, Judged
from mlspine.deployment.planning import Planner, own_environments
from mlspine.governance.gate import Action
from mlspine.governance.service import Governance, signature
from mlspine.ports import Database, Deployer, Transaction
from mlspine.registry.service import Registry
from mlspine.registry.watched import is_watched_version

UNASKED = Judged(Decision(allowed=True))
NOT_RESTORED = ("data already answered", "labels and logs (kept as they are)")
PACKAGES = "the machine's installed packages"  # those of a release with an environment of its own come back with it


class Switched(Struct, frozen=True, kw_only=True):
    """What a change of traffic did. `changed` is False when the endpoint already answered so."""

    endpoint: str
    revision: Revision
    previous_version: int
    target_after: int  # what a rollback would bring back now; 0: "cannot answer"
    changed: bool
    proof: Proof | None
    warnings: tuple[str, ...]
    committed_at_ms: int
    effective_s: float
    acknowledgements: tuple[Acknowledgement, ...]
    not_restored: tuple[str, ...] = ()


class Change(NamedTuple):
    """The state an endpoint is to be in next.

    live: the version that then answers; None: "cannot answer". newcomer: a release to be loaded, proved and asked its
    sentinels before anything is stored. action: the ledger's word for it.
    """

    live: ModelVersion | None
    cause: Cause
    action: str
    log: LogSettings
    traffic: Traffic
    guards: Guards
    newcomer: ModelVersion | None = None
    placement: Placement = "auto"  # of the newcomer
    own_env: bool | None = None  # whether `live` runs in the environment of its lock; None: as it did before
    judged: Judged = UNASKED
    rolled_back_from: int = 0
    warnings: tuple[str, ...] = ()


class Switching:
    """Applies changes. A failure before the commit changes nothing."""

    def __init__(
        self,
        *,
        db: Database,
        registry: Registry,
        governance: Governance,
        deployer: Deployer,
        planner: Planner,
        examiner: Examiner,
        clock: Callable[[], int],
    ) -> None:
        self._db = db
        self._registry = registry
        self._governance = governance
        self._deployer = deployer
        self._planner = planner
        self._examiner = examiner
        self._clock = clock
        self._judge = Judge(registry=registry, governance=governance)

    def apply(self, name: str, change: Change, revisions: list[Revision], *, actor: Actor, reason: str) -> Switched:
        """Load and prove, commit, push. revisions: those the change was decided on; Conflict when there are more."""
        current = revisions[-1] if revisions else None
        number = next_number(revisions)
        apart = own_environments(revisions)
        own_env = bool(change.live and change.live.version in apart) if change.own_env is None else change.own_env
        proof = self._prove(name, number, change, own_env=own_env, apart=apart)
        missed = self._examiner.examine(change.newcomer, change.cause, actor) if change.newcomer else ()
        revision = Revision(
            endpoint=name,
            number=number,
            version=change.live.version if change.live else 0,
            release_hash=change.live.release_hash if change.live else "",
            cause=change.cause,
            log=change.log,
            created_at_ms=self._clock(),
            actor=signature(actor),
            reason=reason,
            rolled_back_from=change.rolled_back_from,
            traffic=change.traffic,
            guards=change.guards,
            own_env=own_env,
        )
        with self._db.write() as tx:
            self.commit(tx, revision, current, change, proof, actor)
        committed_at_ms = now_ms()  # a duration on this machine, so the real clock, whatever the service's clock says
        acknowledgements = self._deployer.apply(self._planner.plan())
        effective_s = _effective_s(acknowledgements, committed_at_ms)
        with self._db.write() as tx:
            store.record_switch_time(tx, name, revision.number, committed_at_ms, effective_s)
        after = rollback_target([*revisions, revision])
        return Switched(
            endpoint=name,
            revision=revision,
            previous_version=current.version if current else 0,
            target_after=after.version if after else 0,
            changed=True,
            proof=proof,
            warnings=(
                *change.judged.decision.warnings,
                *(proof.warnings if proof else ()),
                *missed,
                *change.warnings,
            ),
            committed_at_ms=committed_at_ms,
            effective_s=effective_s,
            acknowledgements=acknowledgements,
            not_restored=(*NOT_RESTORED, *(() if own_env else (PACKAGES,))) if change.cause == "rollback" else (),
        )

    def unchanged(self, revisions: list[Revision]) -> Switched:
        """What is asked for is so already: the plan is pushed once more and nothing is written."""
        acknowledgements = self._deployer.apply(self._planner.plan())
        target = rollback_target(revisions)
        return Switched(
            endpoint=revisions[-1].endpoint,
            revision=revisions[-1],
            previous_version=revisions[-1].version,
            target_after=target.version if target else 0,
            changed=False,
            proof=store.find_proof(self._db, revisions[-1].release_hash),
            warnings=(),
            committed_at_ms=now_ms(),
            effective_s=0.0,
            acknowledgements=acknowledgements,
        )

    def decide(
        self,
        name: str,
        target: ModelVersion | None,
        revisions: list[Revision],
        action: Action,
        actor: Actor,
        *,
        approved: bool = False,
        own_env: bool | None = None,
    ) -> Judged:
        """The gate's word on a version that is to answer. approved: somebody's approval of it was used up before.
        own_env: as in `Change`."""
        if target is None:
            return UNASKED
        way_back = [step for step in trail(revisions) if step.version != target.version]
        return self._judge.judge(
            action,
            target,
            where=name,
            replaced=self._replaced(target.model, revisions),
            first_deployment=all(step.version in (0, target.version) for step in revisions),
            rollback_target=bool(way_back),
            approved=approved,
            own_env=target.version in own_environments(revisions) if own_env is None else own_env,
            actor=actor,
        )

    def commit(
        self,
        tx: Transaction,
        revision: Revision,
        current: Revision | None,
        change: Change,
        proof: Proof | None,
        actor: Actor,
    ) -> None:
        """Revision, stages, approval and ledger line, in the caller's transaction."""
        last = store.last_number(tx, revision.endpoint)
        if last != revision.number - 1:
            raise Conflict(
                f"endpoint {revision.endpoint} was changed meanwhile: it is at revision {last}",
                hint=f"look at it and repeat the command: mlspine status {revision.endpoint}",
            )
        known = store.find_endpoint(tx, revision.endpoint)
        model = change.live.model if change.live else known["model"] if known else revision.endpoint
        store.add_endpoint(tx, revision.endpoint, model, revision.created_at_ms)
        store.append_revision(tx, revision)
        if proof:
            store.record_proof(tx, proof, revision.created_at_ms)
        self._put_stages(model, revision, current)
        approval = change.judged.approval
        if approval:
            self._governance.use_approval(approval, used_for=f"{change.action} {revision.endpoint}")
        self._governance.record(
            action=change.action,
            subject=f"endpoint:{revision.endpoint}",
            actor=actor,
            reason=revision.reason,
            facts={
                "revision": revision.number,
                "version": revision.version,
                "release": revision.release_hash,
                "previous_version": current.version if current else 0,
                "log": msgspec.to_builtins(revision.log),
                **({"own_env": True} if revision.own_env else {}),
                "proof": f"{proof.reproduced_rows} of {proof.recorded_rows}" if proof else "",
                "warnings": [*change.judged.decision.warnings, *change.warnings],
                "approved_by": approval.actor if approval else "",
                "approval": approval.id if approval else "",
                **_beside(revision, current),
            },
        )

    def _prove(self, name: str, number: int, change: Change, *, own_env: bool, apart: frozenset[int]) -> Proof | None:
        if change.newcomer is None:
            return None
        goes_live = change.live is not None and change.newcomer.version == change.live.version
        planned = self._planner.newcomer(
            change.newcomer,
            placement=change.placement,
            own_env=own_env if goes_live else change.newcomer.version in apart,
        )
        return self._deployer.prepare(PlannedEndpoint(name=name, revision=number, live=planned, log=change.log))

    def _replaced(self, model: str, revisions: list[Revision]) -> ModelVersion | None:
        """What answers now; before anything does, what is in Production."""
        if revisions and revisions[-1].version and revisions[-1].cause != "watch":
            return self._registry.get(model, revisions[-1].version)
        versions = (each for each in self._registry.versions(model) if not is_watched_version(each))
        live = [each for each in versions if each.stage == "Production"]
        return live[-1] if live else None

    def _put_stages(self, model: str, revision: Revision, current: Revision | None) -> None:
        for version in self._registry.versions(model):
            left = version.stage == "Production" or bool(current and current.version == version.version)
            if left and version.version != revision.version:
                self._registry.set_stage(model, version.version, "Archived")
            elif version.version == revision.version and version.stage != "Production":
                self._registry.set_stage(model, version.version, "Production")


def check_redaction(log: LogSettings, target: ModelVersion) -> None:
    """Raises Invalid for a column to be left out of the log that the model does not have."""
    known = set(target.captured.get("columns", ())) or None
    unknown = [name for name in log.redact if known is not None and name not in known]
    if unknown:
        raise Invalid(
            f"cannot redact {', '.join(map(repr, unknown))}: no such column in {target.model}:{target.version}",
            hint=f"columns: {', '.join(sorted(known or ()))}",
        )


def _beside(revision: Revision, current: Revision | None) -> dict[str, Any]:
    """What a ledger line says beyond the live version: the division of requests, where there is or was one."""
    before = current.traffic if current else Traffic()
    ended = {"ended": dividing.told(before)} if before not in (Traffic(), revision.traffic) else {}
    guarded = guards.facts(revision.guards, current.guards if current else Guards())
    return {**dividing.facts(revision.traffic), **ended, **guarded}


def _effective_s(acknowledgements: tuple[Acknowledgement, ...], committed_at_ms: int) -> float:
    """Seconds from the commit to the last answer begun on the old release, over all processes; never negative."""
    last = max((ack.last_old_begun_at_ms for ack in acknowledgements), default=0)
    return max(0.0, (last - committed_at_ms) / 1000.0) if last else 0.0
