"""A workspace as it is at one moment, copied without disturbing it: store, log files, releases."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlspine.backends.choose import is_shared, open_blobs, open_database
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.config import StoreConfig
from mlspine.core.errors import NotFound
from mlspine.ports import BlobStore, Database

LEFT_OUT = ("access_token", "lease", "store_identity")  # what opens doors, and what only the running ones need
TRIES = 5
_TABLE = re.compile(r"create table (\w+)|drop table (\w+)|alter table (\w+) rename to (\w+)")


def copy_workspace(
    config: StoreConfig,
    folder: Path,
    target: Path,
    *,
    scripts: Mapping[str, str],
    left_out: Sequence[str] = LEFT_OUT,
    link: bool = False,
) -> None:
    """Make `target` a workspace with the content of the one in `folder`, which is only read.

    A shared store becomes one of the copy's own. left_out: tables that are empty in the copy. link: files may be
    second names of the ones copied, for a copy in which nobody changes them.
    """
    blobs = open_blobs(config, folder)
    for attempt in range(1, TRIES + 1):
        copy_store(config, folder, target / "store.db", scripts=scripts)
        copy = SqliteDatabase(target / "store.db")
        try:
            with copy.write() as tx:
                for table in left_out:
                    tx.execute(f"delete from {table}")
            keys = [row["key"] for row in copy.read("select key from segment")]
            digests = [row["digest"] for row in copy.read("select distinct digest from artifact")]
            keys += [f"artifacts/{digest[:2]}/{digest}" for digest in digests]
            hashes = [
                row["release_hash"]
                for row in copy.read("select distinct release_hash from model_version where release_hash <> ''")
            ]
        finally:
            copy.close()
        try:
            with blobs.reading():
                for key in keys:
                    _place(Path(blobs.locate(key)), target / "blobs" / key, link=link)
                for release_hash in hashes:
                    for name, source in _release_files(release_hash, folder, blobs).items():
                        _place(source, target / "releases" / release_hash / name, link=link)
            (target / "run" / "spool").mkdir(parents=True)
            return
        except (NotFound, FileNotFoundError):
            if attempt == TRIES:
                raise  # not merged away between the two looks: it is missing


def copy_store(config: StoreConfig, folder: Path, target: Path, *, scripts: Mapping[str, str]) -> None:
    """The store of the workspace in `folder` as one SQLite file; readers of the folder need no right to write there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in (target, *(target.with_name(target.name + ending) for ending in ("-wal", "-shm"))):
        old.unlink(missing_ok=True)
    if not is_shared(config):
        _back_up(folder / "store.db", target)
        return
    source, copy = open_database(config, folder), SqliteDatabase(target)
    try:
        copy.migrate(scripts)
        _copy_rows(source, copy, tables(scripts))
    finally:
        source.close()
        copy.close()


def tables(scripts: Mapping[str, str]) -> list[str]:
    """Every table of the store, those that others refer to first.

    >>> tables({"0001": "create table b (x text);", "0002": "create table a (x text); alter table b rename to c;"})
    ['a', 'c']
    """
    names: list[str] = []
    for made, dropped, renamed, name in _TABLE.findall("\n".join(scripts.values())):
        if dropped or renamed:
            names.remove(dropped or renamed)
        if made or name:
            names.append(made or name)
    return names


def _release_files(release_hash: str, folder: Path, blobs: BlobStore) -> dict[str, Path]:
    """The files of a release by name, on this machine or from where machines share it."""
    path = folder / "releases" / release_hash
    if path.is_dir():
        return {each.relative_to(path).as_posix(): each for each in path.rglob("*") if each.is_file()}
    prefix = f"releases/{release_hash}/"
    return {key.removeprefix(prefix): Path(blobs.locate(key)) for key in blobs.list(prefix)}


def _place(source: Path, target: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return  # by an earlier try
    if link:
        with contextlib.suppress(OSError):  # another disk, a system without links, or gone: copying tells
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def _back_up(store: Path, target: Path) -> None:
    """Copy an SQLite file as of one moment, while others read and write it."""
    if not store.exists():
        raise NotFound(f"there is no store at {store}", hint="name the workspace with MLSPINE_WORKSPACE")
    uri = f"file:{urllib.parse.quote(str(store))}?mode=ro"
    try:
        with (
            contextlib.closing(sqlite3.connect(uri, uri=True)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
    except sqlite3.OperationalError:
        # In a folder that cannot be written SQLite opens such a store only while somebody else has it open. As
        # nobody has, the files stand still.
        _copy_files(store, target)


def _copy_files(store: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    shutil.copyfile(store, target)
    log = store.with_name(store.name + "-wal")
    if log.exists():
        shutil.copyfile(log, target.with_name(target.name + "-wal"))
    with contextlib.closing(sqlite3.connect(target)) as copy:
        copy.execute("pragma wal_checkpoint(truncate)")


def _copy_rows(source: Database, target: Database, names: list[str]) -> None:
    with source.write() as reading, target.write() as writing:  # one moment for all tables
        for name in reversed(names):
            writing.execute(f"delete from {name}")  # what the scripts themselves put there
        for name in names:
            for row in reading.read(f"select * from {name}"):
                columns = ", ".join(f'"{column}"' for column in row)
                places = ", ".join(f":{column}" for column in row)
                writing.execute(f"insert into {name} ({columns}) values ({places})", **row)
