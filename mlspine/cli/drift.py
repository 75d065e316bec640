"""drift: one table against another, in the terminal, as a page or as JSON. No workspace, no server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.comparing import Drift

FOUND = 3
_RANKS = ("OK", "INFO", "WARNING", "CRITICAL")


@click.command()
@click.argument("reference")
@click.argument("current")
@click.option("--time", default=None, metavar="COLUMN", help="The column that dates rows; limits then fit its weeks.")
@click.option("--columns", default=None, metavar="A,B,...", help="Compare only these.")
@click.option("--score", default=None, metavar="COLUMN", help="A column that holds what a model scored.")
@click.option("--prediction", default=None, metavar="COLUMN", help="A column that holds what a model answered.")
@click.option("--html", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the page to this file.")
@click.option("--save-reference", "profile", type=click.Path(path_type=Path, dir_okay=False),
              help="Keep the reference's profile; it stands for the rows from then on.")  # fmt: skip
@click.option("--fail-on", type=click.Choice(["info", "warning", "critical"]),
              help="Exit with 3 when the verdict is that or worse, or the rows are too few for one.")  # fmt: skip
@render.json_option
def drift(
    reference: str,
    current: str,
    time: str | None,
    columns: str | None,
    score: str | None,
    prediction: str | None,
    file: Path | None,
    profile: Path | None,
    fail_on: str | None,
    as_json: bool,
) -> None:
    """Has CURRENT changed against REFERENCE by more than chance, and by enough to matter?

    Both are Parquet, CSV or JSON lines files, globs of them, SQL over them, or saved profiles. Files are read a
    part at a time, so they may be larger than memory. Exits with 0 once both were compared; see --fail-on.

    \b
    Examples:
      mlspine drift train.parquet today.csv
      mlspine drift 'train/*.parquet' 'today/*.parquet' --time at --html drift.html
      mlspine drift train.profile today.csv --fail-on warning --json
    """
    from mlspine.comparing import drift as compare

    progress = _Progress()
    chosen = [name.strip() for name in columns.split(",") if name.strip()] if columns is not None else None
    try:
        found = compare(
            reference, current, time=time, columns=chosen, score=score, prediction=prediction, seen=progress
        )
    finally:
        progress.clear()
    if profile is not None:
        _writing("--save-reference", profile, found.reference.save)
    if file is not None:
        _writing("--html", file, lambda path: path.write_text(found.html(), "utf-8", errors="replace"))
        click.echo(f"{file} ({file.expanduser().stat().st_size / 1000:,.0f} kB, needs no network)", err=as_json)
    if as_json:
        click.echo(render.to_json(found.to_dict()))
    elif file is None:
        _show(found)
    if fail_on and (found.report.status != "JUDGED" or _RANKS.index(found.severity) >= _RANKS.index(fail_on.upper())):
        raise click.exceptions.Exit(FOUND)


def _show(found: Drift) -> None:
    from mlspine.cli.report_text import text

    click.echo(text(found.to_dict(), width=shutil.get_terminal_size((100, 24)).columns))
    if found.reference.skipped:
        listed = ", ".join(f"{name} ({why})" for name, why in found.reference.skipped.items())
        click.echo(f"\nNot compared: {listed}")


def _writing(option: str, path: Path, write: Callable[[Path], object]) -> None:
    from mlspine.core.errors import Invalid

    path = path.expanduser()
    try:
        write(path)
    except OSError as exc:
        raise Invalid(f"cannot write {path}: {exc.strerror}", hint=f"give another path to {option}") from exc


class _Progress:
    """How far a long file is read, on a terminal's last line."""

    def __init__(self) -> None:
        self._shown = False

    def __call__(self, rows: int, of: int) -> None:
        if not sys.stderr.isatty() or (rows == of and not self._shown):
            return
        self._shown = True
        click.echo(f"\r{rows:,} of {of:,} rows read ({rows / of:.0%})\x1b[K", err=True, nl=False)

    def clear(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
