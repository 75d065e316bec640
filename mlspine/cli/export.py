"""export: what leaves the workspace, as files for other people's tools."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlspine.cli import render
from mlspine.cli.interop import export_mlflow

if TYPE_CHECKING:
    from mlspine.core.plan import Endpoint, Revision
    from mlspine.core.types import Actor
    from mlspine.governance.tokens import NewToken
    from mlspine.handover.image import Image
    from mlspine.workspace import Workspace

TOKEN_NAME = "admin"


@click.group()
def export() -> None:
    """Take a model or the whole workspace elsewhere: a container image, a compose file, open formats."""


def _image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("name"),
        click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False)),
        click.option(
            "--wheel",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="A wheel of mlspine to install instead of the published one.",
        ),
        click.option("--extra", "extras", multiple=True, help="An extra of mlspine to install, such as alerts."),
        render.json_option,
    )[::-1]:
        command = option(command)
    return command


@export.command()
@_image_options
def image(name: str, folder: Path, wheel: Path | None, extras: tuple[str, ...], as_json: bool) -> None:
    """Write what builds a container image of endpoint NAME into DIR: Dockerfile, exact versions, releases, ledger.

    The log, labels and tokens stay here; the image gets an admin token of its own, shown once.

    \b
    Example:
      mlspine export image churn ./churn-image
    """
    made, token = _write(name, folder, wheel, extras)
    tag = f"mlspine-{name.lower()}:{made.version}"
    steps = [
        f"docker build -t {tag} {folder}",
        f"docker run --init -p 8080:8080 -p 8081:8081 {tag}",
    ]
    _tell(folder, token, steps, as_json=as_json)


@export.command()
@_image_options
def compose(name: str, folder: Path, wheel: Path | None, extras: tuple[str, ...], as_json: bool) -> None:
    """Write the same as `export image`, and a compose file with its ports and a volume.

    \b
    Example:
      mlspine export compose churn ./churn-compose
    """
    from mlspine.handover.image import compose as compose_text

    made, token = _write(name, folder, wheel, extras)
    (folder / "compose.yaml").write_text(compose_text(made))
    _tell(folder, token, [f"docker compose -f {folder / 'compose.yaml'} up --build --detach"], as_json=as_json)


def _write(name: str, folder: Path, wheel: Path | None, extras: tuple[str, ...]) -> tuple[Image, NewToken]:
    """Fill the folder; raises NotFound for an endpoint that is not served, Conflict for a folder in use."""
    from mlspine.core.errors import Conflict
    from mlspine.folder import locate, this_actor
    from mlspine.workspace import Workspace

    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty", hint="name a new folder, or empty it first")
    workspace = Workspace.open(locate())
    try:
        endpoint = workspace.deployment.get(name)
        made = _image(workspace, endpoint, wheel.name if wheel else "", extras)
        folder.mkdir(parents=True, exist_ok=True)
        _write_texts(made, folder, wheel)
        token = _write_workspace(workspace, endpoint, folder / "workspace", this_actor())
    finally:
        workspace.close()
    return made, token


def _image(workspace: Workspace, endpoint: Endpoint, wheel: str, extras: tuple[str, ...]) -> Image:
    from mlspine import __version__
    from mlspine.core.errors import Conflict
    from mlspine.handover.image import image_of
    from mlspine.registry.pickling import freeze, needed_by
    from mlspine.registry.release import read_release
    from mlspine.registry.watched import require_model

    current = endpoint.current
    if not current.version:
        raise Conflict(f"{endpoint.name} answers with no release now", hint=f"mlspine promote {endpoint.name} VERSION")
    version = require_model(workspace.registry.get(endpoint.model, current.version))
    return image_of(
        endpoint.name,
        version=current.version,
        release_hash=current.release_hash,
        lock=read_release(Path(version.path)).environment,
        own=needed_by("mlspine", version.captured.get("freeze") or freeze()),
        mlspine=__version__,
        extras=extras,
        wheel=wheel,
    )


def _write_texts(made: Image, folder: Path, wheel: Path | None) -> None:
    from mlspine.handover.image import dockerfile, requirements_text

    (folder / "Dockerfile").write_text(dockerfile(made))
    (folder / "requirements.txt").write_text(requirements_text(made))
    if wheel is not None:
        shutil.copy(wheel, folder / wheel.name)


def _write_workspace(workspace: Workspace, endpoint: Endpoint, target: Path, actor: Actor) -> NewToken:
    """A workspace of its own with this endpoint, its releases and the ledger so far, and a token to reach it."""
    from mlspine import migrations
    from mlspine.backends.sqlite import SqliteDatabase
    from mlspine.governance.service import Governance
    from mlspine.governance.tokens import Tokens
    from mlspine.handover.carry import carry_release, carry_rows, releases_of

    revisions: list[Revision] = workspace.deployment.revisions(endpoint.name)
    hashes = releases_of(revisions, lambda version: workspace.registry.get(endpoint.model, version).release_hash)
    (target / "releases").mkdir(parents=True)
    (target / ".gitignore").write_text("*\n")
    db = SqliteDatabase(target / "store.db")
    try:
        db.migrate(migrations.scripts())
        governance = Governance(db=db)
        with db.write() as tx:
            carry_rows(workspace.db, tx, endpoint=endpoint.name, model=endpoint.model, releases=hashes)
            governance.record("export", f"endpoint:{endpoint.name}", actor, "into a container image")
        token = Tokens(db=db, governance=governance).create(TOKEN_NAME, role="admin", actor=actor)
    finally:
        db.close()
    for each in hashes:
        carry_release(Path(workspace.registry.by_hash(each).path), target / "releases")
    return token


def _tell(folder: Path, token: NewToken, steps: list[str], *, as_json: bool) -> None:
    told = {"folder": str(folder), "token": token.secret, "expires_at_ms": token.token.expires_at_ms, "steps": steps}
    until = render.when(token.token.expires_at_ms)[:10]
    lines = [
        f"written to {folder}",
        f"admin token, shown only now, valid until {until}: {token.secret}",
        *(f"  {step}" for step in steps),
        "Then, from anywhere that reaches it: mlspine login http://HOST:8081",
    ]
    render.emit(told, as_json=as_json, text=lambda: "\n".join(lines))


export.add_command(export_mlflow)


@export.command("workspace")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@render.json_option
def whole_workspace(folder: Path, as_json: bool) -> None:
    """Take everything out into the new folder DIR, in formats that need no mlspine: Parquet, JSON lines, MLflow.

    Works while serving and for somebody who may only read the workspace. DIR appears when all of it is written.

    \b
    Example:
      mlspine export workspace ./everything
    """
    from mlspine import login
    from mlspine.cli.leaving import leave

    login.refuse_server("an export of the workspace")
    parts = leave(folder, tell=lambda part: None if as_json else click.echo(f"… {part}", err=True))
    rows = sum(part.rows for part in parts if part.path.startswith("log/"))
    told = {"folder": str(folder), "parts": parts}
    text = f"{folder} holds {len(parts)} parts, {rows:,} logged rows among them\nNext: read {folder / 'README.txt'}"
    render.emit(told, as_json=as_json, text=lambda: text)
