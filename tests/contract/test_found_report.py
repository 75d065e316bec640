"""The window that holds a moment is found alike in SQLite and in Postgres."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.monitoring import store
from mlspine.monitoring.window import HOUR_MS
from mlspine.ports import Database
from tests.postgres import postgres_schema
from tests.unit.monitoring.test_store import report


@contextlib.contextmanager
def sqlite(folder: Path) -> Iterator[Database]:
    database = SqliteDatabase(folder / "store.db")
    yield database
    database.close()


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Database]:
    with postgres_schema() as url:
        from mlspine.backends.postgres import PostgresDatabase

        database = PostgresDatabase(url)
        yield database
        database.close()


@pytest.mark.parametrize("opened", [sqlite, postgres], ids=lambda each: each.__name__)
def test_a_window_is_found_by_any_moment_in_it_and_by_the_beginning_of_a_release(opened, tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        db.migrate(migrations.scripts())
        with db.write() as tx:
            for from_h, to_h, release in ((0, 2, "aa11"), (2, 3, "aa11"), (2, 3, "bb22")):
                store.add_report(tx, report(from_h, to_h, release_hash=release))
        assert store.find_report(db, "other", at_ms=0, release_hash="") is None

        def found(at_h: float, release: str = "") -> tuple[int, str] | None:
            each = store.find_report(db, "churn", at_ms=int(at_h * HOUR_MS), release_hash=release)
            return None if each is None else (each.from_at_ms // HOUR_MS, each.release_hash)

        assert found(1.99) == (0, "aa11")
        assert found(2.0, "aa") == (2, "aa11")
        assert found(2.5, "b") == (2, "bb22")
        assert found(0, "bb22") == (2, "bb22")
        assert found(1.0, "bb") is None
        assert found(3.0) is None
