"""Scoring a whole table: the release, the reading of rows and the records are those of the endpoint."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from mlspine.core.columns import take
from mlspine.core.errors import Denied, Invalid, MlspineError, Unavailable
from mlspine.core.ids import now_ms
from mlspine.core.late import duckdb
from mlspine.core.plan import LogSettings, PlannedRelease
from mlspine.core.types import Columns, ModelVersion, Struct
from mlspine.data.source import Opened, Source, opened, texts_of
from mlspine.predictions import segment
from mlspine.registry.bare import require_whole
from mlspine.registry.flavors import Outputs
from mlspine.serving import recorder, runtime
from mlspine.serving.batcher import MAX_CALL_ROWS
from mlspine.serving.publication import Publication, check_output, recover
from mlspine.serving.recorder import Call, make_batch
from mlspine.serving.request import Answered, Request
from mlspine.serving.request_id import new_request_id
from mlspine.serving.rows import Table
from mlspine.serving.runtime import LoadedRelease

CHUNK_ROWS = 32 * MAX_CALL_ROWS  # held in memory at once
PATH = "batch"  # `_path` of these rows in the log, "live" for those of requests
FORMATS = {".parquet": "format parquet, compression zstd", ".pq": "format parquet, compression zstd"}
FORMATS |= {".csv": "format csv, header", ".csv.gz": "format csv, header, compression gzip"}
_PATH = re.compile(r"columns\.(.*?)(?:\[(\d+)\])?: ", re.DOTALL)

Array = segment.Array
Progress = Callable[[int, int], None]


class Batch(Struct, frozen=True, kw_only=True):
    """What to score: the rows of `source` with a version, into `output`, logged as the endpoint's rows are."""

    endpoint: str
    version: ModelVersion
    revision: int
    log: LogSettings
    source: Source
    root: str  # where relative paths of the source start
    output: str
    workspace: str


class Scored(Struct, frozen=True, kw_only=True):
    """What became of a batch."""

    endpoint: str
    version: int
    release_hash: str
    rows: int
    output: str
    logged: bool
    seconds: float


def score(batch: Batch, *, progress: Progress = lambda done, of: None, clock: Callable[[], int] = now_ms) -> Scored:
    """Score every row in its order. The output and the log get all rows or none.

    Raises Invalid naming the rows and columns that cannot be read, Denied for a model nobody vouched for.
    """
    began = time.perf_counter()
    output, run = Path(batch.output), Path(batch.workspace) / "run"
    options = _format(output)
    check_output(output)
    if not batch.version.trusted:
        ref = f"{batch.version.model}:{batch.version.version}"
        raise Denied(f"{ref} came from elsewhere and nobody has vouched for it", hint=f"mlspine trust {ref}")
    aside, spool_dir = run / "scoring", run / "spool"
    recover(aside=aside, spool_dir=spool_dir)
    loaded = _load(batch.version)
    texts = _texts(loaded)
    with (
        opened(batch.source, root=Path(batch.root), texts=texts) as table,
        Publication(aside=aside, spool_dir=spool_dir, output=output) as publication,
    ):
        scorer = _Scorer(batch, loaded, clock)
        parts = []
        progress(0, table.rows)
        for start in range(0, max(table.rows, 1), CHUNK_ROWS):
            calls = scorer.calls(table, start, min(start + CHUNK_ROWS, table.rows))
            parts.append(_write_part(publication.folder / f"{start:012}.parquet", calls, scorer))
            if batch.log.enabled and calls:
                publication.spool.append([msgspec.structs.replace(make_batch(calls), path=PATH)])
            progress(min(start + CHUNK_ROWS, table.rows), table.rows)
        _join(parts, publication.draft, options)
        publication.publish()
        rows = table.rows
    return Scored(
        endpoint=batch.endpoint,
        version=batch.version.version,
        release_hash=batch.version.release_hash,
        rows=rows,
        output=str(output),
        logged=batch.log.enabled,
        seconds=time.perf_counter() - began,
    )


