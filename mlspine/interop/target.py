"""What an MLflow server lets others write: its REST as verbs. Which of them, and in what order, is for `exporting`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import msgspec

from mlspine.core.errors import Invalid, NotFound
from mlspine.interop.connection import Connection
from mlspine.interop.naming import PROXIED
from mlspine.interop.rest import API, PROXY, quoted
from mlspine.interop.source import NotBrought, RegisteredModel, RegisteredVersion, encode_status
from mlspine.tracking.logged_model import LoggedModel, ModelPoint
from mlspine.tracking.run import DatasetInput, ModelOutput, Point, Run

POINTS_AT_ONCE = 1000
TEXTS_AT_ONCE = 100
DATASETS_AT_ONCE = 100


class Target:
    """A running server. A create is sent once: whoever asks again looks first whether it is there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = connection.url

    # ------------------------------------------------------------ experiments

    def experiment_named(self, name: str) -> Mapping[str, Any] | None:
        """An experiment as the wire says it, deleted ones too; None when the name is free."""
        try:
            found: Mapping[str, Any] = self._get("experiments/get-by-name", experiment_name=name)["experiment"]
        except NotFound:
            return None
        return found

    def has_runs(self, experiment_id: str) -> bool:
        body = {"experiment_ids": [experiment_id], "run_view_type": "ALL", "max_results": 1}
        return bool(self._post("runs/search", body).get("runs"))

    def create_experiment(self, name: str) -> str:
        return str(self._create("experiments/create", {"name": name})["experiment_id"])

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self._post("experiments/set-experiment-tag", {"experiment_id": experiment_id, "key": key, "value": value})

    def delete_experiment(self, experiment_id: str) -> None:
        self._post("experiments/delete", {"experiment_id": experiment_id})

    # ------------------------------------------------------------ runs

    def create_run(self, experiment_id: str, run: Run, tags: Mapping[str, str]) -> str:
        """A run with the name, user and start of one of ours, and these tags; its id."""
        body: dict[str, object] = {"experiment_id": experiment_id, "run_name": run.name, "tags": _pairs(tags)}
        body["user_id"] = run.user_id
        if run.start_time_ms is not None:
            body["start_time"] = run.start_time_ms
        return str(self._create("runs/create", body)["run"]["info"]["run_id"])

    def find_run(self, experiment_id: str, tag: str, value: str) -> str:
        """The id of the run with a tag, "" when there is none."""
        body = {
            "experiment_ids": [experiment_id],
            "run_view_type": "ALL",
            "max_results": 1,
            "filter": f"tags.`{tag}` = '{value}'",
        }
        found = self._post("runs/search", body).get("runs", [])
        return str(found[0]["info"]["run_id"]) if found else ""

    def artifact_uri(self, run_id: str) -> str:
        return str(self._get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"])

    def log_texts(self, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        for field, texts in (("params", params), ("tags", tags)):
            pairs = _pairs(texts)
            for start in range(0, len(pairs), TEXTS_AT_ONCE):
                self._post("runs/log-batch", {"run_id": run_id, field: pairs[start : start + TEXTS_AT_ONCE]})

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        for start in range(0, len(points), POINTS_AT_ONCE):
            body = {"run_id": run_id, "metrics": [_metric(each) for each in points[start : start + POINTS_AT_ONCE]]}
            self._post("runs/log-batch", body)

    def log_model_points(self, run_id: str, model_id: str, points: Sequence[ModelPoint]) -> None:
        """Points of a run that say something of a logged model."""
        for start in range(0, len(points), POINTS_AT_ONCE):
            part = points[start : start + POINTS_AT_ONCE]
            metrics = [{**_metric(each.point), "model_id": model_id, **_dataset_of(each)} for each in part]
            self._post("runs/log-batch", {"run_id": run_id, "metrics": metrics})

    def log_inputs(self, run_id: str, datasets: Sequence[DatasetInput], models: Sequence[str]) -> None:
        for start in range(0, len(datasets), DATASETS_AT_ONCE):
            part = [_dataset(each) for each in datasets[start : start + DATASETS_AT_ONCE]]
            self._post("runs/log-inputs", {"run_id": run_id, "datasets": part})
        if models:
            self._post("runs/log-inputs", {"run_id": run_id, "models": [{"model_id": each} for each in models]})

    def log_outputs(self, run_id: str, outputs: Sequence[ModelOutput]) -> None:
        if outputs:
            models = [{"model_id": each.model_id, "step": each.step} for each in outputs]
            self._post("runs/outputs", {"run_id": run_id, "models": models})

    def end_run(self, run_id: str, run: Run) -> None:
        """Give a run the status and end of one of ours."""
        body: dict[str, object] = {"run_id": run_id, "status": run.status}
        if run.end_time_ms is not None:
            body["end_time"] = run.end_time_ms
        self._post("runs/update", body)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Gone afterwards, whether or not it was there."""
        with contextlib.suppress(NotFound):
            self._post("runs/delete-tag", {"run_id": run_id, "key": key})

    def delete_run(self, run_id: str) -> None:
        self._post("runs/delete", {"run_id": run_id})

    def restore_run(self, run_id: str) -> None:
        self._post("runs/restore", {"run_id": run_id})

    # ------------------------------------------------------------ logged models

    def create_logged_model(self, experiment_id: str, model: LoggedModel, tags: Mapping[str, str]) -> str:
        """The id of a logged model like one of ours. NotBrought by a server that has none."""
        body = {
            "experiment_id": experiment_id,
            "name": model.name,
            "model_type": model.model_type,
            "source_run_id": model.source_run_id,
            "params": _pairs(model.params),
            "tags": _pairs(tags),
        }
        try:
            return str(self._create("logged-models", body)["model"]["info"]["model_id"])
        except NotFound as exc:
            raise NotBrought(f"logged model {model.name!r}: {self.name} has none (MLflow 2)") from exc

    def find_logged_model(self, experiment_id: str, tag: str, value: str) -> str:
        """The id of the logged model with a tag, "" when there is none."""
        body = {"experiment_ids": [experiment_id], "filter": f"tags.`{tag}` = '{value}'", "max_results": 1}
        found = self._post("logged-models/search", body).get("models", [])
        return str(found[0]["info"]["model_id"]) if found else ""

    def logged_model_uri(self, model_id: str) -> str:
        return str(self._get(f"logged-models/{model_id}")["model"]["info"]["artifact_uri"])

    def end_logged_model(self, model_id: str, status: str) -> None:
        if status != "PENDING":
            self._send("PATCH", f"logged-models/{model_id}", {"model_id": model_id, "status": encode_status(status)})

    def set_logged_model_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        self._send("PATCH", f"logged-models/{model_id}/tags", {"model_id": model_id, "tags": _pairs(tags)})

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        with contextlib.suppress(NotFound):
            self._send("DELETE", f"logged-models/{model_id}/tags/{key}", {"model_id": model_id, "tag_key": key})

    # ------------------------------------------------------------ files

    def put_file(self, uri: str, path: str, file: BinaryIO, size_bytes: int) -> None:
        """Store a file below an artifact uri; NotBrought when the server does not take it by its proxy."""
        if not uri.startswith(PROXIED):
            raise NotBrought(f"{path}: {self.name} keeps files in {uri}, which only clients write to")
        self._connection.put(f"{PROXY}/{quoted(uri.removeprefix(PROXIED).strip('/'))}/{quoted(path)}", file, size_bytes)

    # ------------------------------------------------------------ registry

    def has_registered_model(self, name: str) -> bool:
        try:
            self._get("registered-models/get", name=name)
        except NotFound:
            return False
        return True

    def create_registered_model(self, name: str, model: RegisteredModel) -> None:
        """A model with the description and tags of one of ours."""
        body = {"name": name, "description": model.description, "tags": _pairs(model.tags)}
        self._create("registered-models/create", body)

    def has_version(self, name: str, version: int) -> bool:
        try:
            self._get("model-versions/get", name=name, version=str(version))
        except NotFound:
            return False
        return True

    def create_version(self, name: str, version: RegisteredVersion) -> int:
        """A version like one of ours; the number it was given."""
        body = {
            "name": name,
            "source": version.source,
            "run_id": version.run_id,
            "run_link": version.run_link,
            "description": version.description,
            "model_id": version.model_id,
            "tags": _pairs(version.tags),
        }
        body = {key: value for key, value in body.items() if value}
        return int(self._create("model-versions/create", body)["model_version"]["version"])

    def delete_version(self, name: str, version: int) -> None:
        self._send("DELETE", "model-versions/delete", {"name": name, "version": str(version)})

    def set_stage(self, name: str, version: int, stage: str) -> None:
        body = {"name": name, "version": str(version), "stage": stage, "archive_existing_versions": False}
        self._post("model-versions/transition-stage", body)

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        self._post("model-versions/set-tag", {"name": name, "version": str(version), "key": key, "value": value})

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self._post("registered-models/alias", {"name": name, "alias": alias, "version": str(version)})

    # ------------------------------------------------------------ inside

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        return _answer(self._connection.get(f"{API}/{path}", query))

    def _post(self, path: str, body: object) -> dict[str, Any]:
        return self._send("POST", path, body)

    def _create(self, path: str, body: object) -> dict[str, Any]:
        return _answer(self._connection.send("POST", f"{API}/{path}", body, harmless=False))

    def _send(self, method: str, path: str, body: object) -> dict[str, Any]:
        return _answer(self._connection.send(method, f"{API}/{path}", body))


def _answer(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except msgspec.MsgspecError as exc:
        raise Invalid(
            f"the answer is not MLflow's: {exc}", hint="see whether the URL is that of an MLflow server"
        ) from exc


def _pairs(texts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in texts.items()]


def _metric(point: Point) -> dict[str, object]:
    return {"key": point.key, "value": _number(point.value), "timestamp": point.timestamp_ms, "step": point.step}


def _number(value: float) -> float | str:
    """A double as the wire has it.

    >>> _number(0.5), _number(math.nan), _number(-math.inf)
    (0.5, 'NaN', '-Infinity')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _dataset_of(each: ModelPoint) -> dict[str, str]:
    return {"dataset_name": each.dataset_name, "dataset_digest": each.dataset_digest} if each.dataset_name else {}


def _dataset(each: DatasetInput) -> dict[str, object]:
    texts = {
        "name": each.name,
        "digest": each.digest,
        "source_type": each.source_type,
        "source": each.source,
        "schema": each.schema_text,
        "profile": each.profile,
    }
    return {"dataset": {key: text for key, text in texts.items() if text}, "tags": _pairs(each.tags)}
