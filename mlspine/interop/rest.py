"""A running MLflow server as the source: its REST, its paging, its artifact proxy."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, TypeVar

import msgspec

from mlspine.core.errors import Invalid, NotFound
from mlspine.interop.connection import Connection
from mlspine.interop.source import File, NotBrought, RegisteredModel, RegisteredVersion, decode_status
from mlspine.tracking.experiment import Experiment, Lifecycle
from mlspine.tracking.logged_model import LoggedModel, ModelPoint
from mlspine.tracking.run import DatasetInput, ModelOutput, Point, Run, Status

API = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
PROXIED = "mlflow-artifacts:"
HISTORY_PAGE = 25_000
PAGE = 1000
MODELS_PAGE = 100

T = TypeVar("T")


class RestSource:
    """What a server holds. Offset pages shift while runs come in, so runs are asked for oldest first."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = connection.url

    def experiments(self) -> Iterator[Experiment]:
        body = {"view_type": "ALL", "max_results": PAGE, "order_by": ["creation_time ASC"]}
        for page in self._pages("experiments/search", body, _Experiments):
            yield from (_experiment(each) for each in page.experiments)

    def count_runs(self, experiment_id: int) -> int:
        return sum(len(page.runs) for page in self._pages("runs/search", _runs_of(experiment_id), _RunCount))

    def runs(self, experiment_id: int) -> Iterator[Run]:
        for page in self._pages("runs/search", _runs_of(experiment_id), _Runs):
            yield from (_run(each) for each in page.runs)

    def whole(self, run: Run) -> Run:
        return self.run(run.id)  # a listing by MLflow 3 lacks the models a run used

    def run(self, run_id: str) -> Run:
        """One of them; NotFound otherwise."""
        return _run(_decode(self._connection.get(f"{API}/runs/get", {"run_id": run_id}), _RunAnswer).run)

    def points(self, run: Run) -> Iterator[Sequence[Point]]:
        for metric in run.metrics:
            query: dict[str, str | int] = {"run_id": run.id, "metric_key": metric.key, "max_results": HISTORY_PAGE}
            for page in self._got("metrics/get-history", query, _History):
                yield [_point(each) for each in page.metrics]

    def logged_models(self, experiment_id: int) -> Iterator[LoggedModel]:
        body = {
            "experiment_ids": [str(experiment_id)],
            "max_results": MODELS_PAGE,
            "order_by": [{"field_name": "creation_timestamp", "ascending": True}],
        }
        try:
            for page in self._pages("logged-models/search", body, _LoggedModels):
                # A listing may hold the latest points only.
                yield from (self.logged_model(each.info.model_id) for each in page.models)
        except NotFound:
            return  # a server of MLflow 2 has none

    def logged_model(self, model_id: str) -> LoggedModel:
        """One of them; NotFound otherwise."""
        return _logged_model(_decode(self._connection.get(f"{API}/logged-models/{model_id}"), _LoggedModelAnswer).model)

    def registered_models(self) -> Iterator[RegisteredModel]:
        query: dict[str, str | int] = {"max_results": MODELS_PAGE, "order_by": "name ASC"}
        for page in self._got("registered-models/search", query, _RegisteredModels):
            yield from (_registered(each, self._versions(each.name)) for each in page.registered_models)

    def version(self, name: str, version: int) -> tuple[RegisteredVersion, str]:
        """A version of a registered model, and the uri below which its files are; NotFound otherwise."""
        query: dict[str, str | int] = {"name": name, "version": version}
        found = _decode(self._connection.get(f"{API}/model-versions/get", query), _VersionAnswer).model_version
        place = _decode(self._connection.get(f"{API}/model-versions/get-download-uri", query), _DownloadUri)
        return _version(found), place.artifact_uri

    def version_by_alias(self, name: str, alias: str) -> int:
        query: dict[str, str | int] = {"name": name, "alias": alias}
        answer = self._connection.get(f"{API}/registered-models/alias", query)
        return _decode(answer, _VersionAnswer).model_version.version

    def latest_version(self, name: str, stage: str | None) -> int:
        """The greatest version in a stage, or of all; 0 when there is none."""
        body = {"name": name, "stages": [stage]} if stage else {"name": name}
        answer = self._connection.send("POST", f"{API}/registered-models/get-latest-versions", body)
        return max((each.version for each in _decode(answer, _Versions).model_versions), default=0)

    def files(self, owner: Run | LoggedModel, below: str = "") -> Iterator[File]:
        folders = [below]
        while folders:
            folder = folders.pop()
            for each in self._list(owner, folder):
                if each.is_dir:
                    folders.append(each.path)
                else:
                    yield File(path=each.path, size_bytes=each.file_size)

    def open(self, owner: Run | LoggedModel, path: str) -> AbstractContextManager[BinaryIO]:
        if owner.artifact_uri.startswith(PROXIED):
            return self._connection.download(f"{PROXY}/{quoted(_proxied(owner.artifact_uri, path))}")
        if isinstance(owner, Run):
            return self._connection.download("/get-artifact", {"run_uuid": owner.id, "path": path})
        files = f"/ajax-api/2.0/mlflow/logged-models/{owner.id}/artifacts/files"
        return self._connection.download(files, {"artifact_file_path": path})

    def missing(self) -> Sequence[str]:
        return ()

    def close(self) -> None:
        self._connection.close()

    # ------------------------------------------------------------ inside

    def _pages(self, path: str, body: dict[str, object], kind: type[T]) -> Iterator[T]:
        """The pages of a search sent as a POST."""
        token = ""
        while True:
            asked = {**body, "page_token": token} if token else body
            page = _decode(self._connection.send("POST", f"{API}/{path}", asked), kind)
            yield page
            token = getattr(page, "next_page_token", "")
            if not token:
                return

    def _got(self, path: str, query: dict[str, str | int], kind: type[T]) -> Iterator[T]:
        """The pages of a search sent as a GET."""
        token = ""
        while True:
            asked = {**query, "page_token": token} if token else query
            page = _decode(self._connection.get(f"{API}/{path}", asked), kind)
            yield page
            token = getattr(page, "next_page_token", "")
            if not token:
                return

    def _versions(self, name: str) -> list[_Version]:
        query: dict[str, str | int] = {"filter": f"name = {_literal(name)}", "max_results": PAGE}
        found = [each for page in self._got("model-versions/search", query, _Versions) for each in page.model_versions]
        return sorted(found, key=lambda each: each.version)

    def _list(self, owner: Run | LoggedModel, folder: str) -> list[_File]:
        """The entries of a folder, their paths below the artifact uri of the owner."""
        try:
            if owner.artifact_uri.startswith(PROXIED):
                answer = self._connection.get(PROXY, {"path": _proxied(owner.artifact_uri, folder)})
                found = _decode(answer, _Files).files
                return [msgspec.structs.replace(each, path=f"{folder}/{each.path}".lstrip("/")) for each in found]
            if isinstance(owner, Run):
                asked = f"{API}/artifacts/list", {"run_id": owner.id, "path": folder}
            else:
                listed = f"{API}/logged-models/{owner.id}/artifacts/directories"
                asked = listed, {"artifact_directory_path": folder}
            return _decode(self._connection.get(*asked), _Files).files
        except (Invalid, NotFound) as exc:
            raise NotBrought(f"{owner.artifact_uri}: {exc.message}") from exc


