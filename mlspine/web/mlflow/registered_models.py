"""Registered models and their aliases on the MLflow wire."""

from __future__ import annotations

from mlspine.core.errors import Invalid
from mlspine.core.types import Actor
from mlspine.governance import access
from mlspine.registry.catalogue import RegisteredModel
from mlspine.web.mlflow.messages import Empty, KeyValue, Message, pairs_in, pairs_out
from mlspine.web.mlflow.model_versions import (
    ModelVersionMessage,
    OneVersion,
    Versions,
    known,
    may_point,
    number_of,
    version_out,
)
from mlspine.web.mlflow.route import Route
from mlspine.workspace import Workspace


class AliasMessage(Message, kw_only=True):
    alias: str
    version: str


class ModelMessage(Message, kw_only=True):
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str = ""
    latest_versions: list[ModelVersionMessage] = []
    tags: list[KeyValue] = []
    aliases: list[AliasMessage] = []


class Create(Message, kw_only=True):
    name: str
    tags: list[KeyValue] | None = None
    description: str | None = None


class Named(Message, kw_only=True):
    name: str


class Update(Message, kw_only=True):
    name: str
    description: str | None = None


class Rename(Message, kw_only=True):
    name: str
    new_name: str


class Tag(Message, kw_only=True):
    name: str
    key: str
    value: str | None = None


class Search(Message, kw_only=True):
    filter: str | None = None
    max_results: int | None = None
    order_by: list[str] | None = None
    page_token: str | None = None


class Latest(Message, kw_only=True):
    name: str
    stages: list[str] | None = None


class Alias(Message, kw_only=True):
    name: str
    alias: str


class SetAlias(Message, kw_only=True):
    name: str
    alias: str
    version: str | int


class One(Message, kw_only=True):
    registered_model: ModelMessage


class Found(Message, kw_only=True):
    registered_models: list[ModelMessage] = []
    next_page_token: str = ""


def create(workspace: Workspace, asked: Create, actor: Actor | None) -> Message:
    made = workspace.catalogue.create(
        asked.name, description=asked.description or "", tags=pairs_in(asked.tags or []), actor=known(actor)
    )
    return _one(made)


def get(workspace: Workspace, asked: Named, _: Actor | None) -> Message:
    return _one(workspace.catalogue.model(asked.name))


def update(workspace: Workspace, asked: Update, _: Actor | None) -> Message:
    return _one(workspace.catalogue.describe(asked.name, asked.description or ""))


def rename(workspace: Workspace, asked: Rename, actor: Actor | None) -> Message:
    actor = known(actor)
    access.limit(actor, "registered-models/rename", {"name": asked.name, "new_name": asked.new_name})
    workspace.moves.rename(asked.name, new_name=asked.new_name, actor=actor)
    return _one(workspace.catalogue.model(asked.new_name))


def delete(workspace: Workspace, asked: Named, actor: Actor | None) -> Message:
    workspace.moves.delete(asked.name, actor=known(actor))
    return Empty()


def search(workspace: Workspace, asked: Search, _: Actor | None) -> Message:
    page = workspace.catalogue.search(
        filter=asked.filter or "",
        order_by=asked.order_by or [],
        max_results=asked.max_results,
        page_token=asked.page_token or "",
    )
    return Found(registered_models=list(map(model_out, page.models)), next_page_token=page.next_page_token)


def set_tag(workspace: Workspace, asked: Tag, _: Actor | None) -> Message:
    workspace.catalogue.set_tag(asked.name, asked.key, asked.value or "")
    return Empty()


def delete_tag(workspace: Workspace, asked: Tag, _: Actor | None) -> Message:
    workspace.catalogue.delete_tag(asked.name, asked.key)
    return Empty()


def latest(workspace: Workspace, asked: Latest, _: Actor | None) -> Message:
    return Versions(model_versions=list(map(version_out, workspace.catalogue.latest(asked.name, asked.stages or []))))


def set_alias(workspace: Workspace, asked: SetAlias, actor: Actor | None) -> Message:
    actor, version = may_point(workspace, asked.alias, actor), number_of(asked.version)
    workspace.catalogue.entry(asked.name, version)  # which says that it is absent in MLflow's words
    workspace.moves.set_alias(asked.name, alias=asked.alias, version=version, actor=actor)
    return Empty()


def by_alias(workspace: Workspace, asked: Alias, _: Actor | None) -> Message:
    found = workspace.catalogue.by_alias(asked.name, asked.alias)
    if found is None:
        # 400 and not 404, as MLflow answers.
        raise Invalid(f"Registered model alias {asked.alias} not found.", hint=f"mlspine models {asked.name}")
    return OneVersion(model_version=version_out(found))


def delete_alias(workspace: Workspace, asked: Alias, actor: Actor | None) -> Message:
    workspace.moves.delete_alias(asked.name, alias=asked.alias, actor=may_point(workspace, asked.alias, actor))
    return Empty()


def model_out(model: RegisteredModel) -> ModelMessage:
    return ModelMessage(
        name=model.name,
        creation_timestamp=model.created_at_ms,
        last_updated_timestamp=model.updated_at_ms,
        description=model.description,
        latest_versions=list(map(version_out, model.latest)),
        tags=pairs_out(model.tags),
        aliases=[AliasMessage(alias=alias, version=str(number)) for alias, number in model.aliases.items()],
    )


def _one(model: RegisteredModel) -> One:
    return One(registered_model=model_out(model))


_AT = "2.0/mlflow/registered-models"
ROUTES = (
    Route("POST", f"{_AT}/create", Create, create, "ship", "synced", "name"),
    Route("GET", f"{_AT}/get", Named, get, about="name"),
    Route("PATCH", f"{_AT}/update", Update, update, "ship", "synced", "name"),
    Route("POST", f"{_AT}/rename", Rename, rename, "operate", "synced", "name"),
    Route("DELETE", f"{_AT}/delete", Named, delete, "operate", "synced", "name"),
    Route("GET", f"{_AT}/search", Search, search),
    Route("POST", f"{_AT}/get-latest-versions", Latest, latest, about="name"),
    Route("GET", f"{_AT}/get-latest-versions", Latest, latest, about="name"),
    Route("POST", f"{_AT}/set-tag", Tag, set_tag, "ship", "synced", "name"),
    Route("DELETE", f"{_AT}/delete-tag", Tag, delete_tag, "ship", "synced", "name"),
    # Whoever may ship may point at versions; a gated alias asks for more: see may_point.
    Route("POST", f"{_AT}/alias", SetAlias, set_alias, "read", "alone", "name"),
    Route("GET", f"{_AT}/alias", Alias, by_alias, about="name"),
    Route("DELETE", f"{_AT}/alias", Alias, delete_alias, "read", "alone", "name"),
)
