"""How a version of an MLflow client arrives: its source looked up, its files made a bare release where they are here.

Files are copied and hashed; nothing of them is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlspine.artifacts import Artifacts
from mlspine.core.errors import NotFound
from mlspine.core.types import CodeState, ModelVersion, Tier
from mlspine.ports import BlobStore
from mlspine.registry.bare import COMMIT_TAG, REPOSITORY_TAG, Bare, build_bare, lacking
from mlspine.registry.shelf import Shelf
from mlspine.registry.source import Source, artifact_path, lies_in, parse_source, refused
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.run import Run
from mlspine.tracking.service import Tracking


class Arrival(NamedTuple):
    """What was found about a source. location: where the files are, "" where nothing is said to be. copied: the
    version it is a copy of. files: whether there was a model directory to make a release of.
    """

    source: str
    location: str = ""
    run_id: str = ""
    model_id: str = ""
    bare: Bare | None = None
    copied: ModelVersion | None = None
    captured: dict[str, Any] = {}
    files: bool = True


class Arrivals:
    """Receives sources. version_of: (name, number, "@alias" or stage) -> that version."""

    def __init__(
        self,
        *,
        tracking: Tracking,
        models: LoggedModels,
        artifacts: Artifacts,
        releases_dir: Path,
        blobs: BlobStore | None,
        version_of: Callable[[str, str], ModelVersion],
    ) -> None:
        self._tracking = tracking
        self._models = models
        self._artifacts = artifacts
        self._releases_dir = releases_dir
        self._version_of = version_of
        self.shelf = Shelf(releases_dir, blobs)

    def receive(self, source: str, *, run_id: str, model_id: str) -> Arrival:
        """Look a source up and bring its files in. Raises Invalid where run, model and source do not fit together."""
        named = parse_source(source)
        if named.kind == "version":
            return self._copy(named, run_id, model_id)
        location, run_id = self._located(named, run_id, model_id)
        run = self._run(run_id)
        path = artifact_path(location)
        captured = _captured(run)
        if not path or not any(entry.name == "MLmodel" for entry in self._artifacts.list(path)):
            return Arrival(source, location, run_id, model_id, captured=captured, files=False)
        code = CodeState(repository=captured["code"]["repository"], commit=captured["code"]["commit"])
        bare = build_bare(
            self._releases_dir,
            lambda folder: self._artifacts.copy_to(path, folder),
            data=captured["data"]["digest"],
            code=code,
        )
        self.shelf.share(bare.hash)
        captured |= {"libraries": bare.release.environment, "task": bare.release.signature.task}
        return Arrival(source, location, run_id, model_id, bare=bare, captured=captured)

    def version(
        self,
        arrived: Arrival,
        *,
        model: str,
        number: int,
        now: int,
        owner: str,
        tier: Tier,
        run_link: str,
        description: str,
    ) -> ModelVersion:
        """What arrived, as a version of a model."""
        fixed: dict[str, Any] = {
            "model": model,
            "version": number,
            "stage": "None",
            "created_at_ms": now,
            "updated_at_ms": now,
            "description": description,
            "source": arrived.source,
            "location": arrived.location,
            "run_id": arrived.run_id,
            "run_link": run_link,
            "model_id": arrived.model_id,
            "tier": tier,
        }
        if arrived.copied is not None:
            missing = _missing(arrived, model, number) if arrived.copied.bare else arrived.copied.missing
            return msgspec.structs.replace(arrived.copied, **fixed, missing=missing)
        bare = arrived.bare
        return ModelVersion(
            **fixed,
            release_hash=bare.hash if bare else "",
            path=str(self._releases_dir / bare.hash) if bare else "",
            owner=owner,
            owner_assumed=True,
            origin=f"mlflow:{arrived.run_id or arrived.model_id}",
            trusted=False,
            bare=True,
            flavor=bare.flavor if bare else "",
            captured=arrived.captured,
            missing=_missing(arrived, model, number),
        )

    # ------------------------------------------------------------ inside

    def _copy(self, named: Source, run_id: str, model_id: str) -> Arrival:
        original = self._version_of(named.name, named.which)
        if (run_id and run_id != original.run_id) or (model_id and model_id != original.model_id):
            raise refused(named.uri, "the run and the model must be those of the version it names")
        return Arrival(
            f"models:/{original.model}/{original.version}",
            original.location,
            original.run_id,
            original.model_id,
            copied=original,
            files=bool(original.release_hash),
        )

    def _located(self, named: Source, run_id: str, model_id: str) -> tuple[str, str]:
        """Where the files are, and the run they are of."""
        if named.kind == "model":
            if named.name != model_id:
                raise refused(named.uri, "the model_id request parameter must name this model")
            model = self._models.get(model_id)
            return model.artifact_uri, run_id or model.source_run_id
        if named.kind == "run":
            if named.name != run_id:
                raise refused(named.uri, "the run_id request parameter must name this run")
            run = self._tracking.run(run_id)
            return f"{run.artifact_uri.rstrip('/')}/{named.which}", run_id
        if named.kind == "artifacts" and not any(lies_in(named.uri, root) for root in self._roots(run_id, model_id)):
            raise refused(named.uri, "the run_id request parameter must name the run that holds it")
        if model_id and not run_id:
            run_id = self._models.get(model_id).source_run_id
        return named.uri, run_id

    def _roots(self, run_id: str, model_id: str) -> list[str]:
        run = self._run(run_id)
        roots = [run.artifact_uri] if run else []
        return [*roots, self._models.get(model_id).artifact_uri] if model_id else roots

    def _run(self, run_id: str) -> Run | None:
        if not run_id:
            return None
        try:
            return self._tracking.run(run_id)
        except NotFound:
            return None  # of another server, as in a registry apart from its tracking


def _captured(run: Run | None) -> dict[str, Any]:
    tags, datasets = (run.tags, run.datasets) if run else ({}, ())
    named = [f"{each.name}@{each.digest}" for each in datasets]
    return {
        "code": {"repository": tags.get(REPOSITORY_TAG, ""), "commit": tags.get(COMMIT_TAG, ""), "dirty_digest": ""},
        "data": {"digest": ", ".join(named), "rows": 0, "columns": 0, "source": ""},
    }


def _missing(arrived: Arrival, model: str, number: int) -> tuple[str, ...]:
    if not arrived.location:
        return ()  # a prompt
    if arrived.files:
        return lacking(model, number)
    return (
        f"files: no model directory is at {arrived.location} here, so there is no release, baseline, parity or holdout;"
        f" bring it as a file: mlspine ship FILE --name {model} --data ROWS",
    )
