"""What mlspine asks of the world: one small Protocol per kind of backend.

Each has a contract suite (`tests/contract`) that every backend passes. Ports for executors and online
stores join when the first room needs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from mlspine.core.plan import Acknowledgement, Plan, PlannedEndpoint, ProcessState, Proof
from mlspine.core.types import Alert

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

    def attempt(self) -> AbstractContextManager[None]:
        """A part that may fail alone: its error is raised, its changes are undone, the rest goes on."""
        ...


class Database(Protocol):
    """SQL with `:name` parameters, in the subset that SQLite and Postgres share."""

    def read(self, sql: str, /, **params: Param) -> list[Row]:
        """All rows of a query. Inside `write()` of the same context it sees that transaction's changes."""
        ...

    def write(self, *, synced: bool = True) -> AbstractContextManager[Transaction]:
        """A transaction: commits at the end, rolls back on any exception. An inner call joins the outer one.

        A statement or an inner call that failed fails the whole, even where its error was caught on the way,
        unless it failed inside `attempt()`. synced: on disk when it ends; otherwise it survives the death of
        the process, and a power cut may take the last moments. What must be synced may not join what is not
        (RuntimeError).
        """
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Wait for the lock of that name and hold it: one holder at a time among all processes of this database.

        The thread that holds it may enter again; the death of a process or machine lets go. Taken before
        `write()`, never inside one (RuntimeError): two machines doing either first would wait for each other.
        What is written under a lock that was lost meanwhile is refused (Unavailable), never stored.
        """
        ...

    def migrate(self, scripts: Mapping[str, str]) -> list[str]:
        """Apply numbered scripts not yet applied, each in its own transaction; returns the names applied."""
        ...

    def close(self) -> None: ...


class BlobStore(Protocol):
    """Bytes under keys with '/' in them. A put is whole or absent, never half.

    No key is the beginning of another ("a" and "a/b"), and what `locate` is asked for is never put twice:
    machines keep copies of it.
    """

    def put(self, key: str, data: bytes | Path) -> None: ...

    def adopt(self, key: str, file: Path) -> None:
        """A finished file of this machine becomes the blob and is gone from where it was; it stays if this fails."""
        ...

    def get(self, key: str) -> bytes:
        """Raises NotFound."""
        ...

    def open(self, key: str) -> BinaryIO: ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with `prefix`, sorted; copies kept here of those no longer there go."""
        ...

    def delete(self, key: str) -> None:
        """Gone afterwards, whether or not it was there."""
        ...

    def locate(self, key: str) -> str:
        """The path of a file with these bytes, for reading only; raises NotFound."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """Paths located inside by this thread can be read until its end, whatever is deleted meanwhile."""
        ...


class Deployer(Protocol):
    """Makes the serving side match a plan."""

    def prepare(self, endpoint: PlannedEndpoint) -> Proof:
        """Load and warm `endpoint.live` beside what serves now, reproduce its recorded rows, and measure it."""
        ...

    def apply(self, plan: Plan) -> tuple[Acknowledgement, ...]:
        """Store the plan, push it to every inference process and collect their words."""
        ...

    def applied(self) -> Plan | None:
        """The plan last applied on this machine, None before the first."""
        ...

    def ask(self, release_hash: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What a release that is loaded would answer, `prediction` and `score` per row; counted and recorded nowhere.

        Raises Invalid for rows it does not take, Unavailable when it is not loaded or does not answer."""
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


class ObjectReader(Protocol):
    """Somebody else's files in object storage, for reading only."""

    def find(self, url: str) -> Mapping[str, str]:
        """The objects a URL or a glob of one means, by their own URL, and for each what changes when it does."""
        ...

    def fetch(self, url: str, target: Path) -> None:
        """A copy of one object on this machine; raises NotFound when it is gone."""
        ...


class Notifier(Protocol):
    """One way to tell a person."""

    name: str

    def send(self, alert: Alert) -> None:
        """Deliver or raise Unavailable with the cause."""
        ...


@runtime_checkable
class Standing(Notifier, Protocol):
    """A sink that takes an alert for over unless it hears of it again; it groups and repeats by rules of its own."""

    renew_every_s: float

    def end(self, alert: Alert) -> None:
        """Say that an alert sent before is over; raises as `send` does."""
        ...
