"""Where a version comes from and what became of it: release, run, data, code, and every move, in one account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mlspine.core.errors import Corrupt, MlspineError, NotFound
from mlspine.core.ids import parse_model_ref
from mlspine.core.public import public
from mlspine.core.types import CodeState, DatasetVersion, LedgerEntry, ModelVersion, Release, Struct
from mlspine.data.service import Data
from mlspine.governance.service import Governance
from mlspine.registry.catalogue import Catalogue
from mlspine.registry.release import read_release
from mlspine.registry.service import Registry
from mlspine.registry.store import BULK
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.reader import RunReader
from mlspine.tracking.sheet import RunSheet, latest

LINES = 1_000  # of the ledger that are looked through


class Account(Struct, frozen=True, kw_only=True):
    """A version of a model and all that it rests on; what is not known is None or empty, and said in `problems`.

    params, metrics: of its run and its logged model. changes: what the ledger says of the model, oldest first.
    """

    version: ModelVersion
    aliases: tuple[str, ...]
    tags: dict[str, str]
    release: Release | None
    data: DatasetVersion | None
    run: RunSheet | None
    code: CodeState
    script: str
    params: dict[str, str]
    metrics: dict[str, float | None]
    changes: tuple[LedgerEntry, ...]
    problems: tuple[str, ...] = ()


class Lineage:
    """Reads, writes nothing."""

    def __init__(
        self,
        *,
        registry: Registry,
        catalogue: Catalogue,
        runs: RunReader,
        models: LoggedModels,
        data: Data,
        governance: Governance,
    ) -> None:
        self._registry = registry
        self._catalogue = catalogue
        self._runs = runs
        self._models = models
        self._data = data
        self._governance = governance

    @public("read")
    def of(self, ref: str) -> Account:
        """The account of `NAME`, `NAME:VERSION` or `NAME@ALIAS`; a bare name is Production, else the newest version."""
        version = self._version(ref)
        problems: list[str] = []
        entry = self._catalogue.entry(version.model, version.version)
        release = self._release(version, problems)
        run = self._run(version.run_id, problems)
        captured = {key: value for key, value in version.captured.items() if key not in BULK}
        params, metrics = self._logged(version, run, problems)
        return Account(
            version=msgspec.structs.replace(version, captured=captured),
            aliases=entry.aliases,
            tags=entry.tags,
            release=release,
            data=self._dataset(release, problems),
            run=run,
            code=_code(release, captured, run),
            script=str(captured.get("script") or (run.command if run else "")),
            params=params,
            metrics=metrics,
            changes=tuple(self._changes(version.model)),
            problems=tuple(problems),
        )

    # ------------------------------------------------------------ inside

    def _version(self, ref: str) -> ModelVersion:
        parsed = parse_model_ref(ref)
        if parsed.kind != "name":
            return self._registry.resolve(ref)
        versions = self._registry.versions(parsed.name)
        live = [each for each in versions if each.stage == "Production"]
        return self._registry.get(parsed.name, (live or versions)[-1].version)

    def _release(self, version: ModelVersion, problems: list[str]) -> Release | None:
        if not version.release_hash:
            problems.append("release: its files are not here, only where the client said")
            return None
        try:
            return read_release(Path(version.path))
        except (Corrupt, NotFound) as exc:
            problems.append(f"release: {exc}")
            return None

    def _run(self, run_id: str, problems: list[str]) -> RunSheet | None:
        if not run_id:
            problems.append("run: nobody said which run made it")
            return None
        try:
            return self._runs.get(run_id)
        except NotFound:
            problems.append(f"run: {run_id} is not in this workspace")
            return None

    def _dataset(self, release: Release | None, problems: list[str]) -> DatasetVersion | None:
        if release is None or not release.data:
            return None
        try:
            return self._data.get(release.data)
        except NotFound as exc:
            problems.append(f"data: {exc}")
            return None

    def _logged(
        self, version: ModelVersion, run: RunSheet | None, problems: list[str]
    ) -> tuple[dict[str, str], dict[str, float | None]]:
        params = dict(run.run.params) if run else {}
        metrics = dict(run.run.metrics) if run else {}
        if not version.model_id:
            return params, metrics
        try:
            model = self._models.get(version.model_id, deleted=True)
        except MlspineError as exc:
            problems.append(f"logged model: {exc}")
            return params, metrics
        return params | model.params, metrics | latest(measured.point for measured in model.metrics)

    def _changes(self, model: str) -> list[LedgerEntry]:
        """What the ledger says of the model and of the endpoint named after it."""
        lines = [
            *self._governance.entries(f"model:{model}", limit=LINES),
            *self._governance.entries(f"endpoint:{model}", limit=LINES),
        ]
        return sorted(lines, key=lambda line: line.seq)


def _code(release: Release | None, captured: dict[str, Any], run: RunSheet | None) -> CodeState:
    """The code as the release has it, else as the run has it."""
    if release is not None and release.code.commit:
        return release.code
    if run is not None and run.code.commit:
        return run.code
    return release.code if release is not None else CodeState(**captured.get("code", {}))
