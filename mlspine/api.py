"""The verbs people import: `ship` a fitted model, `open` a workspace."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time as clocks
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlspine import login
from mlspine.control import RemoteWorkspace, ServerWorkspace, connect
from mlspine.core import effort
from mlspine.core.config import find_file
from mlspine.core.errors import Invalid
from mlspine.core.types import Actor, ModelVersion, Tier
from mlspine.folder import RELEASES, create, locate, this_actor
from mlspine.governance import access
from mlspine.registry.account import shipped_text
from mlspine.registry.filling import PREFIX, find_bare, load_bare
from mlspine.registry.prepare import Prepared, prepare
from mlspine.sending import send_release
from mlspine.tracking.current import current_run
from mlspine.workspace import Workspace

__all__ = ["ModelVersion", "RemoteWorkspace", "Workspace", "open", "ship"]

CACHE_KEPT_S = 7 * 86_400.0


def ship(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    name: str = "",
    holdout: tuple[Any, Any] | None = None,
    transform: Callable[[Any], Any] | None = None,
    time: Any = None,
    key: Any = None,
    source: str | None = None,
    labels: str | None = None,
    recipe: Any = None,
    owner: str | None = None,
    tier: Tier = "low",
    trust: bool = False,
    message: str | None = None,
    workspace: str | Path | None = None,
    origin: str = "",
    quiet: bool = False,
) -> ModelVersion:
    """Turn a fitted model into a release that can be served, and print what was captured and what is missing.

    model: a fitted scikit-learn estimator or Pipeline, a LightGBM model, or any object with `predict` or
        `predict_proba`. Or "models:/NAME/3", a version that an MLflow client registered: it is filled in, and
        keeps its number.
    X, y: the rows and labels it was fitted on: pandas, polars, Arrow, numpy, or a list of records. With
        `transform`, X is raw: what callers will send.
    holdout: `(X, y)` of rows the model has not seen; without it, scores come from refits on parts of X, or the
        metric says NOT ESTIMABLE. Rows the model was fitted on are never counted as unseen.
    transform: callable from raw rows to what the model takes; it becomes part of the release.
    time, key: the column of X (or a parallel array) that dates a row and that identifies it, logged even when the
        model does not use them.
    source, labels: where fresh rows and late labels come from: a path or glob, SQL, a Postgres URL, or "caller".
    recipe: the function of (X, y), or the path of the script, that fits the model again; by default the model
        itself is cloned and fitted, where it can be.
    owner: who answers for it; by default git's `user.email`, marked as assumed.
    tier: "low", "medium" or "high": how much has to be shown before it may serve.
    trust: the model object came from a file that somebody else made, and you vouch for it.
    workspace: another workspace than the one found from here or logged in to: a folder, or a server's URL.
    origin: the file it came from, for the record.
    quiet: print nothing.

    Writes one release directory and its rows in the workspace; traffic does not change. Shipping the same again
    returns the existing version. Raises Invalid for an unfitted model, bad names, or holdout rows that were
    trained on.
    """
    began_s = clocks.monotonic()
    server = login.server(workspace)
    if server is not None:
        services = _may_ship(ServerWorkspace(server), name)
        directory = _cache()
    else:
        directory = Path(workspace).resolve() if workspace is not None else locate()
        create(directory)
    bare = _bare(model, directory, name=name, on_server=server is not None)
    prepared = prepare(
        model if bare is None else load_bare(bare, trust=trust),
        X,
        y,
        name=name if bare is None else bare.model,
        releases_dir=directory / RELEASES,
        holdout=holdout,
        transform=transform,
        time=time,
        key=key,
        source=_seen_from(source, directory, on_server=server is not None),
        labels=_seen_from(labels, directory, on_server=server is not None),
        recipe=recipe,
        owner=owner,
        tier=tier,
        trust=trust,
        message=message,
        origin=origin,
    )
    if run := current_run.get():
        prepared = msgspec.structs.replace(prepared, run_id=run)
    if server is not None:
        version = _bring(services, directory / RELEASES / prepared.release_hash, prepared, quiet=quiet)
    else:
        with contextlib.closing(connect(directory)) as here:
            if bare is None:
                version = here.registry.register(prepared, actor=this_actor())
            else:
                version = here.registry.fill(prepared, version=bare.version, actor=this_actor())
        if not origin:  # a file is shipped by a command, which is recorded as one
            said = {"transform": transform, "time": time, "key": key, "source": source, "labels": labels}
            options = [option for option, value in said.items() if value is not None]
            options += ["recipe"] * (recipe is not None) + ["tier"] * (tier != "low")
            _note(directory, prepared.name, options, recipe, began_s)
    if not quiet:
        sys.stdout.write(shipped_text(version, saved_in=server.url if server else str(directory)))
        sys.stdout.flush()
    return version


def open(path: str | Path | None = None) -> Workspace | RemoteWorkspace:
    """The services of a workspace: a server's (a URL, or the one logged in to), or a folder's, through its control
    process when one runs, else straight from its store."""
    return connect(path)


def _bare(model: Any, directory: Path, *, name: str, on_server: bool) -> ModelVersion | None:
    """The version that is to be filled in, None when `model` is a model or a file."""
    if not isinstance(model, str) or not model.startswith(PREFIX):
        return None
    if on_server:
        raise Invalid(
            f"the files of {model} are on the server, and only there can they be loaded",
            hint=f"on that machine: mlspine ship {model} --data ROWS",
        )
    with contextlib.closing(connect(directory)) as here:
        return find_bare(here.registry, model, name=name)


def _note(directory: Path, name: str, options: list[str], recipe: Any, began_s: float) -> None:
    """Keep the line in the effort ledger: what was said, not with which values."""
    script = str(recipe) if isinstance(recipe, str | Path) else ""
    step = effort.Step(
        at_ms=clocks.time_ns() // 1_000_000,
        took_s=round(clocks.monotonic() - began_s, 3),
        by="line",
        what="ship",
        names=(name,),
        options=tuple(options),
        scripts=(script,) if script else (),
        config_at_ms=effort.changed_at_ms(find_file(directory)),
    )
    effort.append(directory, step)


def _seen_from(text: str | None, directory: Path, *, on_server: bool) -> str | None:
    """A declared source as it will be read: from the folder that holds the workspace; on a server as it is."""
    from mlspine.data.source import anchored, parse_source

    if text is None:
        return None
    return parse_source(text).text if on_server else anchored(text, cwd=Path.cwd(), root=directory.parent)


def _may_ship(services: ServerWorkspace, name: str) -> ServerWorkspace:
    """Refused by the server in the end, it is refused before minutes of preparing."""
    me = services.me
    actor = Actor(name=me.name, kind="client", role=me.role, scope=me.scope)
    access.authorise(actor, "ship", "ship")
    access.limit(actor, "ship", {"name": name})
    return services


def _bring(services: ServerWorkspace, release: Path, prepared: Prepared, *, quiet: bool) -> ModelVersion:
    """Send a prepared release to a server and register it there. Interrupted, what was sent is kept there."""

    def tell(text: str) -> None:
        if not quiet:
            sys.stderr.write(f"{text}\n")

    send_release(services.client, release, tell)
    version = services.registry.register(prepared, actor=this_actor())
    shutil.rmtree(release, ignore_errors=True)
    return version


def _cache() -> Path:
    """Where releases for servers are prepared. Those left behind by interrupted ships go after a week."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlspine"
    for release in (cache / RELEASES).glob("*"):
        if release.stat().st_mtime < clocks.time() - CACHE_KEPT_S:
            shutil.rmtree(release, ignore_errors=True)
    return cache
