"""The door of governance: the gate before every change of traffic, the ledger of who changed what and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mlspine.core.errors import Conflict, Denied, Invalid
from mlspine.core.ids import now_ms, uuid7
from mlspine.core.public import public
from mlspine.core.types import Actor, Decision, Evidence, LedgerEntry, Limit
from mlspine.governance import approval as approvals
from mlspine.governance import ledger, store
from mlspine.governance.approval import Approval
from mlspine.governance.gate import Action, Facts, decide
from mlspine.governance.ledger import LedgerCheck
from mlspine.ports import Database

PAGE_LIMIT = 10_000


class Governance:
    """Asked before a change (`require`), told in the same transaction as the change (`record`)."""

    def __init__(self, *, db: Database, clock: Callable[[], int] = now_ms) -> None:
        self._db = db
        self._clock = clock

    def require(self, action: Action, facts: Mapping[str, Any], actor: Actor) -> Decision:
        """The gate's decision, with its warnings; raises Denied with every refusal at once.

        facts: the fields of `gate.Facts`. Writes nothing: the caller records the change it makes.
        """
        known = msgspec.convert(dict(facts), type=Facts)
        decision = decide(action, known)
        if not decision.allowed:
            where = f"to {known.endpoint}" if action == "move" else f"at {known.endpoint}"
            raise Denied(
                f"{actor.name} may not {action} {known.ref} {where}: {_count(decision.refusals)}",
                details=decision.refusals,
                hint=f"mend them and repeat the command; tier: {known.tier}",
            )
        return decision

    def record(
        self,
        action: str,
        subject: str,
        actor: Actor,
        reason: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> LedgerEntry:
        """Append one line to the ledger, inside the caller's transaction where there is one.

        Call it in the `write()` block of the change itself: then both are stored or neither is. facts: values
        that JSON can carry and structs of ours; NaN becomes null.
        """
        plain = msgspec.json.decode(msgspec.json.encode(dict(facts or {})))
        with self._db.write() as tx:
            seq, previous_hash = store.head(tx)
            entry = ledger.chain(
                seq,
                previous_hash,
                at_ms=self._clock(),
                actor=signature(actor),
                action=action,
                subject=subject,
                reason=_storable(reason),
                facts=plain,
            )
            store.append(tx, entry)
        return entry

    def record_evidence(
        self, kind: str, subject: str, actor: Actor, *, passed: bool, document: Mapping[str, Any] | None = None
    ) -> Evidence:
        """Keep what was exercised or measured about a subject, inside the caller's transaction where there is one.

        Rooms above deposit it; whoever decides or shows a claim reads it with `evidence`. Reaches no ledger.
        """
        now = self._clock()
        evidence = Evidence(
            id=uuid7(now),
            kind=kind,
            subject=subject,
            passed=passed,
            at_ms=now,
            actor=signature(actor),
            document=msgspec.json.decode(msgspec.json.encode(dict(document or {}))),
        )
        with self._db.write() as tx:
            store.add_evidence(tx, evidence)
        return evidence

    def approve(self, subject: str, version: int, release_hash: str, *, actor: Actor, reason: str = "") -> Approval:
        """Deposit somebody's approval of one release of a subject such as "model:churn"; one ledger line "approve"."""
        now = self._clock()
        approval = Approval(
            id=uuid7(now),
            subject=subject,
            version=version,
            release_hash=release_hash,
            actor=signature(actor),
            reason=_storable(reason),
            at_ms=now,
        )
        with self._db.write() as tx:
            approvals.add(tx, approval)
            self.record(
                action="approve",
                subject=subject,
                actor=actor,
                reason=reason,
                facts={"approval": approval.id, "version": version, "release": release_hash},
            )
        return approval

    def approval_for(self, subject: str, release_hash: str, *, requester: Actor) -> Approval | None:
        """An approval of this release by somebody else than the requester that no change has used yet."""
        return approvals.unused(self._db, subject, release_hash, requester=signature(requester))

    def use_approval(self, approval: Approval, *, used_for: str) -> None:
        """Use an approval up, inside the caller's transaction; Conflict when another change was faster."""
        with self._db.write() as tx:
            if not approvals.use(tx, approval.id, at_ms=self._clock(), used_for=used_for):
                raise Conflict(
                    f"the approval by {approval.actor} was used by another change meanwhile",
                    hint="ask for another one, then repeat the change",
                )

    @public("read")
    def approvals(self, subject: str, *, limit: Limit = 100) -> list[Approval]:
        """The newest approvals of a subject such as "model:churn", used and unused, newest first."""
        if not 1 <= limit <= PAGE_LIMIT:
            raise Invalid(f"limit {limit} is outside 1 to {PAGE_LIMIT}", hint="ask for less")
        return approvals.of(self._db, subject, limit)

    def rename(self, subject: str, to: str) -> None:
        """Evidence and approvals follow a subject's new name, inside the caller's transaction; ledger lines do not."""
        with self._db.write() as tx:
            store.rename_evidence(tx, subject, to)
            approvals.rename(tx, subject, to)

    @public("read")
    def evidence(self, subject: str = "", *, kind: str = "", limit: Limit = 100) -> list[Evidence]:
        """The newest evidence, newest first: about one subject or all; kind "drill" includes "drill:rollback"."""
        if not 1 <= limit <= PAGE_LIMIT:
            raise Invalid(f"limit {limit} is outside 1 to {PAGE_LIMIT}", hint="ask for less")
        return store.evidence(self._db, subject=subject, kind=kind, limit=limit)

    @public("read")
    def entries(self, subject: str = "", *, limit: Limit = 100, before: int = 0) -> list[LedgerEntry]:
        """The newest lines, oldest of them first: about one subject such as "endpoint:churn", or all.

        limit: at most this many (1 to 10,000); before: only lines numbered below it, for paging back.
        """
        if not 1 <= limit <= PAGE_LIMIT:
            raise Invalid(f"limit {limit} is outside 1 to {PAGE_LIMIT}", hint="page back with before=SEQ")
        return store.entries(self._db, subject=subject, before=before, limit=limit)

    @public("read")
    def verify(self) -> LedgerCheck:
        """Recompute the whole chain; a changed, missing or added line is located."""
        with self._db.write() as tx:  # one moment for both reads
            head_seq, head_hash = store.head(tx)
            lines = store.lines(self._db)
        return ledger.verify(lines, head_seq=head_seq, head_hash=head_hash)

    @public("read")
    def export(self) -> str:
        """The whole ledger as canonical JSON lines, oldest first: what an independent script verifies."""
        return "".join(ledger.canonical(line) + "\n" for line in store.lines(self._db))


def signature(actor: Actor) -> str:
    """A person's name as it is; clients and mlspine itself marked, so that nobody is taken for another."""
    return _storable(actor.name if actor.kind == "person" else f"{actor.kind}:{actor.name}")


def _storable(text: str) -> str:
    # Words from a command line may hold bytes that are no UTF-8; the ledger must take them without failing.
    return text.encode("utf-8", "replace").decode("utf-8")


def _count(refusals: tuple[str, ...]) -> str:
    return "one thing stands in the way" if len(refusals) == 1 else f"{len(refusals)} things stand in the way"
