"""The watch over a switch: opened when a newer release answers everything; time, a breach or a switch closes it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mlspine.core.errors import MlspineError
from mlspine.core.ids import uuid7
from mlspine.core.plan import Endpoint, Revision
from mlspine.core.types import SYSTEM
from mlspine.deployment.endpoint import live_since
from mlspine.deployment.fresh import before_switch
from mlspine.deployment.service import WATCH, Deployment
from mlspine.governance.service import signature
from mlspine.ports import Database
from mlspine.rollouts import store
from mlspine.rollouts.counting import Counting
from mlspine.rollouts.counts import MINUTE_MS
from mlspine.rollouts.measuring import Beyond
from mlspine.rollouts.store import Rollout, State
from mlspine.rollouts.telling import Telling
from mlspine.rollouts.watching import Watched, look

RETRY_MS = 60_000
_BACK = "watch: "


class Watches:
    """Opens, looks at and closes watches. watch_s: how long one lasts; 0: there is none.

    allowed: the share of failures that is taken where the record of the release before is too short.
    """

    def __init__(
        self,
        *,
        db: Database,
        deployment: Deployment,
        counting: Counting,
        beyond: Beyond,
        telling: Telling,
        clock: Callable[[], int],
        watch_s: float,
        allowed: float,
    ) -> None:
        self._db = db
        self._deployment = deployment
        self._counting = counting
        self._beyond = beyond
        self._telling = telling
        self._clock = clock
        self._watch_s = watch_s
        self._allowed = allowed
        self._not_before_ms: dict[str, int] = {}

    def open_due(self) -> list[Rollout]:
        """Open a watch for every fresh switch that has none."""
        if not self._watch_s:
            return []
        found = (self._opened(each) for each in self._deployment.endpoints() if each.current.cause != WATCH)
        return [each for each in found if each is not None]

    def look(self, rollout: Rollout) -> Rollout:
        """Judge one, and bring the release before back after a breach. It does so once: then a person decides."""
        endpoint = self._deployment.get(rollout.endpoint)
        if endpoint.current.version != rollout.version:
            return self._left(rollout, endpoint.current)
        now = self._clock()
        if now < self._not_before_ms.get(rollout.id, 0):
            return rollout
        rollout = self._measured(rollout)
        seen = self.seen(rollout)
        if seen.breach:
            return self._back(rollout, endpoint, seen)
        if now >= rollout.ends_at_ms:
            return self._close(rollout, "passed", seen.why, seen)
        return rollout

    def seen(self, rollout: Rollout) -> Watched:
        """What the requests since the switch say."""
        return look(
            store.minutes(self._db, rollout),
            rollout.record.counts,
            allowed=self._allowed,
            compared=store.compared(self._db, rollout),
            # For a minute both may have met the same few rows.
            bound=rollout.bound if rollout.bound >= 0 and self._clock() >= rollout.started_at_ms + MINUTE_MS else 1.0,
            others=self._beyond.others(rollout),
            crashes=rollout.crashes,
        )

    # ------------------------------------------------------------ inside

    def _opened(self, endpoint: Endpoint) -> Rollout | None:
        if self._clock() >= endpoint.live_since_ms + int(self._watch_s * 1000):
            return None  # nearly always: two numbers, no read
        revisions = self._deployment.revisions(endpoint.name)
        before = before_switch(revisions, now_ms=self._clock(), watch_s=self._watch_s)
        switch = live_since(revisions)
        if before is None or switch is None or store.watches(self._db, endpoint.name, switch.number):
            return None
        rollout = Rollout(
            id=uuid7(self._clock()),
            endpoint=endpoint.name,
            kind="watch",
            version=switch.version,
            release_hash=switch.release_hash,
            against=before.version,
            against_hash=before.release_hash,
            record=self._counting.record(endpoint.name, before.release_hash),
            step_at_ms=switch.created_at_ms,
            revision=switch.number,
            started_at_ms=switch.created_at_ms,
            started_by=switch.actor,
            ends_at_ms=switch.created_at_ms + int(self._watch_s * 1000),
        )
        with self._db.write() as tx:
            store.add(tx, rollout)
        return rollout

    def _measured(self, rollout: Rollout) -> Rollout:
        measured = self._beyond.measured(rollout)
        if measured != rollout:
            with self._db.write() as tx:
                store.change(tx, measured)
        return measured

    def _back(self, rollout: Rollout, endpoint: Endpoint, seen: Watched) -> Rollout:
        name = rollout.endpoint
        if endpoint.previous is None or endpoint.previous.version != rollout.against:
            self._telling.asks(
                rollout,
                f"{seen.why}; a way back would not lead to version {rollout.against}",
                f"mlspine rollback {name}, or mlspine promote {name} VERSION",
            )
            return self._close(rollout, "ended", seen.why, seen)
        try:
            # A division of requests is taken back first, by the same word; then the release itself.
            while self._deployment.get(name).current.version == rollout.version:
                self._deployment.rollback(name, actor=SYSTEM, reason=_BACK + seen.why)
        except MlspineError as exc:
            self._not_before_ms[rollout.id] = self._clock() + RETRY_MS
            self._telling.asks(rollout, f"{seen.why}; {exc.message}", f"mlspine rollback {name}")
            return rollout
        return self._close(rollout, "returned", seen.why, seen)

    def _left(self, rollout: Rollout, current: Revision) -> Rollout:
        """Another release answers: by a return that was cut short before its row, or by somebody else."""
        if current.actor == signature(SYSTEM) and current.reason.startswith(_BACK):
            return self._close(rollout, "returned", current.reason.removeprefix(_BACK))
        return self._close(rollout, "ended", f"version {current.version} was put live ({current.cause})")

    def _close(self, rollout: Rollout, state: State, why: str, seen: Watched | None = None) -> Rollout:
        closed = msgspec.structs.replace(rollout, state=state, why=why, closed_at_ms=self._clock())
        if state == "returned":  # before the row: told twice is better than never
            self._telling.came_back(closed, why)
        elif state == "passed":
            self._telling.settled(closed)
        with self._db.write() as tx:
            store.change(tx, closed)
            self._telling.decided(closed, state, why, evidence=seen.evidence if seen else ())
        return closed
