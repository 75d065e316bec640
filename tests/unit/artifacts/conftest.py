"""A room of artifacts on a fresh store: SQLite and files, or Postgres and a bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.artifacts import Artifacts
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.ports import BlobStore, Database
from tests.postgres import postgres_schema
from tests.s3 import s3_bucket


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_ms = 1_760_000_000_000

    def __call__(self) -> int:
        return self.now_ms


class Room:
    """The room and what is under it."""

    def __init__(self, folder: Path, db: Database, blobs: BlobStore) -> None:
        self.folder = folder
        self.db = db
        self.blobs = blobs
        self.clock = Clock()
        self.artifacts = self.opened()

    def opened(self) -> Artifacts:
        """The room as another process sees it."""
        return Artifacts(db=self.db, blobs=self.blobs, drafts=self.folder / "drafts", clock=self.clock)

    @property
    def stored(self) -> list[str]:
        """The digests in the blob store."""
        return [key.rpartition("/")[2] for key in self.blobs.list("artifacts/")]

    @property
    def drafts(self) -> list[Path]:
        return list((self.folder / "drafts").glob("*"))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[Room]:
    db = SqliteDatabase(folder / "store.db")
    yield Room(folder, db, FileBlobStore(folder / "blobs"))
    db.close()


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[Room]:
    with postgres_schema() as url, s3_bucket() as (place, endpoint):
        from mlspine.backends.objects import ObjectBlobStore
        from mlspine.backends.postgres import PostgresDatabase

        db = PostgresDatabase(url)
        yield Room(
            folder,
            db,
            ObjectBlobStore(place, endpoint=endpoint, cache=folder / "cache", cache_bytes=100_000_000),
        )
        db.close()


STORES: dict[str, Callable[[Path], AbstractContextManager[Room]]] = {"alone": alone, "shared": shared}


@pytest.fixture(params=sorted(STORES))
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    with STORES[request.param](tmp_path) as room:
        room.db.migrate(migrations.scripts())
        yield room
