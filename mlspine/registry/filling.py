"""A registered version as `mlspine ship models:/...` takes it up: which one is meant, and its model."""

from __future__ import annotations

from typing import Protocol

from mlspine.core.errors import Conflict, Denied, Invalid
from mlspine.core.ids import SHORT_HASH
from mlspine.core.types import ModelVersion
from mlspine.registry.bare import fill_command, model_folder, require_whole
from mlspine.registry.files import ModelFile, load_model_file
from mlspine.registry.source import parse_source

PREFIX = "models:/"


class Resolver(Protocol):
    """What is asked of the registry."""

    def resolve(self, ref: str) -> ModelVersion: ...


def find_bare(registry: Resolver, text: str, *, name: str = "") -> ModelVersion:
    """The version `models:/NAME/3` or `models:/NAME@ALIAS` means, when it can be filled in.

    name: what the caller called it, "" for nothing. Raises Conflict for one that has a full release already,
    Invalid for one whose files are not here.
    """
    named = parse_source(text)
    if named.kind != "version":
        raise Invalid(f"{text} names no version of a registered model", hint="say it as models:/NAME/VERSION")
    if name not in ("", named.name):
        raise Invalid(f"{text} is a version of {named.name!r}, not of {name!r}", hint="leave the name out")
    version = registry.resolve(f"{named.name}{named.which if named.which.startswith('@') else f':{named.which}'}")
    if not version.bare:
        raise Conflict(
            f"{version.model}:{version.version} has a full release already: {version.release_hash[:SHORT_HASH]}",
            hint=f"serve it: mlspine serve {version.model}:{version.version}",
        )
    if not version.release_hash:
        require_whole(version)
    return version


def load_bare(version: ModelVersion, *, trust: bool) -> ModelFile:
    """The model of a bare version. trust: the caller vouches for code it may run, unless somebody has already."""
    try:
        return load_model_file(model_folder(version), trust=trust or version.trusted)
    except Denied as exc:
        ref = f"{version.model}:{version.version}"
        raise Denied(
            f"{ref} may run code when it is loaded, and nobody has vouched for it; it was not opened",
            hint=f"if you know where it comes from: {fill_command(version.model, version.version)} --trust",
        ) from exc
