"""Experiments on the MLflow wire."""

from __future__ import annotations

from mlspine.core.types import Actor
from mlspine.tracking.experiment import Experiment, View
from mlspine.web.mlflow.messages import (
    Empty,
    ExperimentMessage,
    KeyValue,
    Message,
    Whole,
    experiment_number,
    experiment_out,
    pairs_in,
)
from mlspine.web.mlflow.route import Route
from mlspine.workspace import Workspace


class Create(Message, kw_only=True):
    name: str
    artifact_location: str | None = None
    tags: list[KeyValue] | None = None


class Created(Message, kw_only=True):
    experiment_id: str


class Named(Message, kw_only=True):
    experiment_name: str


class Numbered(Message, kw_only=True):
    experiment_id: str


class Update(Message, kw_only=True):
    experiment_id: str
    new_name: str


class Tag(Message, kw_only=True):
    experiment_id: str
    key: str
    value: str | None = None


class Search(Message, kw_only=True):
    max_results: Whole | None = None
    page_token: str | None = None
    filter: str | None = None
    order_by: list[str] | None = None
    view_type: View | None = None


class Found(Message, kw_only=True):
    experiments: list[ExperimentMessage] = []
    next_page_token: str = ""


class One(Message, kw_only=True):
    experiment: ExperimentMessage


def _one(experiment: Experiment) -> One:
    return One(experiment=experiment_out(experiment))


def create(workspace: Workspace, asked: Create, _: Actor | None) -> Message:
    made = workspace.tracking.create_experiment(
        asked.name, artifact_location=asked.artifact_location or "", tags=dict(pairs_in(asked.tags or []))
    )
    return Created(experiment_id=str(made.id))


def get(workspace: Workspace, asked: Numbered, _: Actor | None) -> Message:
    return _one(workspace.tracking.experiment(experiment_number(asked.experiment_id)))


def get_by_name(workspace: Workspace, asked: Named, _: Actor | None) -> Message:
    return _one(workspace.tracking.experiment_named(asked.experiment_name))


def delete(workspace: Workspace, asked: Numbered, _: Actor | None) -> Message:
    workspace.tracking.delete_experiment(experiment_number(asked.experiment_id))
    return Empty()


def restore(workspace: Workspace, asked: Numbered, _: Actor | None) -> Message:
    workspace.tracking.restore_experiment(experiment_number(asked.experiment_id))
    return Empty()


def update(workspace: Workspace, asked: Update, _: Actor | None) -> Message:
    workspace.tracking.rename_experiment(experiment_number(asked.experiment_id), asked.new_name)
    return Empty()


def set_tag(workspace: Workspace, asked: Tag, _: Actor | None) -> Message:
    workspace.tracking.set_experiment_tag(experiment_number(asked.experiment_id), asked.key, asked.value or "")
    return Empty()


def delete_tag(workspace: Workspace, asked: Tag, _: Actor | None) -> Message:
    workspace.tracking.delete_experiment_tag(experiment_number(asked.experiment_id), asked.key)
    return Empty()


def search(workspace: Workspace, asked: Search, _: Actor | None) -> Message:
    page = workspace.tracking.search_experiments(
        filter=asked.filter or "",
        order_by=asked.order_by or [],
        view=asked.view_type or "ACTIVE_ONLY",
        max_results=asked.max_results,
        page_token=asked.page_token or "",
    )
    return Found(experiments=list(map(experiment_out, page.experiments)), next_page_token=page.next_page_token)


_AT = "2.0/mlflow/experiments"
ROUTES = (
    Route("POST", f"{_AT}/create", Create, create, "ship", "commit"),
    Route("GET", f"{_AT}/get", Numbered, get),
    Route("GET", f"{_AT}/get-by-name", Named, get_by_name),
    Route("POST", f"{_AT}/search", Search, search),
    Route("GET", f"{_AT}/search", Search, search),
    Route("POST", f"{_AT}/delete", Numbered, delete, "ship", "commit"),
    Route("POST", f"{_AT}/restore", Numbered, restore, "ship", "commit"),
    Route("POST", f"{_AT}/update", Update, update, "ship", "commit"),
    Route("POST", f"{_AT}/set-experiment-tag", Tag, set_tag, "ship", "commit"),
    Route("POST", f"{_AT}/delete-experiment-tag", Tag, delete_tag, "ship", "commit"),
)