class _Scorer:
    """Rows in, model calls with their answers out, of one release."""

    def __init__(self, batch: Batch, loaded: LoadedRelease, clock: Callable[[], int]) -> None:
        self._loaded = loaded
        self._clock = clock
        self._what = batch.source.text
        self._untyped = batch.source.kind == "path" and ".csv" in batch.source.text.lower()
        self.signature = loaded.release.signature
        time_column, self.key_column = runtime.logged_columns(loaded.release)
        self._recorded_as = recorder.Source(
            endpoint=batch.endpoint,
            release_hash=batch.version.release_hash,
            version=batch.version.version,
            revision=batch.revision,
            columns=self.signature.inputs.names,
            time_column=time_column,
            key_column=self.key_column,
            log=batch.log,
        )

    def calls(self, table: Opened, start: int, stop: int) -> list[Call]:
        """The answered model calls of rows `start` to `stop`: as many rows each as the endpoint gives at once."""
        rows = self._read(table, start, stop)
        return [
            self._call(take(rows, slice(at, at + MAX_CALL_ROWS)), start + at)
            for at in range(0, stop - start, MAX_CALL_ROWS)
        ]

    def _read(self, table: Opened, start: int, stop: int) -> Columns:
        columns = table.chunk(start, stop)
        codec = self._loaded.codec
        fields = (field for field in (*codec.schema.fields, *codec.also) if field.name in columns)
        listed = {field.name: _listed(columns[field.name], zoned=field.name in table.zoned) for field in fields}
        if self._untyped:
            # One word among its numbers makes a column of a CSV file text: read so, the word is told by its row.
            numeric = [field.name for field in codec.schema.fields if field.type in ("float", "int")]
            listed |= {name: [_as_number(value) for value in listed[name]] for name in numeric if name in listed}
        try:
            if start == stop and set(codec.schema.names) <= set(columns):
                return {}
            strangers: dict[str, list[object]] = {name: [] for name in columns if name not in listed}  # misspelt?
            return codec.columns([codec.read_columns(strangers | listed)])
        except Invalid as exc:
            names_given = f"{self._what} has the columns {', '.join(table.names[:20])}"
            raise Invalid(
                f"{self._what} cannot be scored: {exc.message}; nothing was written or logged",
                details=[_placed(detail, start) for detail in exc.details],
                hint=names_given,
            ) from exc

    def _call(self, columns: Columns, first_row: int) -> Call:
        began_s = time.perf_counter()
        rows = len(next(iter(columns.values())))
        at_ms = self._clock()
        request = Request(Table(rows, columns=columns), new_request_id(at_ms), received_at_ms=at_ms, began_s=began_s)
        answered = Answered(self._predict(columns, rows, first_row), self.signature.task)
        request.latency_s = time.perf_counter() - began_s
        return Call(self._recorded_as, [request], columns, answered)

    def _predict(self, columns: Columns, rows: int, first_row: int) -> Outputs:
        try:
            outputs = self._loaded.predict(columns)
        except MlspineError:
            raise
        except Exception as exc:
            raise Invalid(
                f"the model fails on rows {first_row + 1:,} to {first_row + rows:,} of {self._what}:"
                f" {type(exc).__name__}: {str(exc)[:300]}; nothing was written or logged",
                hint="leave them out, or handle what they hold in the model",
            ) from exc
        if len(outputs.prediction) != rows:
            raise Invalid(f"the model gave {len(outputs.prediction)} predictions for {rows} rows", hint="ship it again")
        return outputs


# ---------------------------------------------------------------- rows in


def _load(version: ModelVersion) -> LoadedRelease:
    require_whole(version)
    planned = PlannedRelease(
        release_hash=version.release_hash, version=version.version, path=version.path, placement="auto"
    )
    return runtime.load(planned)[0]


def _texts(loaded: LoadedRelease) -> frozenset[str]:
    """Columns a CSV file must not turn into numbers: the model's texts, and keys."""
    inputs = loaded.release.signature.inputs
    _, key_column = runtime.logged_columns(loaded.release)
    return texts_of(inputs) | ({key_column} - {"", *inputs.names})


