"""Sessions of a Postgres server: opened once, reused, opened again after a restart; failures told as causes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from mlspine.backends.postgres_sql import with_psycopg_parameters
from mlspine.core.errors import Conflict, Denied, Invalid, MissingExtra, MlspineError, NotFound, Unavailable
from mlspine.ports import Param, Row

try:
    import psycopg
    from psycopg import conninfo
    from psycopg.abc import Buffer
    from psycopg.adapt import AdaptersMap, Loader
except ImportError as exc:  # psycopg itself, or the libpq it needs
    raise MissingExtra(f"Postgres needs psycopg ({exc})", hint='pip install "mlspine[postgres]"') from exc

# A machine that lost power answers no more: its locks go after idle + count x interval seconds. A process that
# was stopped in the middle of a transaction holds up the others for a minute at most.
_SESSION_OPTIONS = {
    "default_transaction_read_only": "on",
    "synchronous_commit": "on",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "60000",
    "client_min_messages": "warning",
}
_CONNECTION = {
    "application_name": "mlspine",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
NOTHING_STORED = "nothing of this change was stored"


class _Number(Loader):
    """Sums of whole numbers arrive as numeric; they are whole numbers."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode("ascii")
        return int(text) if text.lstrip("-").isdigit() else float(text)


_adapters = AdaptersMap(psycopg.adapters)
_adapters.register_loader("numeric", _Number)


class Session:
    """One connection, used by one thread at a time, opened when first needed."""

    def __init__(self, connect: Callable[[], psycopg.Connection], where: str) -> None:
        self._connect = connect
        self._where = where
        self._connection: psycopg.Connection | None = None

    def begin(self, sql: str, params: Mapping[str, Param] | None = None) -> list[Row]:
        """The first statement of something: on a connection that died meanwhile it is run once more on a new one."""
        if self._connection is not None:
            try:
                return _rows(self._connection, sql, params)
            except psycopg.Error as exc:
                if not self._connection.closed:
                    raise self._told(exc) from exc
        self._connection = self._connect()
        return self.go_on(sql, params)

    def go_on(self, sql: str, params: Mapping[str, Param] | None = None) -> list[Row]:
        """A statement on the connection as it is; Unavailable when that has ended."""
        try:
            return _rows(self._living(), sql, params)
        except psycopg.Error as exc:
            raise self._told(exc) from exc

    def change(self, sql: str, params: Mapping[str, Param]) -> int:
        """A statement; returns the number of rows it changed."""
        try:
            return max(0, _execute(self._living(), sql, params).rowcount)
        except psycopg.Error as exc:
            raise self._told(exc) from exc

    def commit(self) -> None:
        try:
            self._living().execute("commit")
        except psycopg.OperationalError as exc:
            raise Unavailable(
                f"the connection to {self._where} was lost while a change was being committed",
                hint="look whether it is there before you repeat it",
            ) from exc

    def roll_back(self) -> None:
        """Back to no transaction; a connection that cannot is closed."""
        if self._connection is None or self._connection.closed:
            return
        try:
            if self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self._connection.execute("rollback")
        except psycopg.Error:
            self._connection.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _living(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            raise _lost(self._where)
        return self._connection

    def _told(self, exc: psycopg.Error) -> Exception:
        """The error family's word for it; a mistake in a statement stays what it is."""
        if self._connection is not None and self._connection.closed:
            return _lost(self._where)
        return _map(exc, self._where) or exc


class Sessions:
    """The sessions of one process: as many as are in use at once, kept open in between."""

    def __init__(self, url: str) -> None:
        parameters = _parameters(url)
        self._conninfo = conninfo.make_conninfo(**parameters)
        self.where = _without_password(parameters)
        self._idle: list[Session] = []
        self._closed = False

    @contextlib.contextmanager
    def one(self) -> Iterator[Session]:
        """A session for this thread alone."""
        try:
            session = self._idle.pop()  # list.pop and append are atomic
        except IndexError:
            session = Session(self._connect, self.where)
        try:
            yield session
        finally:
            session.roll_back()
            if self._closed:
                session.close()
            else:
                self._idle.append(session)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> psycopg.Connection:
        try:
            return psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None, context=_adapters)
        except psycopg.Error as exc:
            raise _cannot_connect(exc, self.where) from None


