"""Group commit: small writes of many callers share transactions.

One thread takes everything that waits and stores it in one transaction, each caller's part in a savepoint of its
own: a part that fails tells its caller and leaves the others alone. A part is acknowledged after the commit.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from mlspine.core.errors import Unavailable
from mlspine.ports import Database, Transaction

log = logging.getLogger(__name__)

AT_ONCE = 256  # parts of one transaction
WAITING = 10_000  # parts that may wait; more are told to come again

# Called once with (result, None) or (None, error), in the committer's thread.
Done = Callable[[Any, BaseException | None], None]


class TooMany(Unavailable):
    """Nothing was done; the same may be sent again."""


class _Part(NamedTuple):
    write: Callable[[], Any]
    done: Done
    synced: bool


class Committer:
    """Stores what it is given, in the order it was given. `close` finishes what waits."""

    def __init__(self, db: Database, *, most_waiting: int = WAITING) -> None:
        self._db = db
        self._most = most_waiting
        self._waiting: list[_Part] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def submit(self, write: Callable[[], Any], done: Done, *, synced: bool = False) -> None:
        """Have `write` called inside a transaction of the database, and `done` with what came of it.

        Raises TooMany at once when too many wait, Unavailable after `close`.
        """
        with self._changed:
            if self._closed:
                raise Unavailable("the store is being closed", hint="send it again when it is open")
            if len(self._waiting) >= self._most:
                raise TooMany(f"{len(self._waiting)} writes wait for the store", hint="send it again in a moment")
            self._waiting.append(_Part(write, done, synced))
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while parts := self._next():
            self._store(parts)

    def _next(self) -> list[_Part]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            taken, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            return taken

    def _store(self, parts: list[_Part]) -> None:
        results: list[tuple[Any, BaseException | None]] = []
        try:
            with self._db.write(synced=any(part.synced for part in parts)) as tx:
                results = [_tried(tx, part) for part in parts]
        except Exception as exc:  # noqa: BLE001 - whatever stopped the transaction is told to all of its callers
            results = [(None, exc)] * len(parts)
        for part, (result, error) in zip(parts, results, strict=True):
            try:
                part.done(result, error)
            except Exception:
                log.exception("a caller could not be told of its write")


def _tried(tx: Transaction, part: _Part) -> tuple[Any, BaseException | None]:
    try:
        with tx.attempt():
            return part.write(), None
    except Exception as exc:  # noqa: BLE001 - told to its caller
        return None, exc
