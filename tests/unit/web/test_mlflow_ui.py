"""MLflow's pages at /mlflow/: a made-up build is served as MLflow's would be, and nobody else's page gets through."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from mlspine.core.types import Actor, Role
from mlspine.tracking.run import Run
from mlspine.web.app import make_app
from mlspine.web.mlflow.ui import MlflowPages, find_build
from mlspine.workspace import Workspace
from tests.unit.web.asgi import Reply, ask

OWN = "the-workspaces-own-token"
ADA = Actor(name="ada")
HERE = "http://127.0.0.1:8081"
SCRIPT = "static/js/main.0123abcd.js"
BROWSER = {"accept": "text/html"}
JSON = {"content_type": "application/json"}


@pytest.fixture
def build(tmp_path: Path) -> Path:
    folder = tmp_path / "build"
    (folder / "static" / "js").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>MLflow</title>")
    (folder / SCRIPT).write_text("go()")
    (folder / "manifest.json").write_text("{}")
    (tmp_path / "secret.txt").write_text("not theirs")
    (folder / "static" / "out").symlink_to(tmp_path / "secret.txt")
    return folder


@pytest.fixture
def workspace(tmp_path: Path, build: Path) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path / ".mlspine", overrides={"control.mlflow_ui": str(build)})
    yield workspace
    workspace.close()


@pytest.fixture
def app(workspace: Workspace) -> ASGIApp:
    return make_app(workspace, token=OWN, owner=ADA)


@pytest.fixture
def remote(tmp_path: Path, build: Path) -> Iterator[tuple[ASGIApp, Workspace]]:
    """Listening for other machines."""
    overrides = {"control.host": "0.0.0.0", "control.mlflow_ui": str(build)}
    workspace = Workspace.open(tmp_path / "served", overrides=overrides)
    yield make_app(workspace, token=OWN, owner=ADA), workspace
    workspace.close()


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return workspace.tracking.create_run(0, name="first")


def store(workspace: Workspace, path: str, data: bytes) -> None:
    upload = workspace.artifacts.begin(expected_bytes=len(data))
    upload.write(bytearray(data))
    workspace.artifacts.finish(path, upload)


# ---------------------------------------------------------------- the build


def test_the_page_and_its_files_are_served(app: ASGIApp) -> None:
    page = ask(app, "GET", "/mlflow/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>MLflow" in page.body
    assert page.headers["cache-control"] == "no-cache"
    script = ask(app, "GET", f"/mlflow/static-files/{SCRIPT}")
    assert (script.status, script.body) == (200, b"go()")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    assert ask(app, "GET", "/mlflow/static-files/manifest.json").headers["cache-control"] == "no-cache"
    moved = ask(app, "GET", "/mlflow")
    assert (moved.status, moved.headers["location"]) == (307, "mlflow/")


def test_the_pages_talk_to_nobody_else_and_are_framed_by_nobody_else(app: ASGIApp) -> None:
    for path in ("/mlflow/", f"/mlflow/static-files/{SCRIPT}"):
        headers = ask(app, "GET", path).headers
        assert headers["content-security-policy"].startswith("connect-src 'self' ")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "SAMEORIGIN"
    assert ask(app, "GET", "/mlflow/ajax-api/3.0/mlflow/ui-telemetry").json == {
        "disable_ui_telemetry": True,
        "disable_ui_events": [],
        "ui_rollout_percentage": 0,
    }


@pytest.mark.parametrize(
    "path", ["../secret.txt", "static/../../secret.txt", "static/out", "/etc/passwd", "static", "nothing.js", ""]
)
def test_nothing_outside_the_build_is_served(path: str, app: ASGIApp) -> None:
    reply = ask(app, "GET", f"/mlflow/static-files/{path}")
    assert reply.status == 404
    assert b"not theirs" not in reply.body


def test_without_mlflow_it_says_what_to_install_and_where_the_runs_are(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "bare", overrides={"control.mlflow_ui": str(tmp_path)})
    try:
        app = make_app(workspace, token=OWN, owner=ADA)
        told = ask(app, "GET", "/mlflow/").error
        assert str(tmp_path) in told["message"]
        assert "server/js/build" in told["hint"]
        page = ask(app, "GET", "/mlflow/", **BROWSER)
        assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "control.mlflow_ui" in page.body.decode()
        assert ask(app, "GET", f"/mlflow/static-files/{SCRIPT}").status == 404
        assert b"mlflow/" not in ask(app, "GET", "/", token=OWN, **BROWSER).body
    finally:
        workspace.close()


def test_the_build_of_the_mlflow_beside_us_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "mlflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)  # another test's client may have been here
    assert find_build() is None
    assert not MlflowPages().is_there
    (package / "server" / "js" / "build").mkdir(parents=True)
    (package / "server" / "js" / "build" / "index.html").write_text("")
    assert find_build() == package / "server" / "js" / "build"


def test_our_own_page_links_to_mlflows(app: ASGIApp) -> None:
    body = ask(app, "GET", "/", token=OWN, **BROWSER).body.decode()
    assert 'href="mlflow/#/' in body
    assert "static/links.js" in body
    assert "static/links.js" in ask(app, "GET", "/", **BROWSER).body.decode()  # signed out, the clients' links work too


# ---------------------------------------------------------------- what the pages ask


def test_the_pages_reach_the_same_routes_below_their_own_path(app: ASGIApp, run: Run) -> None:
    for root in ("/api", "/ajax-api", "/mlflow/ajax-api"):
        assert ask(app, "GET", f"{root}/2.0/mlflow/runs/get?run_id={run.id}").json["run"]["info"]["run_name"] == "first"
    assert ask(app, "POST", "/mlflow/ajax-api/3.0/mlflow/traces/search", {}).json["error_code"] == "ENDPOINT_NOT_FOUND"
    assert ask(app, "GET", "/mlflow/nothing").status == 404


def test_files_are_handed_out_by_run_model_and_version(app: ASGIApp, workspace: Workspace, run: Run) -> None:
    model = workspace.models.create(0, name="m", source_run_id=run.id)
    for owner in (run, model):
        root = owner.artifact_uri.removeprefix("mlflow-artifacts:/")
        store(workspace, f"{root}/deep/notes.html", b"<script>1</script>")
    asked = (
        f"/mlflow/get-artifact?run_uuid={run.id}&path=deep/notes.html",
        f"/get-artifact?run_uuid={run.id}&path=deep/notes.html",
        f"/mlflow/ajax-api/2.0/mlflow/logged-models/{model.id}/artifacts/files?artifact_file_path=deep%2Fnotes.html",
    )
    for path in asked:
        reply = ask(app, "GET", path)
        assert (reply.status, reply.body) == (200, b"<script>1</script>"), path
        assert reply.headers["content-disposition"].startswith("attachment")
        assert reply.headers["x-content-type-options"] == "nosniff"
    listed = ask(app, "GET", f"/mlflow/ajax-api/2.0/mlflow/logged-models/{model.id}/artifacts/directories").json
    assert [each["path"] for each in listed["files"]] == ["deep"]


@pytest.mark.parametrize("path", ["../../secret", "%2e%2e/x", "/etc/passwd", "a//b", "absent.txt"])
def test_no_path_leads_out_of_a_run(path: str, app: ASGIApp, run: Run) -> None:
    assert ask(app, "GET", f"/mlflow/get-artifact?run_uuid={run.id}&path={path}").status in (400, 404)


def test_a_download_that_names_nothing_is_refused(app: ASGIApp, run: Run) -> None:
    for query in ("", f"run_uuid={run.id}", "path=a", "run_uuid=nobody&path=a"):
        told = ask(app, "GET", f"/mlflow/get-artifact?{query}")
        assert told.status in (400, 404), query
        assert told.json["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
    for query in ("name=m&version=1&path=a", "name=m&path=a", "version=1&path=a"):
        assert ask(app, "GET", f"/mlflow/model-versions/get-artifact?{query}").status in (400, 404)
    assert ask(app, "GET", f"/mlflow/get-artifactual?run_uuid={run.id}&path=a").status == 404


def test_a_page_puts_a_file_beside_a_run(app: ASGIApp, run: Run) -> None:
    path = f"/mlflow/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run.id}&path=deep/table.json"
    assert ask(app, "POST", path, b"[1]").status == 401
    assert ask(app, "POST", path, b"[1]", token=OWN).json == {}
    assert ask(app, "GET", f"/mlflow/get-artifact?run_id={run.id}&path=deep/table.json").body == b"[1]"


# ---------------------------------------------------------------- who may


def signed_in(app: ASGIApp, workspace: Workspace, role: Role) -> str:
    """The cookie of a browser that signed in on another machine."""
    secret = workspace.tokens.create(f"the-{role}", role=role, scope=(), actor=ADA).secret
    code = ask(app, "POST", "/look", token=secret).body.decode()
    return ask(app, "GET", f"/look/{code}").headers["set-cookie"].partition(";")[0]


def rename(app: ASGIApp, cookie: str, method: str = "POST", path: str = "", **headers: str) -> Reply:
    path = path or "/mlflow/ajax-api/2.0/mlflow/experiments/create"
    return ask(app, method, path, {"name": "made"}, cookie=cookie, **JSON, **headers)


def test_without_a_session_a_browser_elsewhere_is_led_to_sign_in(remote: tuple[ASGIApp, Workspace]) -> None:
    app, _ = remote
    for path in ("/mlflow/", f"/mlflow/static-files/{SCRIPT}"):
        assert ask(app, "GET", path).status == 401
    page = ask(app, "GET", "/mlflow/", **BROWSER)
    assert page.status == 401
    assert 'name="next" value="/mlflow/"' in page.body.decode()
    told = ask(app, "POST", "/mlflow/graphql", {"query": "{ __typename }"}, **JSON)
    assert (told.status, told.json["error_code"]) == (401, "UNAUTHENTICATED")


def test_a_signed_in_browser_reads_and_writes_from_this_hosts_pages_only(remote: tuple[ASGIApp, Workspace]) -> None:
    app, workspace = remote
    cookie = signed_in(app, workspace, "developer")
    assert ask(app, "GET", "/mlflow/", cookie=cookie).status == 200
    assert rename(app, cookie).status == 401  # whoever does not say where the page is from
    for elsewhere in ("http://evil.example", "http://127.0.0.1:3000", "null", ""):
        assert rename(app, cookie, origin=elsewhere).status == 403, elsewhere
    assert workspace.tracking.search_experiments(filter="name = 'made'").experiments == ()
    assert rename(app, cookie, origin=HERE).status == 200
    assert len(workspace.tracking.search_experiments(filter="name = 'made'").experiments) == 1


def test_the_cookie_changes_nothing_outside_the_pages(remote: tuple[ASGIApp, Workspace]) -> None:
    app, workspace = remote
    cookie = signed_in(app, workspace, "admin")
    outside = ("/api/2.0/mlflow/experiments/create", "/ajax-api/2.0/mlflow/experiments/create", "/api/tokens/create")
    for path in outside:
        assert rename(app, cookie, path=path, origin=HERE).status == 401, path


def test_a_viewer_reads_by_graphql_and_writes_nothing(remote: tuple[ASGIApp, Workspace]) -> None:
    app, workspace = remote
    cookie = signed_in(app, workspace, "viewer")
    query = '{ mlflowGetExperiment(input: {experimentId: "0"}) { experiment { name } } }'
    reply = ask(app, "POST", "/mlflow/graphql", {"query": query}, cookie=cookie, origin=HERE, **JSON)
    assert reply.json["data"]["mlflowGetExperiment"]["experiment"] == {"name": "Default"}
    assert rename(app, cookie, origin=HERE).status == 403


def test_a_token_for_one_model_asks_nothing_of_the_whole_workspace(remote: tuple[ASGIApp, Workspace]) -> None:
    app, workspace = remote
    run = workspace.tracking.create_run(0, name="first")
    secret = workspace.tokens.create("narrow", role="developer", scope=("churn",), actor=ADA).secret
    query = '{ mlflowGetExperiment(input: {experimentId: "0"}) { experiment { name } } }'
    assert ask(app, "POST", "/mlflow/graphql", {"query": query}, token=secret, **JSON).status == 403
    assert ask(app, "GET", f"/mlflow/get-artifact?run_uuid={run.id}&path=a", token=secret).status == 403
