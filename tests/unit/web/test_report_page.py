"""A window's report over HTTP: the very window that raised an alert, in the words of that alert."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from starlette.applications import Starlette

from mlspine.core.errors import NotFound
from mlspine.core.types import Actor, Alert, CauseReport, DriftReport
from mlspine.monitoring import store
from mlspine.monitoring.alert import after_drift
from mlspine.monitoring.document import address
from mlspine.web.app import make_app
from mlspine.workspace import Workspace
from tests.unit.cli.test_report import CAUSES
from tests.unit.reporting.test_page import DAY_MS, report, verdict
from tests.unit.web.asgi import ask

OWN = "the-workspaces-own-token"
ADA = Actor(name="ada")
BROWSER = {"accept": "text/html,application/xhtml+xml"}
RAISED = report(verdict(why="mean 55 -> 62.6, +0.42 sd (limit 0.10 sd), 40% of model importance"))
LATER = msgspec.structs.replace(
    RAISED,
    from_at_ms=2 * DAY_MS,
    to_at_ms=3 * DAY_MS,
    features=(verdict(why="mean 55 -> 91, +2.00 sd (limit 0.10 sd), 40% of model importance"),),
)
AT = address("flights", DAY_MS, release_hash=RAISED.release_hash)
OTHER = msgspec.structs.replace(RAISED, release_hash="ffff0000", version=4, rows=777)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path / ".mlspine")
    yield workspace
    workspace.close()


@pytest.fixture
def app(workspace: Workspace) -> Starlette:
    return make_app(workspace, token=OWN, owner=ADA)


def judge(workspace: Workspace, *reports: DriftReport) -> list[Alert]:
    """Store reports and what they do to alerts, as judging does."""
    ids = map(str, itertools.count())
    for each in reports:
        with workspace.monitoring._db.write() as tx:
            store.add_report(tx, each)
            standing = store.open_alerts(tx, each.endpoint)
            for alert in after_drift(each, standing, now_ms=each.to_at_ms, new_id=ids.__next__):
                store.save_alert(tx, alert)
    return workspace.monitoring.alerts("flights")


def test_the_link_of_an_alert_shows_its_window_in_its_words_after_later_windows_too(
    workspace: Workspace, app: Starlette
) -> None:
    (alert,) = judge(workspace, RAISED)
    judge(workspace, LATER)
    reply = ask(app, "GET", AT, token=OWN, **BROWSER)
    assert reply.status == 200
    text = html.unescape(reply.body.decode())
    assert alert.why in text
    assert LATER.features[0].why not in text
    newest = html.unescape(ask(app, "GET", "/endpoints/flights/report", token=OWN, **BROWSER).body.decode())
    assert LATER.features[0].why in newest
    (standing,) = workspace.monitoring.alerts("flights")
    assert newest.count(standing.why) >= 2  # as an open alert, and at its column


def test_the_document_over_http_is_the_one_the_page_is_made_from(workspace: Workspace, app: Starlette) -> None:
    judge(workspace, RAISED, LATER)
    told = ask(app, "POST", "/api/monitoring/document", {"endpoint": "flights", "at_ms": DAY_MS}, token=OWN).json
    assert told == workspace.monitoring.document("flights", at_ms=DAY_MS)
    assert told["features"][0]["why"] == RAISED.features[0].why
    assert told["alerts"] == []  # the open one speaks of the later window


def test_two_releases_of_one_window_are_told_apart(workspace: Workspace) -> None:
    judge(workspace, RAISED, OTHER)
    assert workspace.monitoring.document("flights", release_hash="ffff")["window"]["rows"] == 777
    assert workspace.monitoring.document("flights", release_hash="a1b2")["window"]["rows"] == 2000
    with pytest.raises(NotFound, match="of release 0123 has been judged"):
        workspace.monitoring.document("flights", release_hash="0123")


def test_a_moment_that_no_window_holds_names_the_newest(workspace: Workspace, app: Starlette) -> None:
    judge(workspace, RAISED)
    with pytest.raises(NotFound, match="no judged window of flights holds 1970-01-10") as caught:
        workspace.monitoring.document("flights", at_ms=9 * DAY_MS)
    assert "the newest ends at 1970-01-03T00:00:00Z" in caught.value.hint
    for query, status in (("window=1970-01-10", 404), ("window=yesterday", 422), ("window=1970-01-02%2006:00", 200)):
        assert ask(app, "GET", f"/endpoints/flights/report?{query}", token=OWN, **BROWSER).status == status, query
    assert ask(app, "GET", "/endpoints/nobody/report", token=OWN, **BROWSER).status == 404


def test_the_served_page_may_have_its_looks_and_nothing_else(workspace: Workspace, app: Starlette) -> None:
    judge(workspace, RAISED)
    reply = ask(app, "GET", AT, token=OWN, **BROWSER)
    style = re.search(r"<style>(.*?)</style>", reply.body.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = reply.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "no-store" in reply.headers["cache-control"]
    assert 'href="../flights"' in reply.body.decode()


def test_only_who_is_signed_in_sees_it_and_signing_in_leads_back(workspace: Workspace, app: Starlette) -> None:
    judge(workspace, RAISED)
    reply = ask(app, "GET", AT, **BROWSER)
    assert reply.status == 401
    assert b"62.6" not in reply.body
    assert f'name="next" value="{html.escape(AT)}"' in reply.body.decode()
    secret = workspace.tokens.create("eve", role="viewer", scope=("other",), actor=ADA).secret
    assert ask(app, "GET", AT, token=secret, **BROWSER).status == 403


def test_causes_are_looked_for_when_asked_for(
    workspace: Workspace, app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, str]] = []

    def causes(endpoint: str, *, at_ms: int, release_hash: str) -> CauseReport:
        asked.append((endpoint, at_ms, release_hash))
        return msgspec.structs.replace(CAUSES, says="temp explains most of it", method="the model itself")

    monkeypatch.setattr(workspace.monitoring, "causes", causes)
    judge(workspace, RAISED)
    plain = ask(app, "GET", AT, token=OWN, **BROWSER).body.decode()
    assert asked == []
    (link,) = re.findall(r'href="([^"]*causes=1)"', plain)
    more = ask(app, "GET", f"/endpoints/flights/report{html.unescape(link)}", token=OWN, **BROWSER).body.decode()
    assert asked == [("flights", DAY_MS, RAISED.release_hash)]
    assert "temp explains most of it" in more
    assert "causes=1" not in more
