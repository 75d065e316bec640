"""Logged rows of a stretch of event time, as columns the model and the statistics take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.columns import parse_array, take
from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Schema
from mlspine.monitoring.window import Span
from mlspine.predictions.segment import input_names, literal, quote
from mlspine.predictions.service import Predictions
from mlspine.stats.profile import Array, Floats, Ints

MOST_SPANS = 100
CALLER = "_caller"
_META = ("_id", "_row", "_event_time", "_key", CALLER, "_prediction", "_score")


class Logged(NamedTuple):
    """Rows of one release as they were logged. `inputs` lacks columns that were withheld or cannot be read."""

    ids: tuple[str, ...]  # "request:row"
    event_at_ms: Ints
    inputs: Columns
    score: Floats  # NaN where the model gives none
    prediction: Array
    caller: Array
    key: Array

    @property
    def rows(self) -> int:
        return len(self.ids)

    def where(self, index: Array) -> Logged:
        """The rows at these positions, or under this mask."""
        positions = np.arange(self.rows)[index]
        return Logged(
            ids=tuple(self.ids[i] for i in positions.tolist()),
            event_at_ms=self.event_at_ms[positions],
            inputs=take(self.inputs, positions),
            score=self.score[positions],
            prediction=self.prediction[positions],
            caller=self.caller[positions],
            key=self.key[positions],
        )


def read_rows(
    predictions: Predictions,
    endpoint: str,
    release_hash: str,
    schema: Schema,
    *,
    spans: Sequence[Span],
    most: int,
    with_inputs: bool = True,
) -> Logged:
    """Up to `most` rows of a release within these spans, chosen by a hash of their id: the same ones every time."""
    if not spans:
        return _logged([], [], schema)
    when = " or ".join(
        f"(_event_time >= make_timestamp({span.from_at_ms * 1000})"
        f" and _event_time < make_timestamp({span.to_at_ms * 1000}))"
        for span in _joined(spans)[-MOST_SPANS:]
    )
    held = predictions.query(endpoint, "select * from log limit 0").columns
    wanted = [name for name in (*_META, *input_names(schema.names).values()) if name in held]
    chosen = wanted if with_inputs else [name for name in wanted if name in _META]
    result = predictions.query(
        endpoint,
        f"select {', '.join(map(quote, chosen))} from log"
        f" where _release = {literal(release_hash)} and ({when})"
        f" order by hash(_id, _row) limit {int(most)}",
    )
    return _logged(result.columns, result.rows, schema)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Spans in order, those that touch made one."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.from_at_ms <= joined[-1].to_at_ms:
            joined[-1] = Span(joined[-1].from_at_ms, max(span.to_at_ms, joined[-1].to_at_ms))
        else:
            joined.append(span)
    return joined


def _logged(names: Sequence[str], rows: Sequence[Sequence[Any]], schema: Schema) -> Logged:
    listed: dict[str, list[Any]] = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    ids, numbers = listed.get("_id", []), listed.get("_row", [])
    times = [str(value).removesuffix("Z") for value in listed.get("_event_time", [])]
    return Logged(
        ids=tuple(f"{id_}:{row}" for id_, row in zip(ids, numbers, strict=True)),
        event_at_ms=np.array(times, dtype="datetime64[ms]").astype(np.int64),
        inputs=_inputs(listed, schema),
        score=np.array([np.nan if v is None else v for v in listed.get("_score", [])], dtype=np.float64),
        prediction=_objects(listed.get("_prediction", [])),
        caller=_objects(listed.get(CALLER, [])),
        key=_objects(listed.get("_key", [])),
    )


def _inputs(listed: dict[str, list[Any]], schema: Schema) -> Columns:
    stored = input_names(schema.names)
    inputs: Columns = {}
    for field in schema.fields:
        values = listed.get(stored[field.name])
        if values is None:
            continue
        try:
            inputs[field.name] = parse_array(values, field)
        except Invalid:
            continue  # a transform of the release's own relabels it; what cannot be read is not compared
    return inputs


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
