"""report: one judged window of an endpoint, in the terminal, as a page or as JSON."""

from __future__ import annotations

import datetime
import shutil
import webbrowser
from pathlib import Path

import click

from mlspine.cli import render

LATEST = "latest"


@click.command()
@click.argument("name")
@click.option("--window", default=LATEST, show_default=True, help="A moment in it, e.g. 2013-04-01T06:00 (UTC).")
@click.option("--release", default="", help="The beginning of a release's hash, where two share a window.")
@click.option("--causes", is_flag=True, help="Look for causes too; it asks the model and takes seconds.")
@click.option("--html", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the page to this file.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@render.json_option
def report(name: str, window: str, release: str, causes: bool, file: Path | None, opens: bool, as_json: bool) -> None:
    """The report of one judged window of endpoint NAME: verdict, columns by impact, quality, what would change it.

    Its figures are those stored when the window was judged, so they are those of the alert it raised.

    \b
    Examples:
      mlspine report churn
      mlspine report churn --causes --html churn.html
      mlspine report churn --window 2013-04-01T06:00 --json
    """
    from mlspine.control import connect

    if as_json and opens:
        raise click.UsageError("--json prints for machines, --open shows a person the page; give one of them")
    at_ms = _moment(window)
    workspace = connect()
    workspace.deployment.get(name)
    workspace.status.refresh()
    found = workspace.monitoring.document(name, at_ms=at_ms, release_hash=release, causes=causes)
    if file is not None or opens:
        written = _write(found, file or _own_file(workspace.path, name))
        if not as_json:
            click.echo(f"{written} ({written.stat().st_size / 1000:,.0f} kB, needs no network)")
        if opens and not webbrowser.open(written.as_uri()):
            click.echo("no browser opened here; copy the file to where there is one", err=True)
    if as_json:
        click.echo(render.to_json(found))
    elif file is None and not opens:
        from mlspine.cli.report_text import text

        click.echo(text(found, width=shutil.get_terminal_size((100, 24)).columns))


def _write(found: dict[str, object], file: Path) -> Path:
    from mlspine.core.errors import Invalid
    from mlspine.reporting.page import page

    file = file.expanduser().absolute()
    try:
        file.write_text(page(found), "utf-8", errors="replace")
    except OSError as exc:
        raise Invalid(f"cannot write {file}: {exc.strerror}", hint="give another path to --html") from exc
    return file


def _own_file(workspace: Path, name: str) -> Path:
    """Where --open writes without --html: beside the work, overwritten by the next one."""
    folder = workspace.parent if workspace.is_dir() else Path()
    return folder / f"report-{name}.html"


def _moment(window: str) -> int:
    """
    >>> _moment("latest"), _moment("2013-04-01"), _moment("2013-04-01T06:00:00Z")
    (0, 1364774400000, 1364796000000)
    """
    if window == LATEST:
        return 0
    try:
        found = datetime.datetime.fromisoformat(window)
    except ValueError as exc:
        raise click.BadParameter(
            f"{window!r} is not a time; write it like 2013-04-01T06:00 (UTC), or latest", param_hint="--window"
        ) from exc
    return int((found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp() * 1000)
