"""What MLflow's pages ask by GraphQL: its schema, answered by the routes that answer REST."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mlspine.core.errors import Invalid, MlspineError
from mlspine.core.types import Actor
from mlspine.web.mlflow.graphql import parse_schema
from mlspine.web.mlflow.graphql_answer import Resolver, answer, snake
from mlspine.web.mlflow.messages import Message
from mlspine.web.mlflow.route import Route
from mlspine.web.mlflow.table import Table, told
from mlspine.workspace import Workspace

# MLflow 3.18's, but for its echo fields and what only its own cloud fills. Long leaves as text: 64 bits are more than
# a page's numbers hold.
SCHEMA = parse_schema("""
type Query {
  mlflowGetExperiment(input: MlflowGetExperimentInput): MlflowGetExperimentResponse
  mlflowGetMetricHistoryBulkInterval(input: MlflowGetMetricHistoryBulkIntervalInput):
    MlflowGetMetricHistoryBulkIntervalResponse
  mlflowGetRun(input: MlflowGetRunInput): MlflowGetRunResponse
  mlflowListArtifacts(input: MlflowListArtifactsInput): MlflowListArtifactsResponse
  mlflowSearchModelVersions(input: MlflowSearchModelVersionsInput): MlflowSearchModelVersionsResponse
  mlflowSearchRuns(input: MlflowSearchRunsInput): MlflowSearchRunsResponse
}
type Mutation {
  mlflowSearchDatasets(input: MlflowSearchDatasetsInput): MlflowSearchDatasetsResponse
  mlflowSearchRuns(input: MlflowSearchRunsInput): MlflowSearchRunsResponse
}
type ApiError { code: String message: String helpUrl: String }
type MlflowGetExperimentResponse { experiment: MlflowExperiment apiError: ApiError }
type MlflowExperiment {
  experimentId: String name: String artifactLocation: String lifecycleStage: String
  lastUpdateTime: Long creationTime: Long tags: [MlflowExperimentTag!]
  effectiveTraceArchivalRetention: String workspace: String
}
type MlflowExperimentTag { key: String value: String }
type MlflowGetMetricHistoryBulkIntervalResponse { metrics: [MlflowMetricWithRunId!] apiError: ApiError }
type MlflowMetricWithRunId { key: String value: Float timestamp: Long step: Long runId: String }
type MlflowGetRunResponse { run: MlflowRunExtension apiError: ApiError }
type MlflowSearchRunsResponse { runs: [MlflowRunExtension!] nextPageToken: String apiError: ApiError }
type MlflowRunExtension {
  info: MlflowRunInfo data: MlflowRunData inputs: MlflowRunInputs outputs: MlflowRunOutputs
  experiment: MlflowExperiment modelVersions: [MlflowModelVersion!]
}
type MlflowRunInfo {
  runId: String runUuid: String runName: String experimentId: String userId: String status: String
  startTime: Long endTime: Long artifactUri: String lifecycleStage: String
}
type MlflowRunData { metrics: [MlflowMetricExtension!] params: [MlflowParam!] tags: [MlflowRunTag!] }
type MlflowMetricExtension {
  key: String value: Float timestamp: Long step: Long
  datasetName: String datasetDigest: String modelId: String runId: String
}
type MlflowParam { key: String value: String }
type MlflowRunTag { key: String value: String }
type MlflowRunInputs { datasetInputs: [MlflowDatasetInput!] modelInputs: [MlflowModelInput!] }
type MlflowDatasetInput { tags: [MlflowInputTag!] dataset: MlflowDataset }
type MlflowInputTag { key: String value: String }
type MlflowDataset {
  name: String digest: String sourceType: String source: String schema: String profile: String
}
type MlflowModelInput { modelId: String }
type MlflowRunOutputs { modelOutputs: [MlflowModelOutput!] }
type MlflowModelOutput { modelId: String step: Long }
type MlflowListArtifactsResponse {
  rootUri: String files: [MlflowFileInfo!] nextPageToken: String apiError: ApiError
}
type MlflowFileInfo { path: String isDir: Boolean fileSize: Long }
type MlflowSearchModelVersionsResponse {
  modelVersions: [MlflowModelVersion!] nextPageToken: String apiError: ApiError
}
type MlflowModelVersion {
  name: String version: String creationTimestamp: Long lastUpdatedTimestamp: Long userId: String
  currentStage: String description: String source: String runId: String status: String statusMessage: String
  tags: [MlflowModelVersionTag!] runLink: String aliases: [String] modelId: String
}
type MlflowModelVersionTag { key: String value: String }
type MlflowSearchDatasetsResponse { datasetSummaries: [MlflowDatasetSummary!] apiError: ApiError }
type MlflowDatasetSummary { experimentId: String name: String digest: String context: String }
""")

_AT = "2.0/mlflow"
_VERSIONS = ("GET", f"{_AT}/model-versions/search")
_EXPERIMENT = ("GET", f"{_AT}/experiments/get")
# Who answers each field of Query and Mutation: readers only.
_ROOTS = {
    "mlflowGetExperiment": _EXPERIMENT,
    "mlflowGetMetricHistoryBulkInterval": ("GET", f"{_AT}/metrics/get-history-bulk-interval"),
    "mlflowGetRun": ("GET", f"{_AT}/runs/get"),
    "mlflowListArtifacts": ("GET", f"{_AT}/artifacts/list"),
    "mlflowSearchModelVersions": _VERSIONS,
    "mlflowSearchRuns": ("POST", f"{_AT}/runs/search"),
    "mlflowSearchDatasets": ("POST", f"{_AT}/experiments/search-datasets"),
}


class Query(Message, kw_only=True):
    """A request as pages send it."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = msgspec.field(default=None, name="operationName")


