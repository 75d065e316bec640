"""What was typed, for the effort ledger: which command, about which model, with which options. Never their values."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

import click
from click.core import ParameterSource

SUBJECTS = ("name", "ref", "model", "endpoint")
SCRIPTS = (".py", ".sql")


def note(group: click.Group, argv: list[str], *, began_s: float, ok: bool) -> None:
    """Record a command that has just run; nothing where it touched no workspace.

    A command that did has imported all that is needed here. Whatever goes wrong is nobody's business.
    """
    if "mlspine.folder" not in sys.modules:
        return
    with contextlib.suppress(Exception):
        from mlspine.core import effort
        from mlspine.core.config import find_file
        from mlspine.folder import locate

        workspace = locate()
        if workspace.is_dir():
            step = effort.Step(
                at_ms=time.time_ns() // 1_000_000,
                took_s=round(time.monotonic() - began_s, 3),
                by="command",
                ok=ok,
                config_at_ms=effort.changed_at_ms(find_file(workspace)),
                **words(group, argv),
            )
            effort.append(workspace, step)


def words(group: click.Group, argv: list[str]) -> dict[str, Any]:
    """What a command line says, by parsing it once more: what, names, options, scripts."""
    command: click.Command = group
    context = click.Context(group, info_name="mlspine")
    what, rest = [], list(argv)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            break  # a group that is a command as well: `mlspine alerts churn`
        command, context = found, click.Context(found, parent=context, info_name=rest[0])
        what.append(rest.pop(0))
    parsed = command.make_context(what[-1] if what else "", list(rest), parent=context.parent, resilient_parsing=True)
    given = {
        each.name: each
        for each in command.params
        if each.name and parsed.get_parameter_source(each.name) is ParameterSource.COMMANDLINE
    }
    values = {name: str(parsed.params.get(name) or "") for name in given}
    return {
        "what": " ".join(what),
        "names": tuple(_model(values[name]) for name in SUBJECTS if values.get(name)),
        "options": tuple(each.opts[0].lstrip("-") for each in given.values() if isinstance(each, click.Option)),
        "scripts": tuple(value for value in values.values() if value.endswith(SCRIPTS)),
    }


def _model(reference: str) -> str:
    """The model a reference such as churn:2 or churn@champion names."""
    return reference.partition(":")[0].partition("@")[0]
