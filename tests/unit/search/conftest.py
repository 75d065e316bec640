"""A store of runs on each database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.ports import Database
from tests.postgres import postgres_schema


@pytest.fixture(scope="module", params=["postgres", "sqlite"])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Empty, and one for the tests of a file: what they store in it must not be in each other's way."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            database: Database = SqliteDatabase(tmp_path_factory.mktemp("store") / "store.db")
        else:
            url = stack.enter_context(postgres_schema())
            from mlspine.backends.postgres import PostgresDatabase

            database = PostgresDatabase(url)
        stack.callback(database.close)
        database.migrate(migrations.scripts())
        yield database
