"""What travels on the MLflow wire, as its protocol spells it.

Fields without a default are required, and an empty text counts as missing. Answers leave out what has its default:
unset values and empty lists, as MLflow does. Numbers that JSON cannot write are the texts NaN, Infinity, -Infinity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec

from mlspine.core.errors import Invalid
from mlspine.tracking.experiment import Experiment
from mlspine.tracking.run import DatasetInput, ModelOutput, Point, Run

Number = float | str
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what the protocol calls int64


class Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Unknown fields are ignored, so that later clients may say more."""


class Empty(Message, kw_only=True):
    pass


class KeyValue(Message, kw_only=True):
    key: str
    value: str | None = None


class Metric(Message, kw_only=True):
    key: str
    value: Number
    timestamp: Whole
    step: Whole | None = None
    run_id: str | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class ExperimentMessage(Message, kw_only=True):
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: list[KeyValue] = []


class RunInfo(Message, kw_only=True):
    run_uuid: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int | None = None
    end_time: int | None = None
    artifact_uri: str
    lifecycle_stage: str
    run_id: str
    run_name: str


class RunData(Message, kw_only=True):
    metrics: list[Metric] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class DatasetMessage(Message, kw_only=True):
    name: str | None = None
    digest: str | None = None
    source_type: str | None = None
    source: str | None = None
    schema: str | None = None
    profile: str | None = None


class DatasetInputMessage(Message, kw_only=True):
    tags: list[KeyValue] = []
    dataset: DatasetMessage = msgspec.field(default_factory=DatasetMessage)


class ModelInputMessage(Message, kw_only=True):
    model_id: str


class ModelOutputMessage(Message, kw_only=True):
    model_id: str
    step: Whole | None = None


class RunInputs(Message, kw_only=True):
    dataset_inputs: list[DatasetInputMessage] = []
    model_inputs: list[ModelInputMessage] = []


class RunOutputs(Message, kw_only=True):
    model_outputs: list[ModelOutputMessage] = []


class RunMessage(Message, kw_only=True):
    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: RunOutputs


# ---------------------------------------------------------------- from the wire


def number_in(value: Number, what: str) -> float:
    """A number as the wire writes it.

    >>> number_in("-Infinity", "value"), number_in(2, "value")
    (-inf, 2.0)
    """
    if value == "":
        raise Invalid(f"Missing value for required parameter '{what}'.")
    try:
        return float(value)
    except (ValueError, OverflowError) as exc:
        raise Invalid(f"Invalid value {value!r} for parameter '{what}' supplied", hint="send a number") from exc


def pairs_in(items: Iterable[KeyValue]) -> list[tuple[str, str]]:
    return [(item.key, item.value or "") for item in items]


def point_in(metric: Metric) -> Point:
    return Point(
        key=metric.key,
        value=number_in(metric.value, "value"),
        timestamp_ms=metric.timestamp,
        step=metric.step or 0,
    )


def experiment_number(text: str) -> int:
    """An experiment's number; Invalid for a text that cannot be one of ours."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid(f"Invalid experiment ID: {text!r}", hint="experiments are numbered: 0, 1, 2, ...")
    return int(text)


def dataset_in(message: DatasetInputMessage) -> DatasetInput:
    dataset = message.dataset
    return DatasetInput(
        name=dataset.name or "",
        digest=dataset.digest or "",
        source_type=dataset.source_type or "",
        source=dataset.source or "",
        schema_text=dataset.schema or "",
        profile=dataset.profile or "",
        tags=dict(pairs_in(message.tags)),
    )


# ---------------------------------------------------------------- onto the wire


def number_out(value: float) -> Number:
    """
    >>> number_out(float("nan")), number_out(0.5)
    ('NaN', 0.5)
    """
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def pairs_out(texts: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in texts.items()]


def metric_out(point: Point, *, run_id: str | None = None) -> Metric:
    return Metric(
        key=point.key, value=number_out(point.value), timestamp=point.timestamp_ms, step=point.step, run_id=run_id
    )


def experiment_out(experiment: Experiment) -> ExperimentMessage:
    return ExperimentMessage(
        experiment_id=str(experiment.id),
        name=experiment.name,
        artifact_location=experiment.artifact_location,
        lifecycle_stage=experiment.lifecycle_stage,
        last_update_time=experiment.updated_at_ms,
        creation_time=experiment.created_at_ms,
        tags=pairs_out(experiment.tags),
    )


def info_out(run: Run) -> RunInfo:
    return RunInfo(
        run_uuid=run.id,
        experiment_id=str(run.experiment_id),
        user_id=run.user_id,
        status=run.status,
        start_time=run.start_time_ms,
        end_time=run.end_time_ms,
        artifact_uri=run.artifact_uri,
        lifecycle_stage=run.lifecycle_stage,
        run_id=run.id,
        run_name=run.name,
    )


def run_out(run: Run) -> RunMessage:
    return RunMessage(
        info=info_out(run),
        data=RunData(
            metrics=[metric_out(point) for point in run.metrics],
            params=pairs_out(run.params),
            tags=pairs_out(run.tags),
        ),
        inputs=RunInputs(
            dataset_inputs=[_dataset_out(dataset) for dataset in run.datasets],
            model_inputs=[ModelInputMessage(model_id=model_id) for model_id in run.model_inputs],
        ),
        outputs=RunOutputs(model_outputs=list(map(_output_out, run.model_outputs))),
    )


def _output_out(output: ModelOutput) -> ModelOutputMessage:
    return ModelOutputMessage(model_id=output.model_id, step=output.step)


def _dataset_out(dataset: DatasetInput) -> DatasetInputMessage:
    return DatasetInputMessage(
        tags=pairs_out(dataset.tags),
        dataset=DatasetMessage(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema_text or None,
            profile=dataset.profile or None,
        ),
    )
