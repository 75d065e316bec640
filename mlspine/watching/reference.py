"""Reference rows to a watched release: what rows answered elsewhere are judged by. Touches no store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from blake3 import blake3

from mlspine.core.columns import row_count, to_columns
from mlspine.core.errors import Invalid, NotFound, closest
from mlspine.core.ids import check_name
from mlspine.core.types import Columns, DatasetVersion, Metric, Scalar, Schema, Signature, Struct, Task, Tier
from mlspine.data.manifest import table_digest
from mlspine.data.schema import example_row, summarise
from mlspine.data.source import Opened, opened, parse_source
from mlspine.registry import capture
from mlspine.registry.prepare import Prepared
from mlspine.registry.release import WATCHED
from mlspine.registry.rows import check_column_names
from mlspine.registry.watched import build_watched
from mlspine.stats.baseline import Baseline, encode_baseline, take_baseline
from mlspine.stats.bins import kind_of
from mlspine.tracking.code import code_state
from mlspine.watching.fitting import fit, times_ms
from mlspine.watching.names import NONE, Names, settle
from mlspine.watching.outputs import metric_of, outputs_of, task_of
from mlspine.watching.spec import THRESHOLD

MOST_ROWS = 1_000_000  # of more rows than this an even sample is taken
CHUNK_ROWS = 100_000
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression", "other")

Array = np.ndarray[Any, np.dtype[Any]]


class Told(Struct, frozen=True, kw_only=True):
    """What the person said about the reference, apart from where it lies. task "": to be found out."""

    names: Names = Names()
    ignore: tuple[str, ...] = ()
    task: Task | Literal[""] = ""
    threshold: float = THRESHOLD
    importance: dict[str, float] = {}
    holdout: str = ""
    owner: str = ""
    tier: Tier = "low"
    message: str = ""
    elsewhere: bool = False  # columns that are named and not here may be those of the log


class _Rows(NamedTuple):
    """A table: all of it by its digest, and those of its rows that are looked at."""

    columns: Columns
    digest: str
    rows: int


def prepare_watched(text: str, told: Told, *, name: str, root: Path, releases_dir: Path) -> Prepared:
    """Take the baseline of reference rows and write the release.

    text: a file, glob or SQL, relative to `root`. Columns that are neither outputs nor dates nor ids are the features.
    With outputs among them these are the outputs' baseline, with labels too the quality to compare with; a holdout
    says so of rows the model had not seen. Without outputs, the first live ones are learned. Raises Invalid for
    anything that does not fit together.
    """
    check_name(name)
    table = _read(text, root)
    names = settle(tuple(table.columns), _of_these(told, table.columns), what=text)
    features, schema = _features(table.columns, names, told.ignore, text)
    check_column_names(schema.names)
    held = _read(told.holdout, root) if told.holdout else None
    unseen = names
    if held is not None:
        unseen = settle(tuple(held.columns), _of_these(told, held.columns), features=schema.names, what=told.holdout)
    seen_from: Literal["holdout", "reference"] = "holdout" if held is not None else "reference"
    shown = table.columns if held is None else held.columns
    if held is not None and not (unseen.prediction or unseen.score):
        raise Invalid(f"{told.holdout} holds neither prediction nor score", hint="name them: --prediction COL")
    task, classes = task_of(told.task, table.columns, names, shown, unseen)
    outputs = outputs_of(shown, unseen, task, classes, told.threshold)
    metric = metric_of(outputs, shown, unseen, task, classes, seen_from)
    at_ms = _times(table.columns, names, text)
    unknown = [each for each in told.importance if each not in schema.names]
    if unknown:
        near = closest(unknown[0], schema.names)
        raise Invalid(
            f"importance of {unknown[0]}, which is no feature of {text}",
            hint=f"did you mean {near}?" if near else f"features: {', '.join(schema.names[:20])}",
        )
    baseline = take_baseline(
        features,
        {field.name: kind_of(field) for field in schema.fields},
        outputs=outputs,
        outputs_from="LEARNING" if outputs is None else "holdout",
        event_at_ms=at_ms,
        outputs_event_at_ms=None if outputs is None else _times(shown, unseen, told.holdout or text),
        importance=told.importance,
        metric=metric if metric.status == "ESTIMATED" else None,
    )
    return _prepared(text, told, name, releases_dir, table, names, features, schema, task, classes, baseline, metric)


def _of_these(told: Told, columns: Columns) -> Names:
    if not told.elsewhere:
        return told.names
    said = msgspec.structs.asdict(told.names)
    return Names(**{role: name if name == NONE or name in columns else "" for role, name in said.items()})


def read_importance(path: Path) -> dict[str, float]:
    """Weights per feature from a JSON file: {"age": 0.4, ...}."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except FileNotFoundError as exc:
        raise NotFound(f"no file {path}", hint='a JSON file such as {"age": 0.4, "income": 0.6}') from exc
    except msgspec.MsgspecError as exc:
        raise Invalid(f"{path} is no table of weights: {exc}", hint='e.g. {"age": 0.4, "income": 0.6}') from exc


# ---------------------------------------------------------------- rows


def _read(text: str, root: Path) -> _Rows:
    source = parse_source(text)
    with opened(source, root=root) as table:
        if not table.rows:
            raise Invalid(f"{text} has no rows", hint="give rows as the model sees them")
        return _sampled(table)


