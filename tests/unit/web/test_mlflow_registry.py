"""Registered models and their versions on the MLflow wire: statuses, codes and shapes that clients count on."""

from __future__ import annotations

import itertools
import urllib.parse
from collections.abc import Callable, Iterator

import pytest
from starlette.types import ASGIApp

from mlspine.core.types import Actor
from mlspine.web.app import make_app
from mlspine.workspace import Workspace
from tests.unit.registry.mlflow_world import log_run
from tests.unit.web.asgi import Reply, ask

OWN = "the-workspaces-own-token"
ADA = Actor(name="ada")
MODELS, VERSIONS = "/api/2.0/mlflow/registered-models", "/api/2.0/mlflow/model-versions"

Call = Callable[..., Reply]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path_factory.mktemp("wire") / ".mlspine")
    yield workspace
    workspace.close()


@pytest.fixture(scope="module")
def app(workspace: Workspace) -> ASGIApp:
    return make_app(workspace, token=OWN, owner=ADA)


@pytest.fixture
def call(app: ASGIApp) -> Call:
    def send(method: str, path: str, body: object = None, *, token: str = OWN, **query: str) -> Reply:
        asked = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        return ask(app, method, asked, body, token=token, content_type="application/json")

    return send


@pytest.fixture
def name(call: Call) -> str:
    made = f"model {next(_numbers)}"
    assert call("POST", f"{MODELS}/create", {"name": made}).status == 200
    return made


def versioned(call: Call, workspace: Workspace, name: str, count: int = 1) -> list[str]:
    run_id, uri = log_run(workspace)
    body = {"name": name, "source": uri, "run_id": run_id}
    made = [call("POST", f"{VERSIONS}/create", body).json["model_version"]["version"] for _ in range(count)]
    return list(map(str, made))