def _runs_of(experiment_id: int) -> dict[str, object]:
    return {
        "experiment_ids": [str(experiment_id)],
        "run_view_type": "ALL",
        "max_results": PAGE,
        "order_by": ["attributes.start_time ASC"],
    }


def _literal(name: str) -> str:
    return f'"{name}"' if "'" in name else f"'{name}'"


def _proxied(uri: str, path: str) -> str:
    """
    >>> _proxied("mlflow-artifacts:/1/a/artifacts", "model/MLmodel")
    '1/a/artifacts/model/MLmodel'
    """
    inside = urllib.parse.urlsplit(uri).path.strip("/")
    return f"{inside}/{path}" if path else inside


def quoted(path: str) -> str:
    return urllib.parse.quote(path, safe="/")


# ---------------------------------------------------------------- what the wire says


class _Pair(msgspec.Struct):
    key: str
    value: str = ""


class _Metric(msgspec.Struct):
    key: str
    value: float = 0.0
    timestamp: int = 0
    step: int = 0
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class _ExperimentText(msgspec.Struct):
    experiment_id: int
    name: str
    artifact_location: str = ""
    lifecycle_stage: Lifecycle = "active"
    creation_time: int = 0
    last_update_time: int = 0
    tags: list[_Pair] = []


class _Experiments(msgspec.Struct):
    experiments: list[_ExperimentText] = []
    next_page_token: str = ""


