"""Tracking on a fresh store: SQLite or Postgres."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.ports import Database
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.service import Tracking
from tests.postgres import postgres_schema

FILLED = (
    *("run_param", "run_tag", "run_metric", "metric_point", "run_input", "run_dataset", "run_model", "run"),
    *("logged_model_param", "logged_model_tag", "logged_model_metric", "logged_model_point", "logged_model"),
    "experiment_tag",
)


class Clock:
    """Time that a test moves; every look at it is a millisecond later."""

    def __init__(self) -> None:
        self.now_ms = 2_000_000_000_000  # after the store was made

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    with contextlib.closing(SqliteDatabase(path)) as db:
        db.migrate(migrations.scripts())
    return path


@pytest.fixture(scope="session")
def migrated_schema() -> Iterator[Database]:
    """A Postgres schema with all tables."""
    with postgres_schema() as url:
        from mlspine.backends.postgres import PostgresDatabase

        with contextlib.closing(PostgresDatabase(url)) as db:
            db.migrate(migrations.scripts())
            yield db


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A store in which nothing was logged yet."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "store.db")
        with contextlib.closing(SqliteDatabase(path)) as db:
            yield db
    else:
        schema: Database = request.getfixturevalue("migrated_schema")
        yield schema
        with schema.write(synced=False) as tx:
            for table in FILLED:
                tx.execute(f"delete from {table}")  # a truncate takes 400 ms
            tx.execute("update experiment set lifecycle_stage = 'active', name = 'Default' where id = 0")
            tx.execute("delete from experiment where id > 0")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracking(db: Database, clock: Clock) -> Tracking:
    return Tracking(db=db, clock=clock, dice=random.Random(1))


@pytest.fixture
def models(db: Database, clock: Clock) -> LoggedModels:
    return LoggedModels(db=db, clock=clock, dice=random.Random(1))
