"""What every SQL backend shares: cutting a script into statements and applying migrations once, in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from mlspine.core.errors import Conflict
from mlspine.core.ids import now_ms
from mlspine.ports import Database, Transaction

_CREATE_RECORD = "create table if not exists migration (name text primary key, applied_at_ms bigint not null)"


def run_migrations(db: Database, scripts: Mapping[str, str]) -> list[str]:
    """Apply the scripts that the store has not seen, in name order; returns the names applied.

    Each script and its record are one transaction, and whether it is still due is asked inside that
    transaction: two processes at once, a kill half-way or a second run all end in the same store. Raises
    Conflict when the store records a script that is not among `scripts`: a newer mlspine wrote it.
    """
    with db.write() as tx:
        tx.execute(_CREATE_RECORD)
        _refuse_unknown(tx, scripts)
    return [name for name in sorted(scripts) if _apply(db, name, scripts[name])]


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one, without the comments and blanks between them.

    >>> list(statements("create table a (b text); -- done; really\\ninsert into a values ('x;y');"))
    ['create table a (b text);', "insert into a values ('x;y');"]
    """
    held = ""
    for piece in script.split(";"):
        held += piece
        if sqlite3.complete_statement(held + ";"):
            statement = _without_leading_comments(held)
            if statement:
                yield statement + ";"
            held = ""
        else:
            held += ";"  # inside a string, a comment or a trigger body
    if rest := _without_leading_comments(held.removesuffix(";")):
        yield rest


def _apply(db: Database, name: str, script: str) -> bool:
    with db.write() as tx:
        if tx.read("select name from migration where name = :name", name=name):
            return False
        for statement in statements(script):
            tx.execute(statement)
        tx.execute("insert into migration (name, applied_at_ms) values (:name, :at_ms)", name=name, at_ms=now_ms())
        return True


def _refuse_unknown(tx: Transaction, scripts: Mapping[str, str]) -> None:
    known = tx.read("select name from migration order by name")
    unknown = [row["name"] for row in known if row["name"] not in scripts]
    if unknown:
        raise Conflict(
            f"this workspace was written by a newer mlspine: it knows {', '.join(unknown)}",
            hint="upgrade this installation: pip install --upgrade mlspine",
        )


def _without_leading_comments(text: str) -> str:
    text = text.strip()
    while text.startswith("--"):
        _, _, text = text.partition("\n")
        text = text.strip()
    return text
