"""Tables as they come from users, and the named numpy arrays in which they travel.

`to_columns` reads pandas, polars, Arrow, numpy, lists of dict, dicts of arrays and plain sequences;
`from_columns` gives back the same container, dtypes and nulls. What cannot make that round trip exactly is
refused with the column's name and an example, rather than changed on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlspine.core import frames
from mlspine.core.errors import Invalid, closest
from mlspine.core.jsonable import parse_array, to_jsonable, to_jsonable_rows
from mlspine.core.types import Columns, Field, Schema
from mlspine.core.values import Array, from_datetimes, from_numeric, from_objects, to_objects

__all__ = [
    "Rebuild",
    "concat",
    "conform",
    "from_columns",
    "parse_array",
    "row_count",
    "take",
    "to_columns",
    "to_jsonable",
    "to_jsonable_rows",
]

Converter = Callable[[], tuple[Array, Field]]


def to_columns(data: Any, *, names: Sequence[str] | None = None) -> tuple[Columns, Schema]:
    """A table as named arrays and the schema that gives it back.

    names: for a matrix or a sequence, which have none of their own; "x0", "x1", ... otherwise.
    Arrays may share memory with `data`; nothing here writes to them.
    Raises Invalid listing every column that cannot travel, with an example value.

    >>> columns, schema = to_columns(np.array([[1.0, 2.0]]))
    >>> list(columns), schema.container
    (['x0', 'x1'], 'numpy')
    """
    container, readers, integer_names = _readers(data, names)
    columns: Columns = {}
    fields: list[Field] = []
    problems: list[tuple[str, Invalid]] = []
    for name, read in readers:
        try:
            columns[name], field = read()
        except Invalid as exc:
            problems.append((name, exc))
        else:
            fields.append(field)
    if problems:
        raise _refused(problems)
    _check_names([name for name, _ in readers])
    _check_lengths(columns)
    return columns, Schema(fields=tuple(fields), container=container, integer_names=integer_names)


def from_columns(columns: Columns, schema: Schema) -> Any:
    """The caller's own container back; `Rebuild` when the same schema is used again and again."""
    return Rebuild(schema)(columns)


class Rebuild:
    """Columns to the container a schema describes, with everything that depends on the schema done once.

    Columns the schema does not name are left out. A category value that is no level becomes null, as the
    container itself would have it.
    """

    def __init__(self, schema: Schema) -> None:
        self._names = schema.names
        self._build = _builder(schema)

    def __call__(self, columns: Columns) -> Any:
        try:
            return self._build(columns)
        except KeyError as exc:
            missing = [name for name in self._names if name not in columns]
            if not missing:
                raise
            raise _missing_columns(missing, columns) from exc


def conform(columns: Columns, schema: Schema, own: Schema) -> Columns:
    """The columns that `schema` names, in its order and types, from a table that came with its `own` schema.

    Widening is done (whole numbers where fractions are expected, booleans never null where null is allowed);
    anything else raises Invalid listing every column that is missing or of another type.
    """
    missing = [name for name in schema.names if name not in columns]
    if missing:
        raise _missing_columns(missing, columns)
    types = {field.name: field.type for field in own.fields}
    problems = [
        f"{field.name}: expected {field.type}, got {types[field.name]}"
        for field in schema.fields
        if not _widens(types[field.name], field.type, columns[field.name])
    ]
    if problems:
        raise Invalid(
            f"{len(problems)} column{'s' * (len(problems) > 1)} of another type than the model was fitted on",
            hint="prepare these rows the way the training rows were",
            details=problems,
        )
    return {field.name: _widened(columns[field.name], field) for field in schema.fields}


def take(columns: Columns, index: Array | slice) -> Columns:
    """The rows at `index` (positions, a mask or a slice) of every column."""
    return {name: values[index] for name, values in columns.items()}


def row_count(columns: Columns) -> int:
    """Rows of a table; 0 when it has no columns."""
    return len(next(iter(columns.values()), ()))


def concat(tables: list[Columns]) -> Columns:
    """Tables of the same columns under one another.

    Raises ValueError for an empty list, KeyError when a later table lacks a column of the first.
    """
    if not tables:
        raise ValueError("nothing to concatenate")
    if len(tables) == 1:
        return tables[0]
    return {name: _stack([table[name] for table in tables]) for name in tables[0]}


