"""What people do about alerts: take one on, want quiet for a while, try whether the telling works."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlspine.core.errors import Invalid, NotFound
from mlspine.core.ids import uuid7
from mlspine.core.types import Actor, Alert, Silence, Struct
from mlspine.governance.service import Governance
from mlspine.monitoring import store
from mlspine.monitoring.alert import DELIVERED, acknowledged
from mlspine.monitoring.telling import Telling
from mlspine.ports import Database

LONGEST_SILENCE_S = 30 * 86_400
LOG = "log"  # the sink that is always there and that nobody reads at night
TEST_EVIDENCE = "alert-test"


class AlertTest(Struct, frozen=True, kw_only=True):
    """What each sink made of a test alert: "ok", or what went wrong."""

    outcomes: dict[str, str]
    reaches_somebody: bool  # a sink other than the log took it

    @property
    def failed(self) -> list[str]:
        return [sink for sink, outcome in self.outcomes.items() if outcome != DELIVERED]


class Handling:
    """Each act and its ledger line are one transaction; "" as endpoint is the workspace itself."""

    def __init__(self, *, db: Database, governance: Governance, telling: Telling, clock: Callable[[], int]) -> None:
        self._db = db
        self._governance = governance
        self._telling = telling
        self._clock = clock

    def acknowledge(self, endpoint: str, cause: str, *, actor: Actor) -> list[Alert]:
        """Take on the open alerts of an endpoint, or the one of that cause; returns them as they are now."""
        with self._db.write() as tx:
            standing = [each for each in store.open_alerts(tx, endpoint) if cause in ("", each.cause)]
            if not standing:
                raise self._nothing_open(endpoint, cause)
            taken = [acknowledged(each, by=actor.name, now_ms=self._clock()) for each in standing]
            for each in taken:
                store.save_alert(tx, each)
            self._record("acknowledge", endpoint, actor, [each.cause for each in taken])
        return taken

    def silence(self, endpoint: str, cause: str, *, for_s: float, reason: str, actor: Actor) -> Silence:
        """Record alerts of an endpoint, or of one cause there, without sending them until `for_s` from now."""
        if not 0 < for_s <= LONGEST_SILENCE_S:
            raise Invalid(
                f"a silence of {for_s:g} s is outside 1 s to 30 days",
                hint="for longer, take the sink out of monitoring.notify",
            )
        now = self._clock()
        quiet = Silence(
            id=uuid7(now),
            endpoint=endpoint,
            cause=cause,
            from_at_ms=now,
            until_at_ms=now + int(for_s * 1000),
            actor=actor.name,
        )
        with self._db.write() as tx:
            store.add_silence(tx, quiet)
            self._record("silence", endpoint, actor, [cause], reason=reason, until_at_ms=quiet.until_at_ms)
        return quiet

    def silences(self) -> list[Silence]:
        """Those that hold now, the first to end first."""
        return store.silences(self._db, now_ms=self._clock())

    def unsilence(self, endpoint: str, cause: str, *, actor: Actor) -> list[Silence]:
        """End the silences of an endpoint, or of that cause there; what is still open is sent at the next check."""
        with self._db.write() as tx:
            now = self._clock()
            ended = [
                each
                for each in store.silences(tx, now_ms=now)
                if each.endpoint == endpoint and cause in ("", each.cause)
            ]
            if not ended:
                raise NotFound(f"nothing is silenced at {_name(endpoint)}", hint="see: mlspine alerts silences")
            for each in ended:
                store.end_silence(tx, each.id, now_ms=now)
            self._record("unsilence", endpoint, actor, [each.cause for each in ended])
        return ended

    def test(self, *, actor: Actor) -> AlertTest:
        """Send an alert marked as a test to every sink now; what they answered is kept as evidence."""
        now = self._clock()
        outcomes = self._telling.tell_all(
            Alert(
                id=uuid7(now),
                endpoint="",
                cause="test",
                severity="INFO",
                title="mlspine: a test alert, nothing is wrong",
                why=f"{actor.name} wanted to know whether alerts arrive here",
                action="",
                opened_at_ms=now,
                updated_at_ms=now,
            )
        )
        reached = any(outcome == DELIVERED for sink, outcome in outcomes.items() if sink != LOG)
        result = AlertTest(outcomes=outcomes, reaches_somebody=reached)
        with self._db.write():
            self._governance.record("test alerts", "workspace", actor, facts={"outcomes": outcomes})
            self._governance.record_evidence(
                TEST_EVIDENCE, "workspace", actor, passed=reached and not result.failed, document={"outcomes": outcomes}
            )
        return result

    def _record(
        self, action: str, endpoint: str, actor: Actor, causes: Sequence[str], *, reason: str = "", until_at_ms: int = 0
    ) -> None:
        facts = {"causes": list(causes)} | ({"until_at_ms": until_at_ms} if until_at_ms else {})
        subject = f"endpoint:{endpoint}" if endpoint else "workspace"
        self._governance.record(action, subject, actor, reason, facts)

    def _nothing_open(self, endpoint: str, cause: str) -> NotFound:
        causes = [each.cause for each in store.open_alerts(self._db, endpoint)]
        what = f"no open alert {cause!r}" if cause else "no open alert"
        return NotFound(
            f"{what} at {_name(endpoint)}",
            hint=f"open there: {', '.join(causes)}" if causes else "see: mlspine alerts",
        )


def _name(endpoint: str) -> str:
    return endpoint or "the workspace itself"
