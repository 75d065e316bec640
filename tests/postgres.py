"""A schema of its own on the Postgres server that tests may use: MLSPINE_TEST_POSTGRES, else the local one."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

from tests.needs import need

SERVER = os.environ.get("MLSPINE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")


@contextlib.contextmanager
def postgres_schema() -> Iterator[str]:
    """The URL of an empty schema, which is gone afterwards; skips where no server answers."""
    schema = f"test_{uuid.uuid4().hex}"
    run(f"create schema {schema}")
    try:
        yield f"{SERVER}?options=-c%20search_path%3D{schema}"
    finally:
        run(f"drop schema {schema} cascade")


def run(sql: str) -> list[tuple[Any, ...]]:
    """One statement outside what is tested, as an administrator would type it."""
    try:
        import psycopg

        connection = psycopg.connect(SERVER, autocommit=True, connect_timeout=5)
    except (ImportError, OSError, psycopg.OperationalError) as exc:
        need("postgres", False, f"no server at {SERVER.rpartition('@')[2]}: {' '.join(str(exc).split())}")
        raise
    with connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []
