"""SQL of the ledger and of evidence."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from mlspine.core.errors import Corrupt
from mlspine.core.types import Evidence, LedgerEntry
from mlspine.governance.ledger import GENESIS, canonical
from mlspine.ports import Database, Row, Transaction


def head(db: Database | Transaction) -> tuple[int, str]:
    """Number and hash of the newest line; (0, GENESIS) before the first."""
    rows = db.read("select seq, entry_hash from ledger_head where id = 1")
    return (rows[0]["seq"], rows[0]["entry_hash"]) if rows else (0, GENESIS)


def append(tx: Transaction, entry: LedgerEntry) -> None:
    values = msgspec.structs.asdict(entry)
    values["facts"] = canonical(entry.facts)
    tx.execute(
        "insert into ledger (seq, at_ms, actor, action, subject, reason, facts, previous_hash, entry_hash)"
        " values (:seq, :at_ms, :actor, :action, :subject, :reason, :facts, :previous_hash, :entry_hash)",
        **values,
    )
    tx.execute(
        "insert into ledger_head (id, seq, entry_hash) values (1, :seq, :entry_hash)"
        " on conflict (id) do update set seq = excluded.seq, entry_hash = excluded.entry_hash",
        seq=entry.seq,
        entry_hash=entry.entry_hash,
    )


def entries(db: Database, *, subject: str, before: int, limit: int) -> list[LedgerEntry]:
    """The newest `limit` lines numbered below `before` (0: all), about `subject` ("": any), oldest first."""
    rows = db.read(
        "select * from ledger where (:subject = '' or subject = :subject) and (:before = 0 or seq < :before)"
        " order by seq desc limit :limit",
        subject=subject,
        before=before,
        limit=limit,
    )
    return [_entry(row) for row in reversed(rows)]


def lines(db: Database) -> list[dict[str, Any]]:
    """Every line as stored, oldest first; facts that are no longer canonical JSON stay the text they are."""
    return [{**row, "facts": _facts(row["facts"])} for row in db.read("select * from ledger order by seq")]


def add_evidence(tx: Transaction, evidence: Evidence) -> None:
    values = msgspec.structs.asdict(evidence)
    tx.execute(
        "insert into evidence (id, kind, subject, passed, at_ms, actor, document)"
        " values (:id, :kind, :subject, :passed, :at_ms, :actor, :document)",
        **{**values, "passed": int(evidence.passed), "document": json.dumps(evidence.document)},
    )


def evidence(db: Database | Transaction, *, subject: str, kind: str, limit: int) -> list[Evidence]:
    """The newest first; a kind includes those below it: "drill" is also "drill:rollback"."""
    rows = db.read(
        "select * from evidence where (:subject = '' or subject = :subject)"
        " and (:kind = '' or kind = :kind or kind like :below) order by at_ms desc, id desc limit :limit",
        subject=subject,
        kind=kind,
        below=f"{kind}:%",
        limit=limit,
    )
    return [Evidence(**{**row, "passed": bool(row["passed"]), "document": json.loads(row["document"])}) for row in rows]


def rename_evidence(tx: Transaction, subject: str, to: str) -> None:
    tx.execute("update evidence set subject = :to where subject = :subject", subject=subject, to=to)


def _entry(row: Row) -> LedgerEntry:
    try:
        return msgspec.convert({**row, "facts": _facts(row["facts"])}, type=LedgerEntry)
    except msgspec.ValidationError as exc:
        raise Corrupt(
            f"line {row['seq']} of the ledger is not as it was written: {exc}",
            hint="locate it: mlspine ledger --verify",
        ) from exc


def _facts(text: Any) -> Any:
    # A blank put into the text by hand leaves the decoded value equal; it is a changed byte all the same.
    try:
        decoded = json.loads(text)
        return decoded if canonical(decoded) == text else text
    except (TypeError, ValueError):
        return text
