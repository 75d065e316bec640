"""Backup and restore: whole or not at all, verified both ways, nothing overwritten."""

from __future__ import annotations

import sqlite3
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import mlspine
from mlspine import migrations
from mlspine.cli.backup_format import MANIFEST
from mlspine.core.errors import Conflict, Corrupt, Invalid, NotFound
from mlspine.folder import this_actor
from mlspine.workspace import Workspace

Type = Callable[..., str]
Told = Callable[..., Any]


@pytest.fixture
def logged(folder: Path) -> str:
    """A run with a file, a token, and a line in the ledger."""
    with mlspine.log("churn", name="one") as run:
        run.metric("auc", 0.9)
        (folder / "note.txt").write_text("kept")
        run.artifact(folder / "note.txt")
    workspace = Workspace.open()
    workspace.tokens.create("ci", role="viewer", actor=this_actor())
    workspace.close()
    return run.id


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere" / ".mlspine"


@pytest.fixture(params=["folder", "kept.tar"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_what_was_backed_up_is_there_again_elsewhere(
    logged: str, target: Path, elsewhere: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = told("backup", str(target))
    assert (made["path"], made["ledger_lines"]) == (str(target), 1)
    assert not stat.S_IMODE(target.stat().st_mode) & 0o077
    monkeypatch.setenv("MLSPINE_WORKSPACE", str(elsewhere))
    back = told("restore", str(target))
    assert (back["files"], back["moved_to"]) == (made["files"], "")
    restored = Workspace.open()
    assert restored.tracking.run(logged).metrics[0].value == 0.9
    with restored.artifacts.open(f"1/{logged}/artifacts/note.txt") as content:
        assert content.read() == b"kept"
    assert [each.name for each in restored.tokens.known()] == ["ci"]
    assert [line.action for line in restored.governance.entries()][-1] == "restore"
    assert restored.governance.verify().intact
    restored.close()


def test_nothing_is_overwritten(logged: str, target: Path, typed: Type, told: Told, folder: Path) -> None:
    typed("backup", str(target))
    with pytest.raises(Conflict, match="there already"):
        typed("backup", str(target))
    with pytest.raises(Conflict, match="holds a workspace") as refused:
        typed("restore", str(target))
    assert "--replace" in refused.value.hint
    with mlspine.log(name="since") as run:
        run.metric("auc", 0.1)
    back = told("restore", str(target), "--replace")
    assert [each["name"] for each in told("runs", "ls")["runs"]] == ["one"]
    aside = Workspace.open(Path(back["moved_to"]))
    assert aside.tracking.run(run.id).name == "since"
    aside.close()


def test_a_damaged_backup_changes_nothing(
    logged: str, target: Path, elsewhere: Path, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("backup", str(target))
    if target.is_dir():
        blob = next((target / "blobs" / "artifacts").rglob("*/*"))
        blob.write_bytes(blob.read_bytes() + b"!")
    else:
        content = target.read_bytes()
        target.write_bytes(content.replace(b"kept", b"lost"))
    monkeypatch.setenv("MLSPINE_WORKSPACE", str(elsewhere))
    with pytest.raises(Corrupt, match="not as it was written") as refused:
        typed("restore", str(target))
    assert [line.rpartition(": ")[2] for line in refused.value.details] == ["changed"]
    assert not (elsewhere / "store.db").exists()
    assert [each.name for each in elsewhere.iterdir() if each.name.startswith(".restore")] == []


def test_a_backup_cut_short_changes_nothing(
    logged: str, tmp_path: Path, elsewhere: Path, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "kept.tar"
    typed("backup", str(target))
    target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
    monkeypatch.setenv("MLSPINE_WORKSPACE", str(elsewhere))
    with pytest.raises(Corrupt):
        typed("restore", str(target))
    assert not (elsewhere / "store.db").exists()


def test_a_backup_of_a_newer_version_is_refused_with_the_way_out(
    logged: str, tmp_path: Path, elsewhere: Path, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    typed("backup", str(target))
    manifest = msgspec.json.decode((target / MANIFEST).read_bytes())
    manifest["scripts"].append("9999_later")
    (target / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    monkeypatch.setenv("MLSPINE_WORKSPACE", str(elsewhere))
    with pytest.raises(Conflict, match="9999_later") as refused:
        typed("restore", str(target))
    assert "pip install --upgrade" in refused.value.hint


def test_a_backup_of_an_earlier_version_is_migrated(
    logged: str, tmp_path: Path, elsewhere: Path, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the newest script had not been there when it was made."""
    target, (*earlier, newest) = tmp_path / "folder", migrations.scripts()
    later = {**migrations.scripts(), "9999_later": "create table later (x bigint);"}
    typed("backup", str(target))
    monkeypatch.setattr(migrations, "scripts", lambda: later)
    monkeypatch.setenv("MLSPINE_WORKSPACE", str(elsewhere))
    typed("restore", str(target))
    with sqlite3.connect(elsewhere / "store.db") as db:
        names = [name for (name,) in db.execute("select name from migration order by name")]
    db.close()
    assert names == [*earlier, newest, "9999_later"]


def test_a_store_that_names_an_absent_file_is_refused(
    logged: str, tmp_path: Path, elsewhere: Path, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    typed("backup", str(target))
    manifest = msgspec.json.decode((target / MANIFEST).read_bytes())
    manifest["files"] = {name: told for name, told in manifest["files"].items() if not name.startswith("blobs/")}
    (target / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    monkeypatch.setenv("MLSPINE_WORKSPACE", str(elsewhere))
    with pytest.raises(Corrupt, match="not there"):
        typed("restore", str(target))
    assert not (elsewhere / "store.db").exists()


def test_a_file_that_names_a_place_outside_is_refused(
    logged: str, tmp_path: Path, elsewhere: Path, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    typed("backup", str(target))
    manifest = msgspec.json.decode((target / MANIFEST).read_bytes())
    manifest["files"]["../outside"] = "00"
    (target / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    monkeypatch.setenv("MLSPINE_WORKSPACE", str(elsewhere))
    with pytest.raises(Invalid, match="outside"):
        typed("restore", str(target))


@pytest.mark.parametrize("content", [None, b"", b"words", "tar"])
def test_what_is_no_backup_is_refused(content: bytes | str | None, tmp_path: Path, typed: Type) -> None:
    target = tmp_path / "kept.tar"
    if content == "tar":
        with tarfile.open(target, "w") as archive:
            archive.add(__file__, arcname="words")
    elif isinstance(content, bytes):
        target.write_bytes(content)
    with pytest.raises((NotFound, Invalid), match="no backup"):
        typed("restore", str(target))


def test_a_damaged_store_is_not_backed_up_as_if_it_were_whole(
    logged: str, tmp_path: Path, typed: Type, folder: Path
) -> None:
    blobs = (folder / ".mlspine" / "blobs" / "artifacts").rglob("*/*")
    note = next(blob for blob in blobs if blob.read_bytes() == b"kept")  # others may be named by nothing any more
    note.write_bytes(b"lost")
    with pytest.raises(Corrupt, match="not what was put"):
        typed("backup", str(tmp_path / "kept.tar"))
    assert list(tmp_path.glob("*kept*")) == []


def test_a_shared_store_is_left_to_its_own_tools(
    folder: Path, tmp_path: Path, typed: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSPINE_STORE__DATABASE", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("MLSPINE_STORE__BLOBS", "s3://bucket/team")
    with pytest.raises(Invalid) as refused:
        typed("backup", str(tmp_path / "kept.tar"))
    assert refused.value.hint.index("pg_dump") < refused.value.hint.index("aws s3 sync s3://bucket/team")
