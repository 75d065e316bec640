"""Labels as people deliver them: files or rows with `id` or `key`, `label`, and optionally `label_time`."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlspine.core.errors import Invalid, NotFound, closest
from mlspine.core.late import duckdb
from mlspine.core.types import Columns, LabelReceipt, Scalar
from mlspine.predictions import segment

Array = np.ndarray[Any, np.dtype[Any]]

ACCEPTED = ("id", "key", "label", "label_time")
SHOWN_PROBLEMS = 8
_READERS = {
    # Everything in a CSV is read as text: a key "007" must not become 7.
    ".csv": "read_csv({path}, header = true, all_varchar = true)",
    ".parquet": "read_parquet({path})",
    ".json": "read_json_auto({path})",
    ".jsonl": "read_json_auto({path}, format = 'newline_delimited')",
    ".ndjson": "read_json_auto({path}, format = 'newline_delimited')",
}
_EXAMPLE = "columns: id or key, label, and optionally label_time"
_ROW_SUFFIX = re.compile(r"(.+):(\d{1,9})\Z", re.DOTALL)


def read_file(path: Path) -> Mapping[str, Sequence[Any]]:
    """The columns of a label file (.csv, .parquet, .json, .jsonl), values as they are written there.

    Raises NotFound for a missing file and Invalid for one that cannot be read or lacks the columns.
    """
    if not path.is_file():
        raise NotFound(f"no file {path}", hint=f"{', '.join(_READERS)} with {_EXAMPLE}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise Invalid(
            f"{path.name} is no label file: {path.suffix or 'no ending'!r} is not read",
            hint=f"use {', '.join(_READERS)} with {_EXAMPLE}",
        )
    source = reader.format(path=segment.literal(str(path)))
    with segment.connect() as connection:
        try:
            kinds = {row[0]: row[1] for row in connection.execute(f"describe select * from {source}").fetchall()}
            _check_columns(kinds, path.name)
            selected = ", ".join(_select(name, kinds[name]) for name in kinds if name in ACCEPTED)
            result = connection.execute(f"select {selected} from {source}")
            return {name: values.tolist() for name, values in segment.to_columns(result).items()}
        except duckdb.Error as exc:
            first_line = str(exc).splitlines()[0]
            raise Invalid(f"{path.name} cannot be read: {first_line}", hint=_EXAMPLE) from exc


def from_rows(rows: Sequence[Mapping[str, Scalar | None]]) -> Mapping[str, Sequence[Any]]:
    """The columns of labels given one by one; an absent value is None."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    _check_columns(names, "these labels")
    return {name: [row.get(name) for row in rows] for name in names}


def to_segment(table: Mapping[str, Sequence[Any]], *, received_at_ms: int, source: str, all_matches: bool) -> Columns:
    """Labels as a segment stores them; a label without a time is of the moment it was received.

    An id is "<request id>:<row>", or the bare request id for its only row. Raises Invalid with every row that
    has no id or key, no label, or a time that is none.
    """
    _check_columns(table, "these labels")
    n = len(table["label"])
    blank: list[Any] = [None] * n
    problems: list[str] = []
    ids = [_text(value) for value in table.get("id", blank)]
    keys = [_text(value) for value in table.get("key", blank)]
    labels = [_text(value) for value in table["label"]]
    times = _times(table.get("label_time", blank), problems)
    for row, (id_, key, label) in enumerate(zip(ids, keys, labels, strict=True), start=1):
        if id_ is None and key is None:
            problems.append(f"row {row}: neither id nor key")
        if label is None:
            problems.append(f"row {row}: no label; leave out rows whose outcome is not known yet")
    if problems:
        raise _refusal(problems, n)
    split = [_split_id(id_) for id_ in ids]
    timed = [time is not None for time in times]
    moments = np.array([received_at_ms if time is None else time for time in times], dtype=np.int64)
    received = np.full(n, received_at_ms, dtype=np.int64)
    return {
        "_id": _objects([request_id for request_id, _ in split]),
        "_row": np.array([math.nan if row is None else row for _, row in split], dtype=np.float64),
        "_key": _objects([key if id_ is None else None for id_, key in zip(ids, keys, strict=True)]),
        "label": _objects(labels),
        "label_number": np.array([as_number(label) for label in labels], dtype=np.float64),
        "label_time": moments.astype("datetime64[ms]").astype("datetime64[us]"),
        "timed": np.array(timed, dtype=bool),
        "received_at": received.astype("datetime64[ms]").astype("datetime64[us]"),
        "seq": np.arange(n),
        "source": _objects([source] * n),
        "all_matches": np.full(n, all_matches, dtype=bool),
    }


def as_number(label: str | None) -> float:
    """What a label's text means where the model answers numbers; NaN when it means none.

    >>> as_number("1"), as_number("True"), as_number("late")
    (1.0, 1.0, nan)
    """
    text = (label or "").strip().lower()
    if text in ("true", "false"):
        return float(text == "true")
    try:
        return float(text)
    except ValueError:
        return math.nan


