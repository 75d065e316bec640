"""Parquet segments: their columns, how they are written, compacted and kept, and how labels join predictions.

Wide request rows (`log/`), narrow outcome rows (`outcomes/`), labels (`labels/`) and what a shadow would have
answered (`shadow/`), one endpoint per folder:

    log       _id _row _event_time _received_at _key _release _version _revision _path _caller _latency_s
              _prediction _score, then the model's inputs under their own names
    outcomes  _id _row _key _event_time _received_at _release _version _prediction _score
    labels    _id _row _key label label_number label_time timed received_at seq source all_matches
    shadow    as outcomes, with the shadow's release and version; ids and rows are those of the answers in the log

Times are timestamps in UTC. Everything goes through DuckDB; neither pandas nor pyarrow is needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from mlspine.core.ids import uuid7
from mlspine.core.late import duckdb
from mlspine.core.types import Columns
from mlspine.predictions.spool import Batch, decode_column, decode_columns
from mlspine.predictions.store import Kind, Segment

Array = np.ndarray[Any, np.dtype[Any]]

DAY_MS = 86_400_000
# Segments are merged by size classes of this ratio once so many of a class lie side by side: every row is
# rewritten a few times in its life, and a day's log is some dozens of files at most.
MERGE_FILES = 16
MERGE_MAX_ROWS = 2_000_000
_MEMORY = "1GB"

LOG_COLUMNS = {
    "_id": "varchar",
    "_row": "bigint",
    "_event_time": "timestamp",
    "_received_at": "timestamp",
    "_key": "varchar",
    "_release": "varchar",
    "_version": "bigint",
    "_revision": "bigint",
    "_path": "varchar",
    "_caller": "varchar",
    "_latency_s": "double",
    "_prediction": "",
    "_score": "double",
}
OUTCOME_COLUMNS = {
    name: LOG_COLUMNS[name]
    for name in (
        "_id", "_row", "_key", "_event_time", "_received_at", "_release", "_version", "_prediction", "_score",
    )
}  # fmt: skip
LABEL_COLUMNS = {
    "_id": "varchar",
    "_row": "bigint",
    "_key": "varchar",
    "label": "varchar",
    "label_number": "double",
    "label_time": "timestamp",
    "timed": "boolean",
    "received_at": "timestamp",
    "seq": "bigint",
    "source": "varchar",
    "all_matches": "boolean",
}
COLUMNS_OF: dict[Kind, dict[str, str]] = {
    "log": LOG_COLUMNS,
    "outcomes": OUTCOME_COLUMNS,
    "labels": LABEL_COLUMNS,
    "shadow": OUTCOME_COLUMNS,
}

# Who gave the rows of a batch: a release that callers were answered by, the declared rule, or a shadow.
Role = Literal["release", "rule", "shadow"]
_ROLES: dict[str, Role] = {"rule": "rule", "shadow": "shadow"}  # by the path of the batch


# ---------------------------------------------------------------- from batches to columns


class Rows(NamedTuple):
    """Rows of one endpoint, release and set of inputs, as they were answered. All arrays have one length.

    What the declared rule answered is nobody's prediction: release "" and version 0.
    """

    endpoint: str
    release_hash: str
    meta: Columns  # LOG_COLUMNS
    inputs: Columns
    event_at_ms: Array
    received_at_ms: Array
    dropped_rows: int = 0
    role: Role = "release"

    @property
    def size(self) -> int:
        return len(self.event_at_ms)

    def where(self, kept: Array) -> Rows:
        """The rows for which `kept` is true."""
        return self._replace(
            meta={name: values[kept] for name, values in self.meta.items()},
            inputs={name: values[kept] for name, values in self.inputs.items()},
            event_at_ms=self.event_at_ms[kept],
            received_at_ms=self.received_at_ms[kept],
        )

    def log(self) -> Columns:
        """The wide rows. An input whose name is taken (names in files know no case) gets a number."""
        names = input_names(self.inputs)
        return self.meta | {names[name]: values for name, values in self.inputs.items()}

    def outcomes(self) -> Columns:
        """The narrow rows."""
        return {name: self.meta[name] for name in OUTCOME_COLUMNS}

    def outputs(self) -> Columns:
        """What drift of the output is judged on: prediction, and score where the model gives one."""
        columns = {"prediction": self.meta["_prediction"]}
        score = self.meta["_score"]
        return columns | ({} if np.isnan(score).all() else {"score": score})


def rows_of(batches: Sequence[Batch]) -> list[Rows]:
    """Batches as rows, one `Rows` per endpoint, release, role and set of logged inputs, in the order of arrival."""
    groups: dict[tuple[Any, ...], list[Batch]] = {}
    for given in batches:
        batch = _by_role(given)
        layout = tuple((column.name, column.kind, column.width) for column in batch.inputs)
        key = (batch.endpoint, batch.release_hash, _role(batch), layout, batch.prediction.kind)
        groups.setdefault(key, []).append(batch)
    return [_rows(group) for group in groups.values()]


def _role(batch: Batch) -> Role:
    return _ROLES.get(batch.path, "release")


def _by_role(batch: Batch) -> Batch:
    """The batch with what is kept of its role: of a shadow no inputs, of a rule no release."""
    role = _role(batch)
    if role == "shadow":
        return msgspec.structs.replace(batch, inputs=[])
    return msgspec.structs.replace(batch, release_hash="", version=0) if role == "rule" else batch


def input_names(inputs: Iterable[str]) -> dict[str, str]:
    """Every input's name in the log: its own, or one with a number where that would be ambiguous.

    >>> input_names(["age", "Age", "_id", ""])
    {'age': 'age', 'Age': 'Age_2', '_id': '_id_2', '': 'column'}
    """
    taken = {name.lower() for name in LOG_COLUMNS}
    names: dict[str, str] = {}
    for name in inputs:
        stored, number = name or "column", 1
        while stored.lower() in taken:
            number += 1
            stored = f"{name or 'column'}_{number}"
        taken.add(stored.lower())
        names[name] = stored
    return names


def _rows(batches: list[Batch]) -> Rows:
    first = batches[0]
    counts = np.array([count for batch in batches for count in batch.row_counts], dtype=np.int64)
    rows_per_batch = np.array([batch.rows for batch in batches], dtype=np.int64)
    received = np.repeat(_int64(at for batch in batches for at in batch.received_at_ms), counts)
    events = _event_times(batches, received, rows_per_batch)
    meta: Columns = {
        "_id": np.repeat(_objects([each for batch in batches for each in batch.request_ids]), counts),
        "_row": np.arange(len(received)) - np.repeat(np.cumsum(counts) - counts - _first_rows(batches), counts),
        "_event_time": _timestamps(events),
        "_received_at": _timestamps(received),
        "_key": _objects([key for batch in batches for key in batch.keys or repeat(None, batch.rows)]),
        "_release": np.repeat(_objects([batch.release_hash for batch in batches]), rows_per_batch),
        "_version": np.repeat(_int64(batch.version for batch in batches), rows_per_batch),
        "_revision": np.repeat(_int64(batch.revision for batch in batches), rows_per_batch),
        "_path": np.repeat(_objects([batch.path for batch in batches]), rows_per_batch),
        "_caller": np.repeat(_callers(batches), counts),
        "_latency_s": np.repeat(np.array([s for batch in batches for s in batch.latency_s]), counts),
        "_prediction": np.concatenate([decode_column(batch.prediction) for batch in batches]),
        "_score": np.concatenate([_scores(batch) for batch in batches]),
    }
    decoded = [decode_columns(batch.inputs) for batch in batches]
    inputs = {name: np.concatenate([columns[name] for columns in decoded]) for name in decoded[0]}
    dropped = sum(batch.dropped_rows for batch in batches)
    return Rows(first.endpoint, first.release_hash, meta, inputs, events, received, dropped, _role(first))


def _event_times(batches: list[Batch], received: Array, rows_per_batch: Array) -> Array:
    events = received.copy()
    end = np.cumsum(rows_per_batch)
    for batch, stop in zip(batches, end.tolist(), strict=True):
        if batch.event_at_ms:
            events[stop - batch.rows : stop] = batch.event_at_ms
    return events


def _first_rows(batches: list[Batch]) -> Array:
    return _int64(first for batch in batches for first in batch.first_rows or repeat(0, len(batch.row_counts)))


def _callers(batches: list[Batch]) -> Array:
    return _objects([each for batch in batches for each in batch.callers or repeat(None, len(batch.row_counts))])


def _scores(batch: Batch) -> Array:
    return np.frombuffer(batch.score, dtype="<f8") if batch.score else np.full(batch.rows, np.nan)


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _int64(values: Iterable[int]) -> Array:
    return np.fromiter(values, dtype=np.int64)


def _timestamps(at_ms: Array) -> Array:
    stamps: Array = at_ms.astype("datetime64[ms]").astype("datetime64[us]")
    return stamps


# ---------------------------------------------------------------- files


def connect() -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own, in memory and bounded; it fetches and loads no extensions."""
    # What does not fit into memory spills there, not into a folder of wherever the process was started.
    spill = Path(tempfile.gettempdir()) / f"mlspine-duckdb-{uuid7()}"
    return duckdb.connect(
        config={
            "memory_limit": _MEMORY,
            "temp_directory": str(spill),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # Objects are text, as `write` hands them over: guessing fails on columns that begin with many nulls.
            "pandas_analyze_sample": "0",
        }
    )


