"""Rows that somebody else's server answered, as batches of the log: the one place that reads them.

Files, requests and the middleware all come here with columns; what is counted, kept and judged afterwards is the same
code that counts the rows answered from here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.errors import closest
from mlspine.core.types import Columns, Scalar
from mlspine.predictions.spool import Batch, encode_column, encode_columns
from mlspine.watching.fitting import Array, fit, numbers, objects, texts, times_ms
from mlspine.watching.spec import Spec

PATH = "watched"  # `_path` of these rows in the log
AHEAD_MS = 86_400_000  # a clock a day ahead is wrong, not fast
SIDE = ("id", "event_time", "key", "prediction", "score", "label")
_ROW_SUFFIX = re.compile(r"(.+):(\d{1,9})\Z", re.DOTALL)


class Given(NamedTuple):
    """Rows as they came: the model's inputs by name, and beside them whatever there was; each of `size` values.

    request_ids, row_numbers: what a row is called that brings no id of its own. received_at_ms, latency_s: per row,
    where whoever hands it over saw it answered.
    """

    size: int
    features: Mapping[str, Array]
    request_ids: Sequence[str]
    row_numbers: Sequence[int]
    prediction: Array | None = None
    score: Array | None = None
    event_time: Array | None = None
    ids: Array | None = None
    keys: Array | None = None
    label: Array | None = None
    received_at_ms: Sequence[int] = ()
    latency_s: Sequence[float] = ()


class Taken(NamedTuple):
    """What can be kept. batches: with whether their ids are the sender's own. refused: row number in `Given` -> why.
    labels: the columns of a label table, {} for none."""

    batches: list[tuple[Batch, bool]]
    refused: dict[int, str]
    labels: dict[str, list[Any]]


def take_answers(spec: Spec, given: Given, *, now_ms: int, refused: Mapping[int, str] | None = None) -> Taken:
    """The rows that can be read, in their order; the others with the reason. Nothing raises.

    refused: what is known already not to be a row, by its number.
    """
    columns, unreadable = fit(given.features, spec.inputs, given.size)
    refused = unreadable | dict(refused or {})
    _refuse_empty(spec, given, refused)
    prediction, score = _outputs(spec, given, refused)
    at_ms, timed = _times(given, now_ms, refused)
    ids, numbers_, own = _ids(given)
    kept = np.ones(given.size, dtype=bool)
    kept[list(refused)] = False
    received = np.array(given.received_at_ms or [now_ms] * given.size, dtype=np.int64)
    latency = np.array(given.latency_s or [math.nan] * given.size, dtype=np.float64)
    keys = texts(given.keys) if given.keys is not None else []
    logged = {name: values for name, values in columns.items() if name not in spec.log.redact}
    batches = []
    for has_time in (True, False):
        for by_id in (True, False):
            at = np.flatnonzero(kept & (timed == has_time) & (own == by_id))
            if not len(at):
                continue
            where = at.tolist()
            batch = Batch(
                endpoint=spec.endpoint,
                release_hash=spec.release_hash,
                version=spec.version,
                revision=spec.revision,
                request_ids=[ids[i] for i in where],
                row_counts=[1] * len(where),
                received_at_ms=received[at].tolist(),
                latency_s=latency[at].tolist(),
                inputs=encode_columns(_at(logged, at)),
                prediction=encode_column("prediction", prediction[at]),
                score=b"" if score is None else score[at].astype("<f8").tobytes(),
                event_at_ms=at_ms[at].tolist() if has_time else [],
                keys=[keys[i] for i in where] if keys else [],
                path=PATH,
                first_rows=[numbers_[i] for i in where],
            )
            batches.append((batch, by_id))
    return Taken(batches, dict(sorted(refused.items())), _labels(given, ids, numbers_, kept))


def given_rows(rows: Sequence[Any], spec: Spec, *, request_id: str, refused: dict[int, str]) -> Given:
    """JSON rows as they are sent: {"features": {...}, "prediction": ..., ...}, or flat with the features beside; flat
    rows may call the rest as the reference does."""
    aliases = {name: _SIDE_OF.get(role, role) for role, name in spec.names.items() if name not in SIDE}
    named = [_flat(row, number, aliases, refused) for number, row in enumerate(rows)]
    features = {
        name: objects([row[0].get(name) for row in named])
        for name in spec.inputs.names
        if any(name in row[0] for row in named)
    }
    side = {
        name: objects([row[1].get(name) for row in named]) if any(name in row[1] for row in named) else None
        for name in SIDE
    }
    return Given(
        size=len(rows),
        features=features,
        request_ids=[request_id] * len(rows),
        row_numbers=range(len(rows)),
        prediction=side["prediction"],
        score=side["score"],
        event_time=side["event_time"],
        ids=side["id"],
        keys=side["key"],
        label=side["label"],
    )


# ---------------------------------------------------------------- inside


_SIDE_OF = {"time": "event_time"}  # what a role is called beside features, where it is called otherwise


def _flat(
    row: Any, number: int, aliases: Mapping[str, str], refused: dict[int, str]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The features of a JSON row, and what stands beside them."""
    if not isinstance(row, dict):
        refused[number] = f"a row is an object, this is {_short(row)}"
        return {}, {}
    features = row.get("features")
    if features is None:
        side = {aliases[name]: value for name, value in row.items() if name in aliases} | row if aliases else row
        return {name: value for name, value in row.items() if name not in SIDE}, side
    if not isinstance(features, dict):
        refused[number] = f"features are an object, these are {_short(features)}"
        return {}, {}
    strange = [name for name in row if name not in SIDE and name != "features"]
    if strange:
        near = closest(strange[0], SIDE)
        refused[number] = f"{strange[0]!r} is no part of a row" + (f"; {near}?" if near else f": {', '.join(SIDE)}")
    return features, row


