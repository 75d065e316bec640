"""Database on Postgres: one store for several machines.

`write()` means what it means on SQLite: one writer at a time, by an advisory lock that ends with the
transaction. `lock()` is an advisory lock of a session, and what its holder writes goes through that very
session: a holder that the server has lost cannot store anything any more. Both kinds of lock belong to one
schema, so several workspaces may share a database.

Connect to the server itself or through a pooler in session mode: in transaction mode sessions change hands.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from hashlib import blake2b

from mlspine.backends.postgres_session import Session, Sessions
from mlspine.backends.postgres_sql import as_postgres
from mlspine.backends.sql import OpenTransaction, refuse_lock_inside_write, run_migrations, transaction_here
from mlspine.core.errors import NotFound, Unavailable
from mlspine.ports import Param, Row, Transaction

PATIENCE_S = 30.0  # for a turn to write
LOCK_PATIENCE_S = 600.0  # for a named lock: forgetting a person rewrites many files
READERS = 8  # connections that read at once; further threads wait for one of them


class PostgresDatabase:
    """SQL over one schema, in the subset shared with SQLite.

    url: `postgresql://USER@HOST/DATABASE`, with a password or without (then PGPASSWORD or ~/.pgpass); it is
    never shown. Connections are kept open, and opened again when the server was restarted.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._sessions = Sessions(url)
        self._slots = threading.BoundedSemaphore(READERS)
        self._turn = threading.RLock()  # threads wait for each other here, machines on the server
        self._turns: dict[str, threading.Lock] = {}
        self._held = _Held()
        try:
            self._schema = self._find_schema()
        except BaseException:
            self.close()
            raise

    def read(self, sql: str, /, **params: Param) -> list[Row]:
        """All rows of a query; inside `write()` of the same context, that transaction's changes included."""
        joined = transaction_here(self)
        if isinstance(joined, _Transaction):
            return joined.read(sql, **params)
        if not self._slots.acquire(timeout=self._patience_s):
            raise Unavailable(
                f"{READERS} threads have been reading from {self._sessions.where} for {self._patience_s:g} s",
                hint="try again",
            )
        try:
            with self._sessions.one() as session:
                return session.begin(sql, params)
        finally:
            self._slots.release()

    @contextlib.contextmanager
    def write(self, *, synced: bool = True) -> Iterator[Transaction]:
        """A transaction: commits at the end, rolls back on any exception; inner calls join it.

        One writer at a time over all processes: it waits for its turn, and raises Unavailable when that takes
        longer than `patience_s`.
        """
        joined = transaction_here(self)
        if isinstance(joined, _Transaction):
            with joined.joined(synced=synced):
                yield joined
        elif self._held.session is not None:
            yield from self._transact(self._held.session, synced)
        else:
            with self._my_turn(), self._sessions.one() as session:
                yield from self._transact(session, synced)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of that name: of all machines, one holder at a time."""
        held = self._held
        if name in held.names:
            yield
            return
        refuse_lock_inside_write(self, name)
        with self._turns.setdefault(name, threading.Lock()), contextlib.ExitStack() as stack:
            if held.session is None:
                held.session = stack.enter_context(self._sessions.one())
                stack.callback(setattr, held, "session", None)
            stack.enter_context(self._locked(held.session, name))
            yield

    def migrate(self, scripts: Mapping[str, str]) -> list[str]:
        """Apply numbered scripts not yet applied, each in its own transaction; returns the names applied."""
        return run_migrations(self, {name: as_postgres(script) for name, script in scripts.items()})

    def close(self) -> None:
        self._sessions.close()

    # ------------------------------------------------------------ inside

    def _transact(self, session: Session, synced: bool) -> Iterator[Transaction]:
        transaction = _Transaction(self, session, synced=synced)
        wait_ms = int(self._patience_s * 1000)
        begin = (
            f"begin isolation level read committed read write; set local lock_timeout = {wait_ms};"
            f" select pg_advisory_xact_lock({self._key('write')})"
        )
        if not synced:
            begin = begin.replace(";", "; set local synchronous_commit = off;", 1)
        try:
            # A session that holds a lock must not be replaced: with it the lock would be gone.
            (session.go_on if self._held.session is session else session.begin)(begin)
            with transaction.joinable():
                yield transaction
            session.commit()
        except BaseException:
            session.roll_back()
            raise

    @contextlib.contextmanager
    def _locked(self, session: Session, name: str) -> Iterator[None]:
        first = not self._held.names
        wait_ms, key = int(LOCK_PATIENCE_S * 1000), self._key(f"lock:{name}")
        take = f"set lock_timeout = {wait_ms}; select pg_advisory_lock({key}); set lock_timeout = 0"
        (session.begin if first else session.go_on)(take)
        self._held.names.add(name)
        try:
            yield
        finally:
            self._held.names.discard(name)
            # The server lets go by itself when the session has ended.
            with contextlib.suppress(Unavailable):
                session.go_on(f"select pg_advisory_unlock({key})")

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._patience_s):
            raise Unavailable(
                f"another thread has been writing to {self._sessions.where} for {self._patience_s:g} s",
                hint="try again; nothing of this change was stored",
            )
        try:
            yield
        finally:
            self._turn.release()

    def _key(self, name: str) -> int:
        """The number of an advisory lock: they are shared by a whole database, hence the schema in it."""
        digest = blake2b(f"mlspine:{self._schema}:{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)

    def _find_schema(self) -> str:
        found = self.read("select current_schema() as name")[0]["name"]
        if found is None:
            raise NotFound(
                f"{self._sessions.where} has none of the schemas in its search_path",
                hint='create it first: psql -c "create schema NAME"',
            )
        return str(found)


class _Held(threading.local):
    """What this thread holds: the session of its locks, and their names."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.names: set[str] = set()


class _Transaction(OpenTransaction):
    def __init__(self, database: PostgresDatabase, session: Session, *, synced: bool) -> None:
        super().__init__(database, synced=synced)
        self._session = session

    def execute(self, sql: str, /, **params: Param) -> int:
        with self.part():
            return self._session.change(sql, params)

    def read(self, sql: str, /, **params: Param) -> list[Row]:
        with self.part():
            return self._session.go_on(sql, params)
