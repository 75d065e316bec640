"""JSON rows to columns by a release's schema, fast where all is well and thorough where it is not.

The fast path decodes straight into a struct made from the schema. Whatever it refuses is read again, value by
value, either to accept what JSON spells loosely (3.0 for a whole number) or to list every problem at once.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import parse_array
from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Columns, Field, Schema

Row = tuple[Any, ...]
MAX_PROBLEMS = 20
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_UNSPELLABLE = frozenset({'"', "\\", *map(chr, range(32))})
_EXPECTED = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "text": "a text",
    "datetime": "an ISO 8601 time",
}
_PYTHON: dict[str, Any] = {"float": float, "int": _Int64, "bool": bool, "text": str}
_SCALAR = str | int | float | bool


class Table(NamedTuple):
    """The rows of one request: as tuples in the codec's own order, or already as columns."""

    size: int
    rows: list[Row] | None = None
    columns: Columns | None = None


class RowCodec:
    """Reads rows of one schema. `also` are columns the model does not take, which a row may bring or not."""

    def __init__(self, schema: Schema, *, also: Iterable[Field] = ()) -> None:
        self.schema = schema
        self.also = tuple(each for each in also if each.name not in schema.names)
        floats = [each for each in schema.fields if _group(each) == "float"]
        ints = [each for each in schema.fields if _group(each) == "int"]
        others = [each for each in schema.fields if _group(each) == "other"]
        self._fields = (*floats, *ints, *others, *self.also)
        self._required = len(schema.fields)
        self._order = (*schema.names, *(each.name for each in self.also))
        self._floats, self._ints = len(floats), len(ints)
        self._converters = [_converter(each) for each in self._fields]
        self._datetimes = [i for i, each in enumerate(self._fields) if each.type == "datetime"]
        self._body, self._list = self._decoders()

    # ------------------------------------------------------------ JSON in

    def decode(self, body: bytes) -> Table:
        """The rows of a JSON body: {"rows": [...]}, a list of rows, one row, or {"columns": {...}}.

        Raises Invalid listing every problem with its path.
        """
        if self._body is not None and self._list is not None:
            try:
                structs = self._list.decode(body) if body[:1] == b"[" else self._body.decode(body).rows
                if structs:
                    return self._table(list(map(msgspec.structs.astuple, structs)))
            except (msgspec.DecodeError, ValueError, RecursionError, Invalid):
                pass  # read again below, to accept or to explain
        return self._decode_slowly(parse_json(body))

    def read_rows(self, rows: Sequence[Any], *, at: str = "rows") -> Table:
        """Rows that are already Python objects: dicts by column, or lists in column order."""
        if not rows:
            raise Invalid("the request holds no rows", hint=self._hint())
        problems: list[str] = []
        tuples = [self._read_row(row, f"{at}[{i}]", problems) for i, row in enumerate(rows)]
        if problems:
            raise self._refusal(problems)
        return Table(len(tuples), rows=tuples)

    def read_columns(self, columns: Mapping[str, Any]) -> Table:
        """Columns of JSON values, all of one length."""
        problems = self._missing(columns, "columns")
        arrays: Columns = {}
        for field in self.schema.fields:
            if field.name in columns:
                problems += self._read_column(field, columns[field.name], arrays)
        for field in self.also:
            if field.name in columns:
                problems += self._read_column(field, columns[field.name], arrays)
        lengths = {name: len(values) for name, values in arrays.items()}
        if len(set(lengths.values())) > 1:
            problems.append("columns differ in length: " + ", ".join(f"{n} has {rows}" for n, rows in lengths.items()))
        if problems:
            raise self._refusal(problems)
        count = next(iter(lengths.values()), 0)
        if count == 0:
            raise Invalid("the request holds no rows", hint=self._hint())
        for field in self.also:
            arrays.setdefault(field.name, _array(field, [None] * count))
        return Table(count, columns=arrays)

    # ------------------------------------------------------------ columns out

    def columns(self, tables: Sequence[Table]) -> Columns:
        """The rows of several requests under one another, as columns in schema order (then `also`)."""
        if all(table.rows is not None for table in tables):
            if len(tables) == 1:
                return self._assemble(tables[0].rows or [])
            return self._assemble([row for table in tables for row in table.rows or ()])
        parts = [self._assemble(table.rows) if table.rows else table.columns or {} for table in tables]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _assemble(self, rows: list[Row]) -> Columns:
        made: Columns = {}
        floats, ints = self._floats, self._floats + self._ints
        if floats:
            cut = rows if floats == len(self._fields) else [row[:floats] for row in rows]
            matrix = np.ascontiguousarray(np.array(cut, dtype=np.float64).T)
            made.update(zip((each.name for each in self._fields[:floats]), matrix, strict=True))
        if ints > floats:
            matrix = np.ascontiguousarray(np.array([row[floats:ints] for row in rows], dtype=np.int64).T)
            made.update(zip((each.name for each in self._fields[floats:ints]), matrix, strict=True))
        if ints < len(self._fields):
            others = zip(*[row[ints:] for row in rows], strict=True)
            for field, values in zip(self._fields[ints:], others, strict=True):
                made[field.name] = _array(field, values)
        return {name: made[name] for name in self._order}

    # ------------------------------------------------------------ fast path

    def _decoders(
        self,
    ) -> tuple[msgspec.json.Decoder[Any] | None, msgspec.json.Decoder[Any] | None]:
        names = [each.name for each in self._fields]
        if any(_UNSPELLABLE & set(name) for name in names):
            return None, None
        attributes = {f"f{i}": name for i, name in enumerate(names)}
        members: list[Any] = [
            (f"f{i}", _type(field)) if i < self._required else (f"f{i}", _type(field), None)
            for i, field in enumerate(self._fields)
        ]
        row: Any = msgspec.defstruct("Row", members, rename=attributes, frozen=True, gc=False)
        body: Any = msgspec.defstruct("Body", [("rows", list[row])], frozen=True)
        return msgspec.json.Decoder(body), msgspec.json.Decoder(list[row])

    def _table(self, rows: list[Row]) -> Table:
        if self._datetimes:
            rows = [self._with_times(row) for row in rows]
        return Table(len(rows), rows=rows)

    def _with_times(self, row: Row) -> Row:
        values = list(row)
        for i in self._datetimes:
            values[i] = self._converters[i](values[i])
        return tuple(values)

    # ------------------------------------------------------------ thorough path

    def _decode_slowly(self, raw: Any) -> Table:
        if isinstance(raw, list):
            return self.read_rows(raw)
        if not isinstance(raw, dict):
            raise Invalid(f"expected an object with rows, got {shown(raw)}", hint=self._hint())
        if "rows" in raw and "rows" not in self.schema.names:
            if not isinstance(raw["rows"], list):
                raise Invalid(f"rows: expected a list of rows, got {shown(raw['rows'])}", hint=self._hint())
            return self.read_rows(raw["rows"])
        if "columns" in raw and "columns" not in self.schema.names:
            if not isinstance(raw["columns"], dict):
                raise Invalid(f"columns: expected an object of columns, got {shown(raw['columns'])}", hint=self._hint())
            return self.read_columns(raw["columns"])
        problems: list[str] = []
        row = self._read_row(raw, "", problems)
        if problems:
            raise self._refusal(problems)
        return Table(1, rows=[row])

    def _read_row(self, row: Any, at: str, problems: list[str]) -> Row:
        if isinstance(row, list):
            if len(row) != len(self.schema.fields):
                problems.append(f"{at}: {len(row)} values for {len(self.schema.fields)} columns")
                return ()
            row = dict(zip(self.schema.names, row, strict=True))
        if not isinstance(row, dict):
            problems.append(f"{at or 'row'}: expected an object with one value per column, got {shown(row)}")
            return ()
        problems += self._missing(row, at)
        values: list[Any] = []
        for field, convert in zip(self._fields, self._converters, strict=True):
            if field.name in row or len(values) >= self._required:
                value = row.get(field.name)
                try:
                    values.append(convert(value))
                except (msgspec.ValidationError, ValueError, TypeError, OverflowError, Invalid):
                    problems.append(f"{_path(at, field.name)}: expected {expected(field)}, got {shown(value)}")
        return tuple(values)

    def _read_column(self, field: Field, values: Any, arrays: Columns) -> list[str]:
        if not isinstance(values, list):
            return [f"columns.{field.name}: expected a list of values, got {shown(values)}"]
        try:
            nulls = not field.nullable and any(value is None for value in values)
            if not nulls:
                arrays[field.name] = parse_array(values, field)
                return []
        except (Invalid, ValueError, TypeError, OverflowError):
            pass  # said value by value below
        convert = _converter(field)
        problems = []
        for i, value in enumerate(values):
            try:
                convert(value)
            except (msgspec.ValidationError, ValueError, TypeError, OverflowError, Invalid):
                problems.append(f"columns.{field.name}[{i}]: expected {expected(field)}, got {shown(value)}")
        return problems or [f"columns.{field.name}: expected {expected(field)} throughout"]

    def _missing(self, given: Mapping[str, Any], at: str) -> list[str]:
        missing = [name for name in self.schema.names if name not in given]
        strangers = [name for name in given if name not in self.schema.names] if missing else []
        said = []
        for name in missing:
            near = closest(name, strangers)
            said.append(f"{_path(at, name)}: missing" + (f" (you sent {near!r})" if near else ""))
        return said

    def _refusal(self, problems: list[str]) -> Invalid:
        more = len(problems) - MAX_PROBLEMS
        details = problems[:MAX_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        return Invalid(f"the rows cannot be read: {count}", hint=self._hint(), details=details)

    def _hint(self) -> str:
        names = list(self.schema.names)
        listed = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
        return f'send {{"rows": [{{...}}]}} with the columns {listed}'


def parse_json(body: bytes) -> Any:
    """Any JSON value; raises Invalid saying where the text stops being JSON."""
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError as exc:
        raise Invalid("the body is not JSON: it is not UTF-8 text", hint="encode it as UTF-8") from exc
    except RecursionError as exc:
        raise Invalid("the body is nested too deeply to be read", hint="send flat rows") from exc
    except msgspec.DecodeError as exc:
        where = str(exc)
        if "(byte" not in where:
            where = f"it ends too early, at byte {len(body)}" if body.strip() else "it is empty"
        raise Invalid(f"the body is not JSON: {where}", hint='send e.g. {"rows": [{...}]}') from exc


def expected(field: Field) -> str:
    """What a field takes, in words."""
    if field.type == "category":
        kinds = {type(level) for level in field.levels}
        word = "a text" if kinds == {str} else "a number" if kinds and kinds <= {int, float} else "one value"
    elif field.type == "vector":
        word = f"a list of {field.width} numbers"
    else:
        word = _EXPECTED[field.type]
    return word + (" or null" if field.nullable else "")


def shown(value: Any) -> str:
    """A value short enough for a message."""
    if value is None:
        return "null"
    text = str(msgspec.json.encode(value), "utf-8")
    return text if len(text) <= 60 else text[:57] + "..."


def _path(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _group(field: Field) -> str:
    if field.type == "float" or (field.type == "int" and field.nullable):
        return "float"
    return "int" if field.type == "int" else "other"


def _type(field: Field) -> Any:
    """The field as a type msgspec checks while decoding."""
    if field.type == "category":
        kind: Any = _level_type(field)
    elif field.type == "datetime":
        kind = str | _Int64
    elif field.type == "vector":
        kind = Annotated[list[float], msgspec.Meta(min_length=field.width, max_length=field.width)]
    else:
        kind = _PYTHON[field.type]
    return kind | None if field.nullable else kind


def _level_type(field: Field) -> Any:
    """Any value of the kind its levels are: a level never seen in training is drift, not bad input."""
    kinds = {type(level) for level in field.levels} or {str}
    if kinds & {int, float}:
        kinds |= {int, float}
    return functools.reduce(operator.or_, sorted(kinds, key=str))


def _converter(field: Field) -> Callable[[Any], Any]:
    """One JSON value to what the row tuple holds; raises when it does not fit."""
    if field.type == "datetime":

        def read_time(value: Any) -> Any:
            if value is None and not field.nullable:
                raise ValueError("null")
            return parse_array([value], field)[0]

        return read_time
    kind = _type(field)
    if field.type != "int":
        return lambda value: msgspec.convert(value, kind)

    def read_int(value: Any) -> Any:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        return msgspec.convert(whole, kind)

    return read_int


def _array(field: Field, values: Sequence[Any]) -> np.ndarray[Any, Any]:
    if field.type == "datetime":
        return np.array(values, dtype="datetime64[us]")
    if field.type == "vector":
        nulls = [np.nan] * field.width
        return np.array([nulls if value is None else value for value in values], dtype=np.float64)
    if field.type == "bool" and not field.nullable:
        return np.array(values, dtype=np.bool_)
    return _objects(values)


def _objects(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
