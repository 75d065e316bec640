"""Where the rows of a renewal come from: a file named now, the declared source, or the labelled log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlspine.core.columns import to_columns
from mlspine.core.errors import Invalid, MlspineError, closest
from mlspine.core.jsonable import parse_array
from mlspine.core.types import Columns, Field, ModelVersion, Release, Scalar, Schema
from mlspine.data.source import parse_source, read_source, texts_of
from mlspine.predictions.query import MAX_RESULT_ROWS, QueryResult
from mlspine.stats.score import class_index

Array = np.ndarray[Any, np.dtype[Any]]


class Log(Protocol):
    """What is asked of the prediction log."""

    def query(self, endpoint: str, sql: str) -> QueryResult: ...


class Fresh(NamedTuple):
    """Rows with their labels as they came. labels None: `target` is no column of them. said: for people."""

    columns: Columns
    schema: Schema
    labels: Array | None
    target: str
    said: str


def read_fresh(
    version: ModelVersion,
    release: Release,
    *,
    data: str | None,
    declared: str,
    target: str | None,
    log: Log,
    here: Path,
    root: Path,
) -> Fresh:
    """The rows to renew a model with: `data` (seen from `here`), else its source (seen from `root`), else its log.

    declared: the model's source as its feeds have it, "" for none. target: the column of labels; by default the
    one the model was fitted with. Raises Invalid when there are no rows anywhere, or nobody said which column
    holds the labels.
    """
    if data is not None:
        return _from_source(data, release, target, here, data)
    if declared and declared != "caller":
        return _from_source(declared, release, target, root, f"the source {declared}")
    if target is not None:
        raise Invalid(
            f"--target {target} needs rows to be a column of, and {version.model} declares no source",
            hint=f"mlspine retrain {version.model} --data FILE --target {target}",
        )
    return _from_log(version.model, release, log)


def _from_source(text: str, release: Release, target: str | None, root: Path, said: str) -> Fresh:
    target = target or release.signature.target
    if not target:
        raise Invalid(f"which column of {said} holds the labels is not known", hint="say so: --target COLUMN")
    columns, schema = to_columns(read_source(parse_source(text), root=root, texts=texts_of(release.signature.inputs)))
    if target not in columns:
        near = closest(target, columns)
        where = f"did you mean --target {near}?" if near else f"its columns: {', '.join(list(columns)[:20])}"
        raise Invalid(f"{said} has no column {target!r} with the labels", hint=where)
    labels = columns.pop(target)
    kept = Schema(fields=tuple(field for field in schema.fields if field.name != target), container="arrays")
    return Fresh(columns, kept, labels, target, said)


# ---------------------------------------------------------------- the log


def _from_log(model: str, release: Release, log: Log) -> Fresh:
    wanted = {field.name: field for field in release.signature.inputs.fields} | _side_fields(release)
    try:
        held = log.query(model, "select * from log limit 0").columns
    except MlspineError:
        held = []
    chosen = {name: field for name, field in wanted.items() if name in held}
    selected = ", ".join(["y.label", "y.label_number", *(f"l.{_quoted(name)}" for name in chosen)])
    for name in (each for each in _side_fields(release) if each not in chosen):
        chosen[name] = wanted[name]
        selected += f", l.{'_event_time' if name == release.settings.get('time') else '_key'}"
    sql = (
        f"select {selected} from log l join labelled y on l._id = y._id and l._row = y._row"
        f" order by l._event_time desc, l._id, l._row limit {MAX_RESULT_ROWS}"
    )
    found = log.query(model, sql).rows if held else []
    if not found:
        raise Invalid(
            f"there are no fresh rows: {model} declares no source, and no logged prediction has a label yet",
            hint=f"name a file: mlspine retrain {model} --data FILE; or add labels: mlspine labels add {model} FILE",
        )
    table = list(zip(*reversed(found), strict=True))  # oldest first
    labels = _labels(table[0], table[1], release)
    columns = {name: parse_array([_null(v) for v in given], field) for (name, field), given in _paired(chosen, table)}
    schema = Schema(fields=tuple(chosen.values()), container="arrays")
    return Fresh(columns, schema, labels, release.signature.target, f"{len(found):,} labelled rows of the log")


def _paired(chosen: dict[str, Field], table: list[Any]) -> list[tuple[tuple[str, Field], Any]]:
    return list(zip(chosen.items(), table[2:], strict=True))


def _side_fields(release: Release) -> dict[str, Field]:
    """Columns that date and identify a row without being inputs: they are wanted again."""
    inputs = release.signature.inputs.names
    time, key = release.settings.get("time", ""), release.settings.get("key", "")
    sides: dict[str, Field] = {}
    if time and time not in inputs:
        sides[time] = Field(name=time, type="datetime", dtype="datetime64[us]", nullable=True)
    if key and key not in inputs:
        sides[key] = Field(name=key, type="text", dtype="object", nullable=True)
    return sides


def _labels(texts: Sequence[Any], numbers: Sequence[Any], release: Release) -> Array:
    """Labels in the type the model was fitted with; files of labels know no types."""
    classes: tuple[Scalar, ...] = release.signature.classes
    if not classes:
        return np.array([np.nan if value is None else value for value in numbers], dtype=np.float64)
    given = np.empty(len(texts), dtype=object)
    given[:] = texts
    at = class_index(given, classes)
    return np.array([classes[place] if place >= 0 else given[row] for row, place in enumerate(at)], dtype=object)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _null(value: Any) -> Any:
    return None if value != value else value
