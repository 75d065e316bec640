"""The whole workspace out into a folder: from a copy made beside that folder, renamed when it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlspine import __version__, migrations
from mlspine.backends.snapshot import LEFT_OUT
from mlspine.cli import render
from mlspine.cli.handover import card_page, runbook_page
from mlspine.cli.keeping import copy_now
from mlspine.core.config import Config, StoreConfig, load_config
from mlspine.core.errors import Conflict, Denied
from mlspine.core.ids import now_ms, uuid7
from mlspine.folder import locate, running_options
from mlspine.handover.runbook import TASKS
from mlspine.handover.takeout import README, Part, readme, settings_text, take_out
from mlspine.workspace import Workspace

if TYPE_CHECKING:
    from mlspine.workspace import Services


def leave(folder: Path, *, tell: Callable[[str], None]) -> list[Part]:
    """Write the workspace found from here into `folder`, which must not be there yet: whole, or not at all."""
    if folder.exists():
        raise Conflict(f"{folder} is there already", hint="name a folder that does not exist")
    source, folder = locate(), folder.absolute()
    config = load_config(source, overrides=running_options(source))
    draft = folder.with_name(f".{folder.name}-draft-{uuid7()[-8:]}")
    try:
        draft.mkdir(parents=True, mode=0o700)
    except OSError as exc:
        raise Denied(f"{draft.parent} cannot be written: {exc.strerror}", hint="name a folder elsewhere") from exc
    try:
        tell("a copy as of now")
        copied = _copied(source, draft / "copy", config)
        try:
            parts = _written(copied, draft / "out", str(source), tell)
        finally:
            copied.close()
        (draft / "out").rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return parts


def _copied(source: Path, target: Path, config: Config) -> Workspace:
    """A workspace of its own with the same content and settings, everything answered so far included."""
    unread = copy_now(source, target, config, left_out=LEFT_OUT)
    copied = Workspace(target, msgspec.structs.replace(config, store=StoreConfig()))
    if unread:
        copied.predictions.ingest()
    return copied


def _written(copied: Workspace, target: Path, source: str, tell: Callable[[str], None]) -> list[Part]:
    target.mkdir()
    pages = {path: text.replace(str(copied.path), source) for path, text in _pages(copied)}
    parts = take_out(
        target,
        copy=copied.path,
        db=copied.db,
        scripts=migrations.scripts(),
        left_out=LEFT_OUT,
        pages={**pages, "settings.json": settings_text(copied.config.settings)},
        ledger=copied.governance.export(),
        tell=tell,
    )
    when = render.when(now_ms())
    (target / README).write_text(
        readme(parts, workspace=source, when=when, version=__version__, left_out=LEFT_OUT), encoding="utf-8"
    )
    return parts


def _pages(workspace: Services) -> Iterator[tuple[str, str]]:
    for model in workspace.registry.models():
        yield f"cards/{model.name}.md", card_page(workspace.handover.card(model.name))
    for endpoint in workspace.deployment.endpoints():
        if endpoint.current.cause == "watch":
            continue  # its runbooks are kept where it runs
        for task in TASKS:
            written = workspace.handover.runbook(endpoint.name, task)
            yield f"runbooks/{endpoint.name}-{task}.md", runbook_page(workspace, written)
