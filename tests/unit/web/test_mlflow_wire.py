"""The MLflow wire itself: what a request may look like, how refusals are told, and who is let in."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.types import ASGIApp

from mlspine.core.errors import (
    AlreadyExists,
    Conflict,
    Corrupt,
    Denied,
    Invalid,
    MissingExtra,
    MlspineError,
    NotFound,
    Unavailable,
    Unidentified,
)
from mlspine.core.types import Actor
from mlspine.tracking.committer import TooMany
from mlspine.web.app import make_app
from mlspine.web.mlflow.app import MAX_BATCH_BYTES
from mlspine.web.mlflow.messages import Message, Number, Whole, number_in, number_out
from mlspine.web.mlflow.route import Reader
from mlspine.web.mlflow.table import told
from mlspine.workspace import Workspace
from tests.desk import free_port
from tests.unit.web.asgi import Reply, ask

OWN = "the-workspaces-own-token"
ADA = Actor(name="ada")
API = "/api/2.0/mlflow"
JSON = "application/json"
RUN = {"experiment_id": "0"}
MISSING = "Missing value for required parameter"
NOBODY = 65_534
PATIENCE_S = 20.0


class Inner(Message, kw_only=True):
    key: str
    count: Whole | None = None


class Asked(Message, kw_only=True):
    name: str
    at: Whole | None = None
    flag: bool = False
    value: Number | None = None
    items: list[str] | None = None
    inner: list[Inner] | None = None


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path_factory.mktemp("wire") / ".mlspine")
    yield workspace
    workspace.close()


@pytest.fixture(scope="module")
def app(workspace: Workspace) -> ASGIApp:
    return make_app(workspace, token=OWN, owner=ADA)


def call(app: ASGIApp, method: str, path: str, body: object = None, **headers: str) -> Reply:
    return ask(app, method, API + path, body, **({"token": OWN, "content_type": JSON} | headers))  # type: ignore[arg-type]


def refused(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["error_code"]


# ---------------------------------------------------------------- reading a request


@pytest.fixture
def reader() -> Reader:
    return Reader(Asked)


def test_a_body_is_read_by_its_fields_and_unknown_ones_are_ignored(reader: Reader) -> None:
    body = b'{"name": "n", "at": "5", "flag": "true", "inner": [{"key": "k", "count": "7", "more": 1}], "later": {}}'
    assert reader.from_body(body, {}) == Asked(name="n", at=5, flag=True, inner=[Inner(key="k", count=7)])


def test_a_query_is_read_by_its_fields_and_repeated_ones_are_lists(reader: Reader) -> None:
    query = "name=a%20b&at=-5&flag=True&items=x&items=y%26z&unknown=1&items="
    assert reader.from_query(query, {}) == Asked(name="a b", at=-5, flag=True, items=["x", "y&z", ""])


@pytest.mark.parametrize("name", ["in the path", "50%", "a/b"])
def test_what_the_path_says_counts_more_than_body_and_query(reader: Reader, name: str) -> None:
    assert reader.from_body(b'{"name": "in the body"}', {"name": name}) == Asked(name=name)
    assert reader.from_body(b"", {"name": name}) == Asked(name=name)
    assert reader.from_query("name=in+the+query", {"name": name}) == Asked(name=name)


def test_the_first_of_two_values_in_a_query_counts() -> None:
    assert Reader(Asked).from_query("name=one&name=two", {}) == Asked(name="one")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"name": ""}', b'{"name": null}', b'{"at": 1}'])
def test_a_required_field_that_is_absent_empty_or_null_is_missing(reader: Reader, body: bytes) -> None:
    with pytest.raises(Invalid, match=f"{MISSING} 'name'"):
        reader.from_body(body, {})
    with pytest.raises(Invalid, match=f"{MISSING} 'name'"):
        reader.from_query("name=", {})


@pytest.mark.parametrize("inner", [b"{}", b'{"key": null}'])
def test_a_missing_field_within_a_list_is_told_with_its_place(reader: Reader, inner: bytes) -> None:
    with pytest.raises(Invalid, match=rf"{MISSING} 'inner\[(0|\.\.\.)\].key'"):
        reader.from_body(b'{"name": "n", "inner": [' + inner + b"]}", {})


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"1",
        b"{",
        b'{"name": "n"} x',
        b'{"name": "n", "at": "x"}',
        b'{"name": "n", "at": 1.5}',
        b'{"name": "n", "at": 9223372036854775808}',
        b'{"name": "n", "at": "-9223372036854775809"}',
        b'{"name": "n", "items": "x"}',
        b'{"name": "n", "items": [1]}',
        b'{"name": "n", "inner": {"key": "k"}}',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "n", "deep": ' + b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("path", [{}, {"name": "n"}])
def test_a_body_that_cannot_be_is_refused(reader: Reader, body: bytes, path: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        reader.from_body(body, path)


@pytest.mark.parametrize("body", [b'{"name": 5}', b'{"name": ["n"]}', b'{"name": {}}', b'{"name": true}'])
def test_a_text_is_nothing_else(reader: Reader, body: bytes) -> None:
    with pytest.raises(Invalid, match="Expected `str`"):
        reader.from_body(body, {})


def test_numbers_that_json_cannot_write_are_texts_both_ways() -> None:
    for text, value in (("NaN", float("nan")), ("Infinity", float("inf")), ("-Infinity", float("-inf"))):
        assert str(number_in(text, "value")) == str(value)
        assert number_out(value) == text
    assert (number_in("0.5", "value"), number_in(2, "value"), number_out(0.5)) == (0.5, 2.0, 0.5)
    for bad in ("x", "", "0x1"):
        with pytest.raises(Invalid, match="parameter 'value'"):
            number_in(bad, "value")


# ---------------------------------------------------------------- telling


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (NotFound, 404, "RESOURCE_DOES_NOT_EXIST"),
        (AlreadyExists, 400, "RESOURCE_ALREADY_EXISTS"),
        (Conflict, 409, "RESOURCE_CONFLICT"),
        (Invalid, 400, "INVALID_PARAMETER_VALUE"),
        (Unidentified, 401, "UNAUTHENTICATED"),
        (Denied, 403, "PERMISSION_DENIED"),
        (MissingExtra, 501, "NOT_IMPLEMENTED"),
        (Corrupt, 500, "DATA_LOSS"),
        (TooMany, 429, "REQUEST_LIMIT_EXCEEDED"),
        (Unavailable, 503, "TEMPORARILY_UNAVAILABLE"),
    ],
)
def test_every_error_has_mlflow_s_word_and_status(kind: type[MlspineError], status: int, code: str) -> None:
    answered, body = told(kind("what happened", hint="what to do"))
    assert answered == status
    said = json.loads(body)
    assert said["error_code"] == code
    assert said["message"].startswith("what happened")
    assert "what to do" in said["message"]


@pytest.mark.parametrize("path", ["/nothing", "/runs", "/runs/get/more", "/logged-models/a/b/c", ""])
def test_a_route_nobody_answers_is_told_in_json(app: ASGIApp, path: str) -> None:
    answer = call(app, "GET", path)
    assert refused(answer) == (404, "ENDPOINT_NOT_FOUND")
    assert answer.headers["content-type"] == JSON


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/runs/create"), ("DELETE", "/runs/get"), ("PUT", "/logged-models/m")]
)
def test_a_method_nobody_answers_is_told_with_those_that_are(app: ASGIApp, method: str, path: str) -> None:
    answer = call(app, method, path, {})
    assert refused(answer) == (405, "ENDPOINT_NOT_FOUND")
    assert "it answers" in answer.json["message"]


@pytest.mark.parametrize("prefix", ["/api/2.0/mlflow", "/ajax-api/2.0/mlflow"])
def test_browsers_and_clients_are_answered_alike(app: ASGIApp, prefix: str) -> None:
    answer = ask(app, "GET", f"{prefix}/experiments/get?experiment_id=0", token=OWN)
    assert answer.json["experiment"]["name"] == "Default"


def test_a_bug_of_ours_is_told_without_its_traceback(
    app: ASGIApp, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(workspace.tracking, "run", breaks)
    monkeypatch.setattr(workspace.tracking, "update_run", breaks)
    for answer in (call(app, "GET", "/runs/get?run_id=x"), call(app, "POST", "/runs/update", {"run_id": "x"})):
        assert refused(answer) == (500, "INTERNAL_ERROR")
        assert b"secret" not in answer.body
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_a_form_could_send_is_refused(app: ASGIApp, kind: str) -> None:
    answer = call(app, "POST", "/experiments/create", {"name": "by a form"}, content_type=kind)
    assert refused(answer) == (400, "INVALID_PARAMETER_VALUE")
    assert "send application/json" in answer.json["message"]


def test_a_charset_beside_the_content_type_is_taken(app: ASGIApp) -> None:
    answer = call(
        app, "POST", "/runs/search", {"experiment_ids": ["0"]}, content_type="Application/JSON; charset=utf-8"
    )
    assert answer.status == 200


def test_a_batch_has_a_bound_in_bytes_and_other_bodies_a_wider_one(app: ASGIApp) -> None:
    run = call(app, "POST", "/runs/create", {"experiment_id": "0"}).json["run"]["info"]["run_id"]
    body = {"run_id": run, "tags": [{"key": "t", "value": "v" * MAX_BATCH_BYTES}]}
    too_large = call(app, "POST", "/runs/log-batch", body)
    assert refused(too_large) == (400, "INVALID_PARAMETER_VALUE")
    assert "larger than 1000000 bytes" in too_large.json["message"]
    tags = call(app, "GET", f"/runs/get?run_id={run}").json["run"]["data"]["tags"]
    assert [each["key"] for each in tags] == ["mlflow.runName"]
    tag = {"run_id": run, "key": "t", "value": "v" * MAX_BATCH_BYTES}
    assert call(app, "POST", "/runs/set-tag", tag).status == 200


# ---------------------------------------------------------------- who is let in


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize("authorization", [f"Bearer {OWN}", basic("anybody", OWN), basic("", OWN)])
def test_a_token_is_taken_as_bearer_and_as_password(app: ASGIApp, authorization: str) -> None:
    answer = ask(app, "POST", f"{API}/runs/create", RUN, content_type=JSON, authorization=authorization)
    assert answer.status == 200


@pytest.mark.parametrize(
    "authorization", ["Bearer wrong", basic("ada", "wrong"), basic(OWN, ""), "Basic !", "Bearer", "Basic"]
)
def test_a_token_that_does_not_hold_is_refused_in_mlflow_s_words(app: ASGIApp, authorization: str) -> None:
    for method, path in (("POST", "/runs/create"), ("GET", "/experiments/get?experiment_id=0")):
        answer = ask(app, method, API + path, {}, content_type=JSON, authorization=authorization)
        assert refused(answer) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"].startswith("Basic")


def test_without_a_token_this_machine_is_shown_things_and_changes_nothing(app: ASGIApp) -> None:
    """No real connection is behind these requests, so nobody can tell whose they are."""
    assert ask(app, "GET", f"{API}/experiments/get?experiment_id=0").status == 200
    change = ask(app, "POST", f"{API}/experiments/create", {"name": "x"}, content_type=JSON)
    assert refused(change) == (401, "UNAUTHENTICATED")
    assert "MLFLOW_TRACKING_TOKEN" in change.json["message"]


def test_what_a_proxy_brings_needs_a_token_to_be_shown_too(app: ASGIApp) -> None:
    answer = ask(app, "GET", f"{API}/experiments/get?experiment_id=0", x_forwarded_for="10.0.0.9")
    assert refused(answer) == (401, "UNAUTHENTICATED")


def test_a_role_may_do_what_it_may(app: ASGIApp, workspace: Workspace) -> None:
    viewer = workspace.tokens.create("viewer", role="viewer", scope=(), actor=ADA).secret
    developer = workspace.tokens.create("developer", role="developer", scope=(), actor=ADA).secret
    assert call(app, "POST", "/runs/search", {"experiment_ids": ["0"]}, token=viewer).status == 200
    assert refused(call(app, "POST", "/runs/create", RUN, token=viewer)) == (403, "PERMISSION_DENIED")
    assert call(app, "POST", "/runs/create", RUN, token=developer).status == 200


class Server(NamedTuple):
    """The control app on a port of this machine."""

    port: int

    def send(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """One request without a token; headers by keyword, with underscores for dashes."""
        given = {"Content-Type": JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            connection.request(method, API + path, None if body is None else json.dumps(body), given)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def create(self, name: str, **headers: str) -> int:
        return self.send("POST", "/experiments/create", {"name": name}, **headers)[0]


@pytest.fixture(scope="module")
def server(app: ASGIApp) -> Iterator[Server]:
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(app, port=port, interface="asgi3", log_config=None, lifespan="off"))
    thread = threading.Thread(target=running.run)
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while not running.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield Server(port)
    running.should_exit = True
    thread.join(PATIENCE_S)


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose a connection is")


@linux
def test_a_process_of_the_owner_needs_no_token(server: Server) -> None:
    assert server.create("by a neighbour") == 200


@linux
def test_a_neighbour_s_token_counts_when_there_is_one(server: Server) -> None:
    assert server.create("by a wrong token", Authorization="Bearer wrong") == 401


@linux
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "rebound.example"}, 403),
        ({"X_Forwarded_For": "10.0.0.9"}, 401),
        ({"Forwarded": "for=10.0.0.9"}, 401),
        ({"Content_Type": "text/plain"}, 400),
    ],
)
def test_what_a_page_or_a_proxy_sends_is_not_the_neighbour_s_own(
    server: Server, workspace: Workspace, headers: dict[str, str], status: int
) -> None:
    assert server.create("by a page", **headers) == status
    assert workspace.tracking.search_experiments(filter="name = 'by a page'").experiments == ()


@linux
@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_a_process_of_another_user_needs_a_token(
    server: Server, workspace: Workspace, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    heard, told_here = os.pipe()
    "127.0.0.1".encode("idna")  # loaded now: the other user may not read this installation
    body = json.dumps({"name": "by a stranger"})
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        connection.request("POST", f"{API}/experiments/create", body, {"Content-Type": JSON})
        os.write(told_here, str(connection.getresponse().status).encode())
        os._exit(0)
    os.close(told_here)
    _, ended = os.waitpid(child, 0)
    assert ended == 0
    assert os.read(heard, 10) == b"401"
    os.close(heard)
    assert workspace.tracking.search_experiments(filter="name = 'by a stranger'").experiments == ()
