"""JSON rows to columns by a release's schema, fast where all is well and thorough where it is not.

The fast path decodes straight into a struct made from the schema. Whatever it refuses is read again, value by
value, either to accept what JSON spells loosely (3.0 for a whole number) or to list every problem at once.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from mlspine.core.columns import parse_array
from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Columns, Field, Schema
from mlspine.serving.column_arrays import Array, array_of, checked_array, matrix_columns
from mlspine.serving.field_types import Row, converter, group, row_types

__all__ = ["MAX_PROBLEMS", "Row", "RowCodec", "Table", "expected", "parse_json", "shown"]

MAX_PROBLEMS = 20
_astuple = msgspec.structs.astuple
_FAILURES = (msgspec.ValidationError, ValueError, TypeError, OverflowError, Invalid)
_EXPECTED = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "text": "a text",
    "datetime": "an ISO 8601 time",
}


class Table(msgspec.Struct, frozen=True, gc=False):
    """The rows of one request: as tuples in the codec's own order, already as columns, or, where all columns are
    floats and there are no others, as one float64 matrix with columns in schema order."""

    size: int
    rows: list[Row] | None = None
    columns: Columns | None = None
    matrix: Array | None = None


class RowCodec:
    """Reads rows of one schema. `also` are columns the model does not take, which a row may bring or not."""

    def __init__(self, schema: Schema, *, also: Iterable[Field] = ()) -> None:
        self.schema = schema
        self.also = tuple(each for each in also if each.name not in schema.names)
        grouped = {kind: [each for each in schema.fields if group(each) == kind] for kind in ("float", "int", "other")}
        self._fields = (*grouped["float"], *grouped["int"], *grouped["other"], *self.also)
        self._required = len(schema.fields)
        self._order = (*schema.names, *(each.name for each in self.also))
        self._floats, self._ints = len(grouped["float"]), len(grouped["int"])
        self._converters = [converter(each) for each in self._fields]
        self._datetimes = [i for i, each in enumerate(self._fields) if each.type == "datetime"]
        self._bare = not self.also and all(each.type == "float" for each in schema.fields)
        self._never_null = [i for i, each in enumerate(schema.fields) if not each.nullable]
        self._own_order = _picker([schema.names.index(each.name) for each in self._fields[: self._required]])
        self._types = row_types(self._fields, self._required, schema.fields)

    # ------------------------------------------------------------ JSON in

    def decode(self, body: bytes) -> Table:
        """The rows of a JSON body: {"rows": [...]}, a list of rows, one row, or {"columns": {...}}.

        Raises Invalid listing every problem with its path.
        """
        types = self._types
        if types is not None:
            try:
                if body[:1] == b"[":
                    given, structs = None, types.list.decode(body)
                else:
                    given = types.body.decode(body)
                    structs = given.rows
                if structs:
                    rows = list(map(_astuple, structs))
                    return self._table(rows) if self._datetimes else Table(len(rows), rows)
                if given is not None and given.columns:
                    return self._from_lists(_astuple(given.columns))
                if given is not None and structs is msgspec.UNSET:
                    return self._table([_astuple(types.one.decode(body))])
            except (msgspec.DecodeError, ValueError, RecursionError, Invalid):
                pass  # read again below, to accept or to explain
            try:
                tuples = types.tuples.decode(body) if body[:1] == b"[" else types.tuple_body.decode(body).rows
                return self._from_tuples(tuples)
            except (msgspec.DecodeError, ValueError, RecursionError, Invalid):
                pass
        return self._decode_slowly(parse_json(body))

    def read_rows(self, rows: Sequence[Any], *, at: str = "rows") -> Table:
        """Rows that are already Python objects: dicts by column, or lists in column order."""
        if not rows:
            raise Invalid("the request holds no rows", hint=self._hint())
        if self._types is not None:
            try:
                if type(rows[0]) is list:
                    return self._from_tuples(msgspec.convert(rows, self._types.tuple_list))
                structs = msgspec.convert(rows, self._types.row_list)
                return self._table(list(map(_astuple, structs)))
            except _FAILURES:
                pass  # read again below, to accept or to explain
        problems: list[str] = []
        tuples = [self._read_row(row, f"{at}[{i}]", problems) for i, row in enumerate(rows)]
        if problems:
            raise self._refusal(problems)
        return Table(len(tuples), rows=tuples)

    def read_columns(self, columns: Mapping[str, Any]) -> Table:
        """Columns of JSON values or numpy arrays, all of one length."""
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
            arrays.setdefault(field.name, array_of(field, [None] * count))
        return Table(count, columns=arrays)

    def read_matrix(self, matrix: Array) -> Table:
        """Rows of numbers (n, columns in schema order) as they came over a wire, checked; the array is copied.

        Raises Invalid for another width, no rows, and values that a column cannot hold.
        """
        if matrix.shape[1] != self._required:
            raise Invalid(
                f"the matrix has {matrix.shape[1]} columns, the model takes {self._required}",
                hint=f"in this order: {self._listed()}",
            )
        if not len(matrix):
            raise Invalid("the request holds no rows", hint=self._hint())
        if self._bare:
            numbers = np.array(matrix, dtype=np.float64, order="C")
            nulls = np.isnan(numbers)
            if not nulls.any() or not nulls[:, self._never_null].any():
                return Table(len(numbers), matrix=numbers)
        return self.read_columns(dict(zip(self.schema.names, matrix_columns(matrix, self.schema.fields), strict=True)))

    def first(self, table: Table, name: str) -> Any:
        """The first row's value of a column as a Python value; None where the rows do not bring it."""
        if table.rows is not None:
            at = next((i for i, field in enumerate(self._fields) if field.name == name), None)
            return None if at is None or not table.rows else table.rows[0][at]
        if table.matrix is not None:
            return table.matrix[0, self._order.index(name)].item() if name in self._order else None
        values = (table.columns or {}).get(name)
        return None if values is None or not len(values) else values[:1].tolist()[0]

    # ------------------------------------------------------------ columns out

    def columns(self, tables: Sequence[Table]) -> Columns:
        """The rows of several requests under one another, as columns in schema order (then `also`)."""
        if all(table.rows is not None for table in tables):
            if len(tables) == 1:
                return self._assemble(tables[0].rows or [])
            return self._assemble([row for table in tables for row in table.rows or ()])
        parts = [self._part(table) for table in tables]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _part(self, table: Table) -> Columns:
        if table.matrix is not None:
            return dict(zip(self._order, np.ascontiguousarray(table.matrix.T), strict=True))
        return self._assemble(table.rows) if table.rows else table.columns or {}

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
                made[field.name] = array_of(field, values)
        return {name: made[name] for name in self._order}

    # ------------------------------------------------------------ fast path

    def _table(self, rows: list[Row]) -> Table:
        if self._datetimes:
            rows = [self._with_times(row) for row in rows]
        return Table(len(rows), rows=rows)

    def _with_times(self, row: Row) -> Row:
        values = list(row)
        for i in self._datetimes:
            values[i] = self._converters[i](values[i])
        return tuple(values)

    def _from_tuples(self, rows: list[Row]) -> Table:
        """Rows as tuples in schema order, of the right width and types."""
        if not rows:
            raise ValueError("no rows")
        if self._own_order is not None:
            rows = list(map(self._own_order, rows))
        if self.also:
            nulls = (None,) * len(self.also)
            rows = [row + nulls for row in rows]
        return self._table(rows)

    def _from_lists(self, lists: tuple[Any, ...]) -> Table:
        """One list of values per column in the codec's own order, of the right types; None where `also` is absent."""
        size = len(lists[0])
        if not size or any(values is not None and len(values) != size for values in lists):
            raise ValueError("columns differ in length, or are empty")
        made: Columns = {}
        floats, ints = self._floats, self._floats + self._ints
        names = [each.name for each in self._fields]
        if floats:
            made.update(zip(names[:floats], np.array(lists[:floats], dtype=np.float64), strict=True))
        if ints > floats:
            made.update(zip(names[floats:ints], np.array(lists[floats:ints], dtype=np.int64), strict=True))
        for field, values in zip(self._fields[ints:], lists[ints:], strict=True):
            if values is None:
                made[field.name] = array_of(field, [None] * size)
            else:
                made[field.name] = (parse_array if field.type == "datetime" else _swapped)(values, field)
        return Table(size, columns={name: made[name] for name in self._order})

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
                except _FAILURES:
                    problems.append(f"{_path(at, field.name)}: expected {expected(field)}, got {shown(value)}")
        return tuple(values)

    def _read_column(self, field: Field, values: Any, arrays: Columns) -> list[str]:
        if isinstance(values, np.ndarray):
            array, wrong = checked_array(values, field)
            if array is not None:
                arrays[field.name] = array
                return []
            if wrong:
                i, value = wrong[0]
                many = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
                return [f"columns.{field.name}[{i}]: expected {expected(field)}, got {shown(value)}{many}"]
            values = values.tolist()
        if not isinstance(values, list):
            return [f"columns.{field.name}: expected a list of values, got {shown(values)}"]
        try:
            nulls = not field.nullable and any(value is None for value in values)
            if not nulls:
                arrays[field.name] = parse_array(values, field)
                return []
        except (Invalid, ValueError, TypeError, OverflowError):
            pass  # said value by value below
        convert = converter(field)
        problems = []
        for i, value in enumerate(values):
            try:
                convert(value)
            except _FAILURES:
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
        return f'send {{"rows": [{{...}}]}} with the columns {self._listed()}'

    def _listed(self) -> str:
        names = self.schema.names
        return ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")


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
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    text = str(msgspec.json.encode(value), "utf-8")
    return text if len(text) <= 60 else text[:57] + "..."


def _path(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _picker(positions: list[int]) -> Callable[[Row], Row] | None:
    """Puts a tuple in another order; None where it is the same."""
    if positions == sorted(positions):
        return None
    pick: Callable[[Row], Row] = operator.itemgetter(*positions)
    return pick


def _swapped(values: list[Any], field: Field) -> Array:
    return array_of(field, values)
