"""Renew a model by its recorded recipe, and put any candidate before the gate. Runs where the person is.

Everything it asks of the workspace is a public method of a room, so it works beside a running control process
as it does without one; only release directories are read from disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from mlspine.core.columns import Rebuild, row_count, take
from mlspine.core.errors import Invalid, MlspineError
from mlspine.core.ids import parse_model_ref
from mlspine.core.types import Actor, Columns, ModelVersion, Release
from mlspine.data.manifest import row_digests
from mlspine.data.schema import ColumnSummary
from mlspine.feeds.service import Feeds
from mlspine.predictions.service import Predictions
from mlspine.registry.fitted_rows import input_digests, seen_rows
from mlspine.registry.prepare import Prepared, prepare
from mlspine.registry.recipe import Recipe, Written, recipe_of
from mlspine.registry.refit import fit_again
from mlspine.registry.release import load_transform, read_recipe_bytes
from mlspine.registry.service import Registry
from mlspine.retraining.comparing import Rows, Side, compare, mode_of, open_release, restrict, unseen
from mlspine.retraining.contract import Kept, check
from mlspine.retraining.fresh import Fresh, read_fresh
from mlspine.retraining.service import Attempt, Concluded, Retraining
from mlspine.retraining.split import split
from mlspine.tracking.code import Code

Say = Callable[[str], None]
Array = np.ndarray[Any, np.dtype[Any]]


class Rooms(Protocol):
    """What a renewal needs of a workspace, local or over HTTP."""

    path: Path
    registry: Registry
    predictions: Predictions
    feeds: Feeds
    retraining: Retraining


def retrain(
    rooms: Rooms,
    ref: str,
    *,
    data: str | None = None,
    target: str | None = None,
    seed: int = 0,
    message: str = "",
    actor: Actor,
    say: Say = lambda _: None,
) -> Concluded:
    """Fit what `ref` means again on fresh rows by its recipe, register it, and judge it against what it renews.

    ref: NAME is the version in Production, else the only one. data: a file, glob or SQL; else the declared
    source; else the labelled log. The newest quarter of the rows judges, the rest is fitted on. The same rows
    and seed give the same release. Registers a version whatever the verdict; one that passes is in Staging.
    Raises Invalid when the rows do not keep the data contract.
    """
    parent = rooms.registry.resolve(ref)
    release = open_release(parent)
    try:
        renewed = _fitted(rooms, parent, release, data=data, target=target, seed=seed, message=message, say=say)
    except MlspineError as exc:
        rooms.retraining.failed(parent.model, why=str(exc), parent=parent.version, actor=actor)
        raise
    version = rooms.registry.register(renewed.prepared, actor=actor)
    say(f"comparing version {version.version} with version {parent.version} on {len(renewed.gate.labels):,} rows")
    production = _side(parent, release)
    candidate = _side(version, open_release(version))
    comparison = compare(candidate, production, renewed.gate, excluded=renewed.excluded, unproven=renewed.unproven)
    return rooms.retraining.conclude(
        comparison, mode=mode_of(candidate, production), attempt=renewed.attempt, actor=actor, reason=message
    )


def gate(
    rooms: Rooms,
    ref: str,
    *,
    data: str | None = None,
    target: str | None = None,
    actor: Actor,
    say: Say = lambda _: None,
) -> Concluded:
    """Put one version before the gate: against Production, on rows that neither was fitted on.

    data, target: as in `retrain`; all of the rows judge. One that passes is moved to Staging.
    """
    version = rooms.registry.resolve(ref)
    parent = _judged_against(rooms.registry, version, named=parse_model_ref(ref).kind != "name")
    candidate, production = _side(version, open_release(version)), _side(parent, open_release(parent))
    say(f"reading rows to judge {version.model}:{version.version} by")
    fresh = read_fresh(
        parent,
        production.release,
        data=data,
        declared=_declared(rooms, parent, data, say),
        target=target,
        log=rooms.predictions,
        here=Path.cwd(),
        root=rooms.path.parent,
    )
    rows = _for_both(fresh, candidate, production)
    found = unseen(rows.columns, (parent, production.release), (version, candidate.release))
    say(f"comparing version {version.version} with version {parent.version} on {len(found.kept):,} rows")
    comparison = compare(
        candidate, production, restrict(rows, found.kept), excluded=found.excluded, unproven=found.unproven
    )
    return rooms.retraining.conclude(comparison, mode=mode_of(candidate, production), actor=actor)


# ---------------------------------------------------------------- fitting


class _Renewed(NamedTuple):
    prepared: Prepared
    attempt: Attempt
    gate: Rows
    excluded: int
    unproven: str


def _fitted(
    rooms: Rooms,
    parent: ModelVersion,
    release: Release,
    *,
    data: str | None,
    target: str | None,
    seed: int,
    message: str,
    say: Say,
) -> _Renewed:
    path, root = Path(parent.path), rooms.path.parent
    recipe = recipe_of(path, release)
    say(f"reading rows for {parent.model}")
    fresh = read_fresh(
        parent,
        release,
        data=data,
        declared=_declared(rooms, parent, data, say),
        target=target,
        log=rooms.predictions,
        here=Path.cwd(),
        root=root,
    )
    kept = check(fresh, release, _learned(parent))
    parts = split(len(kept.labels), _event_ms(kept, release), seed=seed)
    fit, judge = _part(kept, parts.fit), _part(kept, parts.gate)
    found = unseen(judge.columns, (parent, release))
    judge = _part(judge, found.kept)
    twins = _in_both(fit, judge, release)
    judge = _part(judge, np.flatnonzero(~twins))
    say(f"fitting on {len(fit.labels):,} rows of {fresh.said} ({recipe.kind})")
    began = time.perf_counter()
    inputs = Rebuild(release.signature.inputs)(fit.columns)
    model = fit_again(path, release, inputs, fit.labels, root=root, seed=seed)
    fitted_s = time.perf_counter() - began
    say(f"fitted in {fitted_s:.1f} s; measuring it and taking its baseline")
    said = message or f"version {parent.version} fitted again on {len(fit.labels):,} rows of {fresh.said}"
    prepared = _prepared(model, parent, release, recipe, fit, judge, said)
    attempt = Attempt(
        parent=parent.version,
        rows=len(fit.labels),
        rows_from=fresh.said,
        recipe=recipe.kind,
        seed=seed,
        fitted_s=round(fitted_s, 3),
        warnings=kept.warnings,
    )
    rows = Rows(judge.columns, judge.labels, parts.said.format(fresh.said))
    return _Renewed(prepared, attempt, rows, found.excluded + int(twins.sum()), found.unproven)


def _declared(rooms: Rooms, parent: ModelVersion, data: str | None, say: Say) -> str:
    """The source a renewal without `data` reads, judged first: what is wrong with it is an alert as at any check."""
    if data is not None:
        return ""
    for state in rooms.feeds.check_sources(parent.model):
        if state.problem:
            say(f"the source needs a look: {state.problem}")
    return rooms.feeds.of(parent.model).source.text


def _prepared(
    model: Any, parent: ModelVersion, release: Release, recipe: Recipe, fit: Kept, judge: Kept, message: str
) -> Prepared:
    """The candidate's release, with everything that was said of its parent."""
    path = Path(parent.path)
    return prepare(
        model,
        Rebuild(fit.schema)(fit.columns),
        _named(fit.labels, release.signature.target),
        name=parent.model,
        releases_dir=path.parent,
        holdout=_holdout(judge, release),
        transform=load_transform(path, release),
        time=release.settings.get("time") or None,
        key=release.settings.get("key") or None,
        source=str(parent.captured.get("data", {}).get("source", "")) or None,
        labels=str(parent.captured.get("labels_from", "")) or None,
        recipe=_written(path, release, recipe, parent),
        owner=None if parent.owner_assumed else parent.owner or None,
        tier=parent.tier,
        message=message,
        origin=f"retrained from {parent.model}:{parent.version}",
        code=Code(release.code, str(parent.captured.get("diff", "")), str(parent.captured.get("script", ""))),
        environment=release.environment,
    )


