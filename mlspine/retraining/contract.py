"""Do fresh rows keep what was learned of the data at ship? Every problem at once, each naming its column. Pure.

What cannot be fitted or served stops the renewal; what merely differs is said, since a model is renewed because
its world moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import conform, parse_array, take
from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Columns, Field, Release, Schema
from mlspine.data.schema import ColumnSummary
from mlspine.retraining.fresh import Fresh
from mlspine.stats.score import as_numbers, class_index, is_missing

Array = np.ndarray[Any, np.dtype[Any]]
LEAST_ROWS = 100
LEAST_PER_CLASS = 2
MORE_NULLS = 0.05  # share of rows, beyond what was seen at ship
OUTSIDE = 0.01  # share of values outside the range seen, or of levels never seen
SHOWN = 5


class Kept(NamedTuple):
    """Rows in the types the model was fitted with, labels in those of its classes, and what was only said."""

    columns: Columns
    schema: Schema  # inputs, then columns that date or identify a row
    labels: Array
    warnings: tuple[str, ...]


def check(fresh: Fresh, release: Release, learned: Sequence[ColumnSummary]) -> Kept:
    """The fresh rows, ready to be fitted on; rows without a label are left out.

    learned: what each input looked like at ship. Raises Invalid listing everything that stops the renewal.
    """
    problems: list[str] = []
    warnings: list[str] = []
    columns, fields = _typed(fresh, release, problems)
    labels, kept = _labels(fresh, release, problems, warnings)
    if kept is not None:
        columns = take(columns, kept)
    summaries = {each.name: each for each in learned}
    for field in release.signature.inputs.fields:
        if field.name in columns:
            _look(columns[field.name], field, summaries.get(field.name), problems, warnings)
    if problems:
        raise Invalid(
            f"{fresh.said} does not keep the data contract: {len(problems)} problem{'s' * (len(problems) > 1)}",
            hint="mend the rows, or ship the model again with what the rows are now",
            details=[*problems, *(f"(only said) {warning}" for warning in warnings)],
        )
    schema = msgspec.structs.replace(release.signature.inputs, fields=tuple(fields))
    return Kept(columns, schema, labels, tuple(warnings))


# ---------------------------------------------------------------- columns


def _typed(fresh: Fresh, release: Release, problems: list[str]) -> tuple[Columns, list[Field]]:
    """Every wanted column in the type it had, and its field."""
    inputs = release.signature.inputs
    sides = [name for name in (release.settings.get("time"), release.settings.get("key")) if name]
    columns: Columns = {}
    fields = []
    for name in dict.fromkeys([*inputs.names, *sides]):
        if name not in fresh.columns:
            near = closest(name, fresh.columns)
            problems.append(f"{name}: missing" + (f"; did you mean {near}?" if near else ""))
            continue
        own = fresh.schema.field(name)
        field = inputs.field(name) if name in inputs.names else _side_field(own, release)
        try:
            columns[name] = _as(fresh.columns[name], own, field)
            fields.append(field)
        except Invalid:
            if field.type in ("int", "bool") and not field.nullable and (nulls := _null_problem(fresh.columns[name])):
                problems.append(f"{name}: {nulls}")
                continue
            got = "" if own.type == field.type else f", got {own.type}"
            problems.append(f"{name}: expected {field.type}{got}, such as {_shown(fresh.columns[name])}")
    return columns, fields


def _side_field(own: Field, release: Release) -> Field:
    if own.name == release.settings.get("time"):
        return Field(name=own.name, type="datetime", dtype="datetime64[us]", nullable=True)
    return own


def _as(values: Array, own: Field, field: Field) -> Array:
    """The values as the field has them: widened, or read anew from what files write for dates and levels."""
    try:
        return conform({field.name: values}, Schema(fields=(field,)), Schema(fields=(own,)))[field.name]
    except Invalid:
        if field.type not in ("datetime", "category", "bool"):
            raise
        listed = [None if value is None or value != value else value for value in values.tolist()]
        if field.type == "bool" and set(listed) <= {0, 1, None}:
            listed = [None if value is None else bool(value) for value in listed]
        return parse_array(listed, field)


def _look(values: Array, field: Field, learned: ColumnSummary | None, problems: list[str], warnings: list[str]) -> None:
    """Nulls, range and levels of one column against what was seen at ship."""
    rows = len(values)
    missing = _nulls(values)
    share = float(missing.mean()) if rows else 0.0
    seen = learned.missing_share if learned else 0.0
    if share and not field.nullable:
        problems.append(f"{field.name}: {_null_problem(values)}")
    elif share == 1.0 and seen < 1.0:
        problems.append(f"{field.name}: null in every row")
    elif share > seen + MORE_NULLS:
        warnings.append(f"{field.name}: {share:.0%} null, at ship {seen:.0%}")
    present = values[~missing]
    if field.type in ("int", "float") and learned is not None and learned.low is not None:
        warnings.extend(_outside(present, field, learned))
    if field.type == "category" and field.levels:
        warnings.extend(_new_levels(present, field))


def _null_problem(values: Array) -> str:
    missing = int(_nulls(values).sum())
    return f"{missing:,} of {len(values):,} values are null, and none was at ship" if missing else ""


def _outside(present: Array, field: Field, learned: ColumnSummary) -> list[str]:
    low, high = float(learned.low or 0), float(learned.high or 0)
    beyond = present[(present < low) | (present > high)]
    if len(beyond) <= OUTSIDE * max(len(present), 1):
        return []
    return [
        f"{field.name}: {len(beyond) / len(present):.0%} of values outside {low:g} to {high:g} seen at ship,"
        f" such as {_shown(beyond)}"
    ]


def _new_levels(present: Array, field: Field) -> list[str]:
    known = set(field.levels)
    strange = [value for value in present.tolist() if value not in known]
    if len(strange) <= OUTSIDE * max(len(present), 1):
        return []
    named = sorted({repr(value) for value in strange})[:SHOWN]
    return [f"{field.name}: {len(strange):,} rows hold levels never seen, which count as null: {', '.join(named)}"]


# ---------------------------------------------------------------- labels


def _labels(fresh: Fresh, release: Release, problems: list[str], warnings: list[str]) -> tuple[Array, Array | None]:
    """Labels in the type of the classes, and which rows have one; nothing kept where they cannot be used."""
    if fresh.labels is None:
        problems.append("labels: there are none")
        return np.zeros(0), None
    name = fresh.target or "label"
    kept = ~is_missing(fresh.labels)
    if not kept.all():
        warnings.append(f"{name}: {int((~kept).sum()):,} of {len(kept):,} rows have no label and are left out")
    given = fresh.labels[kept]
    if len(given) < LEAST_ROWS:
        problems.append(f"{name}: {len(given):,} labelled rows; at least {LEAST_ROWS} are needed")
    if release.signature.task == "regression":
        return _numbers(given, name, problems), kept
    return _classes(given, name, release, problems), kept


def _numbers(given: Array, name: str, problems: list[str]) -> Array:
    numbers = as_numbers(given)
    strange = given[~np.isfinite(numbers)]
    if len(strange):
        problems.append(f"{name}: {len(strange):,} labels are no finite numbers, such as {_shown(strange)}")
    return numbers


def _classes(given: Array, name: str, release: Release, problems: list[str]) -> Array:
    classes = release.signature.classes
    if not classes:
        return given
    at = class_index(given, classes)
    strange = given[at < 0]
    if len(strange):
        known = ", ".join(map(repr, classes[:SHOWN]))
        problems.append(f"{name}: {len(strange):,} labels are no class of the model ({known}): {_shown(strange)}")
    counts = np.bincount(at[at >= 0], minlength=len(classes))
    rare = [repr(each) for each, count in zip(classes, counts, strict=True) if count < LEAST_PER_CLASS]
    if rare and len(given) >= LEAST_ROWS:
        problems.append(f"{name}: fewer than {LEAST_PER_CLASS} rows of class {', '.join(rare[:SHOWN])}")
    if len(strange):
        return given
    typed = np.array(classes) if len({type(each) for each in classes}) == 1 else np.array(classes, dtype=object)
    if typed.dtype.kind == "U":
        typed = typed.astype(object)
    return typed[at]


def _nulls(values: Array) -> Array:
    if values.ndim > 1:
        return np.asarray(np.isnan(values).any(axis=1))
    return np.isnat(values) if values.dtype.kind == "M" else is_missing(values)


def _shown(values: Array) -> str:
    return ", ".join(repr(value) for value in list(dict.fromkeys(values[:1000].tolist()))[:SHOWN])
