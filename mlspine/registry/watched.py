"""Watched releases: what rows of a model that answers on somebody else's server are judged by.

    <hash>/
      mlspine/release.json  mlspine/files.json    the release; no other files
      mlspine/baseline.bin                        what its rows looked like, and how far they may stray

There is no model, no environment and no recorded prediction: such a version is monitored and never served.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from mlspine.core.errors import Invalid
from mlspine.core.ids import digest_bytes, uuid7
from mlspine.core.types import CodeState, ModelVersion, Release, Signature
from mlspine.registry.release import WATCHED, write_release


def build_watched(
    releases_dir: Path,
    baseline: bytes,
    *,
    signature: Signature,
    data: str,
    code: CodeState,
    settings: dict[str, Any],
    thresholds: dict[str, Any],
) -> tuple[Release, str]:
    """The release and its hash, on disk, whole or absent; the same baseline and settings are the same release."""
    release = Release(
        model="",
        transform="",
        signature=signature,
        environment={},
        data=data,
        code=code,
        settings={WATCHED: True, "flavor": WATCHED, **settings},
        baseline=digest_bytes(baseline),
        recorded="",
        thresholds=thresholds,
    )
    draft = releases_dir / f".draft-{uuid7()}"
    try:
        (draft / "mlspine").mkdir(parents=True)
        with (draft / "mlspine" / "baseline.bin").open("wb") as file:
            file.write(baseline)
            file.flush()
            os.fsync(file.fileno())
        return release, write_release(draft, release, {}).name
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_watched_version(version: ModelVersion) -> bool:
    """Whether the model of this version answers on somebody else's server."""
    return version.flavor == WATCHED


def require_model(version: ModelVersion) -> ModelVersion:
    """The version itself; raises Invalid for a watched one, which has no model here."""
    if not is_watched_version(version):
        return version
    ref = f"{version.model}:{version.version}"
    raise Invalid(
        f"{ref} is watched only: somebody else's server answers, and there is no model here",
        hint=f"to answer from here, ship the model: mlspine ship FILE --name {version.model} --data ROWS",
    )
