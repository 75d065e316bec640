"""SQL of endpoints and their append-only revisions."""

from __future__ import annotations

from typing import Any

import msgspec

from mlspine.core.plan import Guards, LogSettings, Proof, Revision, Traffic
from mlspine.ports import Database, Row, Transaction

_DOCUMENTS: dict[str, type] = {"log": LogSettings, "traffic": Traffic, "guards": Guards}  # columns that hold JSON


def endpoints(db: Database) -> list[Row]:
    return db.read("select name, model, created_at_ms from endpoint order by name")


def find_endpoint(db: Database | Transaction, name: str) -> Row | None:
    rows = db.read("select name, model, created_at_ms from endpoint where name = :name", name=name)
    return rows[0] if rows else None


def add_endpoint(tx: Transaction, name: str, model: str, at_ms: int) -> None:
    tx.execute(
        "insert into endpoint (name, model, created_at_ms) values (:name, :model, :at_ms)"
        " on conflict (name) do nothing",
        name=name,
        model=model,
        at_ms=at_ms,
    )


def revisions(db: Database, endpoint: str) -> list[Revision]:
    """All revisions of one endpoint, oldest first."""
    rows = db.read("select * from revision where endpoint = :endpoint order by number", endpoint=endpoint)
    return [_revision(row) for row in rows]


def last_number(tx: Transaction, endpoint: str) -> int:
    """The number of an endpoint's newest revision, 0 before the first."""
    rows = tx.read("select coalesce(max(number), 0) as n from revision where endpoint = :endpoint", endpoint=endpoint)
    return int(rows[0]["n"])


def plan_number(db: Database) -> int:
    """Grows with everything that changes a plan: revisions and counted crashes."""
    rows = db.read(
        "select (select count(*) from revision) + (select coalesce(sum(crashes), 0) from native_crash) as number"
    )
    return int(rows[0]["number"])


def append_revision(tx: Transaction, revision: Revision) -> None:
    values = msgspec.structs.asdict(revision) | {"own_env": int(revision.own_env)}
    for name in _DOCUMENTS:
        values[name] = msgspec.json.encode(getattr(revision, name)).decode()
    tx.execute(
        "insert into revision (endpoint, number, version, release_hash, cause, log, traffic, guards, own_env,"
        " created_at_ms, actor, reason, rolled_back_from) values (:endpoint, :number, :version, :release_hash, :cause,"
        " :log, :traffic, :guards, :own_env, :created_at_ms, :actor, :reason, :rolled_back_from)",
        **values,
    )


def record_proof(tx: Transaction, proof: Proof, at_ms: int) -> None:
    tx.execute(
        "insert into proof (release_hash, proved_at_ms, document) values (:release_hash, :at_ms, :document)"
        " on conflict (release_hash) do update set proved_at_ms = excluded.proved_at_ms, document = excluded.document",
        release_hash=proof.release_hash,
        at_ms=at_ms,
        document=msgspec.json.encode(proof).decode(),
    )


def find_proof(db: Database, release_hash: str) -> Proof | None:
    rows = db.read("select document from proof where release_hash = :hash", hash=release_hash)
    return msgspec.json.decode(rows[0]["document"], type=Proof) if rows else None


def record_switch_time(tx: Transaction, endpoint: str, number: int, committed_at_ms: int, effective_s: float) -> None:
    tx.execute(
        "insert into switch_time (endpoint, number, committed_at_ms, effective_s)"
        " values (:endpoint, :number, :committed_at_ms, :effective_s)",
        endpoint=endpoint,
        number=number,
        committed_at_ms=committed_at_ms,
        effective_s=effective_s,
    )


def switch_times(db: Database, endpoint: str) -> dict[int, float]:
    """Seconds from commit to effect, by revision number."""
    rows = db.read("select number, effective_s from switch_time where endpoint = :endpoint", endpoint=endpoint)
    return {row["number"]: row["effective_s"] for row in rows}


def add_native_crash(tx: Transaction, release_hash: str, at_ms: int) -> None:
    tx.execute(
        "insert into native_crash (release_hash, crashes, last_at_ms) values (:hash, 1, :at_ms)"
        " on conflict (release_hash) do update set crashes = native_crash.crashes + 1, last_at_ms = :at_ms",
        hash=release_hash,
        at_ms=at_ms,
    )


def native_crashes(db: Database) -> dict[str, int]:
    return {row["release_hash"]: row["crashes"] for row in db.read("select release_hash, crashes from native_crash")}


def _revision(row: Row) -> Revision:
    # A column added later is '' in the rows before it: the default.
    told: dict[str, Any] = {
        name: msgspec.json.decode(row[name], type=kind) for name, kind in _DOCUMENTS.items() if row[name]
    }
    told["own_env"] = bool(row["own_env"])
    return Revision(**{**{name: value for name, value in row.items() if name not in _DOCUMENTS}, **told})