def to_predictions_type(labels: Array, numbers: Array, prediction: Array) -> Array:
    """Labels as what the model answers: numbers where it answers numbers, flags where flags, else text."""
    match prediction.dtype.kind:
        case "f":
            return numbers
        case "i" | "u" if not np.isnan(numbers).any() and (numbers == np.floor(numbers)).all():
            return numbers.astype(np.int64)
        case "b" if np.isin(numbers, (0.0, 1.0)).all():
            flags: Array = numbers == 1.0
            return flags
    return labels


def new_labels(incoming: str, existing: str) -> str:
    """SQL of the incoming labels that say something new.

    A label with a time repeats one of the same target, label and time. One without repeats the newest label
    of its target when that says the same: a file sent twice changes nothing, a correction taken back does.
    """
    target = "_id is not distinct from {0}._id and _row is not distinct from {0}._row"
    target += " and _key is not distinct from {0}._key"
    same = target.format("i")
    partition = "_id, _row, _key"
    return f"""
        with newest as (
            select _id, _row, _key, label from {existing}
            qualify row_number() over (partition by {partition} order by label_time desc, received_at desc,
                seq desc) = 1
        ), once as (
            select * from {incoming}
            qualify row_number() over (partition by {partition}, all_matches,
                case when timed then label_time end, label order by seq desc) = 1
        )
        select * from once i
        where not (timed and exists (select 1 from {existing} where {same} and label = i.label
                and label_time = i.label_time and all_matches = i.all_matches))
            and not (not timed and exists (select 1 from newest where {same} and label = i.label))
        order by seq"""


# ---------------------------------------------------------------- inside


def total(endpoint: str, receipts: Sequence[LabelReceipt]) -> LabelReceipt:
    """What became of labels that were taken in several parts, together."""
    return LabelReceipt(
        endpoint=endpoint,
        read=sum(each.read for each in receipts),
        matched=sum(each.matched for each in receipts),
        parked=sum(each.parked for each in receipts),
        duplicates=sum(each.duplicates for each in receipts),
        examples_unmatched=next((each.examples_unmatched for each in receipts if each.examples_unmatched), ()),
    )


def _check_columns(names: Iterable[str], what: str) -> None:
    names = list(names)
    problems = []
    if "label" not in names:
        problems.append(_missing("label", names))
    if "id" not in names and "key" not in names:
        problems.append(_missing("id", names) + ", and no 'key' either")
    if problems:
        raise Invalid(
            f"{what} cannot be used as labels: {'; '.join(problems)}",
            hint=f"{_EXAMPLE}; found: {', '.join(names) or 'none'}",
        )


def _missing(name: str, names: Sequence[str]) -> str:
    near = closest(name, names)
    return f"no column {name!r}" + (f" (is it {near!r}?)" if near else "")


def _select(name: str, kind: str) -> str:
    column = segment.quote(name)
    if name == "label_time" and (kind.startswith("TIMESTAMP") or kind == "DATE"):
        return f"epoch_ms({column}) as {column}"
    if name == "label_time" and not kind.startswith(("VARCHAR", "DOUBLE", "FLOAT")):
        return f"cast({column} as bigint) as {column}"
    if kind in ("DOUBLE", "FLOAT", "BOOLEAN"):
        return column
    return f"cast({column} as varchar) as {column}"


def _text(value: Any) -> str | None:
    """An id, key or label as text: 4711.0 and 4711 are one key, "" and null are none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value).strip() or None


def _times(values: Sequence[Any], problems: list[str]) -> list[int | None]:
    times: list[int | None] = []
    for row, value in enumerate(values, start=1):
        try:
            times.append(_time_ms(value))
        except (ValueError, OverflowError):
            times.append(None)
            problems.append(f"row {row}: label_time {value!r} is neither ISO 8601 nor milliseconds since 1970")
    return times


def _time_ms(value: Any) -> int | None:
    """Milliseconds UTC of a label_time; a time without an offset is taken as UTC."""
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, int | float):
        return _in_range(int(value))
    text = str(value).strip()
    if re.fullmatch(r"-?\d{9,}(\.0*)?", text):
        return _in_range(int(float(text)))
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return (moment - _EPOCH) // _MILLISECOND


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_LATEST_MS = 253_402_300_799_999  # the end of the year 9999


def _in_range(at_ms: int) -> int:
    if abs(at_ms) > _LATEST_MS:
        raise OverflowError(at_ms)
    return at_ms


def _split_id(id_: str | None) -> tuple[str | None, int | None]:
    """The request id and the row, None for a bare id.

    >>> _split_id("0190-7:3"), _split_id("0190-7")
    (('0190-7', 3), ('0190-7', None))
    """
    found = _ROW_SUFFIX.match(id_) if id_ is not None else None
    return (found[1], int(found[2])) if found else (id_, None)


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _refusal(problems: list[str], rows: int) -> Invalid:
    shown = problems[:SHOWN_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    return Invalid(
        f"{len(problems)} problems in {rows} labels; none was stored" if len(problems) > 1 else problems[0],
        details=shown if len(problems) > 1 else (),
        hint=_EXAMPLE,
    )
