"""gc, backup, restore: what keeps a workspace small, and what brings it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.cli.keeping import Kept
    from mlspine.registry.upkeep import Waste


@click.command()
@click.option("--older-than", default="30d", show_default=True, metavar="TIME", help="Deleted at least so long ago.")
@click.option("--yes", is_flag=True, help="Remove it; without this it is only listed.")
@render.json_option
def gc(older_than: str, yes: bool, as_json: bool) -> None:
    """Remove deleted runs, logged models and experiments for good, with their points and files.

    Without --yes nothing is removed. A run that a registered version stands on always stays. The content of files
    goes once nobody has named it for a day.

    \b
    Examples:
      mlspine gc
      mlspine gc --older-than 7d --yes
    """
    from mlspine.cli.alerts import seconds
    from mlspine.control import connect
    from mlspine.folder import this_actor

    older_than_s = seconds(older_than)
    upkeep = connect().upkeep
    if yes:
        gone = upkeep.collect(older_than_s=older_than_s, actor=this_actor())
        render.emit(gone, as_json=as_json, text=lambda: _gone_text(gone))
        return
    due = upkeep.find(older_than_s=older_than_s)
    render.emit(due, as_json=as_json, text=lambda: _due_text(due, older_than))


@click.command()
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
@render.json_option
def backup(target: Path, as_json: bool) -> None:
    """Copy the whole workspace, while it serves, into TARGET: a new folder, or a new file ending in .tar.

    The copy is of one moment and is verified: store, ledger, every release and file. It holds digests of tokens and
    what was logged, so keep it where nobody else reads.

    \b
    Examples:
      mlspine backup /mnt/backup/mlspine-monday
      mlspine backup mlspine.tar
    """
    from mlspine.cli.keeping import back_up
    from mlspine.folder import locate

    made = back_up(locate(), target, tell=_teller(quiet=as_json))
    render.emit(made, as_json=as_json, text=lambda: f"{_kept_text(made)}\nBring it back with: mlspine restore {target}")


@click.command()
@click.argument("source", metavar="BACKUP", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Move the workspace aside that is there.")
@render.json_option
def restore(source: Path, replace: bool, as_json: bool) -> None:
    """Make the workspace found from here what BACKUP holds, migrated to this version of mlspine.

    Nothing changes unless every file is as it was written. What is there already is never overwritten: with
    --replace it is moved to a folder beside it.

    \b
    Examples:
      mlspine restore mlspine.tar
      mlspine restore /mnt/backup/mlspine-monday --replace
    """
    from mlspine.cli.keeping import restore as bring_back
    from mlspine.folder import locate, this_actor

    made = bring_back(source, locate(), replace=replace, actor=this_actor(), tell=_teller(quiet=as_json))
    render.emit(made, as_json=as_json, text=lambda: f"{_kept_text(made)}\nNext: mlspine up")


def _due_text(due: Waste, older_than: str) -> str:
    if not _things(due) and not due.left_over:
        return f"nothing was deleted more than {older_than} ago{_needed(due)}"
    lines = [f"would go, deleted more than {older_than} ago:", *_lines(due)]
    lines += [f"  {each.id}  {each.name}" for each in due.runs_shown]
    if due.runs > len(due.runs_shown):
        lines.append(f"  and {due.runs - len(due.runs_shown):,} more runs")
    return "\n".join([*lines, f"Remove it with: mlspine gc --older-than {older_than} --yes"])


def _gone_text(gone: Waste) -> str:
    return (
        "\n".join(["removed:", *_lines(gone)])
        if _things(gone) or gone.left_over
        else f"nothing to remove{_needed(gone)}"
    )


def _things(waste: Waste) -> int:
    return waste.runs + waste.logged_models + waste.experiments


def _lines(waste: Waste) -> list[str]:
    rows = [
        ("experiments", waste.experiments),
        ("runs", waste.runs),
        ("logged models", waste.logged_models),
        ("points", waste.points),
        ("files", waste.files, f"{waste.size_bytes / 1e6:,.1f} MB"),
        ("contents nobody names", waste.left_over, "each a day after the last that named it"),
    ]
    shown = [(row[0], f"{row[1]:,}", row[2] if len(row) > 2 else "") for row in rows if row[1]]
    needed = [f"  {waste.needed:,} deleted runs stay: versions stand on them"] if waste.needed else []
    return [render.table(shown), *needed]


def _needed(waste: Waste) -> str:
    return f"; {waste.needed:,} deleted runs stay, since versions stand on them" if waste.needed else ""


def _kept_text(kept: Kept) -> str:
    lines = [
        f"{kept.path}: {kept.files:,} files, {kept.size_bytes / 1e6:,.1f} MB, as of {render.when(kept.made_at_ms)} UTC",
        f"  verified: store, {kept.ledger_lines:,} lines of the ledger, every release and file",
    ]
    if kept.moved_to:
        lines.append(f"  what was there is in {kept.moved_to}")
    return "\n".join(lines)


def _teller(*, quiet: bool) -> Callable[[str], None]:
    return lambda text: None if quiet else click.echo(click.style(f"… {text}", dim=True), err=True)
