"""Start-up is held by what is imported, not by a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mlspine
from mlspine.cli.main import COMMANDS, cli
from tests.desk import Desk

HEAVY = ("numpy", "scipy", "duckdb", "starlette", "uvicorn", "sklearn", "pandas", "jinja2", "cloudpickle")
NOT_BEFORE_ASKED = ("scipy", "duckdb", "jinja2", "pandas", "pyarrow", "sklearn", "psycopg", "obstore", "apprise")


@pytest.mark.parametrize(
    "code",
    ["import mlspine", "from mlspine.cli.main import cli; cli.get_help(__import__('click').Context(cli))"],
)
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    probe = f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_command_loads_only_what_commands_need() -> None:
    """`mlspine status` is typed often: scipy.stats alone would double the time until it answers."""
    unwanted = ("scipy.stats", "sklearn", "pandas", "pyarrow", "starlette", "uvicorn", "psycopg", "obstore", "apprise")
    probe = f"import mlspine.control, sys\nprint(*[m for m in {unwanted!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_up_loads_no_service_before_it_starts_control() -> None:
    """While `mlspine up` waits, control loads them: doing it twice would double the time to the first answer."""
    code = (
        "import mlspine.cli.project, mlspine.running, mlspine.folder, mlspine.remote, sys\n"
        "from mlspine.core.config import load_config\n"
        "ours = [m for m in sys.modules if m.startswith('mlspine.') and m.count('.') == 1]\n"
        "print(*sorted(ours), *[m for m in ('numpy', 'cloudpickle', 'starlette') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    light = {"backends", "cli", "core", "folder", "login", "remote", "running"}
    assert set(done.stdout.split()) == {f"mlspine.{each}" for each in light}


def test_control_loads_no_statistics_and_no_query_engine_before_somebody_asks(tmp_path: Path) -> None:
    """A new store answers its first request within a second: half of that was spent on these."""
    desk = Desk(tmp_path)
    desk.mlspine("up")
    try:
        assert desk.get("/health", port=desk.control_port)[0] == 200
        pid = json.loads((tmp_path / ".mlspine" / "run" / "control.json").read_bytes())["pid"]
        loaded = Path(f"/proc/{pid}/maps").read_text()
        assert "numpy" in loaded  # so the list below can be believed
        assert [name for name in NOT_BEFORE_ASKED if f"/{name}/" in loaded or f"/_{name}" in loaded] == []
    finally:
        desk.mlspine("down")


def test_what_control_imports_at_start_is_without_them_too(tmp_path: Path) -> None:
    code = (
        "import sys, mlspine.web.control as control\n"
        f"workspace = control.Workspace.open({str(tmp_path / '.mlspine')!r})\n"
        "control.make_app(workspace, token='t', owner=control.this_actor())\n"
        f"print(*[m for m in {NOT_BEFORE_ASKED!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_and_shows_help_with_its_options(name: str) -> None:
    import click

    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_the_public_names_are_sorted_and_resolve() -> None:
    assert mlspine.__all__ == sorted(mlspine.__all__)
    for name in mlspine.__all__:
        assert getattr(mlspine, name) is not None
