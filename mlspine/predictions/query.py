"""SQL over the log of one endpoint: views `log`, `outcomes`, `labels`, `labelled` and `shadow`; nothing else."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
from collections.abc import Iterator
from typing import Any

from mlspine.core.errors import Invalid
from mlspine.core.late import duckdb
from mlspine.core.types import Struct
from mlspine.ports import BlobStore, Database
from mlspine.predictions import segment, store
from mlspine.predictions.store import Kind

VIEWS = ("log", "outcomes", "labels", "labelled", "shadow")
MAX_RESULT_ROWS = 1_000_000
_SHOWN_COLUMNS = 60


class QueryResult(Struct, frozen=True, kw_only=True):
    """Rows as JSON values; `truncated` when there were more than MAX_RESULT_ROWS."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool = False


def run(db: Database, blobs: BlobStore, endpoint: str, sql: str) -> QueryResult:
    """The result of one SELECT over the endpoint's views; Invalid with DuckDB's words and the columns."""
    with opened(db, blobs, endpoint) as connection:
        try:
            _check_select(connection, sql)
            result = connection.execute(sql)
            names = [column[0] for column in result.description or ()]
            rows = result.fetchmany(MAX_RESULT_ROWS + 1)
        except duckdb.Error as exc:
            about_names = isinstance(exc, (duckdb.BinderException, duckdb.CatalogException))
            raise Invalid(
                f"the query failed: {_first_lines(exc)}",
                hint="views: " + ", ".join(VIEWS),
                details=_columns(connection) if about_names else (),
            ) from exc
    plain = [[_plain(value) for value in row] for row in rows[:MAX_RESULT_ROWS]]
    return QueryResult(columns=names, rows=plain, truncated=len(rows) > MAX_RESULT_ROWS)


@contextlib.contextmanager
def opened(db: Database, blobs: BlobStore, endpoint: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with the endpoint's views that can read their files and touch nothing else."""
    with segment.connect() as connection:
        paths: list[str] = []
        scans: dict[Kind, str] = {}
        for kind in segment.COLUMNS_OF:
            located = [blobs.locate(each.key) for each in store.segments(db, endpoint=endpoint, kind=kind)]
            scans[kind] = segment.scan(located, kind)
            paths += located
        for name, select in _views(scans).items():
            connection.execute(f"create view {name} as {select}")
        _close_off(connection, paths)
        yield connection


def _views(scans: dict[Kind, str]) -> dict[str, str]:
    shown = "_id, _row, _key, label, label_number, label_time, received_at, source"
    return {
        "log": f"select * from {scans['log']}",
        "outcomes": f"select * from {scans['outcomes']}",
        "labels": f"select {shown} from {scans['labels']}",
        "shadow": f"select * from {scans['shadow']}",
        "labelled": segment.newest_labels(scans["outcomes"], scans["labels"]),
    }


def _close_off(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
    """No files beyond these, no network, no extensions, and no way back."""
    listed = ", ".join(segment.literal(path) for path in paths)
    connection.execute(f"set allowed_paths = [{listed}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _check_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Invalid(
            f"one SELECT is taken, got {len(statements)} statements"
            if len(statements) != 1
            else "only SELECT is taken: the log is read, never changed",
            hint='e.g. "select _version, count(*), avg(_score) from log group by 1"',
        )


def _columns(connection: duckdb.DuckDBPyConnection) -> list[str]:
    lines = []
    for view in VIEWS:
        names = [str(row[0]) for row in connection.execute(f"describe {view}").fetchall()]
        more = f", and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
        lines.append(f"{view}: {', '.join(names[:_SHOWN_COLUMNS])}{more}")
    return lines


def _first_lines(exc: duckdb.Error) -> str:
    return str(exc).split("\n\n")[0].replace("\n", "; ")


def _plain(value: Any) -> Any:
    """A value as JSON carries it; times as ISO 8601 in UTC, what JSON has no form for as text."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, dt.datetime):
        return value.isoformat() + ("" if value.tzinfo else "Z")
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return str(value)