def _in_both(fit: Kept, judge: Kept, release: Release) -> Array:
    """Rows that judge though the candidate is fitted on their like, beyond what chance repeats."""
    inputs = release.signature.inputs
    by_inputs = seen_rows(input_digests(judge.columns, inputs), input_digests(fit.columns, inputs))
    whole = (row_digests({**part.columns, "\0label": part.labels}) for part in (judge, fit))
    return np.asarray(by_inputs | seen_rows(*whole))


def _written(path: Path, release: Release, recipe: Recipe, parent: ModelVersion) -> Written:
    content = read_recipe_bytes(path, release) if recipe.digest else b""
    return Written(recipe, content, str(parent.captured.get("recipe", {}).get("name", "")))


def _holdout(judge: Kept, release: Release) -> tuple[Any, Any] | None:
    if not len(judge.labels):
        return None
    return Rebuild(judge.schema)(judge.columns), _named(judge.labels, release.signature.target)


def _named(labels: Array, target: str) -> Any:
    return {target: labels} if target else labels


# ---------------------------------------------------------------- rows


def _part(kept: Kept, at: Array) -> Kept:
    return kept._replace(columns=take(kept.columns, at), labels=kept.labels[at])


def _event_ms(kept: Kept, release: Release) -> Array | None:
    """Event times of the rows; None when nothing dates them, or not all of them."""
    values = kept.columns.get(str(release.settings.get("time") or ""))
    if values is None or values.dtype.kind not in "Mi":
        return None
    if values.dtype.kind == "M" and np.isnat(values).any():
        return None
    at_ms = values.astype("datetime64[ms]").astype(np.int64) if values.dtype.kind == "M" else values
    return np.asarray(at_ms)


def _for_both(fresh: Fresh, candidate: Side, production: Side) -> Rows:
    """Rows in the types of both; a column they share must mean the same to both."""
    kept = check(fresh, production.release, _learned(production.version))
    columns: Columns = dict(kept.columns)
    other = check(fresh, candidate.release, _learned(candidate.version))
    columns |= {name: values for name, values in other.columns.items() if name not in columns}
    if row_count(other.columns) != row_count(kept.columns):
        raise Invalid("the two versions do not take the same rows", hint="their labels differ; compare them by hand")
    return Rows(columns, kept.labels, fresh.said)


def _learned(version: ModelVersion) -> list[ColumnSummary]:
    return msgspec.convert(version.captured.get("schema", []), type=list[ColumnSummary])


# ---------------------------------------------------------------- who is judged


def _side(version: ModelVersion, release: Release) -> Side:
    return Side(version, release, recipe_of(Path(version.path), release))


def _judged_against(registry: Registry, version: ModelVersion, *, named: bool) -> ModelVersion:
    versions = registry.versions(version.model)
    live = next((each for each in reversed(versions) if each.stage == "Production"), None)
    if not named and len(versions) > 1:
        newest = versions[-1].version
        raise Invalid(f"which version of {version.model}?", hint=f"name one: mlspine gate {version.model}:{newest}")
    if live is not None:
        return registry.get(live.model, live.version)
    earlier = [each for each in versions if each.version < version.version]
    if not earlier:
        raise Invalid(
            f"nothing of {version.model} is in production, so there is nothing to compare version"
            f" {version.version} with",
            hint=f"serve one: mlspine serve {version.model}:{version.version}",
        )
    return registry.get(version.model, earlier[-1].version)
