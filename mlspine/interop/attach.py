"""An MLflow server that stays where it is: a model taken from its registry, and told there what became of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from mlspine.artifacts.paths import check_path
from mlspine.core.errors import Conflict, Invalid, NotFound
from mlspine.core.ids import uuid7
from mlspine.core.types import Struct
from mlspine.interop.connection import Connection
from mlspine.interop.naming import owners
from mlspine.interop.rest import RestSource
from mlspine.interop.source import RegisteredVersion
from mlspine.interop.target import Target
from mlspine.tracking.logged_model import LoggedModel
from mlspine.tracking.run import Run

STAGE_TAG, RELEASE_TAG, VERDICT_TAG = "mlspine.stage", "mlspine.release", "mlspine.verdict"
PIECE_BYTES = 1 << 20
_URI = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+)|/(?P<stage>\w+))\Z")
_STAGES = {"none": "None", "staging": "Staging", "production": "Production", "archived": "Archived"}


class ForeignVersion(Struct, frozen=True, kw_only=True):
    """A model version of another registry. registry: its URL, nothing secret in it."""

    name: str
    version: int
    registry: str


class FetchedModel(ForeignVersion, frozen=True, kw_only=True):
    """One whose files were put in a folder."""

    run_id: str
    folder: Path


def fetch_model(uri: str, registry_uri: str, folder: Path) -> FetchedModel:
    """Put the files of `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `models:/NAME/STAGE` into a new folder.

    Whole or not at all. Raises Invalid for another form of uri, NotFound when the registry has no such version or
    its files are out of the server's reach, Conflict when the folder is there already, Denied, Unavailable.
    """
    if folder.exists():
        raise Conflict(f"{folder} is there already", hint="name a folder that does not exist")
    connection = Connection(registry_uri)
    try:
        source = RestSource(connection)
        name, number = _resolve(uri, source)
        version, place = source.version(name, number)
        owner, below = _owner(source, version, place)
        _download(source, owner, below, folder)
    finally:
        connection.close()
    return FetchedModel(name=name, version=number, run_id=version.run_id, folder=folder, registry=connection.url)


def write_back(taken: ForeignVersion, tags: Mapping[str, str], *, registry_uri: str = "") -> None:
    """Set tags on the version a model was taken from, such as STAGE_TAG, RELEASE_TAG and VERDICT_TAG.

    registry_uri: as given to `fetch_model`, when name and password are in it. May be done twice.
    """
    connection = Connection(registry_uri or taken.registry)
    try:
        for key, value in tags.items():
            Target(connection).set_version_tag(taken.name, taken.version, key, value)
    finally:
        connection.close()


def _resolve(uri: str, source: RestSource) -> tuple[str, int]:
    """The name and number that a uri means in that registry."""
    read = _URI.match(uri)
    stage = read["stage"] if read else None
    if read is None or (stage and stage != "latest" and stage.lower() not in _STAGES):
        raise Invalid(f"{uri!r} names no model version", hint="for instance models:/churn@champion or models:/churn/3")
    name = read["name"]
    if read["alias"]:
        try:
            return name, source.version_by_alias(name, read["alias"])
        except Invalid as exc:
            raise NotFound(f"{name!r} has no alias {read['alias']!r} at {source.name}: {exc.message}") from exc
    if read["version"]:
        return name, int(read["version"])
    number = source.latest_version(name, None if stage == "latest" else _STAGES[str(stage).lower()])
    if not number:
        raise NotFound(
            f"{name!r} has no version in stage {stage!r} at {source.name}", hint=f"for instance models:/{name}/1"
        )
    return name, number


def _owner(source: RestSource, version: RegisteredVersion, place: str) -> tuple[Run | LoggedModel, str]:
    """The run or logged model whose files a version is made of, and the folder among them."""
    for each in sorted(owners(place), key=len, reverse=True):
        _, found, below = place.partition(f"/{each}/artifacts")
        if found:
            owner = source.logged_model(each) if each.startswith("m-") else source.run(each)
            return owner, below.strip("/")
    raise NotFound(
        f"version {version.version} has its files in {place}, which {source.name} does not hand out",
        hint="download them with MLflow's client, and ship the folder",
    )


def _download(source: RestSource, owner: Run | LoggedModel, below: str, folder: Path) -> None:
    draft = folder.with_name(f".{folder.name}-{uuid7()}")
    try:
        for file in source.files(owner, below):
            path = draft / check_path(file.path.removeprefix(below).lstrip("/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            with source.open(owner, file.path) as data, path.open("wb") as out:
                while piece := data.read(PIECE_BYTES):
                    out.write(piece)
        if not draft.exists():
            raise NotFound(f"{owner.artifact_uri}/{below} has no files", hint="log the model again")
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
