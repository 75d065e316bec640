"""What an endpoint answered, typed; read from JSON or from the v2 protocol's bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from mlspine.client.rows import Described
from mlspine.core.errors import Unavailable
from mlspine.core.types import Scalar

_DTYPES = {"BOOL": "?", "INT64": "<i8", "UINT64": "<u8", "FP64": "<f8"}
_LENGTH = struct.Struct("<I")


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, row by row.

    id: of the request; row n is logged as "ID:n". version, release: who answered. path: "live", or how else.
    predictions: None where a rule of the server held one back.
    scores: probability of the second of two classes, or of the predicted one of several; None for numbers. NaN where
    the model gave no number.
    probabilities: per row the probability of each class; only among more than two.
    """

    id: str
    endpoint: str
    version: int
    release: str
    path: str
    predictions: list[Any]
    scores: list[float] | None = None
    probabilities: list[dict[str, float]] | None = None

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def ids(self) -> list[str]:
        """The id of each row, as the log and label files spell it."""
        return [f"{self.id}:{row}" for row in range(len(self.predictions))]

    def labels(self, outcomes: Sequence[Scalar | None]) -> list[dict[str, Scalar | None]]:
        """What became of each row, as rows for `predictions.add_labels`; None where it is not known yet.

        >>> Predictions(id="x", endpoint="e", version=1, release="r", path="live", predictions=[1, 0]).labels([1, None])
        [{'id': 'x:0', 'label': 1}]
        """
        pairs = zip(self.ids, outcomes, strict=True)
        return [{"id": row, "label": outcome} for row, outcome in pairs if outcome is not None]


class _Row(msgspec.Struct):
    prediction: Any = None
    score: float | msgspec.UnsetType | None = msgspec.UNSET
    probabilities: dict[str, float | None] | msgspec.UnsetType = msgspec.UNSET


class _Answer(msgspec.Struct):
    id: str
    endpoint: str
    version: int
    release: str
    path: str
    predictions: list[_Row]


_decoder = msgspec.json.Decoder(_Answer)


def from_json(body: bytes) -> Predictions:
    """The answer of `/endpoints/NAME/predict`."""
    try:
        told = _decoder.decode(body)
    except msgspec.DecodeError as exc:
        raise _not_ours(exc) from exc
    rows = told.predictions
    scores = [_number(row.score) for row in rows if row.score is not msgspec.UNSET]
    shares = [
        {name: _number(share) for name, share in row.probabilities.items()}
        for row in rows
        if row.probabilities is not msgspec.UNSET
    ]
    return Predictions(
        id=told.id,
        endpoint=told.endpoint,
        version=told.version,
        release=told.release,
        path=told.path,
        predictions=[row.prediction for row in rows],
        scores=scores if len(scores) == len(rows) else None,
        probabilities=shares if len(shares) == len(rows) else None,
    )


def from_bytes(body: bytes, headers: Mapping[str, str], endpoint: str, described: Described) -> Predictions:
    """The answer of `/v2/models/NAME/infer` with all outputs in bytes."""
    try:
        end = int(headers["inference-header-content-length"])
        told = msgspec.json.decode(body[:end])
        outputs = _tensors(told["outputs"], memoryview(body)[end:])
        predictions = outputs["predict"] if isinstance(outputs["predict"], list) else outputs["predict"].tolist()
        for row in _held_back(told["outputs"]):
            predictions[row] = None
        shares = outputs.get("predict_proba")
        scores, probabilities = _scored(shares, described) if shares is not None else (None, None)
        return Predictions(
            id=headers["mlspine-request-id"],
            endpoint=endpoint,
            version=int(headers["mlspine-version"]),
            release=headers["mlspine-release"],
            path=headers["mlspine-path"],
            predictions=predictions,
            scores=scores,
            probabilities=probabilities,
        )
    except (KeyError, ValueError, TypeError, struct.error, msgspec.DecodeError) as exc:
        raise _not_ours(exc) from exc


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _held_back(outputs: list[Any]) -> list[int]:
    """The rows whose prediction a rule of the server held back."""
    return next((each["parameters"].get("abstained", []) for each in outputs if each["name"] == "predict"), [])


def _scored(shares: Any, described: Described) -> tuple[list[float], list[dict[str, float]] | None]:
    if described.task == "binary":
        return shares[:, 1].tolist(), None
    names = [str(each) for each in described.classes]
    return shares.max(axis=1).tolist(), [dict(zip(names, row, strict=True)) for row in shares.tolist()]


def _tensors(outputs: list[Any], tail: memoryview) -> dict[str, Any]:
    read: dict[str, Any] = {}
    at = 0
    for each in outputs:
        size = each["parameters"]["binary_data_size"]
        part = tail[at : at + size]
        at += size
        if each["datatype"] == "BYTES":
            read[each["name"]] = _texts(bytes(part))
        else:
            read[each["name"]] = np.frombuffer(part, _DTYPES[each["datatype"]]).reshape(each["shape"])
    return read


def _texts(raw: bytes) -> list[str]:
    texts = []
    at = 0
    while at < len(raw):
        size = _LENGTH.unpack_from(raw, at)[0]
        texts.append(raw[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return texts


def _not_ours(exc: Exception) -> Unavailable:
    return Unavailable(
        f"the server answered, but not as mlspine does: {type(exc).__name__}: {exc}",
        hint="is this the address of the predictions, and does a proxy change answers on the way?",
    )