def _refuse_empty(spec: Spec, given: Given, refused: dict[int, str]) -> None:
    """Rows that bring none of the columns at all belong to another model, or spell them otherwise."""
    known = [given.features[name] for name in spec.inputs.names if name in given.features]
    present = np.zeros(given.size, dtype=bool)
    for values in known:
        present |= ~_missing(values)
    names = ", ".join(spec.inputs.names[:5])
    for row in np.flatnonzero(~present).tolist():
        refused.setdefault(row, f"it has none of the features {names}" + ("..." if len(spec.inputs.names) > 5 else ""))


def _outputs(spec: Spec, given: Given, refused: dict[int, str]) -> tuple[Array, Array | None]:
    score: Array | None = None
    if given.score is not None:
        score, wrong = numbers(given.score)
        for row, value in wrong.items():
            refused.setdefault(row, f"score: {_short(value)} is not a number")
        if np.isnan(score).all():
            score = None
    prediction, missing, wrong = np.zeros(given.size), np.ones(given.size, dtype=bool), dict[int, Any]()
    if given.prediction is not None:
        prediction, wrong = _predicted(spec, given.prediction)
        missing = _missing(given.prediction)
    if score is not None and missing.any() and spec.task in ("binary", "regression"):
        told = _by_threshold(spec, score) if spec.task == "binary" else score
        prediction = told if missing.all() else np.where(missing, told, prediction)
        missing = missing & np.isnan(score)
    for row, value in wrong.items():
        refused.setdefault(row, f"prediction: {_short(value)} is not what {spec.endpoint} answers")
    for row in np.flatnonzero(missing).tolist():
        refused.setdefault(row, "no prediction")
    return prediction, score


def _predicted(spec: Spec, values: Array) -> tuple[Array, dict[int, Any]]:
    """Predictions in the type of the classes; a class never heard of is kept: it is news, not an error."""
    kinds = {type(each) for each in spec.classes}
    if spec.task == "regression" or kinds == {float}:
        return numbers(values)
    if kinds and kinds <= {bool, int}:
        found, wrong = numbers(_unflagged(values))
        odd = np.flatnonzero(np.isfinite(found) & (found != np.floor(found)))
        wrong |= {int(row): values[row] for row in odd}
        whole = np.where(np.isfinite(found), found, 0).astype(np.int64)
        return (whole.astype(bool) if kinds == {bool} else whole), wrong
    if kinds == {str}:
        return objects([each or "" for each in texts(values)]), {}
    found, wrong = numbers(values)
    if wrong:
        return objects([each or "" for each in texts(values)]), {}
    all_whole = bool(np.isfinite(found).all()) and bool((found == np.floor(found)).all())
    return (found.astype(np.int64) if all_whole and spec.task != "other" else found), {}


def _unflagged(values: Array) -> Array:
    """True and false, however spelt, as 1 and 0."""
    if values.dtype.kind != "O":
        return values
    words = {"true": 1, "false": 0}
    return objects([words.get(each.strip().lower(), each) if isinstance(each, str) else each for each in values])


def _by_threshold(spec: Spec, score: Array) -> Array:
    classes: tuple[Scalar, ...] = spec.classes if len(spec.classes) == 2 else (0, 1)
    second = score >= spec.threshold
    chosen = objects([classes[int(flag)] for flag in second.tolist()])
    kinds = {type(each) for each in classes}
    return chosen.astype(np.int64 if kinds == {int} else bool if kinds == {bool} else object)


def _times(given: Given, now_ms: int, refused: dict[int, str]) -> tuple[Array, Array]:
    """Event time per row, and whether it was told."""
    if given.event_time is None:
        return np.full(given.size, now_ms), np.zeros(given.size, dtype=bool)
    at_ms, wrong = times_ms(given.event_time)
    for row, value in wrong.items():
        refused.setdefault(row, f"event_time: {_short(value)} is neither ISO 8601 nor a time since 1970")
    for row in np.flatnonzero(at_ms > now_ms + AHEAD_MS).tolist():
        refused.setdefault(row, f"event_time: {_short(given.event_time[row])} is more than a day ahead of now")
    return at_ms, at_ms >= 0


def _ids(given: Given) -> tuple[list[str], list[int], Array]:
    """What each row is called: an id, a row number within it, and whether the sender said so."""
    own = texts(given.ids) if given.ids is not None else [None] * given.size
    ids, numbers_ = list(given.request_ids), list(given.row_numbers)
    for row, text in enumerate(own):
        if text is not None:
            found = _ROW_SUFFIX.match(text)  # as labels name a row
            ids[row], numbers_[row] = (found[1], int(found[2])) if found else (text, 0)
    return ids, numbers_, np.array([each is not None for each in own], dtype=bool)


def _labels(given: Given, ids: list[str], numbers_: list[int], kept: Array) -> dict[str, list[Any]]:
    if given.label is None:
        return {}
    known = np.flatnonzero(kept & ~_missing(given.label)).tolist()
    if not known:
        return {}
    listed = given.label.tolist()
    return {"id": [f"{ids[row]}:{numbers_[row]}" for row in known], "label": [listed[row] for row in known]}


def _missing(values: Array) -> Array:
    if values.dtype.kind == "O":
        return np.array([each is None or each == "" or each is not each for each in values.tolist()], dtype=bool)
    if values.dtype.kind == "M":
        return np.isnat(values)
    if values.dtype.kind == "f":
        nan = np.isnan(values)
        return np.asarray(nan.all(axis=1) if nan.ndim > 1 else nan)
    return np.zeros(len(values), dtype=bool)


def _at(columns: Columns, at: Array) -> Columns:
    return {name: values[at] for name, values in columns.items()}


def _short(value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
