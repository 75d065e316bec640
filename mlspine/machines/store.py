"""SQL of machines, their outages, leases, and the identity of the store."""

from __future__ import annotations

from mlspine.core.ids import uuid7
from mlspine.ports import Database, Row, Transaction


def machines(db: Database) -> list[Row]:
    return db.read("select * from machine order by name, id")


def find_machine(db: Database | Transaction, machine_id: str) -> Row | None:
    rows = db.read("select * from machine where id = :id", id=machine_id)
    return rows[0] if rows else None


def put_machine(tx: Transaction, *, machine_id: str, name: str, url: str, version: str, at_ms: int) -> None:
    """A machine begins to run."""
    tx.execute(
        "insert into machine (id, name, url, version, started_at_ms, last_seen_at_ms, stopped_at_ms)"
        " values (:id, :name, :url, :version, :at_ms, :at_ms, 0)"
        " on conflict (id) do update set name = :name, url = :url, version = :version, started_at_ms = :at_ms,"
        " last_seen_at_ms = :at_ms, stopped_at_ms = 0",
        id=machine_id,
        name=name,
        url=url,
        version=version,
        at_ms=at_ms,
    )


def see_machine(tx: Transaction, machine_id: str, at_ms: int) -> None:
    tx.execute("update machine set last_seen_at_ms = :at_ms where id = :id", id=machine_id, at_ms=at_ms)


def stop_machine(tx: Transaction, machine_id: str, at_ms: int) -> None:
    tx.execute(
        "update machine set last_seen_at_ms = :at_ms, stopped_at_ms = :at_ms where id = :id",
        id=machine_id,
        at_ms=at_ms,
    )


def drop_machines_unseen_since(tx: Transaction, at_ms: int) -> None:
    tx.execute("delete from machine where last_seen_at_ms < :at_ms", at_ms=at_ms)


# ---------------------------------------------------------------- outages


def add_outage(tx: Transaction, *, machine_id: str, from_at_ms: int, to_at_ms: int, cause: str, answered: bool) -> None:
    tx.execute(
        "insert into outage (machine, from_at_ms, to_at_ms, cause, answered)"
        " values (:machine, :from_at_ms, :to_at_ms, :cause, :answered)"
        " on conflict (machine, from_at_ms) do update set to_at_ms = :to_at_ms",
        machine=machine_id,
        from_at_ms=from_at_ms,
        to_at_ms=to_at_ms,
        cause=cause,
        answered=int(answered),
    )


def outages(db: Database, *, since_ms: int, limit: int) -> list[Row]:
    """The newest, newest first, with the machine's name (its id once the machine is no longer listed)."""
    return db.read(
        "select coalesce(machine.name, outage.machine) as machine, from_at_ms, to_at_ms, cause, answered"
        " from outage left join machine on machine.id = outage.machine"
        " where to_at_ms >= :since_ms order by to_at_ms desc limit :limit",
        since_ms=since_ms,
        limit=limit,
    )


def drop_outages_before(tx: Transaction, at_ms: int) -> None:
    tx.execute("delete from outage where to_at_ms < :at_ms", at_ms=at_ms)


# ---------------------------------------------------------------- leases


def take_lease(tx: Transaction, name: str, *, holder: str, now_ms: int, until_ms: int) -> bool:
    """Take or prolong a lease that is free, expired or the holder's own; False when another has it."""
    changed = tx.execute(
        "insert into lease (name, holder, until_at_ms) values (:name, :holder, :until_ms)"
        " on conflict (name) do update set holder = :holder, until_at_ms = :until_ms"
        " where lease.holder = :holder or lease.until_at_ms < :now_ms",
        name=name,
        holder=holder,
        now_ms=now_ms,
        until_ms=until_ms,
    )
    return changed > 0


def give_lease_back(tx: Transaction, name: str, *, holder: str) -> None:
    tx.execute("delete from lease where name = :name and holder = :holder", name=name, holder=holder)


def lease_holder(db: Database, name: str, *, now_ms: int) -> str:
    """Who holds it now, "" for nobody."""
    rows = db.read("select holder from lease where name = :name and until_at_ms >= :now_ms", name=name, now_ms=now_ms)
    return str(rows[0]["holder"]) if rows else ""


# ---------------------------------------------------------------- identity


def store_id(db: Database) -> str:
    """The id of this store, given to it the first time somebody asks."""
    with db.write() as tx:
        tx.execute("insert into store_identity (one, id) values (1, :id) on conflict (one) do nothing", id=uuid7())
        return str(tx.read("select id from store_identity")[0]["id"])
