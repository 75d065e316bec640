"""The door of deployment: what is served, moving it forward, bringing it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec

from mlspine.core.errors import Conflict, Invalid, MlspineError, NotFound, closest
from mlspine.core.ids import SHORT_HASH, check_name, now_ms
from mlspine.core.plan import (
    Acknowledgement,
    Endpoint,
    LogSettings,
    Placement,
    Plan,
    PlannedEndpoint,
    PlannedRelease,
    Proof,
    Revision,
)
from mlspine.core.public import public
from mlspine.core.types import Actor, Decision, ModelVersion, Struct, Tier
from mlspine.deployment import store
from mlspine.deployment.endpoint import (
    next_number,
    placement_after,
    rollback_target,
    trail,
)
from mlspine.deployment.examining import Examiner
from mlspine.deployment.judging import Judge, Judged
from mlspine.governance.service import Governance, signature
from mlspine.ports import Database, Deployer, Transaction
from mlspine.registry.sentinels import Sentinels
from mlspine.registry.service import Registry
from mlspine.registry.watched import is_watched_version, require_model

Move = Literal["serve", "promote", "rollback"]

WATCH: Literal["watch"] = "watch"
FOLLOW_RETRY_S = 30.0


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


class _Refused(NamedTuple):
    """A plan of another machine that could not be applied here."""

    number: int
    until_ms: int
    error: MlspineError


class Deployment:
    """Endpoints and their append-only revisions. Every change of traffic is one committed row and one ledger line.

    The order is fixed: the serving process loads, warms and reproduces the recorded predictions first; then the
    row is committed; then the plan is pushed and acknowledged. A failure before the commit changes nothing.
    """

    def __init__(
        self,
        *,
        db: Database,
        registry: Registry,
        governance: Governance,
        deployer: Deployer,
        base_plan: Plan,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._db = db
        self._registry = registry
        self._governance = governance
        self._deployer = deployer
        self._base_plan = base_plan
        self._clock = clock
        self._judge = Judge(registry=registry, governance=governance)
        sentinels = Sentinels(db=db, registry=registry, governance=governance, clock=clock)
        self._examiner = Examiner(sentinels=sentinels, deployer=deployer)
        self._refused: _Refused | None = None

    # ------------------------------------------------------------ reading

    @public("read")
    def endpoints(self) -> list[Endpoint]:
        """All endpoints, by name."""
        return [self._endpoint(row) for row in store.endpoints(self._db)]

    @public("read")
    def get(self, name: str) -> Endpoint:
        """One endpoint; NotFound lists the close ones."""
        row = store.find_endpoint(self._db, name)
        if row is None:
            raise self._no_endpoint(name)
        return self._endpoint(row)

    def answers(self) -> bool:
        """Whether anything is answered from here, or is to say that it cannot be."""
        return any(each.current.cause != WATCH for each in self.endpoints())

    @public("read")
    def revisions(self, name: str) -> list[Revision]:
        """The whole history of an endpoint, oldest first."""
        return store.revisions(self._db, self.get(name).name)

    @public("read")
    def proof(self, release_hash: str) -> Proof | None:
        """The newest proof of a release inside the serving process, None when it never served."""
        return store.find_proof(self._db, release_hash)

    @public("read")
    def switch_times(self, name: str) -> dict[str, float]:
        """Seconds from commit to the last answer begun on the old release, by revision number."""
        return {str(number): seconds for number, seconds in store.switch_times(self._db, name).items()}

    # ------------------------------------------------------------ changing

    @public("operate")
    def serve(
        self, ref: str, *, log: LogSettings | None = None, actor: Actor, reason: str = "", message: str = ""
    ) -> Switched:
        """Answer with what `ref` means: NAME is Production, else the only version; NAME:3; NAME@alias.

        Writes a revision and the ledger line "serve", moves the version to Production. `log` None keeps what the
        endpoint records now. Raises Denied when the gate refuses, Invalid when the parity proof fails.
        """
        version = self._registry.resolve(ref)
        check_name(version.model, what="endpoint")
        return self._switch(version.model, version, "serve", log=log, actor=actor, reason=reason or message)

    @public("operate")
    def promote(self, name: str, version: int, *, actor: Actor, reason: str = "") -> Switched:
        """Move an endpoint to another version of its model; the one it leaves is kept warm."""
        endpoint = self.get(name)
        return self._switch(
            name, self._registry.get(endpoint.model, version), "promote", log=None, actor=actor, reason=reason
        )

    @public("operate")
    def rollback(self, name: str, *, actor: Actor, reason: str = "") -> Switched:
        """Bring back the whole previous release: model, transform, thresholds, baseline, settings.

        A second rollback goes further back. Without an earlier release the endpoint says "cannot answer".
        """
        endpoint = self.get(name)
        if endpoint.current.cause == WATCH:
            raise Invalid(
                f"{name} is answered by somebody else's server: there is nothing here to roll back",
                hint="bring the model back where it runs; a return to earlier reference rows is: mlspine watch"
                f" {name} --reference FILE",
            )
        if endpoint.current.version == 0:
            raise Conflict(
                f'endpoint {name} already answers "cannot answer": there is nothing further back',
                hint=f"bring a version forward: mlspine promote {name} VERSION; see: mlspine models {name}",
            )
        target = rollback_target(store.revisions(self._db, name))
        version = self._registry.get(endpoint.model, target.version) if target else None
        log = target.log if target else None
        return self._switch(name, version, "rollback", log=log, actor=actor, reason=reason)

    def watch(self, version: ModelVersion, *, log: LogSettings, actor: Actor, reason: str = "") -> Revision:
        """Judge by `version` what somebody else's server answers under the name of its model.

        Changes no traffic: there is none here. Writes a revision and the ledger line "watch", moves the version to
        Production; the same again writes nothing. Raises Conflict for a name that is answered from here.
        """
        name = check_name(version.model, what="endpoint")
        revisions = store.revisions(self._db, name)
        current = revisions[-1] if revisions else None
        if current is not None and current.cause != WATCH:
            raise Conflict(
                f"endpoint {name} is answered from here, and watched for that",
                hint=f"see: mlspine status {name}; give what answers elsewhere a name of its own",
            )
        if current is not None and (current.release_hash, current.log) == (version.release_hash, log):
            return current
        _check_redaction(log, version)
        revision = Revision(
            endpoint=name,
            number=next_number(revisions),
            version=version.version,
            release_hash=version.release_hash,
            cause=WATCH,
            log=log,
            created_at_ms=self._clock(),
            actor=signature(actor),
            reason=reason,
        )
        with self._db.write() as tx:
            self._commit(tx, revision, current, version, None, Judged(Decision(allowed=True)), actor)
        return revision

    def plan(self) -> Plan:
        """The plan the store asks for now: what every inference process must answer by."""
        # Read first: a change meanwhile then leaves a number too small, and the plan is made anew.
        number = store.plan_number(self._db)
        crashes = store.native_crashes(self._db)
        planned = tuple(
            self._planned(row["name"], revisions, crashes)
            for row in store.endpoints(self._db)
            if (revisions := _answered_here(store.revisions(self._db, row["name"])))
        )
        return msgspec.structs.replace(self._base_plan, number=number, endpoints=planned)

    def restore(self) -> tuple[Acknowledgement, ...]:
        """Push the stored plan to the serving processes: after a start, a restart or a moved placement."""
        return self._deployer.apply(self.plan())

    def follow(self) -> bool:
        """Apply the stored plan when another machine has changed it; True when it had.

        Two small reads when nothing changed. A plan that cannot be applied here (a library is missing, the
        recorded rows are not reproduced) leaves what is answered as it is, and is tried again after
        FOLLOW_RETRY_S; until then its error is raised again.
        """
        number = store.plan_number(self._db)
        applied = self._deployer.applied()
        refused = self._refused
        if refused is None or refused.number != number:
            if number == (applied.number if applied else 0):
                return False
        elif self._clock() < refused.until_ms:
            raise refused.error
        try:
            self.restore()
        except MlspineError as exc:
            self._refused = _Refused(number, self._clock() + int(FOLLOW_RETRY_S * 1000), exc)
            raise
        self._refused = None
        return True

    def record_native_crash(self, release_hash: str, *, actor: Actor) -> bool:
        """Count a death of the serving process inside this release's model call; True when it now moves out."""
        with self._db.write() as tx:
            store.add_native_crash(tx, release_hash, self._clock())
            crashes = store.native_crashes(self._db)[release_hash]
            moves = placement_after(crashes) == "worker" and placement_after(crashes - 1) != "worker"
            if moves:
                self._governance.record(
                    action="move-to-worker",
                    subject=f"release:{release_hash[:SHORT_HASH]}",
                    actor=actor,
                    reason=f"the serving process died {crashes} times inside a call of this model",
                    facts={"crashes": crashes},
                )
        return moves

    # ------------------------------------------------------------ inside

    def _switch(
        self,
        name: str,
        target: ModelVersion | None,
        cause: Move,
        *,
        log: LogSettings | None,
        actor: Actor,
        reason: str,
    ) -> Switched:
        if target is not None:
            require_model(target)
        revisions = store.revisions(self._db, name)
        current = revisions[-1] if revisions else None
        log = log or (current.log if current else LogSettings())
        if current and target and current.version == target.version and current.log == log:
            return self._unchanged(revisions)
        if target is not None:
            _check_redaction(log, target)
        judged = self._decide(name, target, revisions, cause, actor)
        proof = self._prove(name, target, revisions, log)
        missed = self._examiner.examine(target, cause, actor) if target is not None else ()
        revision = Revision(
            endpoint=name,
            number=next_number(revisions),
            version=target.version if target else 0,
            release_hash=target.release_hash if target else "",
            cause=cause,
            log=log,
            created_at_ms=self._clock(),
            actor=signature(actor),
            reason=reason,
            rolled_back_from=current.version if current and cause == "rollback" else 0,
        )
        with self._db.write() as tx:
            self._commit(tx, revision, current, target, proof, judged, actor)
        committed_at_ms = now_ms()  # a duration on this machine, so the real clock, whatever the service's clock says
        acknowledgements = self._deployer.apply(self.plan())
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
            warnings=(*judged.decision.warnings, *(proof.warnings if proof else ()), *missed),
            committed_at_ms=committed_at_ms,
            effective_s=effective_s,
            acknowledgements=acknowledgements,
            not_restored=NOT_RESTORED if cause == "rollback" else (),
        )

    def _unchanged(self, revisions: list[Revision]) -> Switched:
        acknowledgements = self.restore()
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

    def _decide(
        self, name: str, target: ModelVersion | None, revisions: list[Revision], cause: Move, actor: Actor
    ) -> Judged:
        if target is None:
            return Judged(Decision(allowed=True))
        way_back = [step for step in trail(revisions) if step.version != target.version]
        return self._judge.judge(
            cause,
            target,
            where=name,
            replaced=self._replaced(target.model, revisions),
            first_deployment=all(step.version in (0, target.version) for step in revisions),
            rollback_target=bool(way_back),
            actor=actor,
        )

    def _replaced(self, model: str, revisions: list[Revision]) -> ModelVersion | None:
        """What answers now; before anything does, what is in Production."""
        if revisions and revisions[-1].version and revisions[-1].cause != WATCH:
            return self._registry.get(model, revisions[-1].version)
        versions = (each for each in self._registry.versions(model) if not is_watched_version(each))
        live = [each for each in versions if each.stage == "Production"]
        return live[-1] if live else None

    def _prove(
        self, name: str, target: ModelVersion | None, revisions: list[Revision], log: LogSettings
    ) -> Proof | None:
        if target is None:
            return None
        planned = PlannedEndpoint(
            name=name,
            revision=next_number(revisions),
            live=PlannedRelease(
                release_hash=target.release_hash,
                version=target.version,
                path=target.path,
                placement=placement_after(store.native_crashes(self._db).get(target.release_hash, 0)),
            ),
            log=log,
        )
        return self._deployer.prepare(planned)

    def _commit(
        self,
        tx: Transaction,
        revision: Revision,
        current: Revision | None,
        target: ModelVersion | None,
        proof: Proof | None,
        judged: Judged,
        actor: Actor,
    ) -> None:
        model = target.model if target else self.get(revision.endpoint).model
        store.add_endpoint(tx, revision.endpoint, model, revision.created_at_ms)
        store.append_revision(tx, revision)
        if proof:
            store.record_proof(tx, proof, revision.created_at_ms)
        for version in self._registry.versions(model):
            left = version.stage == "Production" or bool(current and current.version == version.version)
            if left and version.version != revision.version:
                self._registry.set_stage(model, version.version, "Archived")
        if target:
            self._registry.set_stage(model, target.version, "Production")
        if judged.approval:
            self._governance.use_approval(judged.approval, used_for=f"{revision.cause} {revision.endpoint}")
        self._governance.record(
            action=revision.cause,
            subject=f"endpoint:{revision.endpoint}",
            actor=actor,
            reason=revision.reason,
            facts={
                "revision": revision.number,
                "version": revision.version,
                "release": revision.release_hash,
                "previous_version": current.version if current else 0,
                "log": msgspec.to_builtins(revision.log),
                "proof": f"{proof.reproduced_rows} of {proof.recorded_rows}" if proof else "",
                "warnings": list(judged.decision.warnings),
                "approved_by": judged.approval.actor if judged.approval else "",
                "approval": judged.approval.id if judged.approval else "",
            },
        )

    def _endpoint(self, row: dict[str, Any]) -> Endpoint:
        revisions = store.revisions(self._db, row["name"])
        return Endpoint(
            name=row["name"],
            model=row["model"],
            current=revisions[-1],
            previous=rollback_target(revisions),
            created_at_ms=row["created_at_ms"],
        )

    def _planned(self, name: str, revisions: list[Revision], crashes: dict[str, int]) -> PlannedEndpoint:
        current = revisions[-1]
        # Kept ready beside the live one: what a rollback brings back, else what was just left.
        warm = rollback_target(revisions) or next(
            (each for each in reversed(revisions) if each.version not in (0, current.version)), None
        )
        return PlannedEndpoint(
            name=name,
            revision=current.number,
            live=self._of_revision(current, crashes),
            warm=self._of_revision(warm, crashes) if warm else None,
            log=current.log,
            log_first=current.version != 0 and self._tier(current) != "low",
        )

    def _tier(self, revision: Revision) -> Tier:
        return self._registry.get(self.get(revision.endpoint).model, revision.version).tier

    def _of_revision(self, revision: Revision, crashes: dict[str, int]) -> PlannedRelease | None:
        if revision.version == 0:
            return None
        model = store.find_endpoint(self._db, revision.endpoint)
        version = self._registry.get(model["model"] if model else revision.endpoint, revision.version)
        return self._planned_release(revision.release_hash, version, crashes)

    def _planned_release(self, release_hash: str, version: ModelVersion, crashes: dict[str, int]) -> PlannedRelease:
        placement: Placement = placement_after(crashes.get(release_hash, 0))
        proof = store.find_proof(self._db, release_hash)
        if placement == "auto" and proof is not None:
            placement = proof.placement  # measured before: a restart need not find out again
        return PlannedRelease(
            release_hash=release_hash, version=version.version, path=version.path, placement=placement
        )

    def _no_endpoint(self, name: str) -> NotFound:
        names = [row["name"] for row in store.endpoints(self._db)]
        near = closest(name, names)
        if near:
            return NotFound(f"no endpoint {name!r}", hint=f"did you mean {near}? try: mlspine status {near}")
        listed = f"endpoints here: {', '.join(names)}" if names else "nothing is served from this workspace yet"
        return NotFound(f"no endpoint {name!r}", hint=f"{listed}; serve one with: mlspine serve {name}")


NOT_RESTORED = (
    "data already answered",
    "labels and logs (kept as they are)",
    "the machine's installed packages",
)


def _answered_here(revisions: list[Revision]) -> list[Revision]:
    """The revisions this workspace answers or answered by; [] for an endpoint that is only watched."""
    return [each for each in revisions if each.cause != WATCH]


def _effective_s(acknowledgements: tuple[Acknowledgement, ...], committed_at_ms: int) -> float:
    """Seconds from the commit to the last answer begun on the old release, over all processes; never negative."""
    last = max((ack.last_old_begun_at_ms for ack in acknowledgements), default=0)
    return max(0.0, (last - committed_at_ms) / 1000.0) if last else 0.0


def _check_redaction(log: LogSettings, target: ModelVersion) -> None:
    known = set(target.captured.get("columns", ())) or None
    unknown = [name for name in log.redact if known is not None and name not in known]
    if unknown:
        raise Invalid(
            f"cannot redact {', '.join(map(repr, unknown))}: no such column in {target.model}:{target.version}",
            hint=f"columns: {', '.join(sorted(known or ()))}",
        )
