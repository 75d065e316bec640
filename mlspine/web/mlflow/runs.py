"""Runs and what is logged on them, on the MLflow wire."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from mlspine.core.errors import Invalid
from mlspine.core.types import Actor
from mlspine.tracking.experiment import View
from mlspine.tracking.run import ModelOutput, Point, Run, Status
from mlspine.tracking.service import HISTORY_PAGE, SAMPLED_POINTS
from mlspine.web.mlflow.messages import (
    DatasetInputMessage,
    Empty,
    KeyValue,
    Message,
    Metric,
    ModelInputMessage,
    ModelOutputMessage,
    Number,
    RunInfo,
    RunMessage,
    Whole,
    dataset_in,
    experiment_number,
    info_out,
    metric_out,
    number_in,
    pairs_in,
    point_in,
    run_out,
)
from mlspine.web.mlflow.route import Route
from mlspine.workspace import Workspace

MODEL_FIELDS = ("artifact_path", "flavors", "run_id", "utc_time_created")
UNLIMITED = 1_000_000  # points of one answer to a caller who named no limit


class Create(Message, kw_only=True):
    experiment_id: str
    user_id: str | None = None
    run_name: str | None = None
    start_time: Whole | None = None
    tags: list[KeyValue] | None = None


class OfRun(Message, kw_only=True):
    """Older clients say run_uuid."""

    run_id: str | None = None
    run_uuid: str | None = None

    @property
    def run(self) -> str:
        run_id = self.run_id or self.run_uuid
        if not run_id:
            raise Invalid("Missing value for required parameter 'run_id'.")
        return run_id


class Update(OfRun, kw_only=True):
    status: Status | None = None
    end_time: Whole | None = None
    run_name: str | None = None


class LogMetric(OfRun, kw_only=True):
    key: str
    value: Number
    timestamp: Whole
    step: Whole | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class LogText(OfRun, kw_only=True):
    key: str
    value: str | None = None


class LogBatch(OfRun, kw_only=True):
    metrics: list[Metric] | None = None
    params: list[KeyValue] | None = None
    tags: list[KeyValue] | None = None


class LogInputs(OfRun, kw_only=True):
    datasets: list[DatasetInputMessage] | None = None
    models: list[ModelInputMessage] | None = None


class LogOutputs(OfRun, kw_only=True):
    models: list[ModelOutputMessage]


class LogModel(OfRun, kw_only=True):
    model_json: str


class Search(Message, kw_only=True):
    experiment_ids: list[str] | None = None
    filter: str | None = None
    run_view_type: View | None = None
    max_results: Whole | None = None
    order_by: list[str] | None = None
    page_token: str | None = None


class History(OfRun, kw_only=True):
    metric_key: str
    max_results: Whole | None = None
    page_token: str | None = None


class Bulk(Message, kw_only=True):
    run_ids: list[str] | None = None
    run_id: list[str] | None = None  # the page of the UI says it so
    metric_key: str
    start_step: Whole | None = None
    end_step: Whole | None = None
    max_results: Whole | None = None


class One(Message, kw_only=True):
    run: RunMessage


class Info(Message, kw_only=True):
    run_info: RunInfo


class Found(Message, kw_only=True):
    runs: list[RunMessage] = []
    next_page_token: str = ""


class Metrics(Message, kw_only=True):
    metrics: list[Metric] = []
    next_page_token: str = ""


# ---------------------------------------------------------------- a run


def create(workspace: Workspace, asked: Create, _: Actor | None) -> Message:
    run = workspace.tracking.create_run(
        experiment_number(asked.experiment_id),
        name=asked.run_name or "",
        user_id=asked.user_id or "",
        start_time_ms=asked.start_time or 0,
        tags=pairs_in(asked.tags or []),
    )
    return _one(run)


def get(workspace: Workspace, asked: OfRun, _: Actor | None) -> Message:
    return _one(workspace.tracking.run(asked.run))


def update(workspace: Workspace, asked: Update, _: Actor | None) -> Message:
    run = workspace.tracking.update_run(
        asked.run, status=asked.status, end_time_ms=asked.end_time, name=asked.run_name or ""
    )
    return Info(run_info=info_out(run))


def delete(workspace: Workspace, asked: OfRun, _: Actor | None) -> Message:
    workspace.tracking.delete_run(asked.run)
    return Empty()


def restore(workspace: Workspace, asked: OfRun, _: Actor | None) -> Message:
    workspace.tracking.restore_run(asked.run)
    return Empty()


def search(workspace: Workspace, asked: Search, _: Actor | None) -> Message:
    page = workspace.tracking.search_runs(
        [experiment_number(text) for text in asked.experiment_ids or []],
        filter=asked.filter or "",
        order_by=asked.order_by or [],
        view=asked.run_view_type or "ACTIVE_ONLY",
        max_results=asked.max_results,
        page_token=asked.page_token or "",
    )
    return Found(runs=list(map(run_out, page.runs)), next_page_token=page.next_page_token)


# ---------------------------------------------------------------- what is logged


def log_metric(workspace: Workspace, asked: LogMetric, _: Actor | None) -> Message:
    point = Point(
        key=asked.key, value=number_in(asked.value, "value"), timestamp_ms=asked.timestamp, step=asked.step or 0
    )
    workspace.tracking.log_batch(asked.run, metrics=[point])
    if asked.model_id:
        workspace.models.log_metrics(
            asked.model_id,
            [point],
            run_id=asked.run,
            dataset=(asked.dataset_name or "", asked.dataset_digest or ""),
        )
    return Empty()


def log_param(workspace: Workspace, asked: LogText, _: Actor | None) -> Message:
    workspace.tracking.log_batch(asked.run, params=[(asked.key, asked.value or "")])
    return Empty()


def log_batch(workspace: Workspace, asked: LogBatch, _: Actor | None) -> Message:
    metrics = asked.metrics or []
    workspace.tracking.log_batch(
        asked.run,
        metrics=list(map(point_in, metrics)),
        params=pairs_in(asked.params or []),
        tags=pairs_in(asked.tags or []),
    )
    for metric in metrics:
        if metric.model_id:
            workspace.models.log_metrics(
                metric.model_id,
                [point_in(metric)],
                run_id=asked.run,
                dataset=(metric.dataset_name or "", metric.dataset_digest or ""),
            )
    return Empty()


def set_tag(workspace: Workspace, asked: LogText, _: Actor | None) -> Message:
    workspace.tracking.log_batch(asked.run, tags=[(asked.key, asked.value or "")])
    return Empty()


def delete_tag(workspace: Workspace, asked: LogText, _: Actor | None) -> Message:
    workspace.tracking.delete_tag(asked.run, asked.key)
    return Empty()


def log_inputs(workspace: Workspace, asked: LogInputs, _: Actor | None) -> Message:
    workspace.tracking.log_inputs(
        asked.run,
        datasets=list(map(dataset_in, asked.datasets or [])),
        models=[model.model_id for model in asked.models or []],
    )
    return Empty()


def log_outputs(workspace: Workspace, asked: LogOutputs, _: Actor | None) -> Message:
    models = [ModelOutput(model_id=model.model_id, step=model.step or 0) for model in asked.models]
    workspace.tracking.log_outputs(asked.run, models)
    return Empty()


def log_model(workspace: Workspace, asked: LogModel, _: Actor | None) -> Message:
    run_id = asked.run
    try:
        model = msgspec.json.decode(asked.model_json, type=dict[str, Any])
    except msgspec.DecodeError as exc:
        raise Invalid(f"Malformed model info: {exc}", hint="send the MLmodel as a JSON object") from exc
    lacking = [name for name in MODEL_FIELDS if name not in model]
    if lacking:
        raise Invalid(f"Model json is missing mandatory fields: {lacking}", hint="send the MLmodel whole")
    workspace.tracking.append_model(run_id, model)
    return Empty()


# ---------------------------------------------------------------- histories


def history(workspace: Workspace, asked: History, _: Actor | None) -> Message:
    limit = asked.max_results
    if limit is not None and not 1 <= limit <= HISTORY_PAGE:
        raise Invalid(f"Invalid value {limit} for parameter 'max_results' supplied", hint=f"1 to {HISTORY_PAGE}")
    page = workspace.tracking.history(
        asked.run, asked.metric_key, limit=limit or UNLIMITED, after=_place_in(asked.page_token)
    )
    return Metrics(
        metrics=list(map(metric_out, page.points)),
        next_page_token=base64.urlsafe_b64encode(msgspec.json.encode(page.after)).decode() if page.after else "",
    )


def bulk(workspace: Workspace, asked: Bulk, _: Actor | None) -> Message:
    run_ids = asked.run_ids or asked.run_id
    if not run_ids:
        raise Invalid("Missing value for required parameter 'run_ids'.")
    found = workspace.tracking.sampled_history(
        run_ids,
        asked.metric_key,
        amount=SAMPLED_POINTS if asked.max_results is None else asked.max_results,
        start=asked.start_step,
        end=asked.end_step,
    )
    return Metrics(metrics=[metric_out(each.point, run_id=each.run_id) for each in found])


def _place_in(token: str | None) -> tuple[int, int, int, float] | None:
    if not token:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[Whole, Whole, Whole, float])
    except (msgspec.DecodeError, binascii.Error, ValueError) as exc:
        raise Invalid("Invalid page token", hint="use the token of the page before, as it is") from exc


def _one(run: Run) -> One:
    return One(run=run_out(run))


_AT = "2.0/mlflow/runs"
ROUTES = (
    Route("POST", f"{_AT}/log-metric", LogMetric, log_metric, "ship", "commit"),
    Route("POST", f"{_AT}/log-batch", LogBatch, log_batch, "ship", "commit"),
    Route("POST", f"{_AT}/log-parameter", LogText, log_param, "ship", "commit"),
    Route("POST", f"{_AT}/set-tag", LogText, set_tag, "ship", "commit"),
    Route("POST", f"{_AT}/delete-tag", LogText, delete_tag, "ship", "commit"),
    Route("GET", f"{_AT}/get", OfRun, get),
    Route("POST", f"{_AT}/create", Create, create, "ship", "commit"),
    Route("POST", f"{_AT}/update", Update, update, "ship", "commit"),
    Route("POST", f"{_AT}/delete", OfRun, delete, "ship", "commit"),
    Route("POST", f"{_AT}/restore", OfRun, restore, "ship", "commit"),
    Route("POST", f"{_AT}/search", Search, search),
    Route("GET", f"{_AT}/search", Search, search),
    Route("POST", f"{_AT}/log-inputs", LogInputs, log_inputs, "ship", "commit"),
    Route("POST", f"{_AT}/outputs", LogOutputs, log_outputs, "ship", "commit"),
    Route("POST", f"{_AT}/log-model", LogModel, log_model, "ship", "commit"),
    Route("GET", "2.0/mlflow/metrics/get-history", History, history),
    Route("GET", "2.0/mlflow/metrics/get-history-bulk", Bulk, bulk),
    Route("GET", "2.0/mlflow/metrics/get-history-bulk-interval", Bulk, bulk),
)