class _Info(msgspec.Struct):
    experiment_id: int
    run_id: str = ""
    run_uuid: str = ""
    run_name: str = ""
    user_id: str = ""
    status: Status = "RUNNING"
    start_time: int | None = None
    end_time: int | None = None
    lifecycle_stage: Lifecycle = "active"
    artifact_uri: str = ""


class _Data(msgspec.Struct):
    metrics: list[_Metric] = []
    params: list[_Pair] = []
    tags: list[_Pair] = []


class _Dataset(msgspec.Struct):
    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class _DatasetInput(msgspec.Struct):
    dataset: _Dataset
    tags: list[_Pair] = []


class _Model(msgspec.Struct):
    model_id: str
    step: int = 0


class _Inputs(msgspec.Struct):
    dataset_inputs: list[_DatasetInput] = []
    model_inputs: list[_Model] = []


class _Outputs(msgspec.Struct):
    model_outputs: list[_Model] = []


class _RunText(msgspec.Struct):
    info: _Info
    data: _Data = msgspec.field(default_factory=_Data)
    inputs: _Inputs = msgspec.field(default_factory=_Inputs)
    outputs: _Outputs = msgspec.field(default_factory=_Outputs)


class _RunAnswer(msgspec.Struct):
    run: _RunText


class _Runs(msgspec.Struct):
    runs: list[_RunText] = []
    next_page_token: str = ""


class _RunCount(msgspec.Struct):
    runs: list[msgspec.Raw] = []
    next_page_token: str = ""


class _History(msgspec.Struct):
    metrics: list[_Metric] = []
    next_page_token: str = ""


class _ModelInfo(msgspec.Struct):
    model_id: str
    experiment_id: int
    name: str = ""
    creation_timestamp_ms: int = 0
    last_updated_timestamp_ms: int = 0
    artifact_uri: str = ""
    status: str = ""
    status_message: str = ""
    model_type: str = ""
    source_run_id: str = ""
    tags: list[_Pair] = []


class _ModelData(msgspec.Struct):
    params: list[_Pair] = []
    metrics: list[_Metric] = []


class _LoggedModelText(msgspec.Struct):
    info: _ModelInfo
    data: _ModelData = msgspec.field(default_factory=_ModelData)


class _LoggedModelAnswer(msgspec.Struct):
    model: _LoggedModelText


class _LoggedModels(msgspec.Struct):
    models: list[_LoggedModelText] = []
    next_page_token: str = ""


class _Alias(msgspec.Struct):
    alias: str
    version: int


class _Registered(msgspec.Struct):
    name: str
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    description: str = ""
    tags: list[_Pair] = []
    aliases: list[_Alias] = []


class _RegisteredModels(msgspec.Struct):
    registered_models: list[_Registered] = []
    next_page_token: str = ""


class _Version(msgspec.Struct):
    version: int
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    current_stage: str = "None"
    description: str = ""
    source: str = ""
    run_id: str = ""
    run_link: str = ""
    user_id: str = ""
    status: str = "READY"
    status_message: str = ""
    model_id: str = ""
    tags: list[_Pair] = []


class _VersionAnswer(msgspec.Struct):
    model_version: _Version


class _DownloadUri(msgspec.Struct):
    artifact_uri: str = ""


class _Versions(msgspec.Struct):
    model_versions: list[_Version] = []
    next_page_token: str = ""


class _File(msgspec.Struct):
    path: str
    is_dir: bool = False
    file_size: int = 0


