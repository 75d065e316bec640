"""Logged rows as both releases take them: which can be answered again, which were chosen, read a part at a time."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.columns import parse_array
from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Field, Schema
from mlspine.predictions.labels import to_predictions_type
from mlspine.predictions.segment import input_names, literal, quote
from mlspine.predictions.service import Predictions
from mlspine.predictions.staging import Staged
from mlspine.replaying.differences import Answers
from mlspine.replaying.found import Chosen, LeftOut

Array = np.ndarray[Any, np.dtype[Any]]

PART_ROWS = 8_192
SHOWN_COLUMNS = 8
_LARGEST_HASH = 2**64 - 1
_SPARE = 1.2  # more rows than wanted pass the first cut by hash, the second is exact
_META = ("_id", "_row", "_event_time", "_release", "_revision", "_prediction", "_score", "_caller")


class Group(NamedTuple):
    """Logged rows of one release and revision. inputs: the model's, () where nobody knows the release any more."""

    release_hash: str
    revision: int
    rows: int
    version: int
    inputs: tuple[str, ...]
    redacted: frozenset[str]


class Usable(NamedTuple):
    """Groups whose rows both releases can be asked about, where their columns stand, and what is left out."""

    groups: tuple[Group, ...]
    stored: dict[str, str]  # column -> its name in the log
    withheld: tuple[str, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)


class Part(NamedTuple):
    """Some rows as they were logged. values: per column, as JSON would have them."""

    ids: list[str]
    event_at_ms: Array
    release: list[str]
    whole: Array  # rows of which nothing was withheld, shape (n,), booleans
    caller: list[Any]
    logged: Answers
    answered: Array  # rows with an answer in the log, booleans
    labels: Array  # None where there is none
    label_numbers: Array
    values: dict[str, list[Any]]

    @property
    def rows(self) -> int:
        return len(self.ids)

    def columns(self, schema: Schema) -> Columns:
        """The inputs as a model with this schema takes them; Invalid naming each column that cannot be read."""
        return parsed(self.values, schema)

    def labels_as(self, predictions: Array) -> Array:
        """The labels of the rows that have one, in the type of these predictions."""
        at = self.labelled
        return to_predictions_type(self.labels[at], self.label_numbers[at], predictions)

    @property
    def labelled(self) -> Array:
        return np.array([each is not None for each in self.labels.tolist()], dtype=np.bool_)


# ---------------------------------------------------------------- which rows


def usable(groups: Sequence[Group], schemas: Sequence[Schema]) -> Usable:
    """Which of these groups hold every column that the schemas take.

    A redacted column may be given as missing where all schemas take missing values of it; the rows are of no use else.

    >>> amount, age = (Field(name=name, type="float", dtype="float64") for name in ("amount", "age"))
    >>> one = Group("a1", 1, 10, 1, ("amount", "age"), frozenset()); two = one._replace(rows=5, inputs=("amount",))
    >>> found = usable([one, two], [Schema(fields=(amount, age))]); found.rows, found.left_out[0].why
    (10, 'release 1 was not asked about age')
    """
    fields = [field for schema in schemas for field in schema.fields]
    needed = list(dict.fromkeys(field.name for field in fields))
    fixed = {field.name for field in fields if field.type in ("int", "bool") and not field.nullable}
    fixed |= {field.name for field in fields if field.type == "vector"}
    kept: list[Group] = []
    left: dict[str, int] = {}
    stored: dict[str, str] = {}
    withheld: dict[str, None] = {}
    for group in sorted(groups, key=lambda each: -each.rows):
        names = input_names(name for name in group.inputs if name not in group.redacted)
        why = _unusable(group, needed, fixed)
        here = {name: names[name] for name in needed if name in names}
        if not why and any(stored.get(name, held) != held for name, held in here.items()):
            why = f"release {group.version} has columns of these names under others in the log"
        if why:
            left[why] = left.get(why, 0) + group.rows
            continue
        kept.append(group)
        stored |= here
        withheld |= {name: None for name in needed if name in group.redacted}
    told = tuple(LeftOut(rows=rows, why=why) for why, rows in left.items())
    return Usable(tuple(kept), stored, tuple(withheld), told)


def _unusable(group: Group, needed: Sequence[str], fixed: set[str]) -> str:
    if not group.release_hash:
        return "the declared rule answered them, no release"
    if not group.inputs:
        return "nobody knows any more what the release that answered them was asked"
    lacking = [name for name in needed if name not in group.inputs]
    if lacking:
        return f"release {group.version} was not asked about {listed(lacking)}"
    withheld = [name for name in needed if name in group.redacted and name in fixed]
    if withheld:
        return f"{listed(withheld)} was redacted from the log, and cannot be given as missing"
    return ""


def listed(names: Sequence[str]) -> str:
    """Some names, the first few of many.

    >>> listed(["a", "b"]), listed(list("abcdefghij"))
    ('a, b', 'a, b, c, d, e, f, g, h and 2 more')
    """
    more = len(names) - SHOWN_COLUMNS
    return ", ".join(names[:SHOWN_COLUMNS]) + (f" and {more} more" if more > 0 else "")


