"""Which store a workspace uses: SQLite and files in its folder, or Postgres and a bucket shared with other machines."""

from __future__ import annotations

from pathlib import Path

from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.config import StoreConfig
from mlspine.core.errors import Invalid
from mlspine.ports import BlobStore, Database


def is_shared(config: StoreConfig) -> bool:
    """Whether other machines use the same store; Invalid for half of it.

    A shared database with local blobs would list segments that no other machine can read; a shared bucket
    with a database of one's own would be swept of what the other machine wrote.
    """
    if bool(config.database) != bool(config.blobs):
        given, absent, example = (
            ("database", "blobs", "s3://BUCKET/PREFIX")
            if config.database
            else ("blobs", "database", "postgresql://USER@HOST/DATABASE")
        )
        raise Invalid(
            f"[store] {given} is shared between machines, but {absent} is not set: machines would not see"
            " each other's files",
            hint=f'add to mlspine.toml, under [store]: {absent} = "{example}"',
        )
    return bool(config.database)


def open_database(config: StoreConfig, folder: Path) -> Database:
    """The metadata store of the workspace in `folder`."""
    if not is_shared(config):
        return SqliteDatabase(folder / "store.db")
    if not config.database.startswith(("postgresql://", "postgres://")):
        raise Invalid(
            "[store] database is no Postgres URL (not shown: it may hold a password)",
            hint="write postgresql://USER@HOST:5432/DATABASE, or leave it empty for SQLite in the workspace",
        )
    from mlspine.backends.postgres import PostgresDatabase

    return PostgresDatabase(config.database)


def open_blobs(config: StoreConfig, folder: Path) -> BlobStore:
    """The blob store of the workspace in `folder`."""
    if not is_shared(config):
        return FileBlobStore(folder / "blobs")
    from mlspine.backends.objects import ObjectBlobStore

    return ObjectBlobStore(
        config.blobs, cache=folder / "cache", cache_bytes=config.cache_bytes, endpoint=config.endpoint
    )
