"""What the serving processes are to do: the stored endpoints as a plan, with every release resolved to its files."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mlspine.core.ids import now_ms
from mlspine.core.plan import Placement, Plan, PlannedEndpoint, PlannedRelease, PlannedTraffic, Revision
from mlspine.core.targets import latency_target
from mlspine.core.types import ModelVersion
from mlspine.deployment import store
from mlspine.deployment.endpoint import placement_after, rollback_target
from mlspine.deployment.fresh import before_switch
from mlspine.deployment.guards import planned as planned_guards
from mlspine.ports import Database


class Planner:
    """Reads the store; writes nothing.

    version_of: a version of a model. latency_s: the declared P99; None: twice that measured before traffic.
    watch_s: so long after a switch the release before is asked along, unseen, for `watch_share` of the requests.
    """

    def __init__(
        self,
        *,
        db: Database,
        version_of: Callable[[str, int], ModelVersion],
        base_plan: Plan,
        latency_s: float | None = None,
        clock: Callable[[], int] = now_ms,
        watch_s: float = 0.0,
        watch_share: float = 0.0,
    ) -> None:
        self._db = db
        self._version_of = version_of
        self._base_plan = base_plan
        self._latency_s = latency_s
        self._clock = clock
        self._watch_s = watch_s
        self._watch_share = watch_share

    def plan(self) -> Plan:
        """The plan the store asks for now: what every inference process must answer by."""
        # Read first: a change meanwhile then leaves a number too small, and the plan is made anew.
        number = store.plan_number(self._db)
        crashes = store.native_crashes(self._db)
        planned = tuple(
            self._endpoint(row["name"], row["model"], revisions, crashes)
            for row in store.endpoints(self._db)
            if (revisions := answered_here(store.revisions(self._db, row["name"])))
        )
        return msgspec.structs.replace(self._base_plan, number=number, endpoints=planned)

    def newcomer(
        self, version: ModelVersion, *, placement: Placement = "auto", own_env: bool = False
    ) -> PlannedRelease:
        """A release that is to be loaded and proved anew, wherever it ran before."""
        crashes = store.native_crashes(self._db).get(version.release_hash, 0)
        return PlannedRelease(
            release_hash=version.release_hash,
            version=version.version,
            path=version.path,
            placement="worker" if own_env else placement if placement != "auto" else placement_after(crashes),
            own_env=own_env,
            runtime=self._base_plan.runtime,
            worker_memory_bytes=self._base_plan.worker_memory_bytes,
        )

    def _endpoint(self, name: str, model: str, revisions: list[Revision], crashes: dict[str, int]) -> PlannedEndpoint:
        current = revisions[-1]
        # Kept ready beside the live one: what a rollback brings back, else what was just left.
        warm = rollback_target(revisions) or next(
            (each for each in reversed(revisions) if each.version not in (0, current.version)), None
        )
        apart = own_environments(revisions)
        live = self._release(model, current.version, crashes, apart)
        beside = self._release(model, warm.version, crashes, apart) if warm else None
        tier = self._version_of(model, current.version).tier if current.version else "low"
        return PlannedEndpoint(
            name=name,
            revision=current.number,
            live=live,
            warm=beside,
            log=current.log,
            log_first=tier != "low",
            traffic=self._traffic(model, revisions, crashes, ready=[each for each in (live, beside) if each]),
            guards=planned_guards(current.guards, way_back=rollback_target(revisions) is not None),
        )

    def _traffic(
        self, model: str, revisions: list[Revision], crashes: dict[str, int], *, ready: list[PlannedRelease]
    ) -> PlannedTraffic:
        current = revisions[-1]
        divided = current.traffic
        before = before_switch(revisions, now_ms=self._clock(), watch_s=self._watch_s)
        asked, shadow_share = divided.shadow, divided.shadow_share
        if not asked and self._watch_share:
            # Where two releases share an endpoint, or one has just taken over, the other is asked along.
            asked, shadow_share = divided.candidate or (before.version if before else 0), self._watch_share
        apart = own_environments(revisions)
        candidate = self._release(model, divided.candidate, crashes, apart)
        shadow = self._release(model, asked, crashes, apart)
        if shadow is not None:
            # It may do what it likes there: no answer waits for it.
            alone = msgspec.structs.replace(shadow, placement="worker")
            others = [*ready, candidate] if candidate else ready
            shadow = next((each for each in others if each.release_hash == shadow.release_hash), alone)
        # By the older of two releases, so that the newer one is held to what there was.
        proof = store.find_proof(self._db, (before or current).release_hash)
        target = latency_target(self._latency_s, proof)
        return PlannedTraffic(
            candidate=candidate,
            share=divided.share,
            unit=divided.unit,
            cohort=divided.cohort,
            salt=divided.salt,
            shadow=shadow,
            shadow_share=shadow_share if shadow else 1.0,
            slow_s=target.seconds if target else 0.0,
        )

    def _release(
        self, model: str, number: int, crashes: dict[str, int], apart: frozenset[int]
    ) -> PlannedRelease | None:
        if number == 0:
            return None
        version = self._version_of(model, number)
        placement: Placement = placement_after(crashes.get(version.release_hash, 0))
        proof = store.find_proof(self._db, version.release_hash)
        if placement == "auto" and proof is not None:
            placement = proof.placement  # measured before: a restart need not find out again
        own_env = number in apart
        return PlannedRelease(
            release_hash=version.release_hash,
            version=version.version,
            path=version.path,
            placement="worker" if own_env else placement,
            own_env=own_env,
            runtime=self._base_plan.runtime,
            worker_memory_bytes=self._base_plan.worker_memory_bytes,
        )


def own_environments(revisions: list[Revision]) -> frozenset[int]:
    """The versions that run in the environment of their lock: by the newest revision in which each was live."""
    newest = {each.version: each.own_env for each in revisions}
    return frozenset(version for version, own_env in newest.items() if own_env)


def answered_here(revisions: list[Revision]) -> list[Revision]:
    """The revisions this workspace answers or answered by; [] for an endpoint that is only watched."""
    return [each for each in revisions if each.cause != "watch"]
