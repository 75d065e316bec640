"""Rows from a Postgres table or query, through psycopg (extra `postgres`), a block at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import numpy as np

from mlspine.core.errors import Invalid, MissingExtra, Unavailable
from mlspine.core.late import duckdb

BLOCK_ROWS = 10_000
CONNECT_TIMEOUT_S = 10
_FORM = "postgresql://user@host/db?table=schema.name, or ...#select ..."
_QUERY = re.compile(r"\s*(select|with|values|table)\b", re.IGNORECASE)
# Postgres type oid -> what DuckDB holds it as; anything else travels as text.
_TYPES = {16: "boolean", 20: "bigint", 21: "bigint", 23: "bigint", 700: "double", 701: "double", 1700: "double"}
_TYPES |= {1082: "timestamp", 1114: "timestamp", 1184: "timestamp"}


def select_of(url: str) -> tuple[str, str]:
    """The URL to connect to, and the query: of `?table=schema.name`, or what stands behind `#`.

    >>> select_of("postgresql://me@host/db?table=sales.orders&sslmode=require")
    ('postgresql://me@host/db?sslmode=require', 'select * from "sales"."orders"')
    """
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    tables = [value for name, value in options if name == "table"]
    query = unquote(parts.fragment).strip().rstrip(";")
    if len(tables) + bool(query) != 1:
        raise Invalid("a Postgres source names one table, or one query", hint=f"write {_FORM}")
    if query and not _QUERY.match(query):
        raise Invalid(f"a source is one SELECT; this begins with {query.split()[0]!r}", hint=f"write {_FORM}")
    left = urlencode([(name, value) for name, value in options if name != "table"])
    target = urlunsplit((parts.scheme, parts.netloc, parts.path, left, ""))
    return target, query or "select * from " + ".".join(_quoted(part) for part in tables[0].split("."))


def copy_into(connection: duckdb.DuckDBPyConnection, table: str, text: str) -> None:
    """Make `table` of the rows `text` names: a URL, or env:NAME of the variable that holds one.

    Raises Unavailable when the server does not answer, Invalid when it refuses the query; a URL with a secret
    in it is never shown.
    """
    url, shown = _resolved(text)
    target, query = select_of(url)
    try:
        import psycopg
    except ImportError as exc:
        raise MissingExtra("reading from Postgres needs psycopg", hint='pip install "mlspine[postgres]"') from exc
    secret = urlsplit(url).password or ""
    try:
        with psycopg.connect(target, connect_timeout=CONNECT_TIMEOUT_S) as session:
            session.read_only = True
            with session.cursor(name="mlspine") as cursor:
                cursor.itersize = BLOCK_ROWS
                cursor.execute(query)
                _fill(connection, table, cursor)
    except psycopg.OperationalError as exc:
        raise Unavailable(
            f"{shown} cannot be reached: {_first_line(exc, secret)}",
            hint="is the server up, and may this user connect? try: psql " + (shown if shown == target else "..."),
        ) from exc
    except psycopg.Error as exc:
        raise Invalid(f"{shown} refuses: {_first_line(exc, secret)}", hint=f"write {_FORM}") from exc


def _resolved(text: str) -> tuple[str, str]:
    """The URL, and how it may be shown."""
    if not text.startswith("env:"):
        return text, select_of(text)[0]
    name = text.removeprefix("env:")
    url = os.environ.get(name, "")
    if not url.startswith(("postgres://", "postgresql://")):
        state = "holds no Postgres URL" if url else "is not set"
        raise Invalid(f"the variable {name} {state} where mlspine runs", hint=f"export {name}={_FORM}")
    return url, text


def _fill(connection: duckdb.DuckDBPyConnection, table: str, cursor: Any) -> None:
    kinds = [_TYPES.get(column.type_code, "varchar") for column in cursor.description]
    names = [column.name for column in cursor.description]
    declared = ", ".join(f"{_quoted(name)} {kind}" for name, kind in zip(names, kinds, strict=True))
    connection.execute(f"create table {table} ({declared})")
    typed = ", ".join(f"cast(c{i} as {kind})" for i, kind in enumerate(kinds))
    while block := cursor.fetchmany(BLOCK_ROWS):
        columns = zip(*block, strict=True)
        arrays = {f"c{i}": _texts(values) for i, values in enumerate(columns)}
        connection.register("block", arrays)
        connection.execute(f"insert into {table} select {typed} from block")
        connection.unregister("block")


def _texts(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """One column of a block, as text: DuckDB casts it exactly, where guessing Python's types would not."""
    array = np.empty(len(values), dtype=object)
    array[:] = [None if value is None else str(value) for value in values]
    return array


def _first_line(exc: BaseException, secret: str) -> str:
    line = next(iter(str(exc).strip().splitlines()), type(exc).__name__)
    return line.replace(secret, "***") if secret else line


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
