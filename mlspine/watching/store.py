"""SQL of watched endpoints: where their logs lie, and how far each file was read."""

from __future__ import annotations

import msgspec

from mlspine.core.types import Struct
from mlspine.ports import Database, Row, Transaction
from mlspine.watching.names import Names


class WatchedSource(Struct, frozen=True, kw_only=True):
    """Where the log of a watched endpoint lies. every_s 0: it is read when somebody asks. The counts are of all
    readings so far; problem: what was wrong with the last one."""

    endpoint: str
    text: str
    names: Names
    every_s: int = 0
    next_due_at_ms: int = 0
    read_at_ms: int = 0
    rows: int = 0
    duplicates: int = 0
    refused: int = 0
    problem: str = ""


class WatchedFile(Struct, frozen=True, kw_only=True):
    """How far one file was read: its first `rows` rows, told by `digest`. mark: size and what changes with it; content:
    digest of all of it as it was then. whole: its last row then was taken."""

    name: str
    mark: str
    rows: int
    digest: str
    content: str
    whole: bool = True


_PARTLY = "!"


def put_source(tx: Transaction, source: WatchedSource) -> None:
    values = msgspec.structs.asdict(source) | {"names": msgspec.json.encode(source.names).decode()}
    updates = ", ".join(f"{name} = :{name}" for name in values if name != "endpoint")
    tx.execute(
        f"insert into watched_source ({', '.join(values)}) values ({', '.join(f':{name}' for name in values)})"
        f" on conflict (endpoint) do update set {updates}",
        **values,
    )


def find_source(db: Database | Transaction, endpoint: str) -> WatchedSource | None:
    rows = db.read("select * from watched_source where endpoint = :endpoint", endpoint=endpoint)
    return _source(rows[0]) if rows else None


def due_sources(db: Database, now_ms: int) -> list[WatchedSource]:
    """Those that are to be read now, the one that waits longest first."""
    rows = db.read(
        "select * from watched_source where every_s > 0 and next_due_at_ms <= :now order by next_due_at_ms, endpoint",
        now=now_ms,
    )
    return [_source(row) for row in rows]


def put_file(tx: Transaction, endpoint: str, file: WatchedFile, at_ms: int) -> None:
    tx.execute(
        "insert into watched_file (endpoint, name, mark, rows, digest, content, read_at_ms)"
        " values (:endpoint, :name, :mark, :rows, :digest, :content, :at) on conflict (endpoint, name)"
        " do update set mark = :mark, rows = :rows, digest = :digest, content = :content, read_at_ms = :at",
        endpoint=endpoint,
        name=file.name,
        mark=file.mark if file.whole else _PARTLY + file.mark,
        rows=file.rows,
        digest=file.digest,
        content=file.content,
        at=at_ms,
    )


def drop_file(tx: Transaction, endpoint: str, name: str) -> None:
    tx.execute("delete from watched_file where endpoint = :endpoint and name = :name", endpoint=endpoint, name=name)


def files(db: Database, endpoint: str) -> dict[str, WatchedFile]:
    """Every file of an endpoint that was read, by its name."""
    rows = db.read("select * from watched_file where endpoint = :endpoint order by name", endpoint=endpoint)
    return {row["name"]: _file(row) for row in rows}


def _source(row: Row) -> WatchedSource:
    names = msgspec.json.decode(row["names"], type=Names)
    return WatchedSource(**{**{name: row[name] for name in WatchedSource.__struct_fields__}, "names": names})


def _file(row: Row) -> WatchedFile:
    mark = str(row["mark"])
    return WatchedFile(
        name=row["name"],
        mark=mark.removeprefix(_PARTLY),
        rows=row["rows"],
        digest=row["digest"],
        content=row["content"],
        whole=not mark.startswith(_PARTLY),
    )