def _execute(connection: psycopg.Connection, sql: str, params: Mapping[str, Param] | None) -> psycopg.Cursor:
    if params is None:  # only so may one text hold several statements
        return connection.execute(sql.encode())
    # Truth values are stored in bigint columns, as SQLite stores them.
    plain = {name: int(value) if isinstance(value, bool) else value for name, value in params.items()}
    return connection.execute(with_psycopg_parameters(sql).encode(), plain)


def _rows(connection: psycopg.Connection, sql: str, params: Mapping[str, Param] | None) -> list[Row]:
    cursor = _execute(connection, sql, params)
    if cursor.description is None:
        return []
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


# ---------------------------------------------------------------- the URL


def _parameters(url: str) -> dict[str, str]:
    """What psycopg connects with; Invalid for a URL that cannot be read, without showing it."""
    unreadable = Invalid(
        "[store] database is no Postgres URL that can be read (not shown: it may hold a password)",
        hint="write postgresql://USER@HOST:5432/DATABASE, and in a password %40 for @, %2F for /, %3A for :",
    )
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise unreadable from None
    # A password with such characters in it ends up in the other parts, and from there in messages.
    if any("@" in str(given.get(part, "")) for part in ("host", "port", "dbname")) or url.count("@") > 1:
        raise unreadable
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION_OPTIONS.items())
    own = f"{given['options']} {options}" if given.get("options") else options
    return _CONNECTION | {name: str(value) for name, value in given.items() if value is not None} | {"options": own}


def _without_password(parameters: Mapping[str, str]) -> str:
    user = f"{parameters['user']}@" if "user" in parameters else ""
    port = f":{parameters['port']}" if "port" in parameters else ""
    host = parameters.get("host", parameters.get("hostaddr", "localhost"))
    return f"postgresql://{user}{host}{port}/{parameters.get('dbname', parameters.get('user', ''))}"


# ---------------------------------------------------------------- errors


def _cannot_connect(exc: psycopg.Error, where: str) -> MlspineError:
    text = " ".join(str(exc).split())
    if "does not exist" in text and "database" in text:
        return NotFound(f"{where}: there is no such database", hint="create it first: createdb DATABASE")
    if "authentication failed" in text or "no password supplied" in text or "does not exist" in text:
        return Denied(
            f"{where} does not let this user in",
            hint='give the password in PGPASSWORD, or the whole URL as database = "env:NAME"',
        )
    if "too many clients" in text or "remaining connection slots" in text:
        return Unavailable(f"{where} takes no more connections", hint="raise max_connections, then try again")
    return Unavailable(
        f"{where} does not answer: {text.rpartition('failed: ')[2] or type(exc).__name__}",
        hint="see whether the server runs and [store] database names it: mlspine config",
    )


def _lost(where: str) -> Unavailable:
    return Unavailable(f"the connection to {where} was lost", hint=f"try again; {NOTHING_STORED}")


def _map(exc: psycopg.Error, where: str) -> MlspineError | None:
    """The error family's word for what the server reports; None for mistakes in a statement."""
    code = exc.sqlstate or ""
    if code in ("23505", "23503"):
        return Conflict(
            f"the store refuses the change: {_constraint(exc)}",
            hint="it exists already or changed meanwhile; read it again",
        )
    if code in ("42501", "25006"):
        return Denied(
            f"{where} may not be changed: {exc.diag.message_primary}",
            hint="grant this user the right: grant all on schema NAME to USER",
        )
    if code == "53100":
        return Unavailable(
            f"no space left on the server of {where}", hint=f"free space on its disk and try again; {NOTHING_STORED}"
        )
    if code == "55P03":
        return Unavailable(f"another process is writing to {where}", hint=f"try again; {NOTHING_STORED}")
    if code[:2] in ("08", "40", "53", "57"):
        return Unavailable(f"{where}: {exc.diag.message_primary or exc}", hint=f"try again; {NOTHING_STORED}")
    if isinstance(exc, psycopg.DataError) and not code:
        return Invalid(f"{where} cannot store this: {exc}", hint="take the NUL character out of that text")
    return None


def _constraint(exc: psycopg.Error) -> str:
    """Which columns of which table, without the values."""
    detail = exc.diag.message_detail or ""
    columns = detail.partition("(")[2].partition(")")[0]
    table = exc.diag.table_name or ""
    named = ", ".join(f"{table}.{column.strip()}" for column in columns.split(",")) if columns else table
    return f"{exc.diag.constraint_name} on {named}"
