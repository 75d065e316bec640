"""Logged models: a model as a thing of its own, beside the run that made it."""

from __future__ import annotations

import json
from typing import Any, Literal

from mlspine.core.types import Struct
from mlspine.tracking.run import Point

ModelStatus = Literal["PENDING", "READY", "UPLOAD_FAILED"]
MODEL_STATUSES: tuple[ModelStatus, ...] = ("PENDING", "READY", "UPLOAD_FAILED")
VERSIONS_TAG = "mlflow.modelVersions"  # JSON: the registered versions made of a logged model


class ModelPoint(Struct, frozen=True, kw_only=True):
    """A point of a logged model: which run measured it, and on which dataset ("" when it was not said)."""

    point: Point
    run_id: str
    dataset_name: str = ""
    dataset_digest: str = ""


class LoggedModel(Struct, frozen=True, kw_only=True):
    """One logged model; "" where there is no type, run or message.

    metrics: all points by (key, time, step); a listed model has the latest of each key and dataset only.
    """

    id: str
    experiment_id: int
    name: str
    status: ModelStatus
    status_message: str
    model_type: str
    source_run_id: str
    artifact_uri: str
    created_at_ms: int
    updated_at_ms: int
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: tuple[ModelPoint, ...] = ()


def with_versions(before: str, said: str) -> str:
    """Both lists of registered versions as one, each version once; `said` as it is when one of them is no such list.

    Clients read the list, add to it and send it back: what somebody else added meanwhile must stay.

    >>> with_versions('[{"name": "a", "version": 1}]', '[{"name": "a", "version": "1"}, {"name": "b", "version": 1}]')
    '[{"name": "a", "version": 1}, {"name": "b", "version": 1}]'
    """
    lists = (_versions(before), _versions(said))
    if None in lists:
        return said
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in (each for versions in lists for each in versions or ()):
        found.setdefault((str(each.get("name")), str(each.get("version"))), each)
    return json.dumps(list(found.values()))


def _versions(text: str) -> list[dict[str, Any]] | None:
    try:
        versions = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fits = isinstance(versions, list) and all(isinstance(each, dict) for each in versions)
    return versions if fits else None
