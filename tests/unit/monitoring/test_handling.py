"""Taking alerts on, keeping quiet for a while, trying the sinks: over a real store, with real sinks' answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Invalid, NotFound, Unavailable
from mlspine.core.ids import uuid7
from mlspine.core.types import Actor, Alert, Severity
from mlspine.governance.service import Governance
from mlspine.monitoring import store
from mlspine.monitoring.alert import after_report, cleared
from mlspine.monitoring.handling import TEST_EVIDENCE, Handling
from mlspine.monitoring.telling import Telling

ANN = Actor(name="ann")
HOUR_MS = 3_600_000


class Sink:
    def __init__(self, name: str) -> None:
        self.name = name
        self.told: list[Alert] = []
        self.broken = False

    def send(self, alert: Alert) -> None:
        if self.broken:
            raise Unavailable(f"{self.name} answered 500")
        self.told.append(alert)


class Room:
    """What handles alerts, over one store; opened anew it is a restart."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.now_ms = 1_000_000
        self.db = SqliteDatabase(folder / "store.db")
        self.db.migrate(migrations.scripts())
        self.governance = Governance(db=self.db, clock=self.clock)
        self.sinks = {name: Sink(name) for name in names or ("pager",)}
        self.open()

    def open(self) -> None:
        self.telling = Telling(db=self.db, notifiers=list(self.sinks.values()), clock=self.clock)
        self.handling = Handling(db=self.db, governance=self.governance, telling=self.telling, clock=self.clock)

    def clock(self) -> int:
        return self.now_ms

    def observe(self, cause: str, severity: Severity = "WARNING", endpoint: str = "churn", why: str = "so") -> None:
        """What the scheduler does when it sees something: raise the alert, then tell."""
        found = Alert(
            id=uuid7(self.now_ms),
            endpoint=endpoint,
            cause=cause,
            severity=severity,
            title=cause,
            why=why,
            action="mlspine status",
            opened_at_ms=self.now_ms,
            updated_at_ms=self.now_ms,
        )
        with self.db.write() as tx:
            changed = after_report(store.find_open(tx, endpoint, cause), found)
            if changed is not None:
                store.save_alert(tx, changed)
        self.telling.deliver()

    def over(self, cause: str, endpoint: str = "churn") -> None:
        with self.db.write() as tx:
            standing = store.find_open(tx, endpoint, cause)
            assert standing is not None
            store.save_alert(tx, cleared(standing, now_ms=self.now_ms))

    def told(self, name: str = "pager") -> list[tuple[str, str]]:
        told: list[tuple[str, str]] = [(alert.cause, alert.severity) for alert in self.sinks[name].told]
        self.sinks[name].told.clear()
        return told

    def ledger(self) -> list[tuple[str, str, str]]:
        return [(line.action, line.subject, line.actor) for line in self.governance.entries()]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.db.close()


def facts(room: Room) -> dict[str, Any]:
    return room.governance.entries()[-1].facts


# ---------------------------------------------------------------- taking on


def test_what_somebody_took_on_is_told_again_only_when_it_gets_worse(room: Room) -> None:
    room.observe("errors")
    assert room.told() == [("errors", "WARNING")]
    (taken,) = room.handling.acknowledge("churn", "", actor=ANN)
    assert (taken.acknowledged_by, taken.acknowledged_at_ms) == ("ann", room.now_ms)
    assert room.ledger() == [("acknowledge", "endpoint:churn", "ann")]
    assert facts(room) == {"causes": ["errors"]}
    room.observe("errors", why="still")
    assert room.told() == []
    room.observe("errors", "CRITICAL")
    assert room.told() == [("errors", "CRITICAL")]
    (standing,) = store.open_alerts(room.db)
    assert (standing.acknowledged_by, standing.acknowledged_at_ms) == ("", 0)


def test_a_sink_that_was_down_is_not_told_what_somebody_took_on(room: Room) -> None:
    room.sinks["pager"].broken = True
    room.observe("errors")
    room.handling.acknowledge("churn", "errors", actor=ANN)
    room.sinks["pager"].broken = False
    room.now_ms += HOUR_MS
    assert room.telling.deliver() == 0
    assert room.told() == []


def test_only_the_cause_that_was_named_is_taken_on(room: Room) -> None:
    room.observe("errors")
    room.observe("latency")
    room.handling.acknowledge("churn", "latency", actor=ANN)
    taken_on = {each.cause: bool(each.acknowledged_at_ms) for each in store.open_alerts(room.db)}
    assert taken_on == {"errors": False, "latency": True}


def test_the_workspace_itself_is_the_endpoint_without_a_name(room: Room) -> None:
    room.observe("log", endpoint="")
    room.handling.acknowledge("", "", actor=ANN)
    assert room.ledger() == [("acknowledge", "workspace", "ann")]


def test_nothing_to_take_on_names_what_is_open(room: Room) -> None:
    room.observe("errors")
    with pytest.raises(NotFound, match="no open alert 'latency' at churn") as caught:
        room.handling.acknowledge("churn", "latency", actor=ANN)
    assert caught.value.hint == "open there: errors"
    assert room.ledger() == []