def write(connection: duckdb.DuckDBPyConnection, path: Path, columns: Columns, types: dict[str, str]) -> int:
    """Write columns to a Parquet file; returns its size in bytes.

    types: name -> SQL type, for the columns whose type is fixed; that of others follows from their values.
    """
    kinds = [types.get(name) or _sql_type(values) for name, values in columns.items()]
    plain = {
        f"c{i}": _storable(values, kind) for i, (values, kind) in enumerate(zip(columns.values(), kinds, strict=True))
    }
    select = ", ".join(
        f"cast({place} as {kind}) as {quote(name)}" for place, kind, name in zip(plain, kinds, columns, strict=True)
    )
    connection.register("incoming", plain)
    try:
        return copy(connection, f"select {select} from incoming", path)
    finally:
        connection.unregister("incoming")


def copy(connection: duckdb.DuckDBPyConnection, select: str, path: Path) -> int:
    """Write the result of a query to a Parquet file; returns its size in bytes."""
    connection.execute(f"copy ({select}) to {literal(str(path))} (format parquet, compression zstd)")
    return path.stat().st_size


def scan(paths: Sequence[str], kind: Kind) -> str:
    """SQL of all rows in these files, with the fixed columns typed even when there is no file."""
    if not paths:
        empty = ", ".join(f"cast(null as {kind_ or 'varchar'}) as {name}" for name, kind_ in COLUMNS_OF[kind].items())
        return f"(select {empty} where false)"
    listed = ", ".join(literal(path) for path in paths)
    # Folders named like "a=b" are no partitions.
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def new_key(kind: Kind, endpoint: str) -> str:
    """The blob key of a new segment; keys sort by the time they were made."""
    return f"{kind}/{endpoint}/{uuid7()}.parquet"


