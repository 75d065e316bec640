"""GraphQL as MLflow's pages write it: what is read, what is refused, and that answers are those of REST."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from mlspine.core.errors import Invalid
from mlspine.core.types import Actor
from mlspine.tracking.run import DatasetInput, ModelOutput, Point, Run
from mlspine.web.app import make_app
from mlspine.web.mlflow.graph import SCHEMA
from mlspine.web.mlflow.graphql import Variable, parse_document, parse_schema
from mlspine.web.mlflow.graphql_answer import LARGEST, MOST_FIELDS, SCALARS, answer
from mlspine.workspace import Workspace
from tests.unit.web.asgi import ask

OWN = "the-workspaces-own-token"
SMALL = parse_schema("""
    type Query { run(id: String, labels: [String]): Run none: Run }
    type Mutation { rename(id: String!): Run }
    type Run { runId: String! startTime: Long share: Float tags: [Tag!] parent: Run words: [String] }
    type Tag { key: String value: String }
""")
RUN: dict[str, Any] = {
    "run_id": "a",
    "start_time": 2**60,
    "share": 0.5,
    "tags": [{"key": "k", "value": "v"}],
    "parent": {"run_id": "b"},
    "words": ["x", "y"],
}


def told(query: str, operation: str = "", run: dict[str, Any] = RUN, **variables: Any) -> dict[str, Any]:
    resolvers = {
        ("Query", "run"): lambda _, given: {**run, "run_id": given.get("id", run["run_id"])},
        ("Mutation", "rename"): lambda _, given: {"run_id": given["id"]},
    }
    return answer(SMALL, resolvers, query=query, variables=variables, operation=operation)


# ---------------------------------------------------------------- the language


def test_fields_come_in_the_order_they_are_asked_for() -> None:
    found = told("{ run { words startTime runId tags { value key __typename } } }")
    assert found == {
        "run": {
            "words": ["x", "y"],
            "startTime": str(2**60),
            "runId": "a",
            "tags": [{"value": "v", "key": "k", "__typename": "Tag"}],
        }
    }
    assert list(found["run"]) == ["words", "startTime", "runId", "tags"]


def test_variables_fill_arguments_wherever_they_stand() -> None:
    query = 'query Q($id: String!, $other: String = "d") { one: run(id: $id) { runId } two: run(id: $other) { runId } }'
    assert told(query, id="z") == {"one": {"runId": "z"}, "two": {"runId": "d"}}
    document = parse_document('{ run(id: {a: [$x, 1, -2.5e1, "q\\"\\u00e9", WORD, true, null], b: {}}) { runId } }')
    (field,) = document.operations[0].selections
    assert field.arguments == {"id": {"a": [Variable("x"), 1, -25.0, 'q"é', "WORD", True, None], "b": {}}}  # type: ignore[union-attr]


def test_fragments_and_repeated_fields_are_joined() -> None:
    query = """
      # a comment, and commas as blanks
      query A { run { ...F, ... on Run { parent { runId } } tags { key } tags { value } ... { share } } }
      fragment F on Run { runId, parent { startTime } }
    """
    assert told(query)["run"] == {
        "runId": "a",
        "parent": {"startTime": None, "runId": "b"},
        "tags": [{"key": "k", "value": "v"}],
        "share": 0.5,
    }


def test_include_and_skip_decide_by_their_condition() -> None:
    query = """
      query A($yes: Boolean!) @component(name: "runs") {
        run { runId @include(if: $yes) share @skip(if: $yes) ... @include(if: false) { words } }
      }
    """
    assert told(query, yes=True) == {"run": {"runId": "a"}}
    assert told(query, yes=False) == {"run": {"share": 0.5}}


def test_of_several_operations_the_named_one_is_answered() -> None:
    query = 'query A { run { runId } } mutation B { rename(id: "n") { runId } }'
    assert told(query, operation="B") == {"rename": {"runId": "n"}}
    with pytest.raises(Invalid, match="2 operations fit"):
        told(query)
    with pytest.raises(Invalid, match="0 operations fit 'C'"):
        told(query, operation="C")


@pytest.mark.parametrize(
    ("share", "shown"), [(math.nan, None), (math.inf, LARGEST), (-math.inf, -LARGEST), ("NaN", None), (None, None)]
)
def test_a_number_that_json_has_not_leaves_as_null_or_the_largest(share: object, shown: float | None) -> None:
    assert told("{ run { share } }", run=RUN | {"share": share}) == {"run": {"share": shown}}


def test_what_is_absent_is_null_and_a_list_empty() -> None:
    assert told("{ none { runId } run { parent { tags { key } startTime } } }") == {
        "none": None,
        "run": {"parent": {"tags": [], "startTime": None}},
    }


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("", "0 operations fit"),
        ("{ run { runId }", "ends too early"),
        ("{ }", "a name was expected"),
        ("{ run { runId } } %", "cannot be read at '%'"),
        ("subscription S { run { runId } }", "a query was expected"),
        ('{ run(id: "a) { runId } }', "cannot be read"),
        ("{ run(id: }) { runId } }", "a value was expected"),
        ('{ run(id: "\\q") { runId } }', "a value was expected"),
        ("query Q($id: String!) { run(id: $id) { runId } }", "variable \\$id is missing"),
        ("{ run(id: $id) { runId } }", "variable \\$id is not declared"),
        ("{ run { secret } }", "a Run has no secret"),
        ("{ run }", "Query.run is made of fields"),
        ("{ run { runId { key } } }", "Run.runId is a scalar"),
        ("{ run(no: 1) { runId } }", "takes no argument no"),
        ("{ run { ...F } }", "fragment 'F' is absent"),
        ("{ run { ...F } } fragment F on Run { ...F }", "within itself"),
        ("{ run { ...F } } fragment F on Tag { key }", "a Run is never a Tag"),
        ("{ run { runId @defer } }", "directive @defer is unknown"),
        ("query A @x { run { runId } }", "directive @x is unknown"),
        ("{ run { a: runId a: share } }", "a stands for two different fields"),
        ("mutation { run { runId } }", "a Mutation has no run"),
        ("{ run { " + "parent { " * 30 + "runId" + " }" * 32, "nested more than"),
        ("{ run(id: " + "[" * 30 + "]" * 30 + ") { runId } }", "nested more than"),
        ("{ run { " + "runId " * MOST_FIELDS + "} }", "too many fields"),
        ("{ " + " ".join(f"r{n}: run {{ runId }}" for n in range(11)) + " }", "11 things are asked for at once"),
    ],
)
def test_what_is_no_request_is_refused_with_the_place(query: str, problem: str) -> None:
    with pytest.raises(Invalid, match=problem):
        told(query)


def test_fragments_that_double_at_each_level_end_early() -> None:
    levels = "".join(f"fragment F{n} on Run {{ ...F{n + 1} ...F{n + 1} }} " for n in range(15))
    with pytest.raises(Invalid, match="too many fields"):
        told("{ run { ...F0 } } " + levels + "fragment F15 on Run { runId }")


# ---------------------------------------------------------------- over the store


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path / ".mlspine")
    yield workspace
    workspace.close()


@pytest.fixture
def app(workspace: Workspace) -> ASGIApp:
    return make_app(workspace, token=OWN, owner=Actor(name="ada"))


@pytest.fixture
def run(workspace: Workspace) -> Run:
    experiment = workspace.tracking.create_experiment("tumours", tags={"team": "radiology"})
    run = workspace.tracking.create_run(experiment.id, name="first", start_time_ms=1_700_000_000_000)
    points = [Point(key="loss", value=1 / (step + 1), step=step, timestamp_ms=step) for step in range(30)]
    broken = Point(key="broken", value=math.nan, timestamp_ms=1)
    workspace.tracking.log_batch(run.id, metrics=[*points, broken], params=[("C", "1.0")])
    workspace.tracking.log_inputs(
        run.id, datasets=[DatasetInput(name="d", digest="1", source_type="local", source="{}", tags={"a": "b"})]
    )
    model = workspace.models.create(experiment.id, name="m", source_run_id=run.id)
    workspace.tracking.log_outputs(run.id, [ModelOutput(model_id=model.id, step=2)])
    return workspace.tracking.run(run.id)


def graph(app: ASGIApp, query: str, **variables: Any) -> dict[str, Any]:
    reply = ask(
        app,
        "POST",
        "/mlflow/graphql",
        {"query": query, "variables": variables, "operationName": "Q"},
        token=OWN,
        content_type="application/json",
    )
    assert reply.status == 200
    found: dict[str, Any] = reply.json
    return found


def test_a_run_comes_with_its_experiment_inputs_and_outputs(app: ASGIApp, run: Run) -> None:
    query = """
      query Q($data: MlflowGetRunInput!) @component(name: "x") { mlflowGetRun(input: $data) {
        apiError { code message helpUrl }
        run {
          info { runUuid runName status startTime endTime experimentId }
          experiment { name creationTime tags { key value } }
          modelVersions { name version status }
          data { metrics { key value step timestamp } params { key value } }
          inputs { datasetInputs { dataset { name digest sourceType } tags { key value } } modelInputs { modelId } }
          outputs { modelOutputs { modelId step } }
        } } }
    """
    found = graph(app, query, data={"runId": run.id})["data"]["mlflowGetRun"]
    assert found["apiError"] is None
    shown = found["run"]
    assert shown["info"] == {
        "runUuid": run.id,
        "runName": "first",
        "status": "RUNNING",
        "startTime": "1700000000000",
        "endTime": None,
        "experimentId": "1",
    }
    assert shown["experiment"]["name"] == "tumours"
    assert shown["experiment"]["tags"] == [{"key": "team", "value": "radiology"}]
    assert shown["experiment"]["creationTime"].isdecimal()
    assert {each["key"]: (each["value"], each["step"]) for each in shown["data"]["metrics"]} == {
        "loss": (1 / 30, "29"),
        "broken": (None, "0"),
    }
    assert shown["inputs"]["datasetInputs"] == [
        {"dataset": {"name": "d", "digest": "1", "sourceType": "local"}, "tags": [{"key": "a", "value": "b"}]}
    ]
    assert shown["inputs"]["modelInputs"] == shown["modelVersions"] == []
    assert shown["outputs"]["modelOutputs"] == [{"modelId": run.model_outputs[0].model_id, "step": "2"}]


def test_histories_and_searches_are_those_of_rest(app: ASGIApp, run: Run) -> None:
    query = """
      query Q($h: MlflowGetMetricHistoryBulkIntervalInput!, $s: MlflowSearchRunsInput!) {
        mlflowGetMetricHistoryBulkInterval(input: $h) { __typename metrics { runId step value } }
        mlflowSearchRuns(input: $s) { runs { info { runName } } nextPageToken }
        mlflowSearchModelVersions(input: {filter: "name = 'none'"}) { modelVersions { name } }
        mlflowListArtifacts(input: {runId: "%s"}) { rootUri files { path } }
      }
    """.replace("%s", run.id)
    history = {"runIds": [run.id], "metricKey": "loss", "maxResults": 10, "startStep": None}
    found = graph(app, query, h=history, s={"experimentIds": ["1"], "filter": "params.C = '1.0'"})["data"]
    metrics = found["mlflowGetMetricHistoryBulkInterval"]["metrics"]
    assert (metrics[0]["step"], metrics[-1]["step"]) == ("0", "29")
    assert 2 <= len(metrics) <= 12
    assert found["mlflowSearchRuns"]["runs"] == [{"info": {"runName": "first"}}]
    assert found["mlflowSearchModelVersions"] == {"modelVersions": []}
    assert found["mlflowListArtifacts"] == {"rootUri": run.artifact_uri, "files": []}


def test_what_is_not_there_is_told_beside_the_answer(app: ASGIApp) -> None:
    query = 'query Q { mlflowGetRun(input: {runId: "nobody"}) { run { info { runId } } apiError { code message } } }'
    found = graph(app, query)["data"]["mlflowGetRun"]
    assert found["run"] is None
    assert found["apiError"]["code"] == "RESOURCE_DOES_NOT_EXIST"
    assert "nobody" in found["apiError"]["message"]


def test_a_request_that_is_none_is_told_as_errors(app: ASGIApp) -> None:
    found = graph(app, "query Q { mlflowGetRun }")
    assert "data" not in found
    assert "made of fields" in found["errors"][0]


def test_every_type_the_schema_names_is_there() -> None:
    kinds = {field.kind.name for fields in SCHEMA.values() for field in fields.values()}
    assert kinds - set(SCALARS) <= set(SCHEMA)
    assert set(SCHEMA) - kinds == {"Query", "Mutation"}
