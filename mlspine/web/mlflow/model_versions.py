"""Versions of registered models on the MLflow wire."""

from __future__ import annotations

from mlspine.core.errors import Invalid, Unidentified
from mlspine.core.types import Actor
from mlspine.governance import access
from mlspine.registry.catalogue import Entry
from mlspine.web.mlflow.messages import Empty, KeyValue, Message, pairs_in, pairs_out
from mlspine.web.mlflow.route import Route
from mlspine.workspace import Workspace


class ModelVersionMessage(Message, kw_only=True):
    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    current_stage: str
    description: str
    source: str
    run_id: str
    status: str
    run_link: str
    tags: list[KeyValue] = []
    aliases: list[str] = []


class Create(Message, kw_only=True):
    name: str
    source: str
    run_id: str | None = None
    tags: list[KeyValue] | None = None
    run_link: str | None = None
    description: str | None = None
    model_id: str | None = None


class Numbered(Message, kw_only=True):
    name: str
    version: str | int


class Update(Message, kw_only=True):
    name: str
    version: str | int
    description: str | None = None


class Tag(Message, kw_only=True):
    name: str
    version: str | int
    key: str
    value: str | None = None


class Transition(Message, kw_only=True):
    name: str
    version: str | int
    stage: str
    archive_existing_versions: bool | None = None


class Search(Message, kw_only=True):
    filter: str | None = None
    max_results: int | None = None
    order_by: list[str] | None = None
    page_token: str | None = None


class OneVersion(Message, kw_only=True):
    model_version: ModelVersionMessage


class Versions(Message, kw_only=True):
    model_versions: list[ModelVersionMessage] = []
    next_page_token: str = ""


class Uri(Message, kw_only=True):
    artifact_uri: str


def create(workspace: Workspace, asked: Create, actor: Actor | None) -> Message:
    made = workspace.catalogue.create_version(
        asked.name,
        source=asked.source,
        run_id=asked.run_id or "",
        model_id=asked.model_id or "",
        run_link=asked.run_link or "",
        description=asked.description or "",
        tags=pairs_in(asked.tags or []),
        actor=known(actor),
    )
    return _one(made)


def get(workspace: Workspace, asked: Numbered, _: Actor | None) -> Message:
    return _one(workspace.catalogue.entry(asked.name, number_of(asked.version)))


def update(workspace: Workspace, asked: Update, _: Actor | None) -> Message:
    version = number_of(asked.version)
    return _one(workspace.catalogue.describe_version(asked.name, version, asked.description or ""))


def delete(workspace: Workspace, asked: Numbered, actor: Actor | None) -> Message:
    workspace.moves.delete_version(asked.name, number_of(asked.version), actor=known(actor))
    return Empty()


def search(workspace: Workspace, asked: Search, _: Actor | None) -> Message:
    page = workspace.catalogue.search_versions(
        filter=asked.filter or "",
        order_by=asked.order_by or [],
        max_results=asked.max_results,
        page_token=asked.page_token or "",
    )
    return Versions(model_versions=list(map(version_out, page.entries)), next_page_token=page.next_page_token)


def download_uri(workspace: Workspace, asked: Numbered, _: Actor | None) -> Message:
    return Uri(artifact_uri=workspace.catalogue.download_uri(asked.name, number_of(asked.version)))


def transition(workspace: Workspace, asked: Transition, actor: Actor | None) -> Message:
    version = number_of(asked.version)
    workspace.catalogue.entry(asked.name, version)  # which says that it is absent in MLflow's words
    workspace.moves.transition(
        asked.name,
        version,
        stage=asked.stage,
        archive_existing=bool(asked.archive_existing_versions),
        actor=known(actor),
    )
    return _one(workspace.catalogue.entry(asked.name, version))


def set_tag(workspace: Workspace, asked: Tag, _: Actor | None) -> Message:
    workspace.catalogue.set_version_tag(asked.name, number_of(asked.version), asked.key, asked.value or "")
    return Empty()


def delete_tag(workspace: Workspace, asked: Tag, _: Actor | None) -> Message:
    workspace.catalogue.delete_version_tag(asked.name, number_of(asked.version), asked.key)
    return Empty()


def version_out(entry: Entry) -> ModelVersionMessage:
    version = entry.version
    return ModelVersionMessage(
        name=version.model,
        version=str(version.version),
        creation_timestamp=version.created_at_ms,
        last_updated_timestamp=version.updated_at_ms,
        current_stage=version.stage,
        description=version.description,
        source=version.source or f"models:/{version.model}/{version.version}",
        run_id=version.run_id,
        status="READY",
        run_link=version.run_link,
        tags=pairs_out(entry.tags),
        aliases=list(entry.aliases),
    )


def number_of(text: str | int) -> int:
    """A version's number; Invalid for a text that is none.

    >>> number_of("3")
    3
    """
    digits = str(text).removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise Invalid(f"Model version must be an integer, got {text!r}", hint="versions count 1, 2, 3, ...")
    return int(text)


def known(actor: Actor | None) -> Actor:
    """Who asks; Unidentified when nobody is known to."""
    if actor is None:
        raise Unidentified(
            "this needs a token",
            hint="export MLFLOW_TRACKING_TOKEN=...; an admin makes one: mlspine tokens create NAME --role developer",
        )
    return actor


def may_point(workspace: Workspace, alias: str, actor: Actor | None) -> Actor:
    """Who asks, when they may move this alias: a gated one is for those who operate, others for those who ship."""
    actor = known(actor)
    gated = workspace.moves.is_gated(alias)
    access.authorise(actor, f"alias {alias}", "operate" if gated else "ship")
    return actor


def _one(entry: Entry) -> OneVersion:
    return OneVersion(model_version=version_out(entry))


_AT = "2.0/mlflow/model-versions"
ROUTES = (
    Route("POST", f"{_AT}/create", Create, create, "ship", "alone", "name"),
    Route("GET", f"{_AT}/get", Numbered, get, about="name"),
    Route("PATCH", f"{_AT}/update", Update, update, "ship", "synced", "name"),
    Route("DELETE", f"{_AT}/delete", Numbered, delete, "operate", "synced", "name"),
    Route("GET", f"{_AT}/search", Search, search),
    Route("GET", f"{_AT}/get-download-uri", Numbered, download_uri, about="name"),
    Route("POST", f"{_AT}/transition-stage", Transition, transition, "operate", "alone", "name"),
    Route("POST", f"{_AT}/set-tag", Tag, set_tag, "ship", "synced", "name"),
    Route("DELETE", f"{_AT}/delete-tag", Tag, delete_tag, "ship", "synced", "name"),
)
