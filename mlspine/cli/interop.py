"""import mlflow, export mlflow: everything from another MLflow store, or to one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlspine.cli import render

if TYPE_CHECKING:
    from mlspine.core.types import ModelVersion
    from mlspine.interop.progress import Progress, Report
    from mlspine.interop.source import Source
    from mlspine.registry.arrival import Arrivals
    from mlspine.workspace import Workspace

LINE_EVERY_S = 10.0
SHOWN = 10


@click.group("import")
def import_() -> None:
    """Bring what other tools hold into this workspace."""


@import_.command("mlflow")
@click.argument("uri")
@click.option(
    "--artifacts",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="For an SQLite file: the folder its server keeps files in (--artifacts-destination).",
)
@render.json_option
def import_mlflow(uri: str, artifacts: Path | None, as_json: bool) -> None:
    """Bring experiments, runs with their whole histories, files and models from the MLflow store URI.

    URI is a running server or sqlite:///FILE. It is only read. Stopped half-way, the same command goes on; done,
    it brings what is new.

    \b
    Examples:
      mlspine import mlflow http://127.0.0.1:5000
      mlspine import mlflow sqlite:///mlflow.db --artifacts ./mlartifacts
    """
    from mlspine.folder import locate, this_actor
    from mlspine.interop.importing import Import
    from mlspine.workspace import Workspace

    source = _source(uri, artifacts)
    workspace = Workspace.open(locate())
    try:
        report = Import(
            source,
            db=workspace.db,
            artifacts=workspace.artifacts,
            governance=workspace.governance,
            actor=this_actor(),
            arrivals=_arrivals(workspace),
            tell=_teller(quiet=as_json),
        ).bring()
    finally:
        workspace.close()
        source.close()
    render.emit(report, as_json=as_json, text=lambda: _text("brought from", report))


@click.command("mlflow")
@click.argument("url")
@render.json_option
def export_mlflow(url: str, as_json: bool) -> None:
    """Take experiments, runs with their whole histories, files and models to the running MLflow server URL.

    Stopped half-way, the same command goes on; done, it takes what is new.

    \b
    Example:
      mlspine export mlflow http://127.0.0.1:5000
    """
    from mlspine.core.ids import SHORT_HASH, digest_json
    from mlspine.folder import locate, this_actor
    from mlspine.interop.connection import Connection
    from mlspine.interop.exporting import Export
    from mlspine.interop.models import OurModels
    from mlspine.interop.own import OwnSource
    from mlspine.interop.target import Target
    from mlspine.workspace import Workspace

    connection = Connection(url)
    workspace = Workspace.open(locate())
    try:
        source = OwnSource(
            db=workspace.db,
            artifacts=workspace.artifacts,
            models=OurModels(workspace.db),
            name=digest_json(str(workspace.path))[:SHORT_HASH],
        )
        report = Export(source, Target(connection), db=workspace.db, tell=_teller(quiet=as_json)).take()
        workspace.governance.record(
            action="export",
            subject=f"mlflow:{report.store}",
            actor=this_actor(),
            facts={"runs": report.progress.runs, "versions": report.progress.versions},
        )
    finally:
        workspace.close()
        connection.close()
    render.emit(report, as_json=as_json, text=lambda: _text("taken to", report))


def _source(uri: str, artifacts: Path | None) -> Source:
    from mlspine.core.errors import Invalid
    from mlspine.interop.connection import Connection
    from mlspine.interop.rest import RestSource
    from mlspine.interop.sqlite import PREFIX, SqliteSource

    if uri.startswith(PREFIX):
        return SqliteSource(uri, artifacts=artifacts)
    if not uri.startswith(("http://", "https://")):
        raise Invalid(
            f"{uri!r} is no MLflow store that can be read",
            hint="name a running server, http://127.0.0.1:5000, or its file, sqlite:///mlflow.db",
        )
    if artifacts is not None:
        raise click.UsageError("--artifacts is for sqlite:///FILE; a server hands its files out itself")
    return RestSource(Connection(uri))


def _arrivals(workspace: Workspace) -> Arrivals:
    from mlspine.core.errors import NotFound
    from mlspine.folder import RELEASES
    from mlspine.registry.arrival import Arrivals

    def version_of(name: str, which: str) -> ModelVersion:
        if not which.isdecimal():
            raise NotFound(f"models:/{name} has no version {which!r} yet")
        return workspace.registry.get(name, int(which))

    return Arrivals(
        tracking=workspace.tracking,
        models=workspace.models,
        artifacts=workspace.artifacts,
        releases_dir=workspace.path / RELEASES,
        blobs=workspace.blobs if workspace.shared else None,
        version_of=version_of,
    )


def _teller(*, quiet: bool) -> Callable[[Progress], None]:
    """Says how far it is: over and over in one line of a terminal, now and then in a file."""
    on_terminal, told_s = sys.stderr.isatty(), time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal told_s
        if quiet or (not on_terminal and time.monotonic() - told_s < LINE_EVERY_S):
            return
        told_s = time.monotonic()
        line = _line(progress)
        click.echo(f"\r\x1b[K{line}" if on_terminal else line, err=True, nl=not on_terminal)

    return tell


def _line(progress: Progress) -> str:
    left = progress.runs_total - progress.runs
    return (
        f"… runs {progress.runs:,} of {progress.runs_total:,} ({left:,} left), {progress.points:,} points,"
        f" {progress.files:,} files ({progress.bytes / 1e6:,.1f} MB), {progress.rows_per_s:,.0f} rows/s"
    )


def _text(verb: str, report: Report) -> str:
    done = report.progress
    rows = [
        ("experiments", done.experiments),
        ("runs", done.runs - done.here_already),
        ("runs already there", done.here_already),
        ("points", done.points),
        ("files", done.files),
        ("logged models", done.logged_models),
        ("registered models", done.registered_models),
        ("model versions", done.versions),
    ]
    lines = ["\n" if sys.stderr.isatty() else "", f"{verb} {report.store} in {render.seconds(done.seconds)}"]
    lines.append(render.table(rows))
    lines += report.renamed
    if done.not_brought:
        lines.append(f"{done.not_brought:,} things stay where they are:")
        lines += [f"  - {each}" for each in report.not_brought[:SHOWN]]
        if done.not_brought > SHOWN:
            lines.append(
                f"  … all of them with their reasons: the same command with --json (first {len(report.not_brought)})"
            )
    return "\n".join(lines).lstrip("\n")