def quote(name: str) -> str:
    """A column name as an SQL identifier.

    >>> print(quote('a "b" c'))
    "a ""b"" c"
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def to_columns(result: duckdb.DuckDBPyConnection) -> Columns:
    """A query's result in the conventions of `Columns`."""
    return {name: _unmasked(values) for name, values in result.fetchnumpy().items()}


def _unmasked(values: Any) -> Array:
    """A masked array of DuckDB's as a plain one with NaN, NaT or None for null."""
    if not isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    missing, plain = np.ma.getmaskarray(values), np.asarray(values.data)
    if not missing.any():
        return plain
    if plain.dtype.kind == "M":
        return np.where(missing, np.datetime64("NaT"), plain)
    if plain.dtype.kind in "iuf":
        return np.where(missing, np.nan, plain.astype(np.float64))
    objects = plain.astype(object)
    objects[missing] = None
    return objects


def _storable(values: Array, kind: str) -> Array:
    """What DuckDB reads without guessing: a vector as lists, values of several kinds as text."""
    if values.ndim == 2:
        return _objects(values.tolist())
    if values.dtype == object and kind == "varchar":
        texts = [each if each is None or type(each) is str else str(each) for each in values.tolist()]
        return _objects(texts)
    return np.ascontiguousarray(values)


