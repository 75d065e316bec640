"""The rows handed to ship: features, labels, and the columns that date and identify a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import Rebuild, conform, parse_array, row_count, take, to_columns
from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Columns, Field, Schema

Array = np.ndarray[Any, np.dtype[Any]]
Transform = Callable[[Any], Any]
LABEL = "\0label"  # no column can be called so
TRIED_ROWS = 5
# What the log adds to a row. DuckDB, and so the log, does not tell upper from lower case.
LOG_COLUMNS = frozenset(
    [
        "_id",
        "_row",
        "_event_time",
        "_received_at",
        "_key",
        "_release",
        "_version",
        "_revision",
        "_path",
        "_caller",
        "_latency_s",
        "_prediction",
        "_score",
    ]
)


class Table(NamedTuple):
    """The rows a model was fitted on.

    columns: every column given. inputs: those the model, or its transform, takes. time_column, key_column:
    names of columns that are logged with a row; "" when given as arrays, or not at all.
    """

    columns: Columns
    schema: Schema
    inputs: Schema
    labels: Array | None
    target: str
    at_ms: Array | None
    keys: Array | None
    time_column: str
    key_column: str

    @property
    def input_columns(self) -> Columns:
        return {name: self.columns[name] for name in self.inputs.names}

    @property
    def with_labels(self) -> Columns:
        """Inputs, dates and keys, and labels: what tells one row from another."""
        side = [name for name in (self.time_column, self.key_column) if name and name not in self.inputs.names]
        rows = self.input_columns | {name: self.columns[name] for name in side}
        return rows if self.labels is None else rows | {LABEL: self.labels}


def read_table(model: Any, transform: Transform | None, X: Any, y: Any, *, time: Any = None, key: Any = None) -> Table:
    """Read what ship was given. Raises Invalid for anything that does not fit together."""
    columns, schema = to_columns(X)
    rows = row_count(columns)
    if rows == 0:
        raise Invalid("X has no rows", hint="pass the rows the model was fitted on")
    check_column_names(schema.names)
    labels, target = read_labels(y, rows)
    at_ms, time_column = _side(columns, time, "time")
    keys, key_column = _side(columns, key, "key")
    inputs = _inputs(model, transform, columns, schema, {time_column, key_column} - {""})
    return Table(
        columns=columns,
        schema=schema,
        inputs=inputs,
        labels=labels,
        target=target,
        at_ms=None if at_ms is None else _to_ms(at_ms),
        keys=keys,
        time_column=time_column,
        key_column=key_column,
    )


def read_holdout(holdout: tuple[Any, Any], table: Table) -> Table:
    """The rows held out, with the columns of the rows fitted on, and time and key columns if any."""
    try:
        X, y = holdout
    except (TypeError, ValueError):
        raise Invalid("holdout is not a pair", hint="pass holdout=(X_unseen, y_unseen)") from None
    columns, own = to_columns(X)
    rows = row_count(columns)
    if rows == 0:
        raise Invalid("the holdout has no rows", hint="pass holdout=(X_unseen, y_unseen)")
    side = [
        name for name in (table.time_column, table.key_column) if name in columns and name not in table.inputs.names
    ]
    wanted = Schema(fields=(*table.inputs.fields, *(table.schema.field(name) for name in dict.fromkeys(side))))
    kept = conform(columns, wanted, own)
    labels, target = read_labels(y, rows)
    time_column = table.time_column if table.time_column in kept else ""
    return Table(
        columns=kept,
        schema=wanted,
        inputs=table.inputs,
        labels=labels,
        target=target,
        at_ms=_to_ms(kept[time_column]) if time_column else None,
        keys=None,
        time_column=time_column,
        key_column=table.key_column if table.key_column in kept else "",
    )


def check_column_names(names: tuple[str, ...]) -> None:
    """Raises Invalid for names the log needs itself, and for names that differ in case only."""
    problems = [f"{name!r} is a column of the log" for name in names if name.lower() in LOG_COLUMNS]
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            problems.append(f"{name!r} and {other!r} differ in case only, which SQL does not see")
        if not name.strip() or "\0" in name:
            problems.append(f"{name!r} is no name for a column")
    if problems:
        raise Invalid(
            f"{len(problems)} column name{'s' * (len(problems) > 1)} cannot be logged",
            hint="rename them before fitting",
            details=problems,
        )


def read_labels(y: Any, rows: int) -> tuple[Array | None, str]:
    """Labels as one array, shape (n,), and the name they carry; (None, "") without labels.

    Raises Invalid for another length, nulls, or more than one label per row.
    """
    if y is None:
        return None, ""
    if isinstance(y, str):
        raise Invalid(f"y is the text {y!r}", hint=f"pass the labels themselves: X.drop(columns={y!r}), X[{y!r}]")
    labels, name = _one_column(y, "y")
    if len(labels) != rows:
        raise Invalid(f"y has {len(labels):,} labels for {rows:,} rows", hint="pass one label per row of X")
    missing = sum(value is None or value != value for value in labels.tolist())
    if missing:
        raise Invalid(f"{missing:,} of {rows:,} labels are null", hint="drop those rows from X and y")
    return labels, name


def _one_column(values: Any, what: str) -> tuple[Array, str]:
    if hasattr(values, "to_pylist"):  # Arrow
        values = values.to_pylist()
    own = getattr(values, "name", None)
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    columns, schema = to_columns(values)
    if len(columns) != 1:
        raise Invalid(f"{what} has {len(columns)} columns; one is needed", hint=f"pass one value per row as {what}")
    named = schema.names[0] if schema.container != "sequence" else own
    return next(iter(columns.values())), str(named) if isinstance(named, str) and named != "x0" else ""


def _side(columns: Columns, given: Any, what: str) -> tuple[Array | None, str]:
    """A parallel array, or a column of X by its name: the values, and the name if it is a column."""
    if given is None:
        return None, ""
    if isinstance(given, str):
        if given not in columns:
            near = closest(given, columns)
            raise Invalid(
                f"{what}={given!r} is no column of X",
                hint=f"did you mean {near!r}?" if near else f"columns: {', '.join(columns)}",
            )
        return columns[given], given
    values, _ = _one_column(given, what)
    if len(values) != row_count(columns):
        raise Invalid(
            f"{what} has {len(values):,} values for {row_count(columns):,} rows",
            hint="pass one value per row of X",
        )
    return values, ""


def _to_ms(values: Array) -> Array:
    """Event times as ms UTC: from datetimes, ISO 8601 texts, or whole milliseconds."""
    if values.dtype.kind == "O":
        values = parse_array(values.tolist(), Field(name="time", type="datetime", dtype="datetime64[us]"))
    if values.dtype.kind == "M":
        missing = int(np.isnat(values).sum())
        if missing:
            raise Invalid(f"time has {missing:,} nulls", hint="drop those rows, or leave out time=")
        return values.astype("datetime64[ms]").astype(np.int64)
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    raise Invalid(
        f"time holds {values.dtype}, e.g. {values[:1].tolist()}",
        hint="pass datetimes, ISO 8601 texts, or whole milliseconds since 1970 UTC",
    )


# ---------------------------------------------------------------- which columns the model takes


def _inputs(model: Any, transform: Transform | None, columns: Columns, schema: Schema, side: set[str]) -> Schema:
    """The schema without those side columns that the model was not fitted on."""
    unused = {name for name in side if not _takes(model, transform, columns, schema, name, side)}
    if not unused:
        return schema
    return msgspec.structs.replace(schema, fields=tuple(field for field in schema.fields if field.name not in unused))


def _takes(
    model: Any, transform: Transform | None, columns: Columns, schema: Schema, name: str, side: set[str]
) -> bool:
    named = getattr(model, "feature_names_in_", None) if transform is None else None
    if named is not None:
        return name in {str(each) for each in named}
    # Nothing says so, then trying does: a model that answers without these columns does not need this one.
    without = [side] if len(side) == 1 else [side, {name}]
    return not any(_answers(model, transform, columns, schema, left_out) for left_out in without)


def _answers(model: Any, transform: Transform | None, columns: Columns, schema: Schema, left_out: set[str]) -> bool:
    fields = tuple(field for field in schema.fields if field.name not in left_out)
    if not fields:
        return False
    rows = Rebuild(msgspec.structs.replace(schema, fields=fields))(take(columns, slice(0, TRIED_ROWS)))
    try:
        (model.predict if hasattr(model, "predict") else model.predict_proba)(transform(rows) if transform else rows)
    except Exception:  # noqa: BLE001  # any failure is the answer
        return False
    return True
