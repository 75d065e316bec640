"""A copy of a workspace as of one moment, made while others write and from any kind of store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.backends.choose import open_blobs, open_database
from mlspine.backends.snapshot import LEFT_OUT, copy_store, copy_workspace, tables
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.config import StoreConfig
from mlspine.core.errors import NotFound
from tests.postgres import postgres_schema
from tests.s3 import s3_bucket

SCRIPTS = migrations.scripts()
SEGMENT = {
    "kind": "log",
    "endpoint": "churn",
    "release_hash": "r1",
    "rows": 2,
    "size_bytes": 4,
    "first_event_at_ms": 1,
    "last_event_at_ms": 2,
    "first_received_at_ms": 1,
    "last_received_at_ms": 2,
}


def fill(config: StoreConfig, folder: Path) -> None:
    """A workspace with a row in a table that refers to another, bytes, a token, a log file and a release."""
    (folder / "releases" / "r1" / "mlspine").mkdir(parents=True)
    (folder / "releases" / "r1" / "model.pkl").write_bytes(b"model")
    db, blobs = open_database(config, folder), open_blobs(config, folder)
    db.migrate(SCRIPTS)
    with db.write() as tx:
        tx.execute("insert into endpoint (name, model, created_at_ms) values ('churn', 'churn', 1)")
        tx.execute(
            "insert into learned_reference (endpoint, release_hash, reference, rows, learned_at_ms)"
            " values ('churn', 'r1', :reference, 5, 1)",
            reference=b"\x00\xff",
        )
        tx.execute("insert into model (name, created_at_ms) values ('churn', 1)")
        tx.execute(
            "insert into model_version (model, version, release_hash, stage, created_at_ms, updated_at_ms, owner,"
            " owner_assumed, tier, message, description, origin, trusted, bare, flavor, source, location, run_id,"
            " run_link, model_id, metric, missing, captured, bulk) values ('churn', 1, 'r1', 'None', 1, 1, '', 0,"
            " 'low', '', '', '', 1, 0, '', '', '', '', '', '', '', '', '{}', '{}')"
        )
        tx.execute(
            "insert into access_token (id, name, secret_sha256, role, scope, created_at_ms, created_by, expires_at_ms,"
            " last_used_at_ms, revoked_at_ms) values ('t', 'ci', 'x', 'admin', '[]', 1, 'ada', 2, 0, 0)"
        )
    add_segment(config, folder, "log/churn/a.parquet")
    db.close()
    blobs.put("log/churn/left-over.parquet", b"never committed")


def add_segment(config: StoreConfig, folder: Path, key: str) -> None:
    open_blobs(config, folder).put(key, b"rows")
    db = open_database(config, folder)
    columns = ", ".join(("key", *SEGMENT))
    places = ", ".join(f":{name}" for name in ("key", *SEGMENT))
    with db.write() as tx:
        tx.execute(f"insert into segment ({columns}) values ({places})", key=key, **SEGMENT)
    db.close()


def check(copy: Path) -> None:
    db = SqliteDatabase(copy / "store.db")
    assert db.read("select reference from learned_reference") == [{"reference": b"\x00\xff"}]
    assert db.read("select name from endpoint") == [{"name": "churn"}]
    assert db.read("select name from access_token") == []
    assert db.migrate(SCRIPTS) == []
    db.close()
    assert (copy / "blobs" / "log" / "churn" / "a.parquet").read_bytes() == b"rows"
    assert not (copy / "blobs" / "log" / "churn" / "left-over.parquet").exists()
    assert (copy / "releases" / "r1" / "model.pkl").read_bytes() == b"model"


def test_a_workspace_is_copied_with_what_is_committed_and_without_what_opens_doors(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    fill(StoreConfig(), source)
    copy_workspace(StoreConfig(), source, target, scripts=SCRIPTS)
    check(target)
    assert (target / "releases" / "r1" / "model.pkl").stat().st_nlink == 1


def test_a_link_shares_the_disk_and_outlives_the_original(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    fill(StoreConfig(), source)
    copy_workspace(StoreConfig(), source, target, scripts=SCRIPTS, link=True)
    one, other = (folder / "blobs" / "log" / "churn" / "a.parquet" for folder in (source, target))
    assert os.path.samefile(one, other)
    one.unlink()
    check(target)


def test_uncommitted_changes_of_a_writer_are_not_in_the_copy_and_do_not_hold_it_up(tmp_path: Path) -> None:
    fill(StoreConfig(), tmp_path)
    db = SqliteDatabase(tmp_path / "store.db")
    with db.write() as tx:
        tx.execute("delete from endpoint")
        copy_store(StoreConfig(), tmp_path, tmp_path / "copy.db", scripts=SCRIPTS)
    db.close()
    copy = SqliteDatabase(tmp_path / "copy.db")
    assert len(copy.read("select * from endpoint")) == 1
    copy.close()


def test_a_log_file_that_is_merged_away_meanwhile_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    fill(StoreConfig(), source)
    gone = source / "blobs" / "log" / "churn" / "b.parquet"
    add_segment(StoreConfig(), source, "log/churn/b.parquet")
    real = copy_store

    def merge_after(*args: object, **named: object) -> None:
        real(*args, **named)  # type: ignore[arg-type]
        if gone.exists():
            db = SqliteDatabase(source / "store.db")
            with db.write() as tx:
                tx.execute("delete from segment where key like '%b.parquet'")
            db.close()
            gone.unlink()

    monkeypatch.setattr("mlspine.backends.snapshot.copy_store", merge_after)
    copy_workspace(StoreConfig(), source, target, scripts=SCRIPTS)
    check(target)


def test_a_file_that_is_missing_for_good_is_told(tmp_path: Path) -> None:
    source = tmp_path / "source"
    fill(StoreConfig(), source)
    (source / "blobs" / "log" / "churn" / "a.parquet").unlink()
    with pytest.raises(NotFound, match=r"a\.parquet"):
        copy_workspace(StoreConfig(), source, tmp_path / "target", scripts=SCRIPTS)


def test_a_folder_without_a_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no store"):
        copy_store(StoreConfig(), tmp_path, tmp_path / "copy.db", scripts=SCRIPTS)


def test_a_shared_store_becomes_one_of_the_copys_own(tmp_path: Path) -> None:
    with postgres_schema() as url, s3_bucket() as (bucket, endpoint):
        config = StoreConfig(database=url, blobs=bucket, endpoint=endpoint)
        source, target = tmp_path / "source", tmp_path / "target"
        fill(config, source)
        copy_workspace(config, source, target, scripts=SCRIPTS)
    check(target)


def test_every_table_of_the_migrations_is_known() -> None:
    assert set(LEFT_OUT) <= set(tables(SCRIPTS))
    assert {"ledger", "segment", "evidence"} <= set(tables(SCRIPTS))