def _sql_type(values: Array) -> str:
    if values.ndim == 2:
        return "double[]"
    match values.dtype.kind:
        case "f":
            return "double"
        case "i" | "u":
            return "bigint"
        case "b":
            return "boolean"
        case "M":
            return "timestamp"
    kinds = set(map(type, values.tolist())) - {type(None)}
    if kinds <= {bool}:
        return "boolean"  # also a column of nulls only: boolean widens to whatever other files hold
    if kinds <= {int, float} and all(abs(each) < 2**63 for each in values.tolist() if type(each) is int):
        return "double" if float in kinds else "bigint"
    return "varchar"


# ---------------------------------------------------------------- compaction and retention


def due_for_merge(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Groups of segments to be merged into one file each: of one kind, endpoint, release, day of receipt and
    size class, MERGE_FILES or more of them. Never a file beyond MERGE_MAX_ROWS."""
    groups: dict[tuple[Any, ...], list[Segment]] = {}
    for segment in segments:
        size_class = max(segment.rows - 1, 0).bit_length() // 4  # 1-8 rows, 9-128, 129-2048, ...
        day = segment.last_received_at_ms // DAY_MS
        key = (segment.kind, segment.endpoint, segment.release_hash, day, size_class)
        groups.setdefault(key, []).append(segment)
    return [
        group
        for group in groups.values()
        if len(group) >= MERGE_FILES and sum(segment.rows for segment in group) <= MERGE_MAX_ROWS
    ]


def expired(
    segments: Iterable[Segment], *, now_ms: int, log_days: float, log_bytes: int, outcome_days: float
) -> list[Segment]:
    """Segments past their time: log rows received more than `log_days` ago, or the oldest beyond `log_bytes`
    in total; outcomes and labels after `outcome_days`, which is at least as long as labels may take."""
    gone, kept_bytes = [], 0
    for segment in sorted(segments, key=lambda each: each.last_received_at_ms, reverse=True):
        days = log_days if segment.kind == "log" else outcome_days
        kept_bytes += segment.size_bytes if segment.kind == "log" else 0
        too_old = segment.last_received_at_ms < now_ms - days * DAY_MS
        if too_old or (segment.kind == "log" and kept_bytes > log_bytes):
            gone.append(segment)
    return gone


# ---------------------------------------------------------------- labels to predictions


def matched_labels(outcomes: str, labels: str) -> str:
    """SQL of every (outcome, label) pair, one row each: the outcome's columns and the label's.

    outcomes, labels: relations of those kinds. A label by id is of that row; by key it is of the latest
    prediction of the key no later than the label, or of all of those. A label without a row number is of the
    request's first row.
    """
    label = "l.label, l.label_number, l.label_time, l.received_at as label_received_at, l.seq, l.source"
    label += ", l.timed"
    return f"""
        select o.*, {label} from {labels} l join {outcomes} o
            on l._id = o._id and coalesce(l._row, 0) = o._row
        union all
        select o.*, {label} from (select * from {labels} where _id is null and not all_matches) l
            asof join (
                select * from {outcomes} where _key is not null
                qualify row_number() over
                    (partition by _key, _event_time order by _received_at desc, _id desc, _row desc) = 1
            ) o on l._key = o._key and l.label_time >= o._event_time
        union all
        select o.*, {label} from (select * from {labels} where _id is null and all_matches) l
            join {outcomes} o on l._key = o._key and l.label_time >= o._event_time"""


def newest_labels(outcomes: str, labels: str) -> str:
    """SQL of the labelled outcomes, one row each: the label with the newest label_time wins."""
    return f"""
        select * exclude (label_received_at, seq, timed) from ({matched_labels(outcomes, labels)})
        qualify row_number() over
            (partition by _id, _row order by label_time desc, label_received_at desc, seq desc) = 1"""