def _sampled(table: Opened) -> _Rows:
    """All rows, or of very many an even sample."""
    hasher = blake3()
    chosen = np.unique(np.linspace(0, table.rows - 1, min(table.rows, MOST_ROWS)).astype(np.int64))
    parts: list[Columns] = []
    for start in range(0, table.rows, CHUNK_ROWS):
        part = table.chunk(start, min(start + CHUNK_ROWS, table.rows))
        hasher.update(table_digest(part).encode())
        mine = chosen[(chosen >= start) & (chosen < start + CHUNK_ROWS)] - start
        parts.append({name: values[mine] for name, values in part.items()})
    columns = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    return _Rows(columns, hasher.hexdigest(), table.rows)


def _joined(parts: list[Array]) -> Array:
    if any(part.dtype == object for part in parts):
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts)


def _features(columns: Columns, names: Names, ignore: Sequence[str], text: str) -> tuple[Columns, Schema]:
    for each in ignore:
        if each not in columns:
            near = closest(each, columns)
            raise Invalid(f"--ignore {each}: no such column in {text}", hint=f"did you mean {near}?" if near else "")
    aside = {*names.given.values(), *ignore}
    left = {name: values for name, values in columns.items() if name not in aside}
    if not left:
        raise Invalid(f"{text} has no column that is a feature", hint=f"its columns: {', '.join(columns)}")
    taken, schema = to_columns(left)
    nullable = tuple(msgspec.structs.replace(field, nullable=True) for field in schema.fields)
    schema = msgspec.structs.replace(schema, fields=nullable)
    return fit(taken, schema, row_count(left)).columns, schema


def _times(columns: Columns, names: Names, text: str) -> Array | None:
    if not names.time:
        return None
    at_ms, wrong = times_ms(columns[names.time])
    missing = int((at_ms < 0).sum())
    if wrong or missing:
        example = next(iter(wrong.values()), None)
        raise Invalid(
            f"{text}: {missing:,} rows have no time in {names.time}" + (f", e.g. {example!r}" if wrong else ""),
            hint="drop those rows, name another column with --time, or none with --time -",
        )
    return at_ms


# ---------------------------------------------------------------- release


def _prepared(
    text: str,
    told: Told,
    name: str,
    releases_dir: Path,
    table: _Rows,
    names: Names,
    features: Columns,
    schema: Schema,
    task: Task,
    classes: tuple[Scalar, ...],
    baseline: Baseline,
    metric: Metric,
) -> Prepared:
    code = code_state()
    assumed = "" if told.owner else capture.git_owner()
    _, hash_ = build_watched(
        releases_dir,
        encode_baseline(baseline),
        signature=Signature(inputs=schema, task=task, classes=classes, target=names.label),
        data=table.digest,
        code=code.state,
        settings={"time": names.time, "key": names.key, "threshold": told.threshold, "names": names.given},
        thresholds={"min_rows": baseline.min_rows, "limits": baseline.limits},
    )
    captured: dict[str, Any] = {
        "code": msgspec.to_builtins(code.state),
        "data": {"digest": table.digest, "rows": table.rows, "columns": len(table.columns), "reference": text},
        "columns": list(schema.names),
        "names": names.given,
        "schema": msgspec.to_builtins(summarise(features, schema)),
        "example": example_row(features, schema),
        "task": task,
        "classes": list(classes[:100]),
        "baseline": {
            "rows": baseline.inputs.rows,
            "sampled": baseline.inputs.rows < table.rows,
            "outputs_from": "LEARNING" if baseline.outputs is None else metric.rows_from or "reference",
            "seasonality": baseline.seasonality,
        },
        "importance": baseline.importance,
        "metrics": [msgspec.to_builtins(metric)],
    }
    return Prepared(
        name=name,
        release_hash=hash_,
        flavor=WATCHED,
        dataset=DatasetVersion(digest=table.digest, rows=table.rows, columns=len(table.columns), source=text),
        columns=summarise(features, schema),
        metric=metric,
        owner=told.owner or assumed,
        owner_assumed=bool(assumed),
        tier=told.tier,
        message=told.message,
        origin="elsewhere",
        file_digest="",
        captured=msgspec.json.decode(msgspec.json.encode(captured)),
        missing=tuple(_missing(baseline, metric, told, assumed)),
    )


def _missing(baseline: Baseline, metric: Metric, told: Told, assumed: str) -> list[str]:
    gaps = []
    if metric.status != "ESTIMATED":
        gaps.append(f"quality: nothing to compare with, {metric.reason}; {metric.opens_with}")
    elif metric.rows_from == "reference":
        gaps.append(
            f"quality: {metric.name} stands on the reference's own rows; honest only if the model had not seen them,"
            " else --holdout FILE"
        )
    if baseline.outputs is None:
        gaps.append("outputs: learned from the first live rows; a reference with --prediction or --score has them")
    if not told.importance:
        gaps.append('importance: every feature counts alike; --importance FILE with {"age": 0.4, ...}')
    if baseline.seasonality:
        gaps.append(f"time: {baseline.seasonality}; --time COL with twelve weeks of rows")
    if not told.owner:
        gaps.append(f"owner: {assumed} is assumed from git; --owner WHO" if assumed else "owner: nobody; --owner WHO")
    return gaps
