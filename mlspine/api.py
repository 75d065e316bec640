"""The verbs people import: `ship` a fitted model, `open` a workspace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlspine.control import RemoteWorkspace, connect
from mlspine.core.types import ModelVersion, Tier
from mlspine.registry.account import shipped_text
from mlspine.registry.prepare import prepare
from mlspine.workspace import RELEASES, Workspace, create, locate, this_actor

__all__ = ["ModelVersion", "RemoteWorkspace", "Workspace", "open", "ship"]


def ship(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    name: str,
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
        `predict_proba`.
    X, y: the rows and labels it was fitted on: pandas, polars, Arrow, numpy, or a list of records. With
        `transform`, X is raw: what callers will send.
    holdout: `(X, y)` of rows the model has not seen; without it, scores come from refits on parts of X, or the
        metric says NOT ESTIMABLE. Rows the model was fitted on are never counted as unseen.
    transform: callable from raw rows to what the model takes; it becomes part of the release.
    time, key: the column of X (or a parallel array) that dates a row and that identifies it, logged even when the
        model does not use them.
    source, labels: where fresh rows and late labels come from: a path, SQL, or "caller".
    recipe: the function or script that fits the model again.
    owner: who answers for it; by default git's `user.email`, marked as assumed.
    tier: "low", "medium" or "high": how much has to be shown before it may serve.
    trust: the model object came from a file that somebody else made, and you vouch for it.
    workspace: another workspace than the one found from here.
    origin: the file it came from, for the record.
    quiet: print nothing.

    Writes one release directory and its rows in the workspace; traffic does not change. Shipping the same again
    returns the existing version. Raises Invalid for an unfitted model, bad names, or holdout rows that were
    trained on.
    """
    directory = Path(workspace).resolve() if workspace is not None else locate()
    create(directory)
    prepared = prepare(
        model,
        X,
        y,
        name=name,
        releases_dir=directory / RELEASES,
        holdout=holdout,
        transform=transform,
        time=time,
        key=key,
        source=source,
        labels=labels,
        recipe=recipe,
        owner=owner,
        tier=tier,
        trust=trust,
        message=message,
        origin=origin,
    )
    services = connect(directory)
    try:
        version = services.registry.register(prepared, actor=this_actor())
    finally:
        services.close()
    if not quiet:
        sys.stdout.write(shipped_text(version, workspace=directory))
        sys.stdout.flush()
    return version


def open(path: str | Path | None = None) -> Workspace | RemoteWorkspace:
    """The services of a workspace: through its control process when one runs, else straight from its store."""
    return connect(path)
