"""The state of the code: commit, difference, script."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlspine.tracking.code import code_state, git


def _git(folder: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    _git(folder, "init", "-q")
    (folder / "fit.py").write_text("model = 1\n")
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "first")
    _git(folder, "remote", "add", "origin", "https://ann:secret@example.org/ann/project.git")
    return folder


def test_a_clean_commit_is_all_there_is_to_say(repository: Path) -> None:
    code = code_state(repository)
    assert len(code.state.commit) == 40
    assert (code.state.dirty_digest, code.diff) == ("", "")


def test_a_password_in_the_remote_is_left_out(repository: Path) -> None:
    assert code_state(repository).state.repository == "https://example.org/ann/project.git"


def test_changes_and_new_sources_are_kept_and_digested(repository: Path) -> None:
    (repository / "fit.py").write_text("model = 2\n")
    changed = code_state(repository)
    assert "-model = 1\n+model = 2" in changed.diff
    (repository / "explore.ipynb").write_text("{}")
    (repository / "rows.csv").write_text("private data")
    more = code_state(repository)
    assert "+++ b/explore.ipynb" in more.diff
    assert "private data" not in more.diff
    assert len({changed.state.dirty_digest, more.state.dirty_digest, ""}) == 3
    assert changed.state.commit == more.state.commit


def test_a_large_difference_is_digested_and_not_kept(repository: Path) -> None:
    (repository / "fit.py").write_text("x = 1\n" * 50_000)
    code = code_state(repository)
    assert code.diff == ""
    assert code.state.dirty_digest


def test_the_state_is_that_of_the_whole_repository(repository: Path) -> None:
    (repository / "notebooks").mkdir()
    (repository / "fit.py").write_text("model = 2\n")
    assert code_state(repository / "notebooks") == code_state(repository)


def test_outside_a_repository_and_without_git_nothing_is_claimed(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "bare").mkdir()
    assert code_state(tmp_path / "bare").state.commit == ""
    monkeypatch.setenv("PATH", "")
    assert code_state(repository).state.commit == ""
    assert git(repository, "status") == ""


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / "fit.py").write_text("model = 1\n")
    state = code_state(tmp_path).state
    assert state.commit == ""
    assert state.dirty_digest


def test_the_difference_puts_a_clone_into_the_same_state(repository: Path, tmp_path: Path) -> None:
    (repository / "fit.py").write_bytes("model = 'caf\xe9'\n".encode("latin-1"))
    (repository / "new.py").write_text("x = 1\n")
    before = (repository / ".git" / "index").read_bytes()
    code = code_state(repository)
    assert (repository / ".git" / "index").read_bytes() == before
    clone = tmp_path / "clone"
    _git(tmp_path, "clone", "-q", str(repository), str(clone))
    (tmp_path / "patch").write_bytes(code.patch)
    _git(clone, "apply", "--binary", str(tmp_path / "patch"))
    assert (clone / "fit.py").read_bytes() == (repository / "fit.py").read_bytes()
    assert (clone / "new.py").read_text() == "x = 1\n"