def _stack(parts: list[Array]) -> Array:
    if any(part.dtype == object for part in parts):
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts)


# ---------------------------------------------------------------- reading


def _readers(data: Any, names: Sequence[str] | None) -> tuple[Any, list[tuple[str, Converter]], bool]:
    """Which container this is, and per column its name and how to read it."""
    kind, module = type(data).__name__, type(data).__module__.partition(".")[0]
    if isinstance(data, np.ndarray):
        return _numpy_readers(data, names)
    if kind == "Series" or _is_flat_sequence(data):
        return _sequence_readers(data, names)
    if names is not None:
        raise Invalid(
            f"names were given for a {module} {kind}, which has its own",
            hint="leave out names, or rename its columns",
        )
    if module == "pandas" and hasattr(data, "columns"):
        labels, integers = frames.pandas_names(data)
        columns = [(label, _bind(_pandas_at, data, at, label)) for at, label in enumerate(labels)]
        return "pandas", columns, integers
    if module == "polars" and kind in ("DataFrame", "LazyFrame"):
        frame = data.collect() if kind == "LazyFrame" else data
        return (
            "polars",
            [(c.name, _bind(frames.from_polars_column, c, c.name)) for c in frame.get_columns()],
            False,
        )
    if module == "pyarrow" and kind in ("Table", "RecordBatch"):
        return "arrow", _arrow_readers(data), False
    if isinstance(data, Mapping):
        return "arrays", [(_text_name(k), _bind(_from_array, v, k)) for k, v in data.items()], False
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return "records", _record_readers(data), False
    if hasattr(data, "tocsr"):
        raise Invalid(
            f"{module} {kind} is a sparse matrix, which does not travel",
            hint="pass the raw rows and the step that encodes them as transform=, or X.toarray()",
        )
    raise Invalid(
        f"cannot read rows from {module}.{kind}",
        hint="pass a pandas or polars frame, Arrow table, numpy array, list of dict or dict of arrays",
    )


def _bind(function: Callable[..., tuple[Array, Field]], *args: Any) -> Converter:
    return lambda: function(*args)


def _pandas_at(frame: Any, at: int, name: str) -> tuple[Array, Field]:
    return frames.from_pandas_column(frame.iloc[:, at], name)


def _numpy_readers(data: Array, names: Sequence[str] | None) -> tuple[Any, list[tuple[str, Converter]], bool]:
    if data.dtype.names is not None:
        if names is not None:
            raise Invalid("names were given for a structured array, which has its own", hint="leave out names")
        return "structured", [(n, _bind(_from_array, data[n], n)) for n in data.dtype.names], False
    if data.ndim == 1:
        return _sequence_readers(data, names)
    if data.ndim != 2:
        raise Invalid(
            f"X has {data.ndim} axes: shape {data.shape}",
            hint="pass one row per sample, e.g. X.reshape(len(X), -1)",
        )
    names = [f"x{at}" for at in range(data.shape[1])] if names is None else list(names)
    if len(names) != data.shape[1]:
        raise Invalid(f"{len(names)} names for {data.shape[1]} columns", hint="give one name per column")
    return "numpy", [(n, _bind(_from_array, data[:, at], n)) for at, n in enumerate(names)], False


def _is_flat_sequence(data: Any) -> bool:
    if not isinstance(data, list | tuple) or not data:
        return False
    return not any(isinstance(value, Mapping | list | tuple | np.ndarray) for value in data)


def _sequence_readers(data: Any, names: Sequence[str] | None) -> tuple[Any, list[tuple[str, Converter]], bool]:
    own = getattr(data, "name", None)
    names = [own if isinstance(own, str) and own else "x0"] if names is None else list(names)
    if len(names) != 1:
        raise Invalid(f"{len(names)} names for a sequence, which is one column", hint="give one name")
    values = data.to_numpy() if hasattr(data, "to_numpy") else data
    return "sequence", [(names[0], _bind(_from_array, values, names[0]))], False


