"""The ledger's arithmetic: every line carries the hash of the one before, so the past cannot change unseen.

The canonical form, on which anyone can recompute the chain with a JSON library and SHA-256:

- A line is an object with nine fields: seq, at_ms, actor, action, subject, reason, facts, previous_hash and
  entry_hash.
- Without `entry_hash`, it is written as JSON with keys sorted by code point at every depth, no blanks
  (separators "," and ":"), every character above U+007F as \\uXXXX escapes, floats as Python's `repr` gives
  them, and no NaN or infinity: `json.dumps(line, sort_keys=True, separators=(",", ":"))`.
- `entry_hash` is the SHA-256 of those ASCII bytes, as 64 lower-case hexadecimal digits.
- `seq` counts 1, 2, 3, ...; `previous_hash` is the `entry_hash` of line seq - 1, and 64 zeros for line 1.

The hash of the newest line stands for the whole ledger: kept somewhere else, it also proves that nothing was
cut off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from mlspine.core.types import LedgerEntry, Struct

GENESIS = "0" * 64
FIELDS = ("seq", "at_ms", "actor", "action", "subject", "reason", "facts", "previous_hash", "entry_hash")


class LedgerCheck(Struct, frozen=True, kw_only=True):
    """What a verification found: `head` is the hash of the last good line, `first_bad` 0 when all are."""

    intact: bool
    entries: int
    head: str
    first_bad: int = 0
    why: str = ""


def chain(
    previous_seq: int,
    previous_hash: str,
    *,
    at_ms: int,
    actor: str,
    action: str,
    subject: str,
    reason: str,
    facts: Mapping[str, Any],
) -> LedgerEntry:
    """The next line after the one with this number and hash (0 and GENESIS before the first).

    >>> entry = chain(0, GENESIS, at_ms=0, actor="ann", action="serve", subject="a", reason="", facts={})
    >>> entry.seq, entry.entry_hash[:12]
    (1, '43b1135fa0f4')
    """
    line: dict[str, Any] = {
        "seq": previous_seq + 1,
        "at_ms": at_ms,
        "actor": actor,
        "action": action,
        "subject": subject,
        "reason": reason,
        "facts": dict(facts),
        "previous_hash": previous_hash,
    }
    return LedgerEntry(**line, entry_hash=line_hash(line))


def line_hash(line: Mapping[str, Any]) -> str:
    """SHA-256 of a line's canonical form; its own `entry_hash`, if present, is left out."""
    covered = {field: line[field] for field in FIELDS if field != "entry_hash"}
    return hashlib.sha256(canonical(covered).encode("ascii")).hexdigest()


def canonical(value: object) -> str:
    """The one JSON text of a value: sorted keys, no blanks, ASCII.

    >>> canonical({"b": 1, "a": "é"})
    '{"a":"\\\\u00e9","b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def verify(lines: Iterable[Mapping[str, Any]], *, head_seq: int, head_hash: str) -> LedgerCheck:
    """Recompute a whole chain, oldest line first, and locate the first line that is not as it was written.

    head_seq, head_hash: the newest line as kept apart from the chain, so that lines cut off its end are
    missed.
    """
    count, previous = 0, GENESIS
    for line in lines:
        why = _wrong(line, count + 1, previous)
        if why:
            return LedgerCheck(intact=False, entries=count, head=previous, first_bad=count + 1, why=why)
        count, previous = count + 1, str(line["entry_hash"])
    first_bad, why = _wrong_end(count, previous, head_seq, head_hash)
    if why:
        return LedgerCheck(intact=False, entries=count, head=previous, first_bad=first_bad, why=why)
    return LedgerCheck(intact=True, entries=count, head=previous)


def _wrong(line: Mapping[str, Any], seq: int, previous: str) -> str:
    """Why this line cannot stand at this place of the chain; "" when it can."""
    if line["seq"] != seq:
        return f"line {seq} is missing: the next one present is numbered {line['seq']}"
    if line["previous_hash"] != previous:
        return f"line {seq} does not continue line {seq - 1}: its previous_hash is not that line's entry_hash"
    try:
        expected = line_hash(line)
    except (TypeError, ValueError) as exc:
        return f"line {seq} is not as it was written: {exc}"
    if line["entry_hash"] != expected:
        return f"line {seq} was changed: its content no longer gives its entry_hash"
    return ""


def _wrong_end(count: int, newest: str, head_seq: int, head_hash: str) -> tuple[int, str]:
    """Where and why the end of a chain that is good in itself is not the end that was recorded."""
    if count < head_seq:
        return count + 1, f"the ledger once held {head_seq} lines and holds {count}"
    if count > head_seq:
        return head_seq + 1, f"line {head_seq + 1} was added behind the one recorded last"
    if newest != head_hash:
        return count, f"line {count} is not the one recorded last"
    return 0, ""