def refused(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["error_code"]


# ---------------------------------------------------------------- shapes


def test_a_model_is_made_read_changed_and_deleted(call: Call) -> None:
    tags = [{"key": "team", "value": "red"}]
    made = call("POST", f"{MODELS}/create", {"name": "shape", "tags": tags, "description": "d"}).json
    model = made["registered_model"]
    assert (model["name"], model["tags"], model["description"]) == ("shape", tags, "d")
    assert model["creation_timestamp"] == model["last_updated_timestamp"]
    assert not {"latest_versions", "aliases"} & model.keys()
    assert call("PATCH", f"{MODELS}/update", {"name": "shape", "description": "e"}).status == 200
    assert call("DELETE", f"{MODELS}/delete-tag", {"name": "shape", "key": "team"}).json == {}
    read = call("GET", f"{MODELS}/get", name="shape").json["registered_model"]
    assert (read["description"], "tags" in read) == ("e", False)
    assert call("DELETE", f"{MODELS}/delete", {"name": "shape"}).json == {}
    assert refused(call("GET", f"{MODELS}/get", name="shape")) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_a_version_has_the_shape_clients_read(call: Call, workspace: Workspace, name: str) -> None:
    run_id, uri = log_run(workspace)
    body = {"name": name, "source": uri, "run_id": run_id, "run_link": "http://run", "description": "first"}
    version = call("POST", f"{VERSIONS}/create", body).json["model_version"]
    said = {each["key"]: each["value"] for each in version.pop("tags")}
    assert set(said) == {"mlspine.release", "mlspine.missing"}
    assert version.pop("creation_timestamp") == version.pop("last_updated_timestamp") > 0
    assert version == {
        **body,
        "version": "1",
        "current_stage": "None",
        "status": "READY",
    }
    assert call("GET", f"{VERSIONS}/get-download-uri", name=name, version="1").json == {"artifact_uri": uri}


def test_aliases_move_and_are_listed_on_both_sides(call: Call, workspace: Workspace, name: str) -> None:
    versioned(call, workspace, name, 2)
    for version in ("1", "2", "2"):
        body = {"name": name, "alias": "best", "version": version}
        assert call("POST", f"{MODELS}/alias", body).json == {}
    model = call("GET", f"{MODELS}/get", name=name).json["registered_model"]
    assert model["aliases"] == [{"alias": "best", "version": "2"}]
    found = call("GET", f"{MODELS}/alias", name=name, alias="best").json["model_version"]
    assert (found["version"], found["aliases"]) == ("2", ["best"])
    for _ in range(2):
        assert call("DELETE", f"{MODELS}/alias", {"name": name, "alias": "best"}).json == {}
    assert refused(call("GET", f"{MODELS}/alias", name=name, alias="best")) == (400, "INVALID_PARAMETER_VALUE")
    assert refused(call("GET", f"{MODELS}/alias", name="nobody", alias="best")) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_latest_is_asked_for_as_an_alias_is(call: Call, workspace: Workspace, name: str) -> None:
    versioned(call, workspace, name, 2)
    assert call("POST", f"{MODELS}/alias", {"name": name, "alias": "best", "version": "1"}).json == {}
    assert call("GET", f"{MODELS}/alias", name=name, alias="latest").json["model_version"]["version"] == "2"


def test_a_model_may_be_renamed_to_its_own_name(call: Call, workspace: Workspace, name: str) -> None:
    versioned(call, workspace, name)
    renamed = call("POST", f"{MODELS}/rename", {"name": name, "new_name": name}).json["registered_model"]
    assert (renamed["name"], len(renamed["latest_versions"])) == (name, 1)


def test_stages_are_matched_without_case_and_latest_versions_follow(
    call: Call, workspace: Workspace, name: str
) -> None:
    versioned(call, workspace, name, 3)
    for version, stage in (("1", "production"), ("2", "PRODUCTION")):
        body = {"name": name, "version": version, "stage": stage, "archive_existing_versions": True}
        moved = call("POST", f"{VERSIONS}/transition-stage", body).json["model_version"]
        assert moved["current_stage"] == "Production"
    for method, asked in (("POST", {"body": {"name": name}}), ("GET", {"name": name})):
        latest = call(method, f"{MODELS}/get-latest-versions", **asked).json["model_versions"]  # type: ignore[arg-type]
        stages = {each["current_stage"]: each["version"] for each in latest}
        assert stages == {"Archived": "1", "Production": "2", "None": "3"}
    one = call("POST", f"{MODELS}/get-latest-versions", {"name": name, "stages": ["Production"]}).json
    assert [each["version"] for each in one["model_versions"]] == ["2"]


def test_searches_page_and_put_what_changed_last_first(call: Call, workspace: Workspace, name: str) -> None:
    versioned(call, workspace, name, 3)
    described = call("PATCH", f"{VERSIONS}/update", {"name": name, "version": "1", "description": "words"})
    tagged = call("POST", f"{VERSIONS}/set-tag", {"name": name, "version": "2", "key": "seen", "value": "yes"})
    assert (described.status, tagged.status) == (200, 200)  # a tag is no change of the version, as in MLflow
    wanted = f"name = '{name}'"
    first = call("GET", f"{VERSIONS}/search", filter=wanted, max_results="2").json
    assert [each["version"] for each in first["model_versions"]] == ["1", "3"]
    rest = call("GET", f"{VERSIONS}/search", filter=wanted, max_results="2", page_token=first["next_page_token"]).json
    assert ([each["version"] for each in rest["model_versions"]], "next_page_token" in rest) == (["2"], False)
    assert call("GET", f"{VERSIONS}/search", filter="name = 'nobody'").json == {}
    models = call("GET", f"{MODELS}/search", filter=f"{wanted} AND tag.`mlflow.prompt.is_prompt` != 'true'").json
    assert [each["name"] for each in models["registered_models"]] == [name]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", f"{MODELS}/create", {"name": "NAME"}, (400, "RESOURCE_ALREADY_EXISTS")),
        ("POST", f"{MODELS}/create", {"name": "a/b"}, (400, "INVALID_PARAMETER_VALUE")),
        ("POST", f"{MODELS}/create", {}, (400, "INVALID_PARAMETER_VALUE")),
        (
            "POST",
            f"{MODELS}/alias",
            {"name": "NAME", "alias": "best", "version": "9"},
            (404, "RESOURCE_DOES_NOT_EXIST"),
        ),
        ("POST", f"{MODELS}/alias", {"name": "NAME", "alias": "v2", "version": "1"}, (400, "INVALID_PARAMETER_VALUE")),
        (
            "POST",
            f"{MODELS}/alias",
            {"name": "NAME", "alias": "latest", "version": 1},
            (400, "INVALID_PARAMETER_VALUE"),
        ),
        ("PATCH", f"{VERSIONS}/update", {"name": "NAME", "version": "9"}, (404, "RESOURCE_DOES_NOT_EXIST")),
        ("PATCH", f"{VERSIONS}/update", {"name": "nobody", "version": "1"}, (404, "RESOURCE_DOES_NOT_EXIST")),
        ("DELETE", f"{VERSIONS}/delete", {"name": "NAME", "version": "x"}, (400, "INVALID_PARAMETER_VALUE")),
        ("DELETE", f"{VERSIONS}/delete", {"name": "NAME", "version": ""}, (400, "INVALID_PARAMETER_VALUE")),
        ("DELETE", f"{VERSIONS}/delete", {"name": "NAME", "version": "-1"}, (404, "RESOURCE_DOES_NOT_EXIST")),
        ("PATCH", f"{MODELS}/update", {"name": "a/b"}, (400, "INVALID_PARAMETER_VALUE")),
        ("POST", f"{VERSIONS}/create", {"name": "NAME", "source": "http://x/y"}, (400, "INVALID_PARAMETER_VALUE")),
        ("DELETE", f"{VERSIONS}/delete", {"name": "NAME", "version": "9"}, (404, "RESOURCE_DOES_NOT_EXIST")),
        ("POST", f"{VERSIONS}/create", {"name": "nobody", "source": "s3://b/m"}, (404, "RESOURCE_DOES_NOT_EXIST")),
        ("POST", f"{VERSIONS}/create", {"name": "NAME", "source": "/etc"}, (400, "INVALID_PARAMETER_VALUE")),
        (
            "POST",
            f"{VERSIONS}/transition-stage",
            {"name": "NAME", "version": "1", "stage": "Bogus"},
            (400, "INVALID_PARAMETER_VALUE"),
        ),
        (
            "POST",
            f"{VERSIONS}/set-tag",
            {"name": "NAME", "version": "1", "key": "mlspine.verdict", "value": "PASSED"},
            (403, "PERMISSION_DENIED"),
        ),
    ],
)
def test_what_cannot_be_done_is_told_in_mlflow_s_words(
    call: Call,
    workspace: Workspace,
    name: str,
    method: str,
    path: str,
    body: dict[str, object],
    expected: tuple[int, str],
) -> None:
    versioned(call, workspace, name)
    asked = {key: name if value == "NAME" else value for key, value in body.items()}
    assert refused(call(method, path, asked)) == expected


