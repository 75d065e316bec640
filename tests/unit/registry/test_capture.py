"""The circumstances: code, seeds, owner."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlspine.registry import capture


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
    code = capture.code_state(repository)
    assert len(code.state.commit) == 40
    assert (code.state.dirty_digest, code.diff) == ("", "")


def test_a_password_in_the_remote_is_left_out(repository: Path) -> None:
    assert capture.code_state(repository).state.repository == "https://example.org/ann/project.git"


def test_changes_and_new_sources_are_kept_and_digested(repository: Path) -> None:
    (repository / "fit.py").write_text("model = 2\n")
    changed = capture.code_state(repository)
    assert "-model = 1\n+model = 2" in changed.diff
    (repository / "explore.ipynb").write_text("{}")
    (repository / "rows.csv").write_text("private data")
    more = capture.code_state(repository)
    assert "untracked: explore.ipynb" in more.diff
    assert "private data" not in more.diff
    assert len({changed.state.dirty_digest, more.state.dirty_digest, ""}) == 3
    assert changed.state.commit == more.state.commit


def test_a_large_difference_is_digested_and_not_kept(repository: Path) -> None:
    (repository / "fit.py").write_text("x = 1\n" * 50_000)
    code = capture.code_state(repository)
    assert code.diff == ""
    assert code.state.dirty_digest


def test_the_state_is_that_of_the_whole_repository(repository: Path) -> None:
    (repository / "notebooks").mkdir()
    (repository / "fit.py").write_text("model = 2\n")
    assert capture.code_state(repository / "notebooks") == capture.code_state(repository)


def test_outside_a_repository_and_without_git_nothing_is_claimed(
    outside_any_repository: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert capture.code_state(outside_any_repository).state.commit == ""
    monkeypatch.setenv("PATH", "")
    assert capture.code_state(repository).state.commit == ""
    assert capture.git_owner(repository) == ""


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / "fit.py").write_text("model = 1\n")
    state = capture.code_state(tmp_path).state
    assert state.commit == ""
    assert state.dirty_digest


def test_the_owner_is_who_git_says(repository: Path) -> None:
    _git(repository, "config", "user.email", "ann@example.org")
    assert capture.git_owner(repository) == "ann@example.org"


def test_seeds_of_every_part_are_found() -> None:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(random_state=7))
    seeds = capture.seeds(model)
    assert seeds["parameters"] == {"randomforestclassifier__random_state": 7}
    assert len(seeds["python_state"]) == len(seeds["numpy_state"]) == 64


def test_an_object_whose_parameters_fail_has_no_seeds() -> None:
    class Odd:
        def get_params(self, deep: bool) -> dict[str, Any]:
            raise RuntimeError

    assert capture.seeds(Odd())["parameters"] == {}
