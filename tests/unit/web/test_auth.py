"""The door of the control port: tokens, roles and scopes as a caller meets them, and pages from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from mlspine.core.errors import Unidentified
from mlspine.core.public import surface
from mlspine.core.types import Actor, Role
from mlspine.governance import access
from mlspine.web.app import make_app
from mlspine.web.auth import FAILURES_PER_MINUTE, Door
from mlspine.workspace import ROOMS, Workspace
from tests.unit.web.asgi import ask

OWN = "the-workspaces-own-token"
ADA = Actor(name="ada")
METHODS = {f"{room}/{method.name}": method for room, service in ROOMS.items() for method in surface(service)}


class Clock:
    now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workspace(tmp_path: Path, clock: Clock) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path / ".mlspine", clock=clock)
    yield workspace
    workspace.close()


@pytest.fixture
def app(workspace: Workspace) -> Starlette:
    return make_app(workspace, token=OWN, owner=ADA)


@pytest.fixture
def remote_app(tmp_path: Path, clock: Clock) -> Iterator[Starlette]:
    workspace = Workspace.open(tmp_path / "served", overrides={"control.host": "0.0.0.0"}, clock=clock)
    yield make_app(workspace, token=OWN, owner=ADA)
    workspace.close()


def token(workspace: Workspace, role: Role, *scope: str) -> str:
    return workspace.tokens.create(f"the-{role}", role=role, scope=scope, actor=ADA).secret


@pytest.mark.parametrize("role", list(access.ROLES))
def test_every_public_method_answers_every_role_as_the_matrix_says(
    role: Role, workspace: Workspace, app: Starlette
) -> None:
    secret = token(workspace, role)
    for path, method in METHODS.items():
        # An argument that no method has: whoever may call it hears of that, and nothing is done.
        reply = ask(app, "POST", f"/api/{path}", {"no such argument": 1}, token=secret)
        if method.permission in access.ROLES[role]:
            assert (reply.status, reply.error["code"]) == (422, "invalid"), path
        else:
            least = access.roles_with(method.permission)[0]
            assert (reply.status, reply.error["code"]) == (403, "denied"), path
            assert f"has the role {role}" in reply.error["message"]
            assert reply.error["hint"] == f"an admin grants it: mlspine tokens create NAME --role {least}"


def test_without_a_token_no_method_answers(app: Starlette) -> None:
    for path in METHODS:
        reply = ask(app, "POST", f"/api/{path}", {})
        assert (reply.status, reply.error["code"]) == (401, "unidentified"), path
        assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("wrong", ["x", "mlspine_000000000000_" + "A" * 43, OWN + "x", OWN[:-1], "é"])
def test_a_wrong_token_is_refused_even_where_none_is_needed(wrong: str, app: Starlette) -> None:
    for method, path in (("POST", "/api/registry/models"), ("GET", "/metrics"), ("GET", "/api/whoami")):
        assert ask(app, method, path, token=wrong).status == 401


def test_expired_and_revoked_tokens_say_so_and_how_to_go_on(workspace: Workspace, app: Starlette, clock: Clock) -> None:
    viewer, operator = token(workspace, "viewer"), token(workspace, "operator", "churn")
    assert ask(app, "GET", "/api/whoami", token=viewer).json["role"] == "viewer"
    workspace.tokens.revoke("the-viewer", actor=ADA)
    assert "revoked" in ask(app, "GET", "/api/whoami", token=viewer).error["message"]
    clock.now_ms += 91 * 86_400_000
    reply = ask(app, "POST", "/api/deployment/get", {"name": "churn"}, token=operator)
    assert reply.status == 401
    assert "expired" in reply.error["message"]
    assert reply.error["hint"].endswith("mlspine tokens create the-operator --role operator --scope churn")


def test_a_scope_holds_over_http(workspace: Workspace, app: Starlette) -> None:
    secret = token(workspace, "operator", "churn")
    inside = ask(app, "POST", "/api/deployment/rollback", {"name": "churn"}, token=secret)
    outside = ask(app, "POST", "/api/deployment/rollback", {"name": "price"}, token=secret)
    listing = ask(app, "POST", "/api/registry/models", {}, token=secret)
    assert (inside.status, outside.status, listing.status) == (404, 403, 403)
    assert outside.error["hint"] == "an admin grants it: mlspine tokens create NAME --role operator --scope price"
    assert "churn" in listing.error["hint"]
    assert ask(app, "GET", "/metrics", token=secret).status == 403
    assert ask(app, "POST", "/api/status/refresh", {}, token=secret).status == 200


def test_the_ledger_names_the_client(workspace: Workspace, app: Starlette) -> None:
    secret = token(workspace, "admin")
    made = ask(app, "POST", "/api/tokens/create", {"token": "ci", "role": "viewer"}, token=secret)
    assert made.status == 200
    assert workspace.governance.entries("token:ci")[-1].actor == "client:the-admin"
    assert made.json["token"]["created_by"] == "client:the-admin"


def test_the_workspaces_own_token_is_its_owner(app: Starlette) -> None:
    told = ask(app, "GET", "/api/whoami", token=OWN).json
    assert (told["name"], told["kind"], told["role"], told["scope"]) == ("ada", "person", "admin", [])


# ---------------------------------------------------------------- listening for other machines


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/openapi.json", "/api/whoami", "/uploads", "/nothing", "/HEALTH/live"]
)
def test_a_server_for_other_machines_answers_nothing_without_a_token(path: str, remote_app: Starlette) -> None:
    for host in ("ml.example:8081", "127.0.0.1:8081", "localhost"):
        assert ask(remote_app, "GET", path, host=host).status == 401
        assert ask(remote_app, "POST", path, {}, host=host).status == 401
    assert ask(remote_app, "GET", "/metrics", host="ml.example:8081", token=OWN).status == 200


@pytest.mark.parametrize("host", ["a/health/live?", "a/health/live#", "a@b", "a b", "", "a:x", "[1::", "a/static/"])
def test_a_host_that_is_none_opens_nothing(host: str, remote_app: Starlette) -> None:
    for path in ("/metrics", "/openapi.json", "/health/live"):
        assert ask(remote_app, "GET", path, host=host).status in (401, 403)


@pytest.mark.parametrize(
    "path", ["/health/live/../../metrics", "/health/live?/metrics", "//health/live", "/static/../metrics"]
)
def test_a_path_that_begins_like_an_open_one_opens_nothing(path: str, remote_app: Starlette) -> None:
    assert ask(remote_app, "GET", path, host="ml.example").status in (200, 401, 404)
    assert b"mlspine_" not in ask(remote_app, "GET", path, host="ml.example").body


def test_only_its_liveness_is_told_to_everybody(remote_app: Starlette) -> None:
    assert ask(remote_app, "GET", "/health/live", host="ml.example:8081").json == {"live": True}


# ---------------------------------------------------------------- pages from elsewhere


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", "", "[::", "10.0.0.1"])
def test_a_name_that_was_pointed_at_loopback_is_refused(host: str, app: Starlette) -> None:
    for path in ("/", "/metrics", "/health/live"):
        assert ask(app, "GET", path, host=host).status == 403
    assert ask(app, "POST", "/api/registry/models", {}, host=host, token=OWN).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost:8081", "LOCALHOST", "[::1]:8081", "127.0.0.2"])
def test_the_names_of_this_machine_are_answered(host: str, app: Starlette) -> None:
    assert ask(app, "GET", "/metrics", host=host).status == 200


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:8081", "127.0.0.1:8081", 200),
        ("http://localhost:8081", "localhost:8081", 200),
        ("http://evil.example", "127.0.0.1:8081", 403),
        ("http://127.0.0.1:3000", "127.0.0.1:8081", 403),
        ("http://localhost:8081", "127.0.0.1:8081", 403),
        ("null", "127.0.0.1:8081", 403),
        ("https://127.0.0.1", "127.0.0.1:443", 200),
    ],
)
def test_an_origin_must_be_the_very_host_that_is_asked(origin: str, host: str, status: int, app: Starlette) -> None:
    assert ask(app, "POST", "/api/registry/models", {}, host=host, origin=origin, token=OWN).status == status


def test_behind_a_proxy_its_name_is_answered_with_a_token_only(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / ".mlspine", overrides={"control.names": "ml.example"})
    app = make_app(workspace, token=OWN, owner=ADA)
    try:
        assert ask(app, "GET", "/metrics", host="ml.example").status == 401
        assert ask(app, "GET", "/metrics", host="ml.example", token=OWN).status == 200
        assert ask(app, "GET", "/metrics", host="other.example", token=OWN).status == 403
        assert ask(app, "GET", "/metrics", host="127.0.0.1:8081", x_forwarded_for="10.0.0.9").status == 401
        assert ask(app, "GET", "/metrics", host="127.0.0.1:8081").status == 200
    finally:
        workspace.close()


def test_many_wrong_tokens_close_the_door_to_their_address_for_a_minute(workspace: Workspace) -> None:
    seconds = [0.0]
    door = Door(token=OWN, owner=ADA, tokens=workspace.tokens, clock_s=lambda: seconds[0])
    right = token(workspace, "viewer")
    for _ in range(FAILURES_PER_MINUTE):
        _fails(door, "wrong", "10.0.0.9", "not one of this workspace")
    _fails(door, right, "10.0.0.9", "too many wrong tokens")
    assert door.actor_of(right, "10.0.0.8").name == "the-viewer"
    assert door.actor_of(OWN, "10.0.0.9") is ADA
    seconds[0] = 60.0
    assert door.actor_of(right, "10.0.0.9").name == "the-viewer"


def _fails(door: Door, secret: str, peer: str, why: str) -> None:
    with pytest.raises(Unidentified, match=why):
        door.actor_of(secret, peer)
