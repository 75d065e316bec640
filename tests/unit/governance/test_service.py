"""The ledger in the store, and the gate as callers meet it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Corrupt, Denied, Invalid
from mlspine.core.types import Actor, Interval
from mlspine.governance.ledger import GENESIS
from mlspine.governance.service import Governance

ANN = Actor(name="ann")
VERIFIER = Path(__file__).parents[3] / "docs" / "verify_ledger.py"
FACTS: dict[str, Any] = {
    "ref": "churn:1",
    "endpoint": "churn",
    "tier": "low",
    "owner": "ann@example.org",
    "owner_assumed": False,
    "trusted": True,
    "first_deployment": True,
    "rollback_target": False,
    "baseline_present": True,
    "missing_dependencies": (),
}


@pytest.fixture
def db(tmp_path: Path) -> Any:
    database = SqliteDatabase(tmp_path / "store.db")
    database.migrate(migrations.scripts())
    yield database
    database.close()


@pytest.fixture
def governance(db: SqliteDatabase) -> Governance:
    return Governance(db=db, clock=lambda: 1_700_000_000_000)


def fill(governance: Governance, count: int = 6) -> None:
    for number in range(count):
        governance.record(
            "serve",
            f"endpoint:{'ab'[number % 2]}",
            ANN,
            "why not",
            {"n": number, "share": 0.5, "name": "zoë"},
        )


def test_record_numbers_lines_from_one_and_chains_them(governance: Governance) -> None:
    first = governance.record("serve", "endpoint:churn", ANN, "go", {"version": 1})
    second = governance.record("rollback", "endpoint:churn", ANN)
    assert (first.seq, first.previous_hash, first.at_ms) == (1, GENESIS, 1_700_000_000_000)
    assert (second.seq, second.previous_hash) == (2, first.entry_hash)
    assert governance.entries() == [first, second]


def test_record_is_undone_with_the_change_it_belongs_to(db: SqliteDatabase, governance: Governance) -> None:
    governance.record("serve", "endpoint:churn", ANN)

    def change() -> None:
        with db.write():
            governance.record("promote", "endpoint:churn", ANN)
            raise RuntimeError("the change failed")

    with pytest.raises(RuntimeError):
        change()
    assert [entry.action for entry in governance.entries()] == ["serve"]
    assert governance.verify().intact


def test_facts_of_any_of_our_types_are_stored_as_json(governance: Governance) -> None:
    entry = governance.record(
        "ship", "model:churn", ANN, facts={"metric": Interval(value=0.5, lo=float("nan"), hi=1.0), 3: (1, 2)}
    )
    assert entry.facts == {
        "metric": {"value": 0.5, "lo": None, "hi": 1.0, "level": 0.95, "method": ""},
        "3": [1, 2],
    }
    assert governance.entries() == [entry]
    assert governance.verify().intact


def test_the_kind_of_actor_is_told_apart(governance: Governance) -> None:
    names = [
        governance.record("serve", "endpoint:a", Actor(name="ann", kind=kind)).actor  # type: ignore[arg-type]
        for kind in ("person", "client", "system")
    ]
    assert names == ["ann", "client:ann", "system:ann"]


def test_a_reason_with_broken_bytes_does_not_stop_the_change(governance: Governance) -> None:
    entry = governance.record("serve", "endpoint:a", ANN, reason="caf\udce9")
    assert entry.reason == "caf?"
    assert governance.verify().intact


def test_entries_filters_by_subject_and_pages_back(governance: Governance) -> None:
    fill(governance)
    assert [entry.seq for entry in governance.entries("endpoint:a")] == [1, 3, 5]
    assert [entry.seq for entry in governance.entries(limit=2)] == [5, 6]
    assert [entry.seq for entry in governance.entries(limit=2, before=5)] == [3, 4]
    with pytest.raises(Invalid, match="limit 0"):
        governance.entries(limit=0)


@pytest.mark.parametrize(
    "edit",
    [
        "update ledger set reason = 'why not.' where seq = 3",
        "update ledger set at_ms = at_ms + 1 where seq = 3",
        "update ledger set facts = replace(facts, '0.5', '0.50') where seq = 3",
        "update ledger set facts = facts || ' ' where seq = 3",
        "update ledger set facts = x'00ff' where seq = 3",
        "update ledger set actor = x'616e6e' where seq = 3",
        "update ledger set previous_hash = upper(previous_hash) where seq = 3",
        "update ledger set entry_hash = upper(entry_hash) where seq = 3",
        "delete from ledger where seq = 3",
        "update ledger set seq = 30 where seq = 3",
    ],
)
def test_a_direct_edit_of_the_table_is_located(db: SqliteDatabase, governance: Governance, edit: str) -> None:
    fill(governance)
    with db.write() as tx:
        assert tx.execute(edit) == 1
    check = governance.verify()
    assert (check.intact, check.first_bad) == (False, 3), check.why


def test_a_cut_tail_is_located(db: SqliteDatabase, governance: Governance) -> None:
    fill(governance)
    with db.write() as tx:
        tx.execute("delete from ledger where seq > 4")
    assert governance.verify().first_bad == 5


def test_a_line_that_is_no_entry_any_more_is_corrupt_when_listed(db: SqliteDatabase, governance: Governance) -> None:
    fill(governance, 2)
    with db.write() as tx:
        tx.execute("update ledger set facts = '{' where seq = 2")
    with pytest.raises(Corrupt, match="line 2 of the ledger"):
        governance.entries()


def test_concurrent_writers_keep_the_chain_linear(tmp_path: Path, governance: Governance) -> None:
    def write() -> None:
        own = SqliteDatabase(tmp_path / "store.db")  # as another process would
        try:
            for _ in range(10):
                Governance(db=own).record("serve", "endpoint:a", ANN)
        finally:
            own.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check = governance.verify()
    assert (check.intact, check.entries) == (True, 40)
    assert [entry.seq for entry in governance.entries()] == list(range(1, 41))


def test_require_returns_the_warnings(governance: Governance) -> None:
    decision = governance.require("serve", {**FACTS, "owner": ""}, ANN)
    assert decision.allowed
    assert "nobody owns it" in decision.warnings[0]


def test_require_raises_denied_with_every_refusal_and_its_command(governance: Governance) -> None:
    with pytest.raises(Denied) as caught:
        governance.require("serve", {**FACTS, "trusted": False, "missing_dependencies": ["lightgbm"]}, ANN)
    assert len(caught.value.details) == 2
    assert "mlspine trust churn:1" in str(caught.value)
    assert "pip install lightgbm" in str(caught.value)
    assert governance.entries() == []


@pytest.mark.parametrize("form", ["lines", "array"])
def test_the_independent_script_agrees_on_an_intact_export(governance: Governance, tmp_path: Path, form: str) -> None:
    fill(governance)
    text = governance.export()
    if form == "array":
        text = json.dumps([json.loads(line) for line in text.splitlines()], indent=1)
    done = run_verifier(tmp_path, text, governance.verify().head)
    assert (done.returncode, done.stdout[:15]) == (0, "intact: 6 lines"), done.stdout + done.stderr


def test_the_independent_script_locates_a_change_and_a_cut(governance: Governance, tmp_path: Path) -> None:
    fill(governance)
    lines = governance.export().splitlines(keepends=True)
    changed = run_verifier(tmp_path, "".join([*lines[:3], lines[3].replace("why", "whz"), *lines[4:]]))
    assert (changed.returncode, changed.stdout.split(":")[0]) == (1, "BROKEN at line 4")
    cut = run_verifier(tmp_path, "".join(lines[:4]), governance.verify().head)
    assert cut.returncode == 1
    assert "cut off" in cut.stdout


def test_the_independent_script_imports_nothing_of_ours() -> None:
    assert "mlspine" not in [line.split()[1].split(".")[0] for line in imports_of(VERIFIER.read_text())]


def imports_of(source: str) -> list[str]:
    return [line for line in source.splitlines() if line.startswith(("import ", "from "))]


def run_verifier(folder: Path, text: str, *more: str) -> subprocess.CompletedProcess[str]:
    file = folder / "ledger.json"
    file.write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(file), *more], capture_output=True, text=True, check=False
    )
