"""What a release is judged by: its version, its signature and its baseline, read once and kept."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mlspine.core.errors import NotFound
from mlspine.core.types import ModelVersion, Release
from mlspine.registry.baseline import read_baseline
from mlspine.registry.release import read_release
from mlspine.registry.service import Registry
from mlspine.stats.baseline import Baseline

KEPT = 16


class Yardstick(NamedTuple):
    """One release as monitoring needs it."""

    version: ModelVersion
    release: Release
    baseline: Baseline


class Yardsticks:
    """Reads yardsticks from release directories, every file checked against its digest the first time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kept = lru_cache(maxsize=KEPT)(self._read)

    def of(self, endpoint: str, release_hash: str) -> Yardstick:
        """Raises NotFound for a release no version has, Corrupt for one that is not as it was shipped."""
        return self._kept(endpoint, release_hash)

    def _read(self, endpoint: str, release_hash: str) -> Yardstick:
        version = self._version(endpoint, release_hash)
        path = Path(version.path)
        release = read_release(path)
        return Yardstick(version, release, read_baseline(path, release))

    def _version(self, endpoint: str, release_hash: str) -> ModelVersion:
        """The version of the endpoint's own model: one release may carry two names."""
        try:
            own = self._registry.versions(endpoint)
        except NotFound:
            own = []
        found = next((each for each in own if each.release_hash == release_hash), None)
        return found or self._registry.by_hash(release_hash)
