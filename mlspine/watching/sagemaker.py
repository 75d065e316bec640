"""Lines of SageMaker data capture as rows: what was sent to the endpoint and what it answered. Pure.

Format: one JSON object a line with `captureData` (`endpointInput`, `endpointOutput`: `data`, `encoding` CSV, JSON or
BASE64) and `eventMetadata` (`eventId`, `inferenceTime`). A CSV payload has one line per row and the features in the
order of the reference; of an answer in CSV the last number is the score, or the prediction where scores are none.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlspine.core.types import Task

_INSTANCES = ("instances", "rows", "inputs", "features")
_ANSWERS = ("predictions", "outputs", "results")


def is_capture(line: Any) -> bool:
    """Whether a JSON line is of data capture."""
    return isinstance(line, dict) and "captureData" in line and "eventMetadata" in line


def capture_rows(line: Mapping[str, Any], *, features: Sequence[str], task: Task) -> list[dict[str, Any]]:
    """The rows of one line, as `given_rows` reads them. Raises ValueError saying why a line is none.

    >>> line = {"captureData": {"endpointInput": {"data": "41,900", "encoding": "CSV"},
    ...                         "endpointOutput": {"data": "0.83", "encoding": "CSV"}},
    ...         "eventMetadata": {"eventId": "e1", "inferenceTime": "2026-01-02T03:04:05Z"}}
    >>> row = capture_rows(line, features=("age", "income"), task="binary")[0]
    >>> row["id"], row["features"], row["score"]
    ('e1:0', {'age': '41', 'income': '900'}, '0.83')
    """
    captured, event = line["captureData"], line["eventMetadata"]
    sent = _payload(captured, "endpointInput")
    answered = _payload(captured, "endpointOutput")
    rows = [_features(each, features) for each in _records(sent, _INSTANCES)]
    outputs = [_output(each, task) for each in _records(answered, _ANSWERS)]
    if len(rows) != len(outputs):
        raise ValueError(f"{len(rows)} rows were sent and {len(outputs)} answered")
    event_id, at = event.get("eventId"), event.get("inferenceTime")
    named = [{"id": f"{event_id}:{i}"} if event_id else {} for i in range(len(rows))]
    return [
        {**name, "event_time": at, "features": row, **output}
        for name, row, output in zip(named, rows, outputs, strict=True)
    ]


def _payload(captured: Any, side: str) -> Any:
    """The decoded content of one side: parsed JSON, or the lines of a CSV."""
    part = captured.get(side) if isinstance(captured, dict) else None
    if not isinstance(part, dict) or "data" not in part:
        raise ValueError(f"it captured no {side}: turn on capture of input and output")
    data, encoding = part["data"], str(part.get("encoding", "")).upper()
    if encoding == "BASE64":
        try:
            data = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, TypeError) as exc:
            raise ValueError(f"{side}: its base64 holds no text") from exc
        encoding = "JSON" if data.lstrip()[:1] in ("{", "[") else "CSV"
    if not isinstance(data, str):
        return data
    if encoding == "JSON":
        try:
            return msgspec.json.decode(data.encode())
        except msgspec.DecodeError as exc:
            raise ValueError(f"{side}: no JSON: {exc}") from exc
    return [row for row in csv.reader(io.StringIO(data)) if row]


def _records(payload: Any, names: Sequence[str]) -> list[Any]:
    if isinstance(payload, dict):
        inner = next((payload[name] for name in names if isinstance(payload.get(name), list)), None)
        return [payload] if inner is None else inner
    if isinstance(payload, list):
        return payload if payload and isinstance(payload[0], list | dict) else [[each] for each in payload]
    return [[payload]]


def _features(row: Any, features: Sequence[str]) -> dict[str, Any]:
    if isinstance(row, dict):
        inner = row.get("features", row)
        if isinstance(inner, dict):
            return inner
        row = inner
    if not isinstance(row, list):
        raise ValueError("a row that was sent is neither a list nor an object")
    if len(row) != len(features):
        raise ValueError(f"a row of {len(row)} values was sent, the reference has {len(features)} features")
    return dict(zip(features, row, strict=True))


def _output(answer: Any, task: Task) -> dict[str, Any]:
    if isinstance(answer, dict):
        return {_SPELT[name]: value for name, value in answer.items() if name in _SPELT}
    values = answer if isinstance(answer, list) else [answer]
    if not values:
        raise ValueError("an answer is empty")
    if task == "binary" and (len(values) > 1 or _is_share(values[0])):
        named = {"score": values[-1]}
        return named | ({"prediction": values[0]} if len(values) == 2 and not _is_share(values[0]) else {})
    return {"prediction": values[0]}


_SPELT = {"prediction": "prediction", "predicted_label": "prediction", "label": "prediction"}
_SPELT |= {"score": "score", "probability": "score"}


def _is_share(value: Any) -> bool:
    """Whether a number can only be a score: it has a fraction."""
    try:
        return float(value) != int(float(value)) or "." in str(value)
    except (TypeError, ValueError, OverflowError):
        return False
