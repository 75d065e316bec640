"""Start-up is held by what is imported, not by a clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mlspine
from mlspine.cli.main import COMMANDS, cli

HEAVY = ("numpy", "scipy", "duckdb", "starlette", "uvicorn", "sklearn", "pandas", "jinja2", "cloudpickle")


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