def test_a_refusal_of_the_gate_names_each_missing_item_and_its_command(
    call: Call, workspace: Workspace, name: str
) -> None:
    versioned(call, workspace, name, 2)
    with workspace.db.write() as tx:
        tx.execute("update model_version set tier = 'medium' where model = :name", name=name)
    body = {"name": name, "alias": "champion", "version": "2"}
    reply = call("POST", f"{MODELS}/alias", body)
    assert refused(reply) == (403, "PERMISSION_DENIED")
    for command in (f"mlspine trust {name}:2", f'mlspine ship "models:/{name}/2" --data ROWS'):
        assert command in reply.json["message"]
    assert refused(call("GET", f"{MODELS}/alias", name=name, alias="champion")) == (400, "INVALID_PARAMETER_VALUE")


def test_who_may_do_what(call: Call, workspace: Workspace, name: str) -> None:
    versioned(call, workspace, name)
    tokens = {
        role: workspace.tokens.create(f"{role}-{next(_numbers)}", role=role, actor=ADA).secret
        for role in ("viewer", "developer", "operator")
    }
    alias = {"name": name, "version": "1"}
    stage = {"name": name, "version": "1", "stage": "Staging"}
    for method, path, body, allowed in (
        ("POST", f"{MODELS}/set-tag", {"name": name, "key": "a", "value": "b"}, {"developer"}),
        ("POST", f"{MODELS}/alias", {**alias, "alias": "shadow"}, {"developer"}),
        ("POST", f"{MODELS}/alias", {**alias, "alias": "champion"}, {"operator"}),
        ("POST", f"{VERSIONS}/transition-stage", stage, {"operator"}),
        ("DELETE", f"{MODELS}/delete", {"name": name}, {"operator"}),
    ):
        done = {role for role, token in tokens.items() if call(method, path, body, token=token).status == 200}
        assert done == allowed, path


def test_a_token_limited_to_one_model_changes_no_other(call: Call, workspace: Workspace) -> None:
    for each in ("mine", "theirs"):
        assert call("POST", f"{MODELS}/create", {"name": each}).status == 200
    token = workspace.tokens.create("narrow", role="operator", scope=("mine",), actor=ADA).secret
    assert call("GET", f"{MODELS}/get", token=token, name="mine").status == 200
    assert refused(call("GET", f"{MODELS}/get", token=token, name="theirs")) == (403, "PERMISSION_DENIED")
    taken = {"name": "mine", "new_name": "theirs-too"}
    assert refused(call("POST", f"{MODELS}/rename", taken, token=token)) == (403, "PERMISSION_DENIED")
    assert refused(call("DELETE", f"{MODELS}/delete", {"name": "theirs"}, token=token)) == (403, "PERMISSION_DENIED")
