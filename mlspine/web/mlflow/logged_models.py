"""Logged models on the MLflow wire."""

from __future__ import annotations

from mlspine.artifacts import Entry
from mlspine.core.errors import Invalid
from mlspine.core.types import Actor
from mlspine.search import LOGGED_MODELS, DatasetFilter, SortItem, sort_field
from mlspine.tracking.logged_model import LoggedModel, ModelPoint, ModelStatus
from mlspine.tracking.service import ARTIFACTS
from mlspine.web.mlflow.messages import (
    Empty,
    KeyValue,
    Message,
    Metric,
    Whole,
    experiment_number,
    number_out,
    pairs_in,
    pairs_out,
)
from mlspine.web.mlflow.route import Route
from mlspine.workspace import Workspace

_PREFIX = "LOGGED_MODEL_"
# The protocol's words, and its numbers, which older senders of JSON use.
_STATUSES: dict[str, ModelStatus] = {
    **dict.fromkeys((f"{_PREFIX}PENDING", "1"), "PENDING"),
    **dict.fromkeys((f"{_PREFIX}READY", "2"), "READY"),
    **dict.fromkeys((f"{_PREFIX}UPLOAD_FAILED", "3"), "UPLOAD_FAILED"),
}


class Create(Message, kw_only=True):
    experiment_id: str
    name: str | None = None
    model_type: str | None = None
    source_run_id: str | None = None
    params: list[KeyValue] | None = None
    tags: list[KeyValue] | None = None


class OfModel(Message, kw_only=True):
    model_id: str


class Get(OfModel, kw_only=True):
    allow_deleted: bool = False


class Finalize(OfModel, kw_only=True):
    status: str | int


class LogParams(OfModel, kw_only=True):
    params: list[KeyValue] | None = None


class SetTags(OfModel, kw_only=True):
    tags: list[KeyValue] | None = None


class DeleteTag(OfModel, kw_only=True):
    tag_key: str


class Dataset(Message, kw_only=True):
    dataset_name: str
    dataset_digest: str | None = None


class Order(Message, kw_only=True):
    field_name: str
    ascending: bool | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class Search(Message, kw_only=True):
    experiment_ids: list[str]
    filter: str | None = None
    datasets: list[Dataset] | None = None
    max_results: Whole | None = None
    order_by: list[Order] | None = None
    page_token: str | None = None


class Directory(OfModel, kw_only=True):
    artifact_directory_path: str | None = None


class ModelInfo(Message, kw_only=True):
    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str
    source_run_id: str
    status_message: str | None = None
    tags: list[KeyValue] = []


class ModelData(Message, kw_only=True):
    params: list[KeyValue] = []
    metrics: list[Metric] = []


class ModelMessage(Message, kw_only=True):
    info: ModelInfo
    data: ModelData


class One(Message, kw_only=True):
    model: ModelMessage


class Found(Message, kw_only=True):
    models: list[ModelMessage] = []
    next_page_token: str = ""


class File(Message, kw_only=True):
    path: str
    is_dir: bool
    file_size: int | None = None


class Files(Message, kw_only=True):
    root_uri: str
    files: list[File] = []


# ---------------------------------------------------------------- one model


def create(workspace: Workspace, asked: Create, _: Actor | None) -> Message:
    model = workspace.models.create(
        experiment_number(asked.experiment_id),
        name=asked.name or "",
        model_type=asked.model_type or "",
        source_run_id=asked.source_run_id or "",
        params=pairs_in(asked.params or []),
        tags=pairs_in(asked.tags or []),
    )
    return _one(model)


def get(workspace: Workspace, asked: Get, _: Actor | None) -> Message:
    return _one(workspace.models.get(asked.model_id, deleted=asked.allow_deleted))


def finalize(workspace: Workspace, asked: Finalize, _: Actor | None) -> Message:
    status = _STATUSES.get(str(asked.status))
    if status is None:
        raise Invalid(
            f"Invalid value {asked.status!r} for parameter 'status' supplied",
            hint=f"one of {', '.join(each for each in _STATUSES if each.startswith(_PREFIX))}",
        )
    return _one(workspace.models.finalize(asked.model_id, status))


def delete(workspace: Workspace, asked: OfModel, _: Actor | None) -> Message:
    workspace.models.delete(asked.model_id)
    return Empty()


def log_params(workspace: Workspace, asked: LogParams, _: Actor | None) -> Message:
    workspace.models.log_params(asked.model_id, pairs_in(asked.params or []))
    return Empty()


