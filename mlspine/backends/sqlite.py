"""Database on one SQLite file: write-ahead log, one writer, readers that never wait for it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlspine.backends.file_lock import FileLock
from mlspine.backends.sql import OpenTransaction, refuse_lock_inside_write, run_migrations, transaction_here
from mlspine.core.errors import Conflict, Corrupt, Denied, MlspineError, NotFound, Unavailable
from mlspine.ports import Param, Row, Transaction

BUSY_TIMEOUT_S = 30.0
NOTHING_STORED = "nothing of this change was stored"
ELSEWHERE = "or name another workspace with MLSPINE_WORKSPACE"


class SqliteDatabase:
    """SQL over one file, in the subset shared with Postgres.

    Writes go through one connection, one transaction at a time, and are on disk when `write()` ends
    (synchronous=FULL; NORMAL when they need not be). Reads take a query-only connection from a pool that holds as
    many as threads ever read at once. Full disk, missing permission, foreign locks and damage arrive as the error
    family, named with the file.
    """

    def __init__(self, path: Path | str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._path = Path(path)
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.RLock()
        self._named: dict[str, FileLock] = {}
        self._idle_readers: list[sqlite3.Connection] = []
        with _mapped_errors(self._path):
            self._writer = self._connect()
            try:
                self._use_write_ahead_log()
                self._writer.execute("pragma synchronous = full")
                self._synced = True
                self._writer.execute("pragma foreign_keys = on")
            except BaseException:
                self._writer.close()
                raise

    def read(self, sql: str, /, **params: Param) -> list[Row]:
        """All rows of a query; inside `write()` of the same context, that transaction's changes included."""
        joined = transaction_here(self)
        if isinstance(joined, _Transaction):
            return joined.read(sql, **params)
        with _mapped_errors(self._path), self._reader() as connection:
            return _rows(connection.execute(sql, params))

    @contextlib.contextmanager
    def write(self, *, synced: bool = True) -> Iterator[Transaction]:
        """A transaction: commits at the end, rolls back on any exception.

        An inner call joins the outer one, and a failure of a part is the failure of the whole: when an inner
        block raised, the outer one rolls back and raises that error even where it was caught on the way.
        """
        joined = transaction_here(self)
        if isinstance(joined, _Transaction):
            with joined.joined(synced=synced):
                yield joined
            return
        self._take_turn()
        try:
            yield from self._transact(synced)
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of that name: a locked file beside the store, which the system frees with the process."""
        # setdefault is atomic, so all threads share one lock of a name
        lock = self._named.setdefault(name, FileLock(self._path.with_name(f"{self._path.name}-{name}.lock")))
        if not lock.held:
            refuse_lock_inside_write(self, name)
        with lock:
            yield

    def migrate(self, scripts: Mapping[str, str]) -> list[str]:
        """Apply numbered scripts not yet applied, each in its own transaction; returns the names applied."""
        return run_migrations(self, scripts)

    def close(self) -> None:
        """Close every connection; the last one to close folds the write-ahead log into the file."""
        with self._lock:
            while self._idle_readers:
                self._idle_readers.pop().close()
            self._writer.close()

    # ------------------------------------------------------------ inside

    def _transact(self, synced: bool) -> Iterator[Transaction]:
        transaction = _Transaction(self, self._writer, self._path, synced=synced)
        with _mapped_errors(self._path):
            if synced != self._synced:
                # NORMAL leaves bringing the log to disk to the next checkpoint or synced commit.
                self._writer.execute(f"pragma synchronous = {'full' if synced else 'normal'}")
                self._synced = synced
            self._writer.execute("begin immediate")
        try:
            with transaction.joinable():
                yield transaction
            with _mapped_errors(self._path):
                self._writer.execute("commit")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # SQLite has already rolled back by itself after some failures (full disk, I/O error).
        if self._writer.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("rollback")

    def _take_turn(self) -> None:
        if not self._lock.acquire(timeout=self._busy_timeout_s):
            raise Unavailable(
                f"another thread has been writing to {self._path} for {self._busy_timeout_s:g} s",
                hint=f"try again; {NOTHING_STORED}",
            )

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle_readers.pop()  # list.pop and append are atomic
        except IndexError:
            connection = self._connect()
            connection.execute("pragma query_only = on")
        try:
            yield connection
        finally:
            self._idle_readers.append(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=self._busy_timeout_s
        )
        connection.execute("pragma case_sensitive_like = on")  # as in Postgres
        return connection

    def _use_write_ahead_log(self) -> None:
        # Switching an existing file takes an exclusive lock that SQLite does not wait for: two processes
        # opening a fresh workspace at once would see "database is locked" without the patience shown here.
        deadline = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                self._writer.execute("pragma journal_mode = wal")
                return
            except sqlite3.OperationalError as exc:
                if _primary_code(exc) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


class _Transaction(OpenTransaction):
    def __init__(self, database: SqliteDatabase, connection: sqlite3.Connection, path: Path, *, synced: bool) -> None:
        super().__init__(database, synced=synced)
        self._connection = connection
        self._path = path

    def undone(self) -> bool:
        return not self._connection.in_transaction

    def execute(self, sql: str, /, **params: Param) -> int:
        self._refuse_when_undone()
        with self.part(), _mapped_errors(self._path):
            return max(0, self._connection.execute(sql, params).rowcount)

    def read(self, sql: str, /, **params: Param) -> list[Row]:
        self._refuse_when_undone()
        with self.part(), _mapped_errors(self._path):
            return _rows(self._connection.execute(sql, params))

    def _refuse_when_undone(self) -> None:
        # Outside a transaction a statement would be stored at once, by itself.
        if self.undone():
            raise self.failure or RuntimeError("the transaction is over")


def _rows(cursor: sqlite3.Cursor) -> list[Row]:
    rows = cursor.fetchall()
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in rows]


@contextlib.contextmanager
def _mapped_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        mapped = _map(exc, path)
        if mapped is None:
            raise  # a wrong statement is a bug of ours, not a state of the world
        raise mapped from exc


def _map(exc: sqlite3.Error, path: Path) -> MlspineError | None:
    """The error family's word for what SQLite reports; None for mistakes in a statement."""
    code = _primary_code(exc)
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(
            f"no space left to write {path}",
            hint=f"free space on that disk (df -h {path.parent}) and try again; {NOTHING_STORED}",
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return Denied(
            f"{path} cannot be written: {exc}",
            hint=f"make it and its folder writable: chmod u+w {path.parent} {path}; {ELSEWHERE}",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt(
            f"{path} is damaged: {exc}",
            hint=f"put a backup in its place, or save what can be read: sqlite3 {path} .recover > saved.sql",
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return _cannot_open(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(f"another process is writing to {path}", hint=f"try again; {NOTHING_STORED}")
    if code == sqlite3.SQLITE_IOERR:
        return Unavailable(
            f"reading or writing {path} failed: {exc}",
            hint=f"see whether the disk is full or failing (df -h {path.parent}) and try again",
        )
    if code == sqlite3.SQLITE_CONSTRAINT and getattr(exc, "sqlite_errorcode", 0) in _CONFLICTS:
        return Conflict(
            f"the store refuses the change: {exc}",
            hint="it exists already or changed meanwhile; read it again",
        )
    return None


_CONFLICTS = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY,
    }
)


def _cannot_open(path: Path) -> MlspineError:
    if not path.parent.is_dir():
        return NotFound(f"no folder {path.parent} for the store", hint=f"mkdir -p {path.parent}")
    return Denied(
        f"{path} cannot be opened",
        hint=f"see who may read and write it: ls -ld {path.parent} {path}; {ELSEWHERE}",
    )


def _primary_code(exc: sqlite3.Error) -> int:
    # The low byte is the kind of failure; the rest says where it happened.
    return int(getattr(exc, "sqlite_errorcode", 0)) & 0xFF
