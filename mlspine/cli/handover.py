"""runbook, drill, card: what a second person needs, and proof that it works."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.core.config import Config
    from mlspine.core.types import Evidence
    from mlspine.handover.card import Card
    from mlspine.handover.drill import Drilled, Line
    from mlspine.handover.rehearsal import Rehearsal
    from mlspine.handover.runbook import Runbook
    from mlspine.workspace import Services

TASKS = ("deploy", "rollback", "retrain", "fallback")  # those of handover/runbook.py, without importing it for --help


@click.command()
@click.argument("name")
@click.argument("task", required=False, default="deploy", type=click.Choice(TASKS))
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the page to this file.")
@render.json_option
def runbook(name: str, task: str, output: Path | None, as_json: bool) -> None:
    """The page a second person follows: what to look at first, what to type, what it prints, how to undo it.

    Written from the running configuration, so print it again when that changes; `mlspine drill` types every line.

    \b
    Examples:
      mlspine runbook churn
      mlspine runbook churn rollback --output rollback.md
    """
    from mlspine.control import connect

    workspace = connect()
    written: Runbook = workspace.handover.runbook(name, task)  # type: ignore[arg-type]  # click has limited it
    page = runbook_page(workspace, written)
    if output is not None:
        output.write_text(page)
        page = f"written to {output}\nNext: mlspine drill {name} {task}"
    render.emit(written, as_json=as_json, text=lambda: page)


def runbook_page(workspace: Services, written: Runbook) -> str:
    """A runbook as markdown, with what its newest drill found."""
    from mlspine.handover.runbook import markdown

    drills = [each for each in workspace.handover.drills(written.endpoint) if each.kind == f"drill:{written.task}"]
    drilled = ""
    if drills:
        ended = "passed" if drills[0].passed else "FAILED"
        drilled = f"Drilled {render.when(drills[0].at_ms)} UTC by {drills[0].actor}: {ended}."
    return markdown(written, when=render.when(written.written_at_ms), drilled=drilled)


@click.command()
@click.argument("name")
@click.argument("task", required=False, type=click.Choice((*TASKS, "restart")))
@click.option("--live", is_flag=True, help="fallback, restart: here instead of on a copy; no caller is disturbed.")
@click.option("--list", "listed", is_flag=True, help="Past drills and how they ended.")
@render.json_option
def drill(name: str, task: str | None, live: bool, listed: bool, as_json: bool) -> None:
    """Type every line of the runbooks of NAME on a copy of this workspace, and keep how it ended.

    The copy has ports of its own and tells nobody; what is served here goes on undisturbed. It is stopped and
    removed at the end, even when this command is killed. Without TASK: deploy, rollback, retrain and fallback.
    restart types nothing: it kills a serving process, and the processes of models, while recorded rows are asked.

    \b
    Examples:
      mlspine drill churn
      mlspine drill churn rollback
      mlspine drill churn fallback --live
      mlspine drill churn --list
    """
    from mlspine import login
    from mlspine.cli import drilling
    from mlspine.control import connect
    from mlspine.folder import locate, this_actor
    from mlspine.handover.rehearsal import Rehearsal
    from mlspine.registry.watched import require_model

    workspace = connect()
    if listed:
        found = workspace.handover.drills(name)
        render.emit(found, as_json=as_json, text=lambda: _drills_text(name, found))
        return
    if live:
        drilling.check_live(task)
    login.refuse_server("a drill")
    current = workspace.deployment.get(name).current
    if current.version:
        require_model(workspace.registry.get(name, current.version))
    if live:
        here = drilling.fallback_here if task == "fallback" else drilling.restart_here
        drilled = here(workspace, name)
        workspace.handover.record_drill(drilled, actor=this_actor())
        _tell_ended([drilled], as_json=as_json)
        return
    workspace.status.refresh()
    config, ended = workspace.config, []
    with Rehearsal(locate(), lambda folder, *ports: _fill(folder, *ports, config=config)) as rehearsal:
        for each in (task,) if task else TASKS:
            if each == "restart":
                drilled = drilling.restart_on_copy(
                    rehearsal, name, tell=lambda line: None if as_json else click.echo(line)
                )
            else:
                drilled = _drill(rehearsal, name, each, quiet=as_json)
            if drilled.lines:
                workspace.handover.record_drill(drilled, actor=this_actor())
            ended.append(drilled)
    _tell_ended(ended, as_json=as_json)


def _tell_ended(ended: list[Drilled], *, as_json: bool) -> None:
    render.emit(ended, as_json=as_json, text=lambda: "\n".join(["", *map(_drilled_text, ended)]))
    if not all(each.passed or not each.lines for each in ended):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("name")
@click.option("--set", "pairs", multiple=True, metavar="FIELD=TEXT", help='Fill a field; "" empties it. Repeatable.')
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the page to this file.")
@render.json_option
def card(name: str, pairs: tuple[str, ...], output: Path | None, as_json: bool) -> None:
    """The project card of model NAME: purpose, value, owner, integration, target, risk, monitoring, success.

    What mlspine knows is filled in; each field left is a gap, with the reason models fail from it. A success
    criterion that names a metric and a limit is computed from what was measured: go or no go.

    \b
    Examples:
      mlspine card churn
      mlspine card churn --set owner=maria@example.org --set "success=auc >= 0.7"
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    given = dict(_pair(text) for text in pairs)
    workspace = connect()
    if given:
        workspace.handover.fill_card(name, given, actor=this_actor())
    shown: Card = workspace.handover.card(name)
    if output is not None:
        output.write_text(card_page(shown))
    render.emit(shown, as_json=as_json, text=lambda: f"written to {output}" if output else _card_text(shown))


