"""The moves of a canary: each is a committed revision of the endpoint first, and the canary's own row second.

Whoever dies between the two is repaired at the next look: the revision says what was done and why.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mlspine.core.errors import MlspineError
from mlspine.core.plan import Endpoint, Revision
from mlspine.core.types import SYSTEM, Actor
from mlspine.deployment.service import Deployment
from mlspine.governance.service import signature
from mlspine.ports import Database
from mlspine.rollouts import store
from mlspine.rollouts.deciding import Decision, decide
from mlspine.rollouts.measuring import Beyond
from mlspine.rollouts.store import Rollout, State
from mlspine.rollouts.telling import Telling

RETRY_MS = 60_000
# How the reason of a revision begins that ends a canary, so that a look after a crash can tell.
_ENDS: dict[State, str] = {
    "returned": "canary returned: ",
    "inconclusive": "canary inconclusive: ",
    "invalid": "canary invalid: ",
    "aborted": "canary aborted: ",
}
_OF_ACTION: dict[str, State] = {"return": "returned", "inconclusive": "inconclusive", "invalid": "invalid"}


class Canaries:
    """Looks at canaries and carries out what is decided. Call from one place at a time."""

    def __init__(
        self,
        *,
        db: Database,
        deployment: Deployment,
        beyond: Beyond,
        telling: Telling,
        clock: Callable[[], int],
    ) -> None:
        self._db = db
        self._deployment = deployment
        self._beyond = beyond
        self._telling = telling
        self._clock = clock
        self._not_before_ms: dict[str, int] = {}

    def begin(self, rollout: Rollout, *, actor: Actor) -> Rollout:
        """Store it and deal the first share; nothing is left of it when that is refused."""
        with self._db.write() as tx:
            store.add(tx, rollout)
        try:
            begun = self._deal(rollout, 0, actor=actor, why=f"canary: {_told(rollout)}")
        except MlspineError:
            with self._db.write() as tx:
                store.remove(tx, rollout.id)
            raise
        self._telling.settled(begun)
        return begun

    def abort(self, rollout: Rollout, *, actor: Actor, why: str) -> Rollout:
        """Let the older release answer everything again, because somebody says so."""
        self._end_split(rollout, "aborted", why, actor)
        return self._close(rollout, "aborted", why, actor=actor)

    def look(self, rollout: Rollout) -> Rollout:
        """Repair what was cut short, judge what was counted, and do what follows."""
        now = self._clock()
        if now < self._not_before_ms.get(rollout.id, 0):
            return rollout
        try:
            rollout = self.repaired(rollout)
            if rollout.state != "open":
                return rollout
            rollout = self._measured(rollout)
            return self._carry_out(rollout, self.decision(rollout))
        except MlspineError as exc:
            # Loading what does not load takes seconds: not again with every look.
            self._not_before_ms[rollout.id] = now + RETRY_MS
            name = rollout.endpoint
            self._telling.asks(rollout, exc.message, f"mlspine rollout status {name}; mlspine rollout abort {name}")
            return rollout

    def decision(self, rollout: Rollout) -> Decision:
        """What is to be done now; nothing is written."""
        return decide(
            rollout.plan,
            store.minutes(self._db, rollout),
            step=rollout.step,
            now_ms=self._clock(),
            started_at_ms=rollout.started_at_ms,
            step_at_ms=rollout.step_at_ms,
            compared=store.compared(self._db, rollout),
            bound=rollout.bound if rollout.bound >= 0 else 1.0,
            others=self._beyond.others(rollout),
            crashes=rollout.crashes,
        )

    def repaired(self, rollout: Rollout) -> Rollout:
        """The row as the endpoint's newest revision has it."""
        endpoint = self._deployment.get(rollout.endpoint)
        now = endpoint.current
        if not rollout.revision and now.traffic.candidate != rollout.version and now.version == rollout.against:
            return self._deal(rollout, 0, actor=SYSTEM, why=f"canary: {_told(rollout)}")
        if now.version == rollout.version:
            return self._close(rollout, "promoted", rollout.why or now.reason or "somebody promoted it")
        if now.version == rollout.against and now.traffic.candidate == rollout.version:
            return self._at(rollout, now)
        return self._ended(rollout, endpoint)

    # ------------------------------------------------------------ inside

    def _measured(self, rollout: Rollout) -> Rollout:
        measured = self._beyond.measured(rollout)
        if measured != rollout:
            with self._db.write() as tx:
                store.change(tx, measured)
        return measured

    def _carry_out(self, rollout: Rollout, decision: Decision) -> Rollout:
        if decision.action == "hold":
            return rollout
        if decision.action != "advance":
            state = _OF_ACTION[decision.action]
            self._end_split(rollout, state, decision.why, SYSTEM)
            return self._close(rollout, state, decision.why, decision=decision)
        if rollout.step + 1 < len(rollout.plan.steps):
            moved = self._deal(rollout, rollout.step + 1, actor=SYSTEM, why=f"canary: {decision.why}")
            with self._db.write():
                self._telling.decided(moved, "step", decision.why, evidence=decision.evidence)
            return moved
        return self._passed(rollout, decision)

    def _passed(self, rollout: Rollout, decision: Decision) -> Rollout:
        if not rollout.plan.promotes:
            if rollout.why != decision.why and not rollout.why:
                rollout = msgspec.structs.replace(rollout, why=decision.why)
                with self._db.write() as tx:
                    store.change(tx, rollout)
                    self._telling.decided(rollout, "passed", decision.why, evidence=decision.evidence)
                self._telling.waits(rollout)
            return rollout
        reason = f"canary passed: {decision.why}"
        self._deployment.promote(rollout.endpoint, rollout.version, actor=SYSTEM, reason=reason)
        return self._close(rollout, "promoted", decision.why, decision=decision)

    def _deal(self, rollout: Rollout, step: int, *, actor: Actor, why: str) -> Rollout:
        switched = self._deployment.split(
            rollout.endpoint,
            f"{self._deployment.get(rollout.endpoint).model}:{rollout.version}",
            share=rollout.plan.steps[step] / 100,
            unit=rollout.plan.unit,
            actor=actor,
            reason=why,
        )
        moved = self._at(rollout, switched.revision)
        if not rollout.revision:
            with self._db.write():
                self._telling.decided(moved, "start", _told(moved), actor=actor)
        return moved

    def _at(self, rollout: Rollout, revision: Revision) -> Rollout:
        """The row at the step that the revision deals; closed when somebody deals another share."""
        step = _step(rollout, revision)
        if step is None:
            why = f"{revision.actor} changed the division: {revision.reason or 'no reason given'}"
            return self._close(rollout, "ended", why)
        if (step, revision.number) == (rollout.step, rollout.revision):
            return rollout
        moved = msgspec.structs.replace(
            rollout,
            step=step,
            revision=revision.number,
            step_at_ms=revision.created_at_ms if step != rollout.step or not rollout.revision else rollout.step_at_ms,
        )
        with self._db.write() as tx:
            store.change(tx, moved)
        return moved

    def _end_split(self, rollout: Rollout, state: State, why: str, actor: Actor) -> None:
        if self._deployment.get(rollout.endpoint).current.traffic.candidate == rollout.version:
            self._deployment.split(rollout.endpoint, share=0.0, actor=actor, reason=_ENDS[state] + why)

    def _ended(self, rollout: Rollout, endpoint: Endpoint) -> Rollout:
        """The candidate answers nothing any more: by a look that was cut short, or by a person."""
        for revision in reversed(self._deployment.revisions(endpoint.name)):
            if revision.number <= rollout.revision or revision.traffic.candidate:
                break
            for state, beginning in _ENDS.items():
                if revision.reason.startswith(beginning):
                    return self._close(rollout, state, revision.reason.removeprefix(beginning))
        by = "mlspine" if endpoint.current.actor == signature(SYSTEM) else endpoint.current.actor
        why = f"{by} changed what answers ({endpoint.current.cause}): {endpoint.current.reason or 'no reason given'}"
        return self._close(rollout, "ended", why)

    def _close(
        self, rollout: Rollout, state: State, why: str, *, actor: Actor = SYSTEM, decision: Decision | None = None
    ) -> Rollout:
        closed = msgspec.structs.replace(rollout, state=state, why=why, closed_at_ms=self._clock())
        if state == "returned":  # before the row: told twice is better than never
            self._telling.came_back(closed, why)
        elif state in ("inconclusive", "invalid"):
            self._telling.undecided(closed, why)
        else:
            self._telling.settled(closed)
        with self._db.write() as tx:
            store.change(tx, closed)
            self._telling.decided(closed, state, why, actor=actor, evidence=decision.evidence if decision else ())
        return closed


def _step(rollout: Rollout, revision: Revision) -> int | None:
    """Which step a revision is, None when it deals a share that is none."""
    share = revision.traffic.share
    return next((at for at, each in enumerate(rollout.plan.steps) if abs(each / 100 - share) < 1e-9), None)


def _told(rollout: Rollout) -> str:
    steps = ", ".join(f"{each}%" for each in (*rollout.plan.steps, 100))
    return f"version {rollout.version} beside {rollout.against}, {steps}"
