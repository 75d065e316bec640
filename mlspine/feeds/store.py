"""SQL of feeds: what was declared, what was read last, when something new was there."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mlspine.core.types import Struct
from mlspine.feeds.health import Fault
from mlspine.ports import Database, Transaction


class Memory(Struct, frozen=True, kw_only=True):
    """What is remembered of a feed between two looks at it. It is of `text`, and void once that changes."""

    text: str
    marks: dict[str, str] = {}  # file -> what changes when it does; "" -> the digest of rows read otherwise
    until_us: int = 0  # newest time seen in the time column, microseconds
    rows: int = 0
    last_read_at_ms: int = 0
    failure: str = ""  # why it could not be read, or is stale
    faults: tuple[Fault, ...] = ()  # what is wrong with its columns


def declare(tx: Transaction, *, model: str, role: str, text: str, at_ms: int, by: str) -> None:
    tx.execute(
        "insert into feed (model, role, text, declared_at_ms, declared_by) values (:model, :role, :text, :at_ms, :by)"
        " on conflict (model, role) do update set text = excluded.text, declared_at_ms = excluded.declared_at_ms,"
        " declared_by = excluded.declared_by",
        model=model,
        role=role,
        text=text,
        at_ms=at_ms,
        by=by,
    )


def declared(db: Database, model: str) -> dict[str, str]:
    """Role -> text of what was declared after ship."""
    rows = db.read("select role, text from feed where model = :model", model=model)
    return {row["role"]: row["text"] for row in rows}


def memory(db: Database, model: str, role: str, text: str) -> Memory:
    """What is remembered of this feed, empty when it was never read or has been declared anew."""
    rows = db.read("select document from feed_memory where model = :model and role = :role", model=model, role=role)
    found = msgspec.json.decode(rows[0]["document"], type=Memory) if rows else None
    return found if found is not None and found.text == text else Memory(text=text)


def remember(tx: Transaction, model: str, role: str, memory: Memory) -> None:
    tx.execute(
        "insert into feed_memory (model, role, document) values (:model, :role, :document)"
        " on conflict (model, role) do update set document = excluded.document",
        model=model,
        role=role,
        document=msgspec.json.encode(memory).decode(),
    )


def add_arrivals(tx: Transaction, model: str, role: str, at_ms: Iterable[int], *, keep: int) -> None:
    """Take note of arrivals; only the newest `keep` are kept."""
    for each in at_ms:
        tx.execute(
            "insert into feed_arrival (model, role, at_ms) values (:model, :role, :at_ms) on conflict do nothing",
            model=model,
            role=role,
            at_ms=each,
        )
    tx.execute(
        "delete from feed_arrival where model = :model and role = :role and at_ms not in"
        " (select at_ms from feed_arrival where model = :model and role = :role order by at_ms desc limit :keep)",
        model=model,
        role=role,
        keep=keep,
    )


def forget_arrivals(tx: Transaction, model: str, role: str) -> None:
    tx.execute("delete from feed_arrival where model = :model and role = :role", model=model, role=role)


def arrivals(db: Database, model: str, role: str) -> list[int]:
    """When something new was there, oldest first, ms UTC."""
    rows = db.read(
        "select at_ms from feed_arrival where model = :model and role = :role order by at_ms", model=model, role=role
    )
    return [int(row["at_ms"]) for row in rows]
