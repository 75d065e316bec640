"""SQL of the adviser: CPU time by day, counters last seen, parts and when they were used."""

from __future__ import annotations

import msgspec

from mlspine.advisor.cost import Mark, Share
from mlspine.core.types import Struct
from mlspine.ports import Database, Row, Transaction


class Part(Struct, frozen=True, kw_only=True):
    """Something that costs whether or not it is used. used_at_ms: 0 for never."""

    name: str
    since_at_ms: int
    used_at_ms: int


# ---------------------------------------------------------------- CPU time


def find_mark(db: Database | Transaction, machine: str, process: str) -> Mark | None:
    """The counters of a process as last added up."""
    rows = db.read(
        "select document from spent_mark where machine = :machine and process = :process",
        machine=machine,
        process=process,
    )
    return msgspec.json.decode(rows[0]["document"], type=Mark) if rows else None


def set_mark(tx: Transaction, machine: str, process: str, mark: Mark) -> None:
    tx.execute(
        "insert into spent_mark (machine, process, document) values (:machine, :process, :document)"
        " on conflict (machine, process) do update set document = excluded.document",
        machine=machine,
        process=process,
        document=msgspec.json.encode(mark).decode(),
    )


def add_spent(tx: Transaction, day: str, share: Share) -> None:
    tx.execute(
        'insert into spent (day, endpoint, release_hash, requests, "rows", cpu_s, calls_s)'
        " values (:day, :endpoint, :release_hash, :requests, :rows, :cpu_s, :calls_s)"
        " on conflict (day, endpoint, release_hash) do update set requests = spent.requests + excluded.requests,"
        ' "rows" = spent."rows" + excluded."rows", cpu_s = spent.cpu_s + excluded.cpu_s,'
        " calls_s = spent.calls_s + excluded.calls_s",
        day=day,
        **msgspec.structs.asdict(share),
    )


def add_uptime(tx: Transaction, day: str, machine: str, *, up_s: float, cpus: int, idle_cpu_s: float) -> None:
    tx.execute(
        "insert into uptime (day, machine, up_s, cpus, idle_cpu_s) values (:day, :machine, :up_s, :cpus, :idle_cpu_s)"
        " on conflict (day, machine) do update set up_s = uptime.up_s + excluded.up_s, cpus = excluded.cpus,"
        " idle_cpu_s = uptime.idle_cpu_s + excluded.idle_cpu_s",
        day=day,
        machine=machine,
        up_s=up_s,
        cpus=cpus,
        idle_cpu_s=idle_cpu_s,
    )


def spent(db: Database, *, from_day: str) -> list[Share]:
    """Per endpoint and release, all days from `from_day` on together."""
    rows = db.read(
        'select endpoint, release_hash, sum(requests) as requests, sum("rows") as row_count, sum(cpu_s) as cpu_s,'
        " sum(calls_s) as calls_s, min(day) as first_day from spent where day >= :from_day"
        " group by endpoint, release_hash order by endpoint, first_day, release_hash",
        from_day=from_day,
    )
    return [
        Share(
            endpoint=row["endpoint"],
            release_hash=row["release_hash"],
            requests=int(row["requests"]),
            rows=int(row["row_count"]),
            cpu_s=row["cpu_s"],
            calls_s=row["calls_s"],
        )
        for row in rows
    ]


def uptimes(db: Database, *, from_day: str) -> list[Row]:
    return db.read("select * from uptime where day >= :from_day order by day, machine", from_day=from_day)


def drop_before(tx: Transaction, day: str) -> None:
    """Forget what is older than anybody asks for."""
    tx.execute("delete from spent where day < :day", day=day)
    tx.execute("delete from uptime where day < :day", day=day)


# ---------------------------------------------------------------- parts


def note_part(tx: Transaction, name: str, *, at_ms: int, used: bool) -> None:
    """A part is there; `used` when it was of use since the last look."""
    tx.execute(
        "insert into part (name, since_at_ms, used_at_ms) values (:name, :at_ms, :used_at_ms)"
        " on conflict (name) do update set"
        " used_at_ms = case when excluded.used_at_ms > 0 then excluded.used_at_ms else part.used_at_ms end",
        name=name,
        at_ms=at_ms,
        used_at_ms=at_ms if used else 0,
    )


def drop_part(tx: Transaction, name: str) -> None:
    tx.execute("delete from part where name = :name", name=name)


def parts(db: Database) -> list[Part]:
    return [Part(**row) for row in db.read("select name, since_at_ms, used_at_ms from part order by name")]
