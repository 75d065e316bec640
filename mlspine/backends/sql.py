"""What every SQL backend shares: nested transactions, cutting scripts into statements, applying migrations once."""

from __future__ import annotations

import abc
import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

from mlspine.core.errors import Conflict
from mlspine.core.ids import now_ms
from mlspine.ports import Database, Param

_CREATE_RECORD = "create table if not exists migration (name text primary key, applied_at_ms bigint not null)"

# The transactions open in this context, one per database at most: what a nested `write()` and a `read()`
# join.
_open: ContextVar[tuple[OpenTransaction, ...]] = ContextVar("mlspine_open_transactions", default=())


class OpenTransaction(abc.ABC):
    """The inside of an outermost `write()`: whose it is, whether it goes on, and whether one of its parts failed."""

    def __init__(self, database: object, *, synced: bool) -> None:
        self.database = database
        self.synced = synced
        self.thread = threading.get_ident()
        self.ended = False
        self.failure: BaseException | None = None
        self._attempts = 0

    @abc.abstractmethod
    def execute(self, sql: str, /, **params: Param) -> int:
        """Run one statement; returns the number of rows it changed."""

    def joined(self, *, synced: bool) -> contextlib.AbstractContextManager[None]:
        """The time of an inner `write()`."""
        if synced and not self.synced:
            raise RuntimeError("a write that must be synced is inside one that is not: make the outer one synced")
        return self.part()

    @contextlib.contextmanager
    def part(self) -> Iterator[None]:
        """An inner `write()` or a statement: its failure is the failure of the whole."""
        try:
            yield
        except BaseException as exc:
            self.failure = self.failure or exc
            raise

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """A part that may fail alone, by a savepoint: its changes are undone, its error is raised."""
        before, name = self.failure, f"attempt_{self._attempts}"
        self._attempts += 1
        self.execute(f"savepoint {name}")
        try:
            yield
            if self.failure is not before:
                raise self.failure or RuntimeError("a part failed without an error")
        except BaseException as exc:
            if self.undone():
                self.failure = exc
                raise
            self.failure = before
            self.execute(f"rollback to savepoint {name}")
            self.execute(f"release savepoint {name}")
            raise
        self.execute(f"release savepoint {name}")

    def undone(self) -> bool:
        """Whether the store has ended the whole by itself, as SQLite may when the disk is full."""
        return False

    @contextlib.contextmanager
    def joinable(self) -> Iterator[None]:
        """The time in which this context's calls join it; ends with the failure of a part, if there was one."""
        token = _open.set((*_open.get(), self))
        try:
            yield
            if self.failure is not None:
                raise self.failure
        finally:
            self.ended = True
            _open.reset(token)


def transaction_here(database: object) -> OpenTransaction | None:
    """The transaction of this database that a call in this context joins, None outside any."""
    # A context copied into another thread carries the variable but not the right to the connection.
    thread = threading.get_ident()
    for transaction in _open.get():
        if transaction.database is database and transaction.thread == thread and not transaction.ended:
            return transaction
    return None


def refuse_lock_inside_write(database: object, name: str) -> None:
    """Raises RuntimeError inside a transaction: with the two taken in either order, two machines deadlock."""
    if transaction_here(database) is not None:
        raise RuntimeError(f"lock {name!r} is taken inside write(); take it before")


def run_migrations(db: Database, scripts: Mapping[str, str]) -> list[str]:
    """Apply the scripts that the store has not seen, in name order; returns the names applied.

    Each script and its record are one transaction, and whether it is still due is asked inside that
    transaction: two processes at once, a kill half-way or a second run all end in the same store. Raises
    Conflict when the store records a script that is not among `scripts`: a newer mlspine wrote it.
    """
    with db.write() as tx:
        tx.execute(_CREATE_RECORD)
        known = {row["name"] for row in tx.read("select name from migration")}
    _refuse_unknown(known, scripts)
    return [name for name in sorted(scripts) if name not in known and _apply(db, name, scripts[name])]


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
    # Whatever is written later and kept for good keeps what came before it: no need to wait for the disk each time.
    with db.write(synced=False) as tx:
        if tx.read("select name from migration where name = :name", name=name):
            return False
        for statement in statements(script):
            tx.execute(statement)
        tx.execute("insert into migration (name, applied_at_ms) values (:name, :at_ms)", name=name, at_ms=now_ms())
        return True


def _refuse_unknown(known: set[str], scripts: Mapping[str, str]) -> None:
    unknown = sorted(known - scripts.keys())
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
