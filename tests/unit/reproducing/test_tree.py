"""Work trees as runs had them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlspine.core.errors import Invalid
from mlspine.core.types import CodeState
from mlspine.reproducing import tree
from mlspine.reproducing.tree import rebuild
from mlspine.tracking.capture import Captured
from mlspine.tracking.code import code_state, snapshot


def _git(folder: Path, *words: str) -> None:
    person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *person, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    _git(folder, "init", "-q")
    (folder / ".gitignore").write_text("data/\n")
    (folder / "fit.py").write_text("1\n")
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_tree_is_that_of_the_run_and_the_users_own_stays(own: Path, tmp_path: Path) -> None:
    (own / "fit.py").write_text("2\n")
    (own / "new.py").write_text("n\n")
    code = code_state(own)
    _git(own, "add", ".")
    _git(own, "commit", "-q", "-m", "gone on")
    (own / "fit.py").write_text("3\n")
    made = rebuild(Captured(code=code.state), code.patch, tmp_path / "tree", here=own)
    assert ((made.top / "fit.py").read_text(), (made.top / "new.py").read_text()) == ("2\n", "n\n")
    assert (own / "fit.py").read_text() == "3\n"
    assert not (own / ".git" / "worktrees").exists()


def test_data_outside_git_is_copied_and_environments_and_stores_are_not(own: Path, tmp_path: Path) -> None:
    for name in (
        "data/rows.csv",
        "data/env/pyvenv.cfg",
        "data/env/lib.py",
        ".mlspine/x",
        "spine/run/x",
        "spine/releases/x",
    ):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text("rows")
    made = rebuild(Captured(code=code_state(own).state), b"", tmp_path / "tree", here=own)
    assert (made.copied, made.linked) == (1, ())
    (made.top / "data" / "rows.csv").write_text("overwritten by the script")
    assert (own / "data" / "rows.csv").read_text() == "rows"
    assert sorted(path.name for path in made.top.iterdir()) == [".git", ".gitignore", "data", "fit.py"]


def test_what_is_too_large_to_copy_is_linked_and_told(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "COPIED_FILE_BYTES", 3)
    (own / "data").mkdir()
    (own / "data" / "rows.csv").write_text("rows")
    made = rebuild(Captured(code=code_state(own).state), b"", tmp_path / "tree", here=own)
    assert made.linked == ("data/rows.csv",)
    assert (made.top / "data" / "rows.csv").resolve() == own / "data" / "rows.csv"


def test_a_commit_that_is_not_here_comes_from_where_it_was_recorded(own: Path, tmp_path: Path) -> None:
    state = code_state(own).state
    captured = Captured(code=CodeState(commit=state.commit, repository=str(own)))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _git(elsewhere, "init", "-q")
    assert (rebuild(captured, b"", tmp_path / "one", here=elsewhere).top / "fit.py").exists()
    nowhere = Captured(code=CodeState(commit=state.commit))
    with pytest.raises(Invalid, match="names no other"):
        rebuild(nowhere, b"", tmp_path / "two", here=elsewhere)
    assert rebuild(nowhere, b"", tmp_path / "three", here=elsewhere, repository=str(own)).source == str(own)


def test_a_commit_or_patch_that_does_not_fit_is_refused(own: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="git checkout said"):
        rebuild(Captured(code=CodeState(commit="a" * 40)), b"", tmp_path / "one", here=own, repository=str(own))
    with pytest.raises(Invalid, match="git apply said"):
        rebuild(Captured(code=code_state(own).state), b"no patch", tmp_path / "two", here=own)


def test_what_only_the_work_tree_had_comes_out_of_the_runs_snapshot(own: Path, tmp_path: Path) -> None:
    (own / "fit.py").write_text("2\n")
    code = code_state(own)
    kept = snapshot(own, code.state.commit)
    assert kept == snapshot(own, code.state.commit)  # one content for all runs of a commit
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    _git(nowhere, "init", "-q")
    made = rebuild(Captured(code=code.state), code.patch, tmp_path / "tree", here=nowhere, snapshot=kept)
    assert (made.top / "fit.py").read_text() == "2\n"
    assert (made.top / ".gitignore").exists()


def test_a_commit_that_a_remote_has_is_not_kept(own: Path, tmp_path: Path) -> None:
    _git(tmp_path, "clone", "-q", str(own), "clone")
    commit = code_state(own).state.commit
    assert snapshot(tmp_path / "clone", commit) == b""
    assert snapshot(own, commit) != b""
    assert snapshot(own, "") == b""
