"""The word of a second person, deposited beforehand and used up by the change that stands on it."""

from __future__ import annotations

from mlspine.core.types import Struct
from mlspine.ports import Database, Row, Transaction


class Approval(Struct, frozen=True, kw_only=True):
    """One approval of one release. used_at_ms: 0 until a change used it, named in `used_for`."""

    id: str
    subject: str
    version: int
    release_hash: str
    actor: str
    reason: str
    at_ms: int
    used_at_ms: int = 0
    used_for: str = ""


def add(tx: Transaction, approval: Approval) -> None:
    tx.execute(
        "insert into approval (id, subject, version, release_hash, actor, reason, at_ms, used_at_ms, used_for)"
        " values (:id, :subject, :version, :release_hash, :actor, :reason, :at_ms, 0, '')",
        id=approval.id,
        subject=approval.subject,
        version=approval.version,
        release_hash=approval.release_hash,
        actor=approval.actor,
        reason=approval.reason,
        at_ms=approval.at_ms,
    )


def unused(db: Database, subject: str, release_hash: str, *, requester: str) -> Approval | None:
    """The oldest approval of a release that nobody used and that is not the requester's own."""
    rows = db.read(
        "select * from approval where subject = :subject and release_hash = :release and used_at_ms = 0"
        " and actor <> :requester order by at_ms, id limit 1",
        subject=subject,
        release=release_hash,
        requester=requester,
    )
    return _approval(rows[0]) if rows else None


def use(tx: Transaction, approval_id: str, *, at_ms: int, used_for: str) -> int:
    """Mark it used; 0 when somebody was faster."""
    return tx.execute(
        "update approval set used_at_ms = :at_ms, used_for = :used_for where id = :id and used_at_ms = 0",
        id=approval_id,
        at_ms=at_ms,
        used_for=used_for,
    )


def of(db: Database, subject: str, limit: int) -> list[Approval]:
    """The newest first."""
    rows = db.read(
        "select * from approval where subject = :subject order by at_ms desc, id desc limit :limit",
        subject=subject,
        limit=limit,
    )
    return list(map(_approval, rows))


def rename(tx: Transaction, subject: str, to: str) -> None:
    tx.execute("update approval set subject = :to where subject = :subject", subject=subject, to=to)


def _approval(row: Row) -> Approval:
    return Approval(**row)
