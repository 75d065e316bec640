"""A terminal in an empty workspace, in this process: commands act on the store itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlspine.cli.main import cli

Type = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLSPINE_WORKSPACE", str(tmp_path / "desk" / ".mlspine"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


@pytest.fixture
def typed(folder: Path) -> Type:
    """What a command prints; its error is raised."""

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli, list(words), standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done.stdout

    return run


@pytest.fixture
def told(typed: Type) -> Callable[..., Any]:
    """The same as JSON."""
    return lambda *words: json.loads(typed(*words, "--json"))
