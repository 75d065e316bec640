"""What mlspine asks of the world: one small Protocol per kind of backend.

Each has a contract suite (`tests/contract`) that every backend passes. Ports for executors and online
stores join when the first room needs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mlspine.core.types import Acknowledgement, Alert, Plan, PlannedEndpoint, ProcessState, Proof

Param = str | int | float | bytes | bool | None
Row = dict[str, Any]


class Transaction(Protocol):
    """The inside of `Database.write()`."""

    def execute(self, sql: str, /, **params: Param) -> int:
        """Run one statement; returns the number of rows it changed."""
        ...

    def read(self, sql: str, /, **params: Param) -> list[Row]:
        """Query inside the transaction, its own changes included."""
        ...


class Database(Protocol):
    """SQL with `:name` parameters, in the subset that SQLite and Postgres share."""

    def read(self, sql: str, /, **params: Param) -> list[Row]:
        """All rows of a query. Inside `write()` of the same context it sees that transaction's changes."""
        ...

    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction: commits at the end, rolls back on any exception. An inner call joins the outer one."""
        ...

    def migrate(self, scripts: Mapping[str, str]) -> list[str]:
        """Apply numbered scripts not yet applied, each in its own transaction; returns the names applied."""
        ...

    def close(self) -> None: ...


class BlobStore(Protocol):
    """Bytes under keys with '/' in them. A put is whole or absent, never half."""

    def put(self, key: str, data: bytes | Path) -> None: ...

    def get(self, key: str) -> bytes:
        """Raises NotFound."""
        ...

    def open(self, key: str) -> BinaryIO: ...

    def list(self, prefix: str = "") -> Iterator[str]: ...

    def delete(self, key: str) -> None:
        """Gone afterwards, whether or not it was there."""
        ...

    def locate(self, key: str) -> str:
        """A path or URL that DuckDB can read or write."""
        ...


class Deployer(Protocol):
    """Makes the serving side match a plan."""

    def prepare(self, endpoint: PlannedEndpoint) -> Proof:
        """Load and warm `endpoint.live` beside what serves now, reproduce its recorded rows, and measure it."""
        ...

    def apply(self, plan: Plan) -> tuple[Acknowledgement, ...]:
        """Store the plan, push it to every inference process and collect their words."""
        ...

    def observe(self) -> tuple[ProcessState, ...]:
        """What each inference process says of itself; a dead one is absent."""
        ...

    def flush(self) -> None:
        """Ask every inference process to write what it has recorded so far."""
        ...

    def remove(self) -> None:
        """Stop all of it: nothing is served afterwards."""
        ...


class Notifier(Protocol):
    """One way to tell a person."""

    name: str

    def send(self, alert: Alert) -> None:
        """Deliver or raise Unavailable with the cause."""
        ...