def _listed(values: Array, *, zoned: bool) -> list[object]:
    """A column as the JSON of a request would have it: null for NaN and NaT, times as text."""
    if values.dtype.kind == "M":
        texts = np.datetime_as_string(values, unit="us").tolist()
        return [None if text == "NaT" else text + "Z" * zoned for text in texts]
    listed: list[object] = values.tolist()
    if values.dtype.kind == "f" and values.ndim > 1:
        return [[None if each != each else each for each in row] for row in values.tolist()]
    return [None if each != each else each for each in listed] if values.dtype.kind == "f" else listed


def _as_number(value: object) -> object:
    """Text as the number it spells, anything else as it is."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _placed(problem: str, start: int) -> str:
    """A problem with the number its row has in the table, the first being 1.

    >>> _placed("columns.temp[2]: expected a number, got null", 1000)
    'row 1,003, column temp: expected a number, got null'
    """
    found = _PATH.match(problem)
    if found is None:
        return problem
    row = f"row {start + int(found[2]) + 1:,}, " if found[2] else ""
    return f"{row}column {found[1]}: {problem[found.end() :]}"


# ---------------------------------------------------------------- answers out


def _write_part(path: Path, calls: Sequence[Call], scorer: _Scorer) -> Path:
    with segment.connect() as connection, _writing():
        segment.write(connection, path, _answers(calls, scorer), {"id": "varchar", "key": "varchar"})
    return path


def _answers(calls: Sequence[Call], scorer: _Scorer) -> Columns:
    """What the output holds of some calls: id, key if one was named at ship, prediction, score, probabilities."""
    requests = [request for call in calls for request in call.requests]
    ids = [f"{request.request_id}:{row}" for request in requests for row in range(request.table.size)]
    answers: Columns = {"id": _objects(ids)}
    if scorer.key_column:
        answers["key"] = _objects([None if each is None else str(each) for each in _keys(calls, scorer.key_column)])
    outputs = [call.answered.outputs for call in calls]
    answers["prediction"] = _stacked([each.prediction for each in outputs])
    scores = [call.answered.score for call in calls]
    if calls and scorer.signature.task in ("binary", "multiclass") and all(each is not None for each in scores):
        answers["score"] = np.concatenate([each for each in scores if each is not None])
    if scorer.signature.task == "multiclass" and outputs and outputs[0].probabilities is not None:
        shares = np.concatenate([each.probabilities for each in outputs if each.probabilities is not None])
        for at, name in enumerate(scorer.signature.classes):
            answers[f"probability_{name}"] = shares[:, at]
    return answers


def _keys(calls: Sequence[Call], column: str) -> list[object]:
    values: list[object] = [value for call in calls for value in _columns(call)[column].tolist()]
    return [None if value is None or value != value else value for value in values]


def _columns(call: Call) -> Columns:
    if not isinstance(call.rows, dict):
        raise TypeError("a table is scored by columns")
    return call.rows


def _stacked(parts: Sequence[Array]) -> Array:
    if not parts:
        return np.empty(0, dtype=object)
    stacked = np.concatenate(parts)
    return stacked.astype(object) if stacked.dtype.kind in "US" else stacked


def _objects(values: Sequence[object]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _join(parts: Sequence[Path], draft: Path, options: str) -> None:
    """All parts as one file, in their order."""
    listed = ", ".join(segment.literal(str(path)) for path in parts)
    rows = f"select * from read_parquet([{listed}], union_by_name = true)"
    with segment.connect() as connection, _writing():
        connection.execute(f"copy ({rows}) to {segment.literal(str(draft))} ({options})")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as exc:
        raise Unavailable(
            f"the answers cannot be written: {str(exc).splitlines()[0]}; nothing was published or logged",
            hint="free disk space, then score again",
        ) from exc


def _format(output: Path) -> str:
    found = next((FORMATS[end] for end in sorted(FORMATS, key=len)[::-1] if output.name.lower().endswith(end)), "")
    if not found:
        raise Invalid(f"{output.name} names no format that is written", hint=f"end it in {', '.join(FORMATS)}")
    return found
