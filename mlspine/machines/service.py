"""The door of the machines that use one store: which there are, when one was away, and which of them leads.

A workspace of one machine has one line here; it leads always.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mlspine.core.ids import now_ms
from mlspine.core.public import public
from mlspine.core.types import Days, Limit, Struct
from mlspine.machines import store
from mlspine.machines.identity import machine_id
from mlspine.ports import Database

# A heartbeat is one transaction of two statements: under 1 ms of one core, and on SQLite one flush of the disk.
BEAT_S = 2.0
LEASE_S = 10.0
LEASE_MARGIN_S = 3.0  # a holder stops so much earlier; clocks of machines may differ by that
MISSING_AFTER_S = 15.0
DAY_MS = 86_400_000
KEPT_DAYS = 90
SHOWN_DAYS, SHOWN_OUTAGES = 7, 5

SCHEDULE = "schedule"


class Machine(Struct, frozen=True, kw_only=True):
    """One machine. missing: it has not been heard of for MISSING_AFTER_S and was not stopped by anybody."""

    id: str
    name: str
    url: str
    version: str
    started_at_ms: int
    last_seen_at_ms: int
    stopped: bool
    missing: bool
    leads: bool
    here: bool


class Outage(Struct, frozen=True, kw_only=True):
    """A time in which the control process of a machine was away. answered: requests were answered meanwhile."""

    machine: str
    from_at_ms: int
    to_at_ms: int
    cause: Literal["stopped", "killed"]
    answered: bool


class Machines:
    """This machine among those that share the store. alone: there are no others, by configuration."""

    def __init__(
        self,
        *,
        db: Database,
        run_dir: Path,
        url: str = "",
        version: str = "",
        name: str = "",
        alone: bool = True,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._db = db
        self._url = url
        self._version = version
        self._alone = alone
        self._clock = clock
        self._leads_until_ms = 0
        self.id = machine_id(run_dir)
        self.name = name or self._host_name()

    def _host_name(self) -> str:
        """The host's name, with the end of the id where two workspaces on one host share the store."""
        host = socket.gethostname()
        if self._alone or all(row["id"] == self.id or row["name"] != host for row in store.machines(self._db)):
            return host
        return f"{host}-{self.id[-4:]}"

    # ------------------------------------------------------------ this machine

    def arrive(self, *, answered: bool) -> Outage | None:
        """Begin to run; records the time since this machine was last heard of as an outage, and returns it.

        answered: its inference process lived on. To be called before the first `beat`.
        """
        now = self._clock()
        with self._db.write() as tx:
            before = store.find_machine(tx, self.id)
            store.put_machine(tx, machine_id=self.id, name=self.name, url=self._url, version=self._version, at_ms=now)
            store.drop_machines_unseen_since(tx, now - KEPT_DAYS * DAY_MS)
            store.drop_outages_before(tx, now - KEPT_DAYS * DAY_MS)
            if before is None or now <= before["last_seen_at_ms"]:
                return None
            outage = Outage(
                machine=self.name,
                from_at_ms=before["last_seen_at_ms"],
                to_at_ms=now,
                cause="stopped" if before["stopped_at_ms"] else "killed",
                answered=answered,
            )
            store.add_outage(
                tx,
                machine_id=self.id,
                from_at_ms=outage.from_at_ms,
                to_at_ms=now,
                cause=outage.cause,
                answered=answered,
            )
        return outage

    def beat(self) -> bool:
        """Say that this machine lives, and take or keep the lease of the schedule; True while it leads."""
        now = self._clock()
        until = now + int(LEASE_S * 1000)
        with self._db.write() as tx:
            store.see_machine(tx, self.id, now)
            mine = self._alone or store.take_lease(tx, SCHEDULE, holder=self.id, now_ms=now, until_ms=until)
        self._leads_until_ms = until - int(LEASE_MARGIN_S * 1000) if mine else 0
        return self.leads()

    def leads(self) -> bool:
        """Whether this machine does now what one machine does for all. Asks nobody: known from the last beat."""
        return self._alone or self._clock() < self._leads_until_ms

    def leave(self) -> None:
        """Stop running: the lease goes back, so that another machine leads with its next beat."""
        self._leads_until_ms = 0
        with self._db.write() as tx:
            store.give_lease_back(tx, SCHEDULE, holder=self.id)
            store.stop_machine(tx, self.id, self._clock())

    # ------------------------------------------------------------ all of them

    @public("read")
    def machines(self) -> list[Machine]:
        """Every machine heard of in the last 90 days."""
        now = self._clock()
        leader = store.lease_holder(self._db, SCHEDULE, now_ms=now)
        return [
            Machine(
                id=row["id"],
                name=row["name"],
                url=row["url"],
                version=row["version"],
                started_at_ms=row["started_at_ms"],
                last_seen_at_ms=row["last_seen_at_ms"],
                stopped=bool(row["stopped_at_ms"]),
                missing=not row["stopped_at_ms"] and row["last_seen_at_ms"] < now - MISSING_AFTER_S * 1000,
                leads=row["id"] == (self.id if self._alone else leader),
                here=row["id"] == self.id,
            )
            for row in store.machines(self._db)
        ]

    @public("read")
    def outages(self, *, days: Days = SHOWN_DAYS, limit: Limit = SHOWN_OUTAGES) -> list[Outage]:
        """The newest times in which a machine was away, newest first."""
        since_ms = self._clock() - days * DAY_MS
        return [
            Outage(**{**row, "answered": bool(row["answered"])})
            for row in store.outages(self._db, since_ms=since_ms, limit=limit)
        ]
