"""Logged models on the MLflow wire, as 3.x clients speak it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp

from mlspine.core.types import Actor
from mlspine.web.app import make_app
from mlspine.workspace import Workspace
from tests.unit.web.asgi import Reply, ask

OWN = "the-workspaces-own-token"
MODELS = "/api/2.0/mlflow/logged-models"
RUNS = "/api/2.0/mlflow/runs"
ABSENT = "m-" + "0" * 32

Call = Callable[..., Reply]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path_factory.mktemp("wire") / ".mlspine")
    yield workspace
    workspace.close()


@pytest.fixture(scope="module")
def app(workspace: Workspace) -> ASGIApp:
    return make_app(workspace, token=OWN, owner=Actor(name="ada"))


@pytest.fixture
def call(app: ASGIApp) -> Call:
    def send(method: str, path: str, body: object = None) -> Reply:
        return ask(app, method, path, body, token=OWN, content_type="application/json")

    return send


@pytest.fixture
def experiment(workspace: Workspace) -> str:
    return str(workspace.tracking.create_experiment(f"experiment {next(_numbers)}").id)


@pytest.fixture
def run(workspace: Workspace, experiment: str) -> str:
    return workspace.tracking.create_run(int(experiment), start_time_ms=1).id


def made(call: Call, experiment: str, **fields: Any) -> str:
    model: str = call("POST", MODELS, {"experiment_id": experiment, **fields}).json["model"]["info"]["model_id"]
    return model


def names(reply: Reply) -> list[str]:
    return [each["info"]["name"] for each in reply.json.get("models", [])]


def refused(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["error_code"]


def test_a_model_is_made_and_read(call: Call, experiment: str, run: str) -> None:
    asked = {
        "experiment_id": experiment,
        "name": "tree",
        "model_type": "sklearn",
        "source_run_id": run,
        "params": [{"key": "depth", "value": "3"}],
        "tags": [{"key": "team", "value": "red"}],
    }
    answer = call("POST", MODELS, asked)
    info = answer.json["model"]["info"]
    created = info["creation_timestamp_ms"]
    assert answer.json["model"] == {
        "info": {
            "model_id": info["model_id"],
            "experiment_id": experiment,
            "name": "tree",
            "creation_timestamp_ms": created,
            "last_updated_timestamp_ms": created,
            "artifact_uri": f"mlflow-artifacts:/{experiment}/models/{info['model_id']}/artifacts",
            "status": "LOGGED_MODEL_PENDING",
            "model_type": "sklearn",
            "source_run_id": run,
            "tags": [{"key": "team", "value": "red"}],
        },
        "data": {"params": [{"key": "depth", "value": "3"}]},
    }
    assert call("GET", f"{MODELS}/{info['model_id']}").json == answer.json


def test_a_bare_model_has_a_name_and_empty_texts(call: Call, experiment: str) -> None:
    model = call("POST", MODELS, {"experiment_id": experiment}).json["model"]
    assert model["info"]["name"]
    assert (model["info"]["model_type"], model["info"]["source_run_id"], model["data"]) == ("", "", {})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "INVALID_PARAMETER_VALUE"),
        ({"experiment_id": ""}, 400, "INVALID_PARAMETER_VALUE"),
        ({"experiment_id": "zero"}, 400, "INVALID_PARAMETER_VALUE"),
        ({"experiment_id": "999999"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ({"experiment_id": "0", "name": "a/b"}, 400, "INVALID_PARAMETER_VALUE"),
        ({"experiment_id": "0", "params": "x"}, 400, "INVALID_PARAMETER_VALUE"),
        ({"experiment_id": "0", "tags": [{"value": "x"}]}, 400, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_a_model_that_cannot_be_made_is_refused(call: Call, body: object, status: int, code: str) -> None:
    assert refused(call("POST", MODELS, body)) == (status, code)


@pytest.mark.parametrize("status", ["LOGGED_MODEL_READY", 2, "2"])
def test_a_model_is_finished(call: Call, experiment: str, status: object) -> None:
    model = made(call, experiment)
    answer = call("PATCH", f"{MODELS}/{model}", {"model_id": model, "status": status})
    assert answer.json["model"]["info"]["status"] == "LOGGED_MODEL_READY"
    assert call("GET", f"{MODELS}/{model}").json["model"]["info"]["status"] == "LOGGED_MODEL_READY"


@pytest.mark.parametrize("body", [{}, {"status": None}, {"status": "DONE"}, {"status": 0}, {"status": ""}])
def test_a_status_that_is_none_is_refused(call: Call, experiment: str, body: object) -> None:
    answer = call("PATCH", f"{MODELS}/{made(call, experiment)}", body)
    assert refused(answer) == (400, "INVALID_PARAMETER_VALUE")
    assert "status" in answer.json["message"]


def test_params_are_added_once_and_sent_again_without_harm(call: Call, experiment: str) -> None:
    model = made(call, experiment, params=[{"key": "a", "value": "1"}])
    for _ in range(2):
        answer = call("POST", f"{MODELS}/{model}/params", {"model_id": model, "params": [{"key": "b", "value": "2"}]})
        assert (answer.status, answer.json) == (200, {})
    changed = call("POST", f"{MODELS}/{model}/params", {"params": [{"key": "a", "value": "2"}]})
    assert refused(changed) == (400, "INVALID_PARAMETER_VALUE")
    assert "Changing param values is not allowed" in changed.json["message"]
    params = call("GET", f"{MODELS}/{model}").json["model"]["data"]["params"]
    assert params == [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]


def test_tags_are_set_and_deleted(call: Call, experiment: str) -> None:
    model = made(call, experiment)
    assert call("PATCH", f"{MODELS}/{model}/tags", {"tags": [{"key": "a b", "value": "1"}]}).json == {}
    assert call("GET", f"{MODELS}/{model}").json["model"]["info"]["tags"] == [{"key": "a b", "value": "1"}]
    # What ASGI hands over is decoded; nothing here decodes it a second time.
    call("PATCH", f"{MODELS}/{model}/tags", {"tags": [{"key": "50%20", "value": "1"}]})
    assert call("DELETE", f"{MODELS}/{model}/tags/50%20").json == {}
    assert call("DELETE", f"{MODELS}/{model}/tags/a b", {"model_id": model, "tag_key": "a b"}).json == {}
    assert refused(call("DELETE", f"{MODELS}/{model}/tags/a b")) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert "tags" not in call("GET", f"{MODELS}/{model}").json["model"]["info"]


def test_a_deleted_model_is_gone_but_for_who_asks_for_deleted_ones(call: Call, experiment: str) -> None:
    model = made(call, experiment, name="tree")
    for _ in range(2):
        assert call("DELETE", f"{MODELS}/{model}", {"model_id": model}).json == {}
    gone = call("GET", f"{MODELS}/{model}")
    assert refused(gone) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert gone.json["message"].startswith(f"Logged model with ID '{model}' not found")
    assert call("GET", f"{MODELS}/{model}?allow_deleted=true").status == 200
    assert names(call("POST", f"{MODELS}/search", {"experiment_ids": [experiment]})) == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"status": "LOGGED_MODEL_READY"}),
        ("DELETE", "", {}),
        ("POST", "/params", {"params": [{"key": "a", "value": "b"}]}),
        ("PATCH", "/tags", {"tags": [{"key": "a", "value": "b"}]}),
        ("DELETE", "/tags/a", None),
        ("GET", "/artifacts/directories", None),
    ],
)
def test_an_absent_model_is_not_found(call: Call, method: str, path: str, body: object) -> None:
    assert refused(call(method, f"{MODELS}/{ABSENT}{path}", body)) == (404, "RESOURCE_DOES_NOT_EXIST")


# ---------------------------------------------------------------- points


def test_what_a_run_measures_on_a_model_is_on_both(call: Call, experiment: str, run: str) -> None:
    model = made(call, experiment)
    one = {"run_id": run, "key": "auc", "value": 0.5, "timestamp": 10, "step": 1, "model_id": model}
    assert call("POST", f"{RUNS}/log-metric", one).json == {}
    on_june = {"dataset_name": "june", "dataset_digest": "d1"}
    batch = [{"key": "loss", "value": "NaN", "timestamp": 11, "model_id": model, **on_june}]
    assert call("POST", f"{RUNS}/log-batch", {"run_id": run, "metrics": batch}).json == {}
    measured = call("GET", f"{MODELS}/{model}").json["model"]["data"]["metrics"]
    assert measured == [
        {"key": "auc", "value": 0.5, "timestamp": 10, "step": 1, "run_id": run, "model_id": model},
        {"key": "loss", "value": "NaN", "timestamp": 11, "step": 0, "run_id": run, "model_id": model, **on_june},
    ]
    data = call("GET", f"{RUNS}/get?run_id={run}").json["run"]["data"]
    assert [each["key"] for each in data["metrics"]] == ["auc", "loss"]


def test_a_point_on_an_absent_model_is_stored_nowhere(call: Call, run: str) -> None:
    point = {"run_id": run, "key": "auc", "value": 0.5, "timestamp": 10, "model_id": ABSENT}
    assert refused(call("POST", f"{RUNS}/log-metric", point)) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert "metrics" not in call("GET", f"{RUNS}/get?run_id={run}").json["run"]["data"]


# ---------------------------------------------------------------- searching


def test_models_are_found_by_filter_order_and_dataset(call: Call, experiment: str, run: str) -> None:
    for name, value in (("one", 0.9), ("two", 0.2), ("three", 0.5)):
        model = made(call, experiment, name=name)
        point = {"run_id": run, "key": "auc", "value": value, "timestamp": 1, "model_id": model}
        call("POST", f"{RUNS}/log-metric", point)
        if name != "one":
            call("POST", f"{RUNS}/log-metric", {**point, "value": 1 - value, "dataset_name": "june"})

    def search(**asked: Any) -> list[str]:
        return names(call("POST", f"{MODELS}/search", {"experiment_ids": [experiment], **asked}))

    june = [{"dataset_name": "june"}]
    by_auc = {"field_name": "metrics.auc"}
    assert search() == ["three", "two", "one"]
    assert search(filter="metrics.auc > 0.4 AND name LIKE '%e'", datasets=june) == ["three"]
    assert search(filter="metrics.auc > 0.6", datasets=june) == ["two"]
    assert search(order_by=[{**by_auc, "ascending": False, "dataset_name": "june"}]) == ["two", "three", "one"]
    assert search(order_by=[{**by_auc, "ascending": True}], datasets=june) == ["three", "two"]
    assert search(order_by=[{"field_name": "name"}]) == ["one", "three", "two"]


def test_a_search_comes_in_pages(call: Call, experiment: str) -> None:
    for number in range(3):
        made(call, experiment, name=f"n{number}")
    asked = {"experiment_ids": [experiment], "max_results": 2, "order_by": [{"field_name": "name", "ascending": False}]}
    first = call("POST", f"{MODELS}/search", asked)
    assert names(first) == ["n2", "n1"]
    second = call("POST", f"{MODELS}/search", asked | {"page_token": first.json["next_page_token"]})
    assert names(second) == ["n0"]
    assert "next_page_token" not in second.json
    assert call("POST", f"{MODELS}/search", {"experiment_ids": [experiment], "max_results": 0}).status == 200
    assert call("POST", f"{MODELS}/search", {"experiment_ids": []}).json == {}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"experiment_ids": ["0"], "order_by": [{}]},
        {"experiment_ids": ["0"], "order_by": ["name"]},
        {"experiment_ids": ["0"], "order_by": [{"field_name": "params.a"}]},
        {"experiment_ids": ["0"], "datasets": [{"dataset_digest": "d"}]},
        {"experiment_ids": ["0"], "filter": "nonsense = 'x'"},
        {"experiment_ids": ["0"], "page_token": "nonsense"},
        {"experiment_ids": ["0"], "max_results": -1},
    ],
)
def test_a_search_that_cannot_be_is_refused(call: Call, asked: object) -> None:
    assert refused(call("POST", f"{MODELS}/search", asked)) == (400, "INVALID_PARAMETER_VALUE")


# ---------------------------------------------------------------- files


def test_the_files_of_a_model_are_listed_by_directory(call: Call, workspace: Workspace, experiment: str) -> None:
    model = made(call, experiment)
    root = f"mlflow-artifacts:/{experiment}/models/{model}/artifacts"
    below = root.removeprefix("mlflow-artifacts:/")
    directories = f"{MODELS}/{model}/artifacts/directories"
    assert call("GET", directories).json == {"root_uri": root}
    workspace.artifacts.put(f"{below}/MLmodel", b"flavors: {}")
    workspace.artifacts.put(f"{below}/data/x.txt", b"x")
    listed = [{"path": "MLmodel", "is_dir": False, "file_size": 11}, {"path": "data", "is_dir": True}]
    assert call("GET", directories).json == {"root_uri": root, "files": listed}
    deeper = call("GET", f"{directories}?artifact_directory_path=data").json
    assert deeper["files"] == [{"path": "data/x.txt", "is_dir": False, "file_size": 1}]
    up = call("GET", f"{directories}?artifact_directory_path=../x")
    assert refused(up) == (400, "INVALID_PARAMETER_VALUE")
    assert "Invalid path" in up.json["message"]


def test_files_that_lie_elsewhere_are_not_listed_here(call: Call, workspace: Workspace) -> None:
    far = workspace.tracking.create_experiment("far", artifact_location="s3://bucket/far")
    model = made(call, str(far.id))
    answer = call("GET", f"{MODELS}/{model}/artifacts/directories").json
    assert answer == {"root_uri": f"s3://bucket/far/models/{model}/artifacts"}