def groups_in(predictions: Predictions, endpoint: str, span: str) -> list[tuple[str, int, int]]:
    """(release, revision, rows) of the logged rows in a span of event time."""
    found = predictions.query(endpoint, f"select _release, _revision, count(*) from log where {span} group by all")
    return [(str(release), int(revision or 0), int(rows)) for release, revision, rows in found.rows]


def span_of(from_at_ms: int, to_at_ms: int) -> str:
    """A condition on event time, [from, to); 0: without that end."""
    conditions = ["_path is distinct from 'shadow'"]
    if from_at_ms:
        conditions.append(f"_event_time >= make_timestamp({int(from_at_ms) * 1000})")
    if to_at_ms:
        conditions.append(f"_event_time < make_timestamp({int(to_at_ms) * 1000})")
    return " and ".join(conditions)


def how_chosen(rows: int, *, most: int, newest: bool) -> Chosen:
    """Whether all rows are taken, or which of them."""
    if rows <= most:
        return "all"
    return "newest" if newest else "sample"


# ---------------------------------------------------------------- reading


@contextlib.contextmanager
def staged(
    predictions: Predictions,
    endpoint: str,
    found: Usable,
    *,
    span: str,
    chosen: Chosen,
    most: int,
    labelled: bool,
) -> Iterator[Staged]:
    """The chosen rows in the order of a hash of their id: any part is a fair sample of them, the same every time."""
    pairs = ", ".join(f"({literal(group.release_hash)}, {group.revision})" for group in found.groups)
    columns = [*_META, *dict.fromkeys(found.stored.values())]
    taken = ", ".join(quote(name) for name in columns)
    rows = f"select {taken} from log where {span} and (_release, coalesce(_revision, 0)) in ({pairs})"
    if chosen == "newest":
        rows += f" order by _received_at desc, _id desc, _row desc limit {int(most)}"
    elif chosen == "sample":
        cut = min(_LARGEST_HASH, int(_LARGEST_HASH * (_SPARE * most + 1_000) / found.rows))
        rows += f" and hash(_id, _row) <= {cut}::ubigint order by hash(_id, _row) limit {int(most)}"
    if labelled:
        rows = (
            "select r.*, l.label as _label, l.label_number as _label_number"
            f" from ({rows}) r left join labelled l using (_id, _row)"
        )
    with predictions.staged(endpoint, rows, order="hash(_id, _row), _id, _row") as table:
        yield table


def read(table: Staged, found: Usable, start: int, stop: int) -> Part:
    """Rows `start` to `stop`."""
    held = table.part(start, stop)
    names = {stored: name for name, stored in found.stored.items()}
    count = len(held["_id"])
    values = {names[stored]: _jsonable(held[stored]) for stored in names}
    values |= {name: [None] * count for name in found.withheld if name not in values}
    redacted = {(group.release_hash, group.revision) for group in found.groups if group.redacted & set(values)}
    pairs = list(zip(held["_release"], (revision or 0 for revision in held["_revision"]), strict=True))
    scores = [np.nan if score is None else score for score in held["_score"]]
    return Part(
        ids=[f"{id_}:{row}" for id_, row in zip(held["_id"], held["_row"], strict=True)],
        event_at_ms=np.array(held["_event_time"], dtype="datetime64[ms]").astype(np.int64),
        release=[str(each) for each in held["_release"]],
        whole=np.array([pair not in redacted for pair in pairs], dtype=np.bool_),
        caller=held["_caller"],
        logged=Answers(_objects(held["_prediction"]), np.array(scores, dtype=np.float64)),
        answered=np.array([each is not None for each in held["_prediction"]], dtype=np.bool_),
        labels=_objects(held.get("_label", [None] * count)),
        label_numbers=np.array(
            [np.nan if each is None else each for each in held.get("_label_number", [None] * count)], dtype=np.float64
        ),
        values=values,
    )


def parsed(values: Mapping[str, Sequence[Any]], schema: Schema) -> Columns:
    """Logged values as the columns of a schema; Invalid naming each that is of another type."""
    columns: Columns = {}
    problems = []
    for field in schema.fields:
        try:
            columns[field.name] = parse_array(_as_field(values[field.name], field), field)
        except Invalid as exc:
            problems.append(exc.message)
    if problems:
        raise Invalid(f"{len(problems)} logged column{'s' * (len(problems) > 1)} of another type", details=problems)
    return columns


def _as_field(values: Sequence[Any], field: Field) -> list[Any]:
    """Values of a file, whose columns have one type each, as this field spells them."""
    match field.type:
        case "int":
            return [None if value is None or value != value else value for value in values]
        case "float":
            return [float(value) if type(value) is int else value for value in values]
        case "category":
            levels = set(field.levels)
            spelt = {str(level): level for level in field.levels}
            known = (None if value != value else value for value in values)
            return [each if each is None or each in levels else spelt.get(str(each), each) for each in known]
        case _:
            return list(values)


def _jsonable(values: list[Any]) -> list[Any]:
    """Times as ISO 8601 in UTC, as callers may send them."""
    return [_iso(value) if isinstance(value, datetime.datetime) else value for value in values]


def _iso(value: datetime.datetime) -> str:
    return value.isoformat() + ("" if value.tzinfo else "Z")


def _objects(values: Sequence[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
