"""Alertmanager as a sink: what it is sent, when again, and that what is over is said to be over."""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlspine import migrations
from mlspine.backends.alertmanager import LASTS_S, RENEW_EVERY_S, AlertmanagerNotifier
from mlspine.backends.notify import make_notifier
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Invalid, Unavailable
from mlspine.core.types import Alert
from mlspine.monitoring import store
from mlspine.monitoring.alert import cleared
from mlspine.monitoring.telling import Telling
from tests.listener import answering

NOW_MS = 1_700_000_000_000
ALERT = Alert(
    id="1",
    endpoint="churn",
    cause="drift:age:up",
    severity="WARNING",
    title="churn: age went up",
    why="mean 40 -> 47",
    action="mlspine report churn",
    opened_at_ms=NOW_MS - 1000,
    updated_at_ms=NOW_MS,
)


class Alertmanager:
    """Takes POST /api/v2/alerts as Alertmanager does: an array, and one bad element refuses all."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                good = self.path == "/api/v2/alerts" and all(each["labels"]["alertname"] for each in body)
                if good and stand_in.status == 200:
                    stand_in.received += body
                self.send_response(stand_in.status if good else 400)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"alertmanager+http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def alertmanager() -> Iterator[Alertmanager]:
    made = Alertmanager()
    with answering(made.server):
        yield made


class Room:
    """A store with alerts, and the telling of them to Alertmanager by a clock in the test's hand."""

    def __init__(self, folder: Path, url: str) -> None:
        self.now_ms = NOW_MS
        self.db = SqliteDatabase(folder / "store.db")
        self.db.migrate(migrations.scripts())
        self.url = url
        self.restart()

    def restart(self) -> None:
        sink = AlertmanagerNotifier(self.url, now_s=lambda: self.now_ms / 1000)
        self.telling = Telling(
            db=self.db, notifiers=[sink], clock=lambda: self.now_ms, owner_of=lambda endpoint: f"{endpoint}@team"
        )

    def save(self, alert: Alert) -> None:
        with self.db.write() as tx:
            store.save_alert(tx, alert)

    def pass_time(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        self.telling.deliver()


@pytest.fixture
def room(tmp_path: Path, alertmanager: Alertmanager) -> Iterator[Room]:
    made = Room(tmp_path, alertmanager.url)
    yield made
    made.db.close()


def lasts_s(document: dict[str, Any], now_ms: int) -> float:
    import datetime as dt

    return dt.datetime.fromisoformat(document["endsAt"]).timestamp() - now_ms / 1000


def test_an_alert_arrives_with_its_labels_and_its_owner(room: Room, alertmanager: Alertmanager) -> None:
    room.save(ALERT)
    room.pass_time(0)
    (document,) = alertmanager.received
    assert document["labels"] == {
        "alertname": "MlspineDrift",
        "service": "mlspine",
        "endpoint": "churn",
        "cause": "drift:age:up",
        "severity": "warning",
        "owner": "churn@team",
    }
    assert document["annotations"]["description"] == "mean 40 -> 47"
    assert lasts_s(document, room.now_ms) == LASTS_S


def test_it_is_renewed_before_it_lapses_and_ended_once_when_it_clears(room: Room, alertmanager: Alertmanager) -> None:
    room.save(ALERT)
    for _ in range(4):
        room.pass_time(RENEW_EVERY_S / 2)
    assert len(alertmanager.received) == 2
    (standing,) = store.open_alerts(room.db)
    room.save(cleared(standing, now_ms=room.now_ms))
    room.pass_time(1)
    room.pass_time(RENEW_EVERY_S)
    assert len(alertmanager.received) == 3
    assert lasts_s(alertmanager.received[-1], room.now_ms) < 0
    assert alertmanager.received[-1]["labels"] == alertmanager.received[0]["labels"]


def test_what_got_worse_replaces_what_stood_there(room: Room, alertmanager: Alertmanager) -> None:
    import msgspec

    room.save(ALERT)
    room.pass_time(0)
    (standing,) = store.open_alerts(room.db)
    room.save(msgspec.structs.replace(standing, severity="CRITICAL", delivered={}))
    room.pass_time(1)
    said = [(each["labels"]["severity"], lasts_s(each, room.now_ms) > 0) for each in alertmanager.received[1:]]
    assert said == [("warning", False), ("critical", True)]


def test_after_a_restart_it_is_renewed_and_stored_as_delivered(room: Room, alertmanager: Alertmanager) -> None:
    room.save(ALERT)
    room.pass_time(0)
    room.restart()
    room.pass_time(1)
    assert len(alertmanager.received) == 2
    assert store.open_alerts(room.db)[0].delivered == {"alertmanager:127.0.0.1": "ok"}


def test_a_refusal_is_tried_again_and_said(room: Room, alertmanager: Alertmanager) -> None:
    alertmanager.status = 500
    room.save(ALERT)
    room.pass_time(0)
    assert "answered 500" in store.open_alerts(room.db)[0].delivered["alertmanager:127.0.0.1"]
    alertmanager.status = 200
    room.pass_time(6)
    assert len(alertmanager.received) == 1


def test_a_url_that_names_no_alertmanager_is_refused() -> None:
    with pytest.raises(Invalid, match="names no Alertmanager"):
        make_notifier("alertmanager+smtp://host")
    assert make_notifier("alertmanager+https://am.example:9093/prefix/").name == "alertmanager:am.example"
    with pytest.raises(Unavailable, match="refused"):
        make_notifier("alertmanager+http://127.0.0.1:1").send(ALERT)
