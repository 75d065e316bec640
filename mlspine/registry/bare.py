"""Bare releases: models that came by an MLflow client, kept as they are until `mlspine ship` fills them in.

    <hash>/
      model/                                    the MLflow model directory as it was logged
      mlspine/release.json  mlspine/files.json  the release; the digests of everything in model/

Nothing here runs or unpickles anything of the model.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mlspine.core.errors import Invalid
from mlspine.core.ids import digest_file, digest_json, uuid7
from mlspine.core.types import CodeState, ModelVersion, Release
from mlspine.registry.described import describe
from mlspine.registry.release import BARE, BARE_MODEL, write_release
from mlspine.registry.watched import require_model

REPOSITORY_TAG, COMMIT_TAG = "mlflow.source.git.repoURL", "mlflow.source.git.commit"


class Bare(NamedTuple):
    """A bare release on disk."""

    release: Release
    hash: str
    flavor: str


def build_bare(releases_dir: Path, lay_out: Callable[[Path], None], *, data: str, code: CodeState) -> Bare:
    """The bare release of a model directory, whole or absent.

    lay_out: writes that directory to the folder it is given, which does not exist yet. data: what is known of the
    rows it was fitted on. The same files, data and code are the same release.
    """
    draft = releases_dir / f".draft-{uuid7()}"
    draft.mkdir(parents=True)
    try:
        folder = draft / BARE_MODEL
        lay_out(folder)
        described = describe(folder)
        files = {each.relative_to(draft).as_posix(): digest_file(each) for each in folder.rglob("*") if each.is_file()}
        release = Release(
            model=digest_json(files),
            transform="",
            signature=described.signature,
            environment=described.environment,
            data=data,
            code=code,
            settings={BARE: True, "flavor": described.flavor},
            baseline="",
            recorded="",
            thresholds={},
        )
        path = write_release(draft, release, files)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Bare(release, path.name, described.flavor)


def model_folder(version: ModelVersion) -> Path:
    """Where the MLflow model directory of a bare version lies on this machine."""
    return Path(version.path) / BARE_MODEL


def require_whole(version: ModelVersion) -> ModelVersion:
    """The version itself; raises Invalid for a bare one, with the command that fills it in, and for a watched one."""
    require_model(version)
    if not version.bare:
        return version
    ref = f"{version.model}:{version.version}"
    if not version.release_hash:
        raise Invalid(f"{ref} has no release here", hint="; ".join(version.missing))
    raise Invalid(
        f"{ref} came by an MLflow client and was not prepared for this",
        hint=f"fill it in: {fill_command(version.model, version.version)}",
    )


def fill_command(model: str, version: int) -> str:
    """What fills in a bare version."""
    return f"mlspine ship {_quoted(f'models:/{model}/{version}')} --data ROWS"


def lacking(model: str, version: int) -> tuple[str, ...]:
    """What a bare version lacks compared with one that was shipped, each with the command that gives it."""
    fill = fill_command(model, version)
    return (
        f"baseline: there is nothing to judge live data by; {fill}",
        f"parity: no predictions were recorded to prove serving and transform by; {fill}",
        f"holdout: its quality was not measured on rows it has not seen; {fill} --holdout UNSEEN_ROWS",
    )


def _quoted(text: str) -> str:
    return f'"{text}"' if " " in text else text
