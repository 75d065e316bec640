from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mlspine import migrations
from mlspine.artifacts import Artifacts
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import NotFound
from mlspine.core.types import Actor, ModelVersion
from mlspine.governance.service import Governance
from mlspine.interop.importing import Import
from mlspine.interop.models import OurModels
from mlspine.interop.own import OwnSource
from mlspine.interop.progress import Report
from mlspine.interop.source import Source
from mlspine.ports import Database
from mlspine.registry.arrival import Arrivals
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.service import Tracking

NOW = 1_800_000_000_000


class Store(NamedTuple):
    """A store of ours."""

    db: Database
    artifacts: Artifacts
    governance: Governance
    arrivals: Arrivals

    def bring(self, source: Source) -> Report:
        return Import(
            source,
            db=self.db,
            artifacts=self.artifacts,
            governance=self.governance,
            actor=Actor(name="maria"),
            arrivals=self.arrivals,
            clock=lambda: NOW,
        ).bring()

    def source(self) -> OwnSource:
        return OwnSource(db=self.db, artifacts=self.artifacts, models=OurModels(self.db), name="ours")

    def count(self, table: str) -> int:
        return int(self.db.read(f"select count(*) as n from {table}")[0]["n"])


def open_store(folder: Path) -> Store:
    db = SqliteDatabase(folder / "store.db")
    db.migrate(migrations.scripts())
    artifacts = Artifacts(db=db, blobs=FileBlobStore(folder / "blobs"), drafts=folder / "drafts", clock=lambda: NOW)
    arrivals = Arrivals(
        tracking=Tracking(db=db),
        models=LoggedModels(db=db),
        artifacts=artifacts,
        releases_dir=folder / "releases",
        blobs=None,
        version_of=_no_copy,
    )
    return Store(db, artifacts, Governance(db=db, clock=lambda: NOW), arrivals)


def _no_copy(name: str, which: str) -> ModelVersion:
    raise NotFound(f"models:/{name}/{which}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    folder = tmp_path / "ours"
    folder.mkdir()
    opened = open_store(folder)
    yield opened
    opened.db.close()


@pytest.fixture
def mlflow_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    return folder
