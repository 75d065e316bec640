"""The door of deployment: what is served, moving it forward, bringing it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from mlspine.core.errors import Conflict, Invalid, MlspineError, NotFound, closest
from mlspine.core.ids import SHORT_HASH, check_name, now_ms
from mlspine.core.plan import Acknowledgement, Cohort, Endpoint, Guards, LogSettings, Plan, Proof, Revision, Traffic
from mlspine.core.public import public
from mlspine.core.types import SYSTEM, Actor, ModelVersion
from mlspine.deployment import store
from mlspine.deployment.endpoint import live_since, placement_after, rollback_target
from mlspine.deployment.examining import Examiner
from mlspine.deployment.guarding import Guarding, guards_at
from mlspine.deployment.planning import Planner
from mlspine.deployment.switching import Change, Switched, Switching, check_redaction
from mlspine.deployment.traffic import Dividing, ended_by_a_move
from mlspine.deployment.watched import WATCH, Watched
from mlspine.governance.service import Governance, signature
from mlspine.ports import Database, Deployer
from mlspine.registry.sentinels import Sentinels
from mlspine.registry.service import Registry
from mlspine.registry.watched import require_model

__all__ = ["WATCH", "Deployment", "Switched"]

FOLLOW_RETRY_S = 30.0


class _Refused(NamedTuple):
    """A plan of another machine that could not be applied here."""

    number: int
    until_ms: int
    error: MlspineError


CROSSING_S = 300.0  # a rollback within this time of one by mlspine itself was typed for the same reason


class Deployment:
    """Endpoints and their append-only revisions. Every change of traffic is one committed row and one ledger line.

    The order is fixed: the serving process loads, warms and reproduces the recorded predictions first; then the
    row is committed; then the plan is pushed and acknowledged. A failure before the commit changes nothing.
    latency_s: the P99 the configuration declares for endpoints. watch_s, watch_share: see `Planner`.
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
        latency_s: float | None = None,
        watch_s: float = 0.0,
        watch_share: float = 0.0,
    ) -> None:
        self._db = db
        self._registry = registry
        self._governance = governance
        self._deployer = deployer
        self._clock = clock
        sentinels = Sentinels(db=db, registry=registry, governance=governance, clock=clock)
        self._examiner = Examiner(sentinels=sentinels, deployer=deployer)
        self._planner = Planner(
            db=db,
            version_of=registry.get,
            base_plan=base_plan,
            latency_s=latency_s,
            clock=clock,
            watch_s=watch_s,
            watch_share=watch_share,
        )
        self._switching = Switching(
            db=db,
            registry=registry,
            governance=governance,
            deployer=deployer,
            planner=self._planner,
            examiner=self._examiner,
            clock=clock,
        )
        self._watched = Watched(db=db, switching=self._switching, clock=clock)
        self._dividing = Dividing(db=db, registry=registry, switching=self._switching)
        self._guarding = Guarding(db=db, registry=registry, switching=self._switching)
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

    def beside(self, name: str) -> frozenset[str]:
        """Releases that answer, or answered, a part of an endpoint's requests without having been live there.

        One that answers everything is none of them: nothing else could be watched.
        """
        row = store.find_endpoint(self._db, name)
        revisions = store.revisions(self._db, name) if row else []
        if not row or not any(each.traffic.candidate for each in revisions):
            return frozenset()
        live, now = {each.version for each in revisions}, revisions[-1].traffic
        whole = now.share >= 1.0 and now.cohort is None
        tried = {each.traffic.candidate for each in revisions} - live | {now.candidate}
        found = tried - ({0, now.candidate} if whole else {0})
        return frozenset(self._registry.get(row["model"], version).release_hash for version in found)

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
        self,
        ref: str,
        *,
        log: LogSettings | None = None,
        own_env: bool | None = None,
        actor: Actor,
        reason: str = "",
        message: str = "",
    ) -> Switched:
        """Answer with what `ref` means: NAME is Production, else the only version; NAME:3; NAME@alias.

        Writes a revision and the ledger line "serve", moves the version to Production. `log` None keeps what the
        endpoint records now. own_env: run in an environment built from the release's lock, rather than in this one;
        None: as that version ran before. Raises Denied when the gate refuses, Invalid when the parity proof fails.
        """
        version = self._registry.resolve(ref)
        check_name(version.model, what="endpoint")
        return self._move(
            version.model, version, "serve", log=log, actor=actor, reason=reason or message, own_env=own_env
        )

    @public("operate")
    def promote(self, name: str, version: int, *, actor: Actor, reason: str = "") -> Switched:
        """Move an endpoint to another version of its model; the one it leaves is kept warm.

        A division of its requests ends with it: a candidate that is promoted answers everything from then on.
        """
        endpoint = self.get(name)
        return self._move(
            name, self._registry.get(endpoint.model, version), "promote", log=None, actor=actor, reason=reason
        )

    @public("operate")
    def rollback(self, name: str, *, actor: Actor, reason: str = "") -> Switched:
        """Bring back the whole previous release: model, transform, thresholds, baseline, settings.

        A second rollback goes further back. Without an earlier release the endpoint says "cannot answer". While a
        candidate answers a share of the requests, that is taken back first and the live version stays: the revision
        then has the cause "traffic".
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
        if endpoint.current.traffic.candidate:
            return self._dividing.unsplit(endpoint, actor=actor, reason=reason, rolled_back=True)
        target = rollback_target(store.revisions(self._db, name))
        if target is None:
            self._refuse_crossing(endpoint)
        version = self._registry.get(endpoint.model, target.version) if target else None
        return self._move(
            name, version, "rollback", log=target.log if target else None, actor=actor, reason=reason, back_to=target
        )

    def _refuse_crossing(self, endpoint: Endpoint) -> None:
        """A rollback typed in the moment in which mlspine went back itself would leave nothing that answers."""
        current = endpoint.current
        since_s = (self._clock() - current.created_at_ms) / 1000
        itself = current.cause == "rollback" and current.actor == signature(SYSTEM)
        if itself and since_s < CROSSING_S:
            raise Conflict(
                f"{endpoint.name} went back from version {current.rolled_back_from} to {current.version} by itself"
                f" {since_s:.0f} s ago: nothing further back answers",
                hint=f"see: mlspine status {endpoint.name}; if it is to answer nothing, type it again in"
                f" {CROSSING_S / 60:.0f} minutes",
            )

    @public("operate")
    def split(
        self,
        name: str,
        ref: str = "",
        *,
        share: float,
        unit: str = "",
        cohort: Cohort | None = None,
        salt: str = "",
        actor: Actor,
        reason: str = "",
    ) -> Switched:
        """Let another version answer a share (0..1) of an endpoint's requests; 0 takes it back.

        ref: NAME:VERSION or NAME@alias; NAME or "" is the candidate there is. unit: the column whose value stays
        with its version ("": the request's key). cohort: divide only requests with one of these values; a cohort
        without a field means everybody again. salt: another one deals the units anew. What is not said stays as it
        was while the candidate is the same, so a growing share keeps those who are in.

        Writes a revision of the same live version with the cause "traffic" and the ledger line "split". Raises
        Denied when the gate refuses the candidate as it would its promotion, Invalid for a column there is not.
        """
        return self._dividing.split(
            self.get(name), ref, share=share, unit=unit, cohort=cohort, salt=salt, actor=actor, reason=reason
        )

    @public("operate")
    def shadow(
        self, name: str, ref: str | None = None, *, share: float = 1.0, actor: Actor, reason: str = ""
    ) -> Switched:
        """Ask another version along, for a share of the requests; its answers are kept and compared, never sent.

        ref None ends it. Writes a revision with the cause "traffic" and the ledger line "shadow". Raises Denied for
        a release that cannot run here; since nobody is answered by it, nothing else is asked of it.
        """
        return self._dividing.shadow(self.get(name), ref, share=share, actor=actor, reason=reason)

    @public("operate")
    def guard(self, name: str, *, guards: Guards, actor: Actor, reason: str = "") -> Switched:
        """Guard an endpoint's answers by these guards alone, in place of those it had; they stay when releases change.

        Writes a revision of the same live version with the cause "guards" and the ledger line "guard". Raises
        Invalid listing all that does not fit what the live release takes and answers.
        """
        return self._guarding.guard(self.get(name), guards, actor=actor, reason=reason)

    def ask(self, release_hash: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What a release that is loaded, live or warm, answers to these rows: in no log and no counter."""
        return self._deployer.ask(release_hash, rows)

    def watch(self, version: ModelVersion, *, log: LogSettings, actor: Actor, reason: str = "") -> Revision:
        """Judge by `version` what somebody else's server answers under the name of its model.

        Changes no traffic: there is none here. Writes a revision and the ledger line "watch", moves the version to
        Production; the same again writes nothing. Raises Conflict for a name that is answered from here.
        """
        return self._watched.watch(version, log=log, actor=actor, reason=reason)

    # ------------------------------------------------------------ the plan

    def plan(self) -> Plan:
        """The plan the store asks for now: what every inference process must answer by."""
        return self._planner.plan()

    def restore(self) -> tuple[Acknowledgement, ...]:
        """Push the stored plan to the serving processes: after a start, a restart or a moved placement."""
        return self._deployer.apply(self.plan())

    def settle(self) -> bool:
        """Apply the stored plan again where only time has changed it: a watch over a switch has ended. True then."""
        applied = self._deployer.applied()
        if applied is None or not any(each.traffic.shadow for each in applied.endpoints):
            return False
        if applied.number != store.plan_number(self._db):
            return False  # a change is on its way: whoever makes it applies it
        if applied.endpoints == self.plan().endpoints:
            return False
        self.restore()
        return True

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

    def _move(
        self,
        name: str,
        target: ModelVersion | None,
        cause: Literal["serve", "promote", "rollback"],
        *,
        log: LogSettings | None,
        actor: Actor,
        reason: str,
        back_to: Revision | None = None,
        own_env: bool | None = None,
    ) -> Switched:
        """Put another version live. Guards stay; those of then come back only where the newer ones do not fit."""
        if target is not None:
            require_model(target)
        revisions = store.revisions(self._db, name)
        current = revisions[-1] if revisions else None
        log = log or (current.log if current else LogSettings())
        stays = current is not None and target is not None and current.version == target.version
        if current and stays and current.log == log and own_env in (None, current.own_env):
            return self._switching.unchanged(revisions)
        if target is not None:
            check_redaction(log, target)
        divided = current.traffic if current else Traffic()
        answers_a_share = target is not None and divided.candidate == target.version
        guards = guards_at(current, target, back_to=back_to)
        change = Change(
            live=target,
            cause=cause,
            action=cause,
            log=log,
            traffic=divided if stays else Traffic(),
            guards=guards,
            newcomer=target,
            own_env=own_env,
            judged=self._switching.decide(
                name, target, revisions, cause, actor, approved=answers_a_share, own_env=own_env
            ),
            rolled_back_from=current.version if current and cause == "rollback" else 0,
            warnings=() if stays else ended_by_a_move(divided, target.version if target else 0),
        )
        return self._switching.apply(name, change, revisions, actor=actor, reason=reason)

    def _endpoint(self, row: dict[str, Any]) -> Endpoint:
        revisions = store.revisions(self._db, row["name"])
        since = live_since(revisions)
        return Endpoint(
            name=row["name"],
            model=row["model"],
            current=revisions[-1],
            previous=rollback_target(revisions),
            created_at_ms=row["created_at_ms"],
            live_since_ms=since.created_at_ms if since else 0,
        )

    def _no_endpoint(self, name: str) -> NotFound:
        names = [row["name"] for row in store.endpoints(self._db)]
        near = closest(name, names)
        if near:
            return NotFound(f"no endpoint {name!r}", hint=f"did you mean {near}? try: mlspine status {near}")
        listed = f"endpoints here: {', '.join(names)}" if names else "nothing is served from this workspace yet"
        return NotFound(f"no endpoint {name!r}", hint=f"{listed}; serve one with: mlspine serve {name}")