def set_tags(workspace: Workspace, asked: SetTags, _: Actor | None) -> Message:
    workspace.models.set_tags(asked.model_id, pairs_in(asked.tags or []))
    return Empty()


def delete_tag(workspace: Workspace, asked: DeleteTag, _: Actor | None) -> Message:
    workspace.models.delete_tag(asked.model_id, asked.tag_key)
    return Empty()


# ---------------------------------------------------------------- many, and their files


def search(workspace: Workspace, asked: Search, _: Actor | None) -> Message:
    datasets = [
        DatasetFilter(name=each.dataset_name, digest=each.dataset_digest or "") for each in asked.datasets or []
    ]
    page = workspace.models.search(
        [experiment_number(text) for text in asked.experiment_ids],
        filter=asked.filter or "",
        datasets=datasets,
        order_by=list(map(_sort_item, asked.order_by or [])),
        max_results=asked.max_results or None,
        page_token=asked.page_token or "",
    )
    return Found(models=list(map(model_out, page.models)), next_page_token=page.next_page_token)


def directories(workspace: Workspace, asked: Directory, _: Actor | None) -> Message:
    """What lies in a directory of a model, by paths relative to the model; nothing where its files are elsewhere."""
    root = workspace.models.get(asked.model_id).artifact_uri
    if not root.startswith(ARTIFACTS):
        return Files(root_uri=root)
    below = (asked.artifact_directory_path or "").strip("/")
    entries = workspace.artifacts.list("/".join(filter(None, (root.removeprefix(ARTIFACTS), below))))
    return Files(root_uri=root, files=[_file(below, entry) for entry in entries])


def _sort_item(order: Order) -> SortItem:
    return sort_field(
        order.field_name,
        LOGGED_MODELS,
        ascending=order.ascending is not False,
        dataset_name=order.dataset_name or "",
        dataset_digest=order.dataset_digest or "",
    )


# ---------------------------------------------------------------- onto the wire


def model_out(model: LoggedModel) -> ModelMessage:
    return ModelMessage(
        info=ModelInfo(
            model_id=model.id,
            experiment_id=str(model.experiment_id),
            name=model.name,
            creation_timestamp_ms=model.created_at_ms,
            last_updated_timestamp_ms=model.updated_at_ms,
            artifact_uri=model.artifact_uri,
            status=f"{_PREFIX}{model.status}",
            model_type=model.model_type,
            source_run_id=model.source_run_id,
            status_message=model.status_message or None,
            tags=pairs_out(model.tags),
        ),
        data=ModelData(
            params=pairs_out(model.params), metrics=[_metric_out(model.id, measured) for measured in model.metrics]
        ),
    )


def _metric_out(model_id: str, measured: ModelPoint) -> Metric:
    return Metric(
        key=measured.point.key,
        value=number_out(measured.point.value),
        timestamp=measured.point.timestamp_ms,
        step=measured.point.step,
        run_id=measured.run_id,
        model_id=model_id,
        dataset_name=measured.dataset_name or None,
        dataset_digest=measured.dataset_digest or None,
    )


def _file(below: str, entry: Entry) -> File:
    path = f"{below}/{entry.name}" if below else entry.name
    return File(path=path, is_dir=entry.is_dir, file_size=None if entry.is_dir else entry.size_bytes)


def _one(model: LoggedModel) -> One:
    return One(model=model_out(model))


_AT = "2.0/mlflow/logged-models"
ROUTES = (
    Route("POST", _AT, Create, create, "ship", "commit"),
    Route("POST", f"{_AT}/search", Search, search),
    Route("GET", f"{_AT}/{{model_id}}", Get, get),
    Route("PATCH", f"{_AT}/{{model_id}}", Finalize, finalize, "ship", "commit"),
    Route("DELETE", f"{_AT}/{{model_id}}", OfModel, delete, "ship", "commit"),
    Route("POST", f"{_AT}/{{model_id}}/params", LogParams, log_params, "ship", "commit"),
    Route("PATCH", f"{_AT}/{{model_id}}/tags", SetTags, set_tags, "ship", "commit"),
    Route("DELETE", f"{_AT}/{{model_id}}/tags/{{tag_key}}", DeleteTag, delete_tag, "ship", "commit"),
    Route("GET", f"{_AT}/{{model_id}}/artifacts/directories", Directory, directories),
)