def _arrow_readers(data: Any) -> list[tuple[str, Converter]]:
    import pyarrow as pa

    table = pa.Table.from_batches([data]) if type(data).__name__ == "RecordBatch" else data
    pairs = zip(table.column_names, table.columns, strict=True)
    return [(name, _bind(frames.from_arrow_column, column, name)) for name, column in pairs]


def _record_readers(rows: Sequence[Any]) -> list[tuple[str, Converter]]:
    if not rows:
        raise Invalid("no rows: an empty list has no columns", hint="pass at least one row")
    first = rows[0]
    if not isinstance(first, Mapping):
        raise Invalid(
            f"row 0 is a {type(first).__name__}, not a dict",
            hint="pass a list of dict, or np.array(rows) for a matrix",
        )
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping) or row.keys() != first.keys():
            odd = sorted(map(str, set(row) ^ set(first))) if isinstance(row, Mapping) else [type(row).__name__]
            raise Invalid(
                f"row {at} has other keys than row 0: {', '.join(odd)}",
                hint="give every row every key, None for null",
            )
    return [(_text_name(key), _bind(_from_key, rows, key)) for key in first]


def _from_key(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[Array, Field]:
    return _from_python([row[key] for row in rows], key)


def _from_array(data: Any, name: str) -> tuple[Array, Field]:
    """One column of a matrix, structured array or dict of arrays."""
    if isinstance(data, list | tuple):
        return _from_python(data, name)
    values = np.asarray(data)
    dtype = str(values.dtype)
    if values.ndim == 2 and values.dtype.kind in "iuf":
        column = values.astype(np.float64)
        return column, Field(name=name, type="vector", dtype=dtype, width=values.shape[1])
    if values.ndim != 1:
        raise Invalid(f"has {values.ndim} axes of {dtype}", hint="give one value, or one row of numbers, per row")
    kind = values.dtype.kind
    if kind in "biuf":
        column, type_, nullable = from_numeric(values)
    elif kind == "M":
        column, type_, nullable = from_datetimes(values)
    elif kind == "U":
        column, type_, nullable = values.astype(object), "text", False
    elif kind == "O":
        read = from_objects(values)
        spelling = "object" if read.null in ("", "None") else f"object[{read.null}]"
        return read.column.values, Field(
            name=name,
            type=read.column.type,
            dtype=spelling,
            nullable=read.column.nullable,
            time_zone=read.time_zone,
        )
    else:
        raise Invalid(f"holds {dtype}, which does not travel", hint="convert it to numbers or text")
    return column, Field(name=name, type=type_, dtype=dtype, nullable=nullable)


def _from_python(values: Sequence[Any], name: str) -> tuple[Array, Field]:
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    read = from_objects(objects)
    suffix = "" if read.null in ("", "None") else f"[{read.null}]"
    field = Field(
        name=name,
        type=read.column.type,
        dtype=read.python_type + suffix,
        nullable=read.column.nullable,
        time_zone=read.time_zone,
    )
    return read.column.values, field


def _text_name(name: object) -> str:
    if not isinstance(name, str):
        raise Invalid(f"column name {name!r} is not text", hint="name columns with text")
    return name


def _check_names(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Invalid(f"column {twice[0]!r} appears more than once", hint="give every column its own name")


def _check_lengths(columns: Columns) -> None:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise Invalid(
            "columns differ in length",
            hint="give every column one value per row",
            details=[f"{name}: {rows} rows" for name, rows in lengths.items()],
        )


def _refused(problems: list[tuple[str, Invalid]]) -> Invalid:
    if len(problems) == 1:
        name, problem = problems[0]
        return Invalid(f"column {name!r} {problem.message}", hint=problem.hint, details=problem.details)
    return Invalid(
        f"{len(problems)} columns cannot travel",
        hint="convert or drop them; the model must be fitted on the converted columns",
        details=[f"column {name!r} {problem.message}; {problem.hint}" for name, problem in problems],
    )


def _missing_columns(missing: list[str], columns: Columns) -> Invalid:
    near = {name: closest(name, columns) for name in missing}
    details = [f"{name} (did you mean {near[name]}?)" if near[name] else name for name in missing]
    return Invalid(
        f"{len(missing)} column{'s are' if len(missing) > 1 else ' is'} missing: {', '.join(missing)}",
        hint=f"columns given: {', '.join(columns) or 'none'}",
        details=details if any(near.values()) else (),
    )


def _widens(given: str, expected: str, values: Array) -> bool:
    pair = (given, expected)
    if given == expected or pair in (("int", "float"), ("text", "category"), ("category", "text")):
        return True
    if pair == ("float", "int"):
        present = values[~np.isnan(values)]
        return bool((present == np.floor(present)).all())
    # A column that is null throughout says nothing of its type.
    return bool(values.dtype == object and all(value is None for value in values))


def _widened(values: Array, field: Field) -> Array:
    if field.type == "float" or (field.type == "int" and field.nullable):
        return values.astype(np.float64)
    if field.type == "int" and values.dtype.kind == "f":
        if np.isnan(values).any():
            raise Invalid(f"column {field.name!r} has nulls, which were never seen in training")
        return values.astype(np.int64)
    return values


# ---------------------------------------------------------------- giving back


def _builder(schema: Schema) -> Callable[[Columns], Any]:
    match schema.container:
        case "pandas":
            return frames.RebuildPandas(schema)
        case "polars":
            return frames.rebuild_polars(schema)
        case "arrow":
            return frames.rebuild_arrow(schema)
        case "numpy":
            return _matrix_builder(schema)
        case "structured":
            return _structured_builder(schema)
        case "sequence":
            return _sequence_builder(schema)
        case "arrays":
            return _arrays_builder(schema)
        case "records":
            return _records_builder(schema)


def _matrix_builder(schema: Schema) -> Callable[[Columns], Any]:
    names = schema.names
    restores = [_array_restore(field) for field in schema.fields]
    spellings = {field.dtype.partition("[nan]")[0] for field in schema.fields}
    dtype = np.dtype(spellings.pop()) if spellings else np.dtype(np.float64)

    if dtype.kind in "biuf":

        def build(columns: Columns) -> Array:
            return np.array([columns[name] for name in names], dtype=dtype).T

    else:

        def build(columns: Columns) -> Array:
            matrix = np.empty((row_count(columns), len(names)), dtype=dtype)
            for at, (name, restore) in enumerate(zip(names, restores, strict=True)):
                matrix[:, at] = restore(columns[name])
            return matrix

    return build


def _structured_builder(schema: Schema) -> Callable[[Columns], Any]:
    spelled = [
        (field.name, field.dtype.partition("[nan]")[0], *((field.width,) if field.width else ()))
        for field in schema.fields
    ]
    dtype = np.dtype(spelled)
    restores = {field.name: _array_restore(field) for field in schema.fields}

    def build(columns: Columns) -> Array:
        rows = np.empty(row_count(columns), dtype=dtype)
        for name, restore in restores.items():
            rows[name] = restore(columns[name])
        return rows

    return build


def _sequence_builder(schema: Schema) -> Callable[[Columns], Any]:
    (field,) = schema.fields
    restore = _array_restore(field)
    return lambda columns: restore(columns[field.name])


def _arrays_builder(schema: Schema) -> Callable[[Columns], Any]:
    restores = {field.name: _array_restore(field) for field in schema.fields}
    return lambda columns: {name: restore(columns[name]) for name, restore in restores.items()}


def _records_builder(schema: Schema) -> Callable[[Columns], Any]:
    names = schema.names
    restores = [_array_restore(field) for field in schema.fields]

    def build(columns: Columns) -> list[dict[str, Any]]:
        lists: Iterator[Any] = (restore(columns[name]) for name, restore in zip(names, restores, strict=True))
        return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]

    return build


_PYTHON_TYPES = ("int", "float", "bool", "str", "datetime")


def _array_restore(field: Field) -> Callable[[Array], Any]:
    """How one column goes back to a numpy array of the field's dtype, or a list when it came as one."""
    spelling, _, bracket = field.dtype.partition("[")
    null = {"": None, "nan]": float("nan")}.get(bracket)
    type_, zone = field.type, field.time_zone
    if spelling in _PYTHON_TYPES:
        return lambda values: to_objects(values, type_, null=null, time_zone=zone).tolist()
    if spelling == "object":
        return lambda values: to_objects(values, type_, null=null, time_zone=zone)
    dtype = np.dtype(field.dtype)
    return lambda values: values.astype(dtype)
