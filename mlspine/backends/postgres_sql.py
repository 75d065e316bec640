"""From the shared SQL to Postgres': parameters, and text that sorts as SQLite sorts it."""

from __future__ import annotations

import re
from functools import lru_cache

from mlspine.backends.sql import statements

# What a ":" means nothing in: texts, quoted names, comments and casts; then what it does mean something in.
_TOKEN = re.compile(
    r"""
    '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | ::
    | :(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
_TEXT_COLUMN = re.compile(r'(\w"?\s+)text\b')
_WITHOUT_ROWID = re.compile(r"\)\s*without rowid\b", re.IGNORECASE)
_DEFINES_COLUMNS = re.compile(r"(create|alter)\s+table\b", re.IGNORECASE)


@lru_cache(maxsize=1024)
def with_psycopg_parameters(sql: str) -> str:
    """The statement with `:name` as `%(name)s`, and every other % doubled.

    >>> with_psycopg_parameters("select ':a', b::text, 10 % 3 from t where c = :c -- :no")
    "select ':a', b::text, 10 %% 3 from t where c = %(c)s -- :no"
    """
    pieces, end = [], 0
    for match in _TOKEN.finditer(sql):
        pieces.append(sql[end : match.start()].replace("%", "%%"))
        pieces.append(f"%({match['name']})s" if match["name"] else match[0].replace("%", "%%"))
        end = match.end()
    pieces.append(sql[end:].replace("%", "%%"))
    return "".join(pieces)


def as_postgres(script: str) -> str:
    """A migration in Postgres' words: text columns sort by bytes, as on SQLite, not by the language of the server.

    Tables without row ids are SQLite's own economy, which Postgres has no word for.

    >>> as_postgres("create table a (b text not null) without rowid;")
    'create table a (b text collate "C" not null);'
    """
    return "\n".join(_table(each) if _DEFINES_COLUMNS.match(each) else each for each in statements(script))


def _table(statement: str) -> str:
    return _WITHOUT_ROWID.sub(")", _TEXT_COLUMN.sub(r'\1text collate "C"', statement))