class _Files(msgspec.Struct):
    files: list[_File] = []


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        # Not strict: NaN and infinities arrive as texts, and some servers write whole numbers so.
        return msgspec.json.decode(body or b"{}", type=kind, strict=False)
    except msgspec.MsgspecError as exc:
        raise Invalid(
            f"the answer is not MLflow's: {exc}", hint="see whether the URL is that of an MLflow server"
        ) from exc


def _pairs(pairs: list[_Pair]) -> dict[str, str]:
    return {pair.key: pair.value for pair in pairs}


def _point(each: _Metric) -> Point:
    return Point(key=each.key, value=each.value, timestamp_ms=each.timestamp, step=each.step)


def _experiment(each: _ExperimentText) -> Experiment:
    return Experiment(
        id=each.experiment_id,
        name=each.name,
        artifact_location=each.artifact_location,
        lifecycle_stage=each.lifecycle_stage,
        created_at_ms=each.creation_time,
        updated_at_ms=each.last_update_time,
        tags=_pairs(each.tags),
    )


def _run(each: _RunText) -> Run:
    info, data = each.info, each.data
    return Run(
        id=info.run_id or info.run_uuid,
        experiment_id=info.experiment_id,
        name=info.run_name,
        user_id=info.user_id,
        status=info.status,
        start_time_ms=info.start_time,
        end_time_ms=info.end_time,
        lifecycle_stage=info.lifecycle_stage,
        artifact_uri=info.artifact_uri,
        metrics=tuple(map(_point, data.metrics)),
        params=_pairs(data.params),
        tags=_pairs(data.tags),
        datasets=tuple(map(_dataset, each.inputs.dataset_inputs)),
        model_inputs=tuple(model.model_id for model in each.inputs.model_inputs),
        model_outputs=tuple(
            ModelOutput(model_id=model.model_id, step=model.step) for model in each.outputs.model_outputs
        ),
    )


def _dataset(each: _DatasetInput) -> DatasetInput:
    return DatasetInput(
        name=each.dataset.name,
        digest=each.dataset.digest,
        source_type=each.dataset.source_type,
        source=each.dataset.source,
        schema_text=each.dataset.schema,
        profile=each.dataset.profile,
        tags=_pairs(each.tags),
    )


def _logged_model(each: _LoggedModelText) -> LoggedModel:
    info = each.info
    return LoggedModel(
        id=info.model_id,
        experiment_id=info.experiment_id,
        name=info.name,
        status=decode_status(info.status),
        status_message=info.status_message,
        artifact_uri=info.artifact_uri,
        created_at_ms=info.creation_timestamp_ms,
        updated_at_ms=info.last_updated_timestamp_ms,
        model_type=info.model_type,
        source_run_id=info.source_run_id,
        params=_pairs(each.data.params),
        tags=_pairs(info.tags),
        metrics=tuple(
            ModelPoint(
                run_id=metric.run_id,
                point=_point(metric),
                dataset_name=metric.dataset_name,
                dataset_digest=metric.dataset_digest,
            )
            for metric in each.data.metrics
        ),
    )


def _registered(each: _Registered, versions: list[_Version]) -> RegisteredModel:
    return RegisteredModel(
        name=each.name,
        created_at_ms=each.creation_timestamp,
        updated_at_ms=each.last_updated_timestamp,
        description=each.description,
        tags=_pairs(each.tags),
        aliases={alias.alias: alias.version for alias in each.aliases},
        versions=tuple(map(_version, versions)),
        newest=max((version.version for version in versions), default=0),
    )


def _version(each: _Version) -> RegisteredVersion:
    return RegisteredVersion(
        version=each.version,
        created_at_ms=each.creation_timestamp,
        updated_at_ms=each.last_updated_timestamp,
        stage=each.current_stage or "None",
        description=each.description,
        source=each.source,
        run_id=each.run_id,
        run_link=each.run_link,
        user_id=each.user_id,
        status=each.status,
        status_message=each.status_message,
        model_id=each.model_id,
        tags=_pairs(each.tags),
    )
