"""Runs as people and programs outside read them: values by name, null where there is none. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from mlspine.artifacts import Entry
from mlspine.core.types import CodeState, Struct
from mlspine.tracking.capture import TAG as CAPTURE_TAG
from mlspine.tracking.logged_model import VERSIONS_TAG, LoggedModel
from mlspine.tracking.run import CONTEXT_TAG, LOGGED_MODELS_TAG, NAME_TAG, DatasetInput, Point, Run

_LONG = (LOGGED_MODELS_TAG, NAME_TAG)  # shown otherwise


class RunLine(Struct, frozen=True, kw_only=True):
    """One run. Times in milliseconds UTC, 0 where they were not said; metrics are the latest, null for NaN."""

    id: str
    name: str
    experiment_id: int
    experiment: str
    user: str
    status: str
    deleted: bool
    started_at_ms: int
    ended_at_ms: int
    duration_s: float | None
    metrics: dict[str, float | None]
    params: dict[str, str]
    tags: dict[str, str]


class RunList(Struct, frozen=True, kw_only=True):
    """A page of runs; the token of the next one is "" on the last."""

    runs: tuple[RunLine, ...]
    next_page_token: str = ""


class RunName(Struct, frozen=True, kw_only=True):
    id: str
    name: str


class History(Struct, frozen=True, kw_only=True):
    """What became of a metric: how many steps it has, and its values at evenly chosen ones, null for NaN."""

    metric: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]


class UsedDataset(Struct, frozen=True, kw_only=True):
    """Rows a run used. context: for what, such as "training"."""

    name: str
    digest: str
    source_type: str
    source: str
    context: str = ""


class MadeModel(Struct, frozen=True, kw_only=True):
    """A logged model that a run made, and the registered versions made of it, such as "churn:3"."""

    id: str
    name: str
    status: str
    versions: tuple[str, ...] = ()


class RunSheet(Struct, frozen=True, kw_only=True):
    """All there is to a run, but for the long histories and the content of its files."""

    run: RunLine
    code: CodeState
    command: str
    histories: tuple[History, ...]
    datasets: tuple[UsedDataset, ...]
    models_used: tuple[str, ...]
    models_made: tuple[MadeModel, ...]
    parent: RunName | None
    children: tuple[RunName, ...]
    artifact_uri: str
    files: tuple[Entry, ...]


def line_of(run: Run, experiment: str) -> RunLine:
    started, ended = run.start_time_ms or 0, run.end_time_ms or 0
    return RunLine(
        id=run.id,
        name=run.name,
        experiment_id=run.experiment_id,
        experiment=experiment,
        user=run.user_id,
        status=run.status,
        deleted=run.lifecycle_stage == "deleted",
        started_at_ms=started,
        ended_at_ms=ended,
        duration_s=(ended - started) / 1000 if started and ended else None,
        metrics=latest(run.metrics),
        params=run.params,
        tags={key: value for key, value in run.tags.items() if key not in _LONG and not key.startswith(CAPTURE_TAG)},
    )


def latest(points: Iterable[Point]) -> dict[str, float | None]:
    """Values by metric.

    >>> latest([Point(key="auc", value=0.9, timestamp_ms=1), Point(key="loss", value=math.nan, timestamp_ms=1)])
    {'auc': 0.9, 'loss': None}
    """
    return {point.key: number(point.value) for point in points}


def number(value: float) -> float | None:
    """A value as JSON carries it: no NaN, no infinity."""
    return value if math.isfinite(value) else None


def code_of(tags: Mapping[str, str]) -> CodeState:
    """The code a run began with, as mlspine or MLflow's client tagged it.

    >>> code_of({"mlflow.source.git.commit": "4d3aa7a"}).commit
    '4d3aa7a'
    """
    return CodeState(
        repository=tags.get("mlflow.source.git.repoURL", ""),
        commit=tags.get("mlspine.commit") or tags.get("mlflow.source.git.commit", ""),
        dirty_digest=tags.get("mlspine.dirty", ""),
    )


def used(dataset: DatasetInput) -> UsedDataset:
    return UsedDataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        context=dataset.tags.get(CONTEXT_TAG, ""),
    )


def made(model: LoggedModel) -> MadeModel:
    return MadeModel(
        id=model.id, name=model.name, status=model.status, versions=_versions(model.tags.get(VERSIONS_TAG, "[]"))
    )


def _versions(text: str) -> tuple[str, ...]:
    """
    >>> _versions('[{"name": "churn", "version": 3}]'), _versions("edited by hand")
    (('churn:3',), ())
    """
    try:
        listed = json.loads(text)
        return tuple(f"{each['name']}:{each['version']}" for each in listed)
    except (ValueError, TypeError, KeyError, RecursionError):
        return ()  # clients may write what they like there
