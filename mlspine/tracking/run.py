"""Runs and what is logged on them."""

from __future__ import annotations

from typing import Literal

from mlspine.core.types import Struct
from mlspine.tracking.experiment import Lifecycle

Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
STATUSES: tuple[Status, ...] = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
NAME_TAG = "mlflow.runName"  # holds the run's name, either way round
PARENT_TAG = "mlflow.parentRunId"
USER_TAG = "mlflow.user"
CONTEXT_TAG = "mlflow.data.context"  # on a dataset: what it was used for
LOGGED_MODELS_TAG = "mlflow.log-model.history"


class Point(Struct, frozen=True, kw_only=True):
    """One value of a metric. `value` may be NaN or infinite."""

    key: str
    value: float
    timestamp_ms: int
    step: int = 0


class RunPoint(Struct, frozen=True, kw_only=True):
    """A point, and whose it is."""

    run_id: str
    point: Point


class DatasetInput(Struct, frozen=True, kw_only=True):
    """Rows a run used, as its client described them. A tag may say for what (CONTEXT_TAG)."""

    name: str
    digest: str
    source_type: str
    source: str
    schema_text: str = ""
    profile: str = ""
    tags: dict[str, str] = {}


class ModelOutput(Struct, frozen=True, kw_only=True):
    """A logged model that a run made, at which step."""

    model_id: str
    step: int = 0


class Run(Struct, frozen=True, kw_only=True):
    """One run. `metrics` holds the latest point of each key; a listed run comes without its datasets' profiles."""

    id: str
    experiment_id: int
    name: str
    user_id: str
    status: Status
    start_time_ms: int | None
    end_time_ms: int | None
    lifecycle_stage: Lifecycle
    artifact_uri: str
    metrics: tuple[Point, ...] = ()
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    datasets: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[str, ...] = ()
    model_outputs: tuple[ModelOutput, ...] = ()