class Data(Message, kw_only=True):
    data: dict[str, Any] | None = None
    errors: list[str] | None = None


class Graph:
    """Answers GraphQL by the routes of a table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def route(self) -> Route:
        return Route("POST", "graphql", Query, self.answer)

    def answer(self, workspace: Workspace, asked: Query, actor: Actor | None) -> Message:
        """The data; what a request does wrong is told in MLflow's way, as errors beside no data."""

        def by(place: tuple[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
            return self._ask(place, workspace, given, actor)

        try:
            data = answer(
                SCHEMA,
                _resolvers(by),
                query=asked.query,
                variables=asked.variables or {},
                operation=asked.operation_name or "",
            )
        except Invalid as exc:
            return Data(errors=[str(exc)])
        return Data(data=data)

    def _ask(
        self, place: tuple[str, str], workspace: Workspace, given: Mapping[str, Any], actor: Actor | None
    ) -> dict[str, Any]:
        """What a route answers, as its JSON would be."""
        served, _ = self._table.find(*place)
        asked = served.reader.from_body(msgspec.json.encode(given), {})
        found: dict[str, Any] = msgspec.to_builtins(served.route.answer(workspace, asked, actor))
        return found


def _resolvers(by: Callable[[tuple[str, str], Mapping[str, Any]], dict[str, Any]]) -> dict[tuple[str, str], Resolver]:
    """Who gives the fields that are not simply there. A response carries what went wrong beside what was found."""

    def root(place: tuple[str, str]) -> Resolver:
        def resolve(_: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
            asked = arguments.get("input") or {}
            if not isinstance(asked, Mapping):
                raise Invalid("input is no object", hint="send its fields by name, in `variables`")
            given = {snake(name): value for name, value in asked.items() if value is not None}
            try:
                return by(place, given)
            except MlspineError as exc:
                error = msgspec.json.decode(told(exc)[1])
                return {"api_error": {"code": error["error_code"], "message": error["message"]}}

        return resolve

    def experiment(run: Mapping[str, Any], _: Mapping[str, Any]) -> Any:
        return by(_EXPERIMENT, {"experiment_id": run["info"]["experiment_id"]})["experiment"]

    def versions(run: Mapping[str, Any], _: Mapping[str, Any]) -> Any:
        return by(_VERSIONS, {"filter": f"run_id='{run['info']['run_id']}'"}).get("model_versions")

    return {
        **{(kind, name): root(place) for kind in ("Query", "Mutation") for name, place in _ROOTS.items()},
        ("MlflowRunExtension", "experiment"): experiment,
        ("MlflowRunExtension", "modelVersions"): versions,
    }
