"""POST /endpoints/NAME/predictions as a caller meets it: forms of bodies, receipts, refusals, tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from mlspine.web import recording
from mlspine.web.app import make_app
from tests.unit.watching.desk import ME, Desk, desk_in
from tests.unit.web.asgi import ask

OWN = "the-workspaces-own-token"
URL = "/endpoints/fraud/predictions"
ROW = {"features": {"amount": 1.0, "age": 2, "country": "de"}, "prediction": 1, "score": 0.9}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as desk:
        desk.watch()
        yield desk


@pytest.fixture
def app(desk: Desk) -> ASGIApp:
    return make_app(desk.workspace, token=OWN, owner=ME)


FORMS: list[tuple[str, Any, int]] = [
    ("rows", {"rows": [{**ROW, "id": "a"}, {**ROW, "id": "b"}]}, 2),
    ("a list", [{**ROW, "id": 1}], 1),
    ("one row", {**ROW, "id": "x"}, 1),
    ("flat", {"id": "f", "amount": 1, "age": 2, "country": "de", "prediction": 0}, 1),
    ("columns", {"columns": {"features": {"amount": [1, 2]}, "prediction": [1, 0], "id": ["p", "q"]}}, 2),
]


@pytest.mark.parametrize(("body", "rows"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS])
def test_every_form_is_kept_once_however_often_it_is_sent(app: ASGIApp, desk: Desk, body: Any, rows: int) -> None:
    first = ask(app, "POST", URL, body, token=OWN)
    assert (first.status, first.json["recorded"]) == (200, rows)
    again = ask(app, "POST", URL, body, token=OWN)
    assert (again.status, again.json["recorded"], again.json["duplicates"]) == (200, 0, rows)
    assert desk.logged() == rows


def test_lines_and_a_request_id_in_the_place_of_ids(app: ASGIApp, desk: Desk) -> None:
    lines = "\n".join(json.dumps(ROW) for _ in range(3)).encode()
    headers = {"content_type": "application/x-ndjson", "mlspine_request_id": "0190b7a0-0000-7000-8000-000000000001"}
    assert ask(app, "POST", URL, lines, token=OWN, **headers).json["recorded"] == 3
    assert ask(app, "POST", URL, lines, token=OWN, **headers).json["duplicates"] == 3
    without = ask(app, "POST", URL, lines, token=OWN, content_type="application/x-ndjson").json
    assert (without["recorded"], without["told_apart"]) == (3, False)
    assert desk.logged("select max(_row) from log") == 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "no JSON"),
        (b"3", "no object"),
        ({"rows": []}, "no rows"),
        ({"rows": "all"}, "none of the 1 rows"),
        ({"columns": {"features": 3}}, "no features"),
        ({"columns": {"features": {"amount": [1, 2]}, "prediction": [1]}}, "cannot be read"),
        ({"columns": {"features": {"amount": [1]}, "predicted": [1]}}, "cannot be read"),
        ([{"features": {"amount": "much"}, "prediction": 1}], "none of the 1 rows"),
    ],
)
def test_a_body_that_holds_no_row_is_refused_with_what_would_be_one(app: ASGIApp, body: Any, says: str) -> None:
    reply = ask(app, "POST", URL, body, token=OWN)
    assert reply.status == 422
    assert says in reply.error["message"]
    assert reply.error["hint"]


def test_who_may_send_rows_is_asked_by_role_and_scope(
    app: ASGIApp, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def token(role: Any, *scope: str) -> str:
        return desk.workspace.tokens.create(f"{role}-{'-'.join(scope)}", role=role, scope=scope, actor=ME).secret

    assert ask(app, "POST", URL, {"rows": [ROW]}).status == 401
    assert ask(app, "POST", URL, {"rows": [ROW]}, token=token("viewer")).status == 403
    assert ask(app, "POST", URL, {"rows": [ROW]}, token=token("operator", "other")).status == 403
    assert ask(app, "POST", URL, {"rows": [ROW]}, token=token("operator", "fraud")).status == 200
    assert ask(app, "POST", "/endpoints/nobody/predictions", {"rows": [ROW]}, token=OWN).status == 404
    monkeypatch.setattr(recording, "MAX_BODY_BYTES", 100)
    reply = ask(app, "POST", URL, {"rows": [ROW] * 10}, token=OWN)
    assert (reply.status, "larger than" in reply.error["message"]) == (422, True)
