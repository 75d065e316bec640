"""The hash chain: what it accepts, and that it locates anything changed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.core.types import LedgerEntry
from mlspine.governance.ledger import GENESIS, chain, line_hash, verify

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def lines_of(entries: list[LedgerEntry]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(entry) for entry in entries]


def make(count: int, facts: dict[str, Any] | None = None) -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    for number in range(count):
        seq, previous = (entries[-1].seq, entries[-1].entry_hash) if entries else (0, GENESIS)
        entries.append(
            chain(
                seq,
                previous,
                at_ms=1000 + number,
                actor="ann",
                action="serve",
                subject="endpoint:churn",
                reason="because",
                facts={"n": number, **(facts or {})},
            )
        )
    return entries


def check(lines: list[dict[str, Any]], entries: list[LedgerEntry]) -> Any:
    return verify(lines, head_seq=entries[-1].seq, head_hash=entries[-1].entry_hash)


def test_an_empty_ledger_is_intact() -> None:
    result = verify([], head_seq=0, head_hash=GENESIS)
    assert result.intact
    assert (result.entries, result.head) == (0, GENESIS)


def test_an_untouched_chain_is_intact_and_names_its_head() -> None:
    entries = make(5)
    result = check(lines_of(entries), entries)
    assert result.intact
    assert (result.entries, result.head, result.first_bad) == (5, entries[-1].entry_hash, 0)


def test_the_hash_is_sha256_of_the_documented_json() -> None:
    entry = make(1, {"name": "zoë", "share": 0.1})[0]
    line = msgspec.to_builtins(entry)
    del line["entry_hash"]
    text = json.dumps(line, sort_keys=True, separators=(",", ":"))
    assert entry.entry_hash == hashlib.sha256(text.encode("ascii")).hexdigest()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at_ms", 1),
        ("actor", "bob"),
        ("action", "rollback"),
        ("subject", "endpoint:other"),
        ("reason", "because "),
        ("facts", {"n": 2, "more": 1}),
        ("facts", '{"n":2}'),
        ("entry_hash", "0" * 64),
        ("previous_hash", "0" * 64),
        ("seq", 9),
        ("facts", b"raw"),
    ],
)
def test_a_change_of_any_field_is_located(field: str, value: object) -> None:
    entries = make(5)
    lines = lines_of(entries)
    lines[2][field] = value
    result = check(lines, entries)
    assert not result.intact
    assert result.first_bad == 3
    assert "3" in result.why
    assert result.head == entries[1].entry_hash


def test_a_removed_line_is_located() -> None:
    entries = make(5)
    lines = lines_of(entries)
    del lines[2]
    result = check(lines, entries)
    assert (result.intact, result.first_bad) == (False, 3)
    assert "missing" in result.why


def test_lines_cut_off_the_end_are_missed() -> None:
    entries = make(5)
    result = check(lines_of(entries)[:3], entries)
    assert (result.intact, result.first_bad) == (False, 4)
    assert "held 5 lines and holds 3" in result.why


def test_a_line_added_behind_the_recorded_head_is_located() -> None:
    entries = make(5)
    result = verify(lines_of(entries), head_seq=4, head_hash=entries[3].entry_hash)
    assert (result.intact, result.first_bad) == (False, 5)


def test_a_rewritten_tail_with_recomputed_hashes_contradicts_the_head() -> None:
    entries = make(5)
    lines = lines_of(entries)
    lines[4]["reason"] = "another"
    lines[4]["entry_hash"] = line_hash(lines[4])
    result = check(lines, entries)
    assert (result.intact, result.first_bad) == (False, 5)


def test_two_lines_swapped_are_located() -> None:
    entries = make(4)
    lines = lines_of(entries)
    lines[1], lines[2] = lines[2], lines[1]
    assert check(lines, entries).first_bad == 2


@given(facts=st.dictionaries(st.text(), JSON, max_size=4))
def test_any_facts_survive_a_round_trip_through_json(facts: dict[str, Any]) -> None:
    entries = make(2, facts)
    lines = [json.loads(json.dumps(line)) for line in lines_of(entries)]
    assert check(lines, entries).intact


@given(data=st.data())
def test_one_flipped_character_of_the_export_is_located(data: st.DataObject) -> None:
    entries = make(4)
    text = [json.dumps(line, sort_keys=True) for line in lines_of(entries)]
    at = data.draw(st.integers(0, 3))
    position = data.draw(st.integers(0, len(text[at]) - 1))
    flipped = text[at][:position] + chr(ord(text[at][position]) ^ 1) + text[at][position + 1 :]
    try:
        changed = json.loads(flipped)
    except ValueError:
        return  # no JSON any more: whoever reads it sees that first
    if changed == json.loads(text[at]) or set(changed) != set(lines_of(entries)[0]):
        return
    lines = lines_of(entries)
    lines[at] = changed
    assert check(lines, entries).first_bad == at + 1