def card_page(card: Card) -> str:
    """A card as markdown."""
    from mlspine.handover.card import markdown

    return markdown(card, changed=render.when(card.changed_at_ms))


# ---------------------------------------------------------------- drills


def _fill(folder: Path, port: int, control_port: int, *, config: Config) -> None:
    """Make the folder a copy of the workspace that listens on these ports and tells nobody."""
    from mlspine import migrations
    from mlspine.backends.snapshot import LEFT_OUT, copy_workspace
    from mlspine.core.config import FILE_NAME
    from mlspine.folder import keep_options, locate, running_options

    source = locate()
    left_out = (*LEFT_OUT, "machine", "outage", "schedule")  # batches at fixed times would write where the real ones do
    copy_workspace(config.store, source, folder, scripts=migrations.scripts(), left_out=left_out, link=True)
    (folder / ".gitignore").write_text("*\n")
    if (source / FILE_NAME).is_file():
        shutil.copy(source / FILE_NAME, folder / FILE_NAME)
    alone = {
        "serving.host": "127.0.0.1",
        "serving.port": str(port),
        "control.host": "127.0.0.1",
        "control.port": str(control_port),
        "monitoring.notify": "[]",
        "monitoring.deadman_url": "",
        "store.database": "",
        "store.blobs": "",
    }
    keep_options(folder, running_options(source) | alone)


def _drill(rehearsal: Rehearsal, name: str, task: str, *, quiet: bool) -> Drilled:
    """One runbook, written in the copy and typed there."""
    import msgspec

    from mlspine.core.errors import Unavailable
    from mlspine.handover.drill import Drilled, conclude, exercise
    from mlspine.handover.rehearsal import Callers
    from mlspine.handover.runbook import Runbook

    printed = rehearsal.type_line(f"mlspine runbook {name} {task} --json")
    if printed.exit_code:
        raise Unavailable(f"the copy wrote no runbook: {printed.output.strip()}", hint=f"mlspine runbook {name} {task}")
    runbook = msgspec.json.decode(printed.output, type=Runbook)
    if runbook.missing:
        why = "not possible yet: " + "; ".join(runbook.missing)
        return Drilled(endpoint=name, task=runbook.task, passed=False, why=why, lines=(), duration_s=0.0)
    if not quiet:
        click.echo(render.bold(f"{task} {name}"))
    with Callers(runbook.url, runbook.example if runbook.uninterrupted else None) as callers:
        lines = exercise(
            runbook, rehearsal.type_line, tell=lambda line: None if quiet else click.echo(_line_text(line))
        )
    return conclude(runbook, lines, callers.traffic)


def _line_text(line: Line) -> str:
    if line.skipped:
        return f"  {render.mark('waiting')} {line.command}  (left out: {line.skipped})"
    command = line.command if len(line.command) <= 90 else f"{line.command[:87]}..."
    return f"  {render.mark('green' if line.right else 'red')} {command}  {render.seconds(line.duration_s)}"


def _drilled_text(drilled: Drilled) -> str:
    state = "green" if drilled.passed else "red" if drilled.lines else "amber"
    return f"{render.mark(state)} {drilled.task}: {drilled.why}"


def _drills_text(name: str, found: list[Evidence]) -> str:
    if not found:
        return f"nothing was drilled yet\nNext: mlspine drill {name}"
    rows = [
        (
            render.when(each.at_ms),
            each.actor,
            each.kind.removeprefix("drill:"),
            "passed" if each.passed else "FAILED",
            each.document.get("drill", {}).get("why", ""),
        )
        for each in found
    ]
    return render.table(rows, head=("when (UTC)", "who", "task", "ended", "what was seen"), indent="")


# ---------------------------------------------------------------- the card


def _pair(text: str) -> tuple[str, str]:
    field, sign, value = text.partition("=")
    if not sign:
        raise click.UsageError(f'--set {text!r} has no "="; for instance --set owner=maria@example.org')
    return field.strip(), value


def _card_text(card: Card) -> str:
    from mlspine.handover.card import FIELDS

    marks = {"go": "green", "no go": "red", "not measured": "waiting", "no criterion": "amber"}
    mark = render.mark(marks[card.success.verdict])
    lines = [f"{mark} {render.bold(card.model)}: {card.success.verdict}: {card.success.why}", ""]
    lines += [f"  {name:<12} {card.said[name]}" for name in FIELDS if name in card.said]
    lines += ["", *(f"  {name:<15} {text}" for name, text in card.facts.items())]
    if card.gaps:
        lines += ["", "Not given"]
        lines += [f"  - {gap.field} ({gap.asks}): {gap.fails}\n      {gap.opens_with}" for gap in card.gaps]
    return "\n".join(lines)