def test_one_alert_per_cause_until_it_clears_through_restarts(room: Room) -> None:
    for _ in range(3):
        room.observe("errors")
        room.open()
    assert room.told() == [("errors", "WARNING")]
    room.over("errors")
    room.observe("errors")
    assert room.told() == [("errors", "WARNING")]
    assert len(store.alerts(room.db, None, limit=10)) == 2


# ---------------------------------------------------------------- quiet


def test_a_silence_records_and_does_not_send_and_ends_by_itself(room: Room) -> None:
    room.handling.silence("churn", "", for_s=7200, reason="price change", actor=ANN)
    assert room.ledger() == [("silence", "endpoint:churn", "ann")]
    assert room.governance.entries()[-1].reason == "price change"
    assert facts(room)["until_at_ms"] == room.now_ms + 2 * HOUR_MS
    room.observe("errors")
    room.open()
    room.observe("errors", "CRITICAL")
    assert room.told() == []
    assert [each.severity for each in store.open_alerts(room.db)] == ["CRITICAL"]
    room.now_ms += 2 * HOUR_MS
    assert room.handling.silences() == []
    room.telling.deliver()
    assert room.told() == [("errors", "CRITICAL")]


def test_what_is_over_before_the_silence_ends_is_never_sent(room: Room) -> None:
    room.handling.silence("churn", "", for_s=60, reason="", actor=ANN)
    room.observe("errors")
    room.over("errors")
    room.now_ms += HOUR_MS
    assert room.telling.deliver() == 0


@pytest.mark.parametrize(
    ("cause", "endpoint", "covered"),
    [
        ("drift", "churn", ["drift:temp:up", "drift:rain:missing"]),
        ("drift:temp:up", "churn", ["drift:temp:up"]),
        ("drift:te", "churn", []),
        ("", "other", []),
        ("", "churn", ["drift:temp:up", "drift:rain:missing", "errors"]),
    ],
)
def test_a_silence_covers_its_cause_and_what_is_below_it(
    room: Room, cause: str, endpoint: str, covered: list[str]
) -> None:
    room.handling.silence(endpoint, cause, for_s=60, reason="", actor=ANN)
    for each in ("drift:temp:up", "drift:rain:missing", "errors"):
        room.observe(each)
    told = {cause for cause, _ in room.told()}
    assert {"drift:temp:up", "drift:rain:missing", "errors"} - told == set(covered)


def test_silences_are_listed_and_can_be_ended(room: Room) -> None:
    long = room.handling.silence("churn", "", for_s=7200, reason="", actor=ANN)
    short = room.handling.silence("", "log", for_s=60, reason="", actor=ANN)
    assert room.handling.silences() == [short, long]
    assert room.handling.unsilence("churn", "", actor=ANN) == [long]
    assert room.handling.silences() == [short]
    assert room.ledger()[-1] == ("unsilence", "endpoint:churn", "ann")
    with pytest.raises(NotFound, match="nothing is silenced at churn"):
        room.handling.unsilence("churn", "", actor=ANN)


@pytest.mark.parametrize("for_s", [0.0, -1.0, 31 * 86_400.0, float("nan")])
def test_a_silence_without_an_end_in_sight_is_refused(room: Room, for_s: float) -> None:
    with pytest.raises(Invalid, match="outside"):
        room.handling.silence("churn", "", for_s=for_s, reason="", actor=ANN)


# ---------------------------------------------------------------- trying the sinks


def test_a_test_reaches_every_sink_and_leaves_evidence_and_no_alert(tmp_path: Path) -> None:
    room = Room(tmp_path, "log", "pager")
    result = room.handling.test(actor=ANN)
    assert (result.outcomes, result.reaches_somebody, result.failed) == ({"log": "ok", "pager": "ok"}, True, [])
    (sent,) = room.sinks["pager"].told
    assert (sent.cause, sent.title) == ("test", "mlspine: a test alert, nothing is wrong")
    (evidence,) = room.governance.evidence("workspace", kind=TEST_EVIDENCE)
    assert (evidence.passed, evidence.document) == (True, {"outcomes": result.outcomes})
    assert room.ledger() == [("test alerts", "workspace", "ann")]
    assert store.open_alerts(room.db) == []
    room.db.close()


def test_a_sink_that_fails_the_test_is_named_and_tried_again_at_the_next(tmp_path: Path) -> None:
    room = Room(tmp_path, "log", "pager")
    room.sinks["pager"].broken = True
    result = room.handling.test(actor=ANN)
    assert (result.outcomes["pager"], result.failed) == ("pager answered 500", ["pager"])
    assert [each.passed for each in room.governance.evidence(kind=TEST_EVIDENCE)] == [False]
    room.sinks["pager"].broken = False
    assert room.handling.test(actor=ANN).failed == []
    room.db.close()


def test_the_log_alone_reaches_nobody(tmp_path: Path) -> None:
    room = Room(tmp_path, "log")
    result = room.handling.test(actor=ANN)
    assert (result.failed, result.reaches_somebody) == ([], False)
    assert [each.passed for each in room.governance.evidence(kind=TEST_EVIDENCE)] == [False]
    room.db.close()
