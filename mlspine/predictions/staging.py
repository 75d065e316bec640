"""Rows of one SELECT over an endpoint's log, set aside by DuckDB and read a part at a time.

What does not fit into DuckDB's memory lies on disk meanwhile; the reader holds one part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mlspine.core.late import duckdb
from mlspine.ports import BlobStore, Database
from mlspine.predictions import query


class Staged:
    """Rows in a fixed order, as Python values."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        described = connection.execute("describe staged").fetchall()
        self.names = [str(row[0]) for row in described][1:]
        counted = connection.execute("select count(*) from staged").fetchone()
        self.rows = int(counted[0]) if counted else 0

    def part(self, start: int, stop: int) -> dict[str, list[Any]]:
        """Rows `start` to `stop` as columns; None for null, times as naive datetimes in UTC."""
        found = self._connection.execute(
            "select * exclude (_place) from staged where _place >= ? and _place < ? order by _place", [start, stop]
        ).fetchall()
        columns = zip(*found, strict=True) if found else ([] for _ in self.names)
        return {name: list(values) for name, values in zip(self.names, columns, strict=True)}


@contextlib.contextmanager
def staged(db: Database, blobs: BlobStore, endpoint: str, select: str, *, order: str) -> Iterator[Staged]:
    """The rows of `select`, in the order of these SQL expressions over it."""
    with query.opened(db, blobs, endpoint) as connection:
        connection.execute(
            "create temp table staged as"
            f" select row_number() over (order by {order}) - 1 as _place, * from ({select}) order by _place"
        )
        yield Staged(connection)
