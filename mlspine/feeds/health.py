"""Whether rows are fit to be used: their columns, types, nulls, levels and ranges against those at ship. Pure.

A fault is something upstream that broke. Every share is held to two conditions: it could hardly be chance
(p below ALPHA over the number of questions asked), and it is large enough to matter (the floors drift is
judged by, or what the release's own history reaches, whichever is more).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from mlspine.core.columns import row_count
from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Columns, Field, Schema
from mlspine.stats.baseline import Baseline
from mlspine.stats.calibrate import FLOORS
from mlspine.stats.compare import Comparison, compare, share_test
from mlspine.stats.profile import NumericPart, Reference, Tally, profile

Array = np.ndarray[Any, np.dtype[Any]]
Symptom = Literal["gone", "type", "nulls", "unseen", "range", "refused"]

ALPHA = 0.001  # per check, over all questions together
MIN_ROWS = 100
RANGE_MARGIN = 0.5  # of the training range, beyond either end
RANGE_FLOOR = 0.005
_WORDS = {"f": "numbers", "i": "numbers", "u": "numbers", "b": "true or false", "M": "times", "O": "text"}


class Fault(NamedTuple):
    """What is wrong with one column, in words with figures."""

    field: str
    symptom: Symptom
    says: str


def judge(columns: Columns, schema: Schema, baseline: Baseline) -> list[Fault]:
    """The faults of fresh rows, one per column at most, in schema order.

    columns: as read from a source; more than the model takes is no fault. Fewer than MIN_ROWS rows are only
    asked for their columns and types.
    """
    faults = {fault.field: fault for fault in _shape_faults(columns, schema)}
    if row_count(columns) >= MIN_ROWS:
        sound = {field.name: _typed(columns[field.name], field) for field in schema.fields if field.name not in faults}
        faults |= {fault.field: fault for fault in _value_faults(sound, baseline)}
    return [faults[name] for name in schema.names if name in faults]


def beyond(reference: Reference, name: str) -> tuple[float, float] | None:
    """The ends outside of which a number is impossible, going by the training rows; None where nothing is."""
    at = reference.parts_of(name)[0]
    part, tally = reference.parts[at], reference.profile.parts[at]
    if reference.kinds[name] != "numeric" or not isinstance(part, NumericPart) or not tally.low < tally.high:
        return None
    margin = RANGE_MARGIN * (tally.high - tally.low)
    return tally.low - margin, tally.high + margin


def range_fault(
    name: str, outside: int, rows: int, reference: Reference, *, questions: int, worst: float
) -> Fault | None:
    """The fault of a column of which so many rows lie beyond its ends, None when that is chance or too little."""
    ends = beyond(reference, name)
    if ends is None or rows < MIN_ROWS or outside < RANGE_FLOOR * rows:
        return None
    if float(share_test(*map(np.asarray, (outside, rows, 0, reference.rows)))) > ALPHA / questions:
        return None
    margin = RANGE_MARGIN / (1 + 2 * RANGE_MARGIN) * (ends[1] - ends[0])
    trained = f"{ends[0] + margin:g} to {ends[1] - margin:g}"
    says = f"{outside:,} of {rows:,} rows lie far outside what it was fitted on ({trained}), e.g. {worst:g}"
    return Fault(name, "range", says)


# ---------------------------------------------------------------- columns and types


def _shape_faults(columns: Columns, schema: Schema) -> list[Fault]:
    new = [name for name in columns if name not in schema.names]
    faults = []
    for field in schema.fields:
        if field.name not in columns:
            near = closest(field.name, new)
            renamed = f"; renamed to {near!r}?" if near else ""
            faults.append(Fault(field.name, "gone", f"the column is gone{renamed}"))
        elif not _fits(columns[field.name], field):
            values = columns[field.name]
            found, wanted = _WORDS.get(values.dtype.kind, str(values.dtype)), _expected(field)
            example = _example(values, numbers=wanted == "numbers")
            faults.append(Fault(field.name, "type", f"holds {found} ({example}) where it held {wanted}"))
    return faults


def _expected(field: Field) -> str:
    match field.type:
        case "float" | "int":
            return "numbers"
        case "bool":
            return "true or false"
        case "datetime":
            return "times"
        case "vector":
            return f"vectors of {field.width} numbers"
        case "category" if field.levels and not all(isinstance(level, str) for level in field.levels):
            return "true or false" if all(isinstance(level, bool) for level in field.levels) else "numbers"
    return "text"


def _fits(values: Array, field: Field) -> bool:
    if field.type == "vector":
        return values.ndim == 2 and values.shape[1] == field.width
    if values.ndim != 1:
        return False
    if not (_missing(values) == 0).any():
        return True  # nothing but nulls, whatever its type: those are told as nulls
    kind, expected = values.dtype.kind, _expected(field)
    if kind == "O" and all(type(value) is bool for value in values.tolist() if value is not None):
        kind = "b"
    match expected:
        case "numbers":
            return kind in "fiu"
        case "true or false":
            return kind in "bfiu"
        case "times":
            return kind == "M"
    return kind == "O"


def _typed(values: Array, field: Field) -> Array:
    """A column that fits, in the form profiles count it."""
    if values.dtype.kind == "O" and (_missing(values) == 1).all():
        if field.type == "datetime":
            return np.full(len(values), np.datetime64("NaT"), dtype="datetime64[us]")
        if field.type in ("float", "int"):
            return np.full(len(values), np.nan)
    if field.type == "bool" and values.dtype.kind in "fiu":
        listed = [None if value != value else bool(value) for value in values.tolist()]
        return np.array([*listed, None], dtype=object)[:-1]
    return values


def _missing(values: Array) -> Array:
    """1 where a value is null, else 0."""
    if values.dtype.kind == "f":
        return np.isnan(values).astype(int)
    if values.dtype.kind == "M":
        return np.isnat(values).astype(int)
    if values.dtype.kind == "O":
        return np.fromiter((value is None for value in values.tolist()), int, len(values))
    return np.zeros(len(values), dtype=int)


def _example(values: Array, *, numbers: bool) -> str:
    """The first value that does not fit; among numbers of a file one word makes all of them text."""
    present = [value for value in values.tolist() if value is not None]
    if not numbers:
        return f"e.g. {str(present[0])[:40]!r}"
    strange = [value for value in present if not _spells_number(value)]
    if not strange:
        return f"e.g. {str(present[0])[:40]!r}"
    return f"{len(strange):,} of {len(present):,} are no numbers, e.g. {str(strange[0])[:40]!r}"


def _spells_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- values


def _value_faults(columns: Columns, baseline: Baseline) -> list[Fault]:
    reference = baseline.inputs
    known = {name: values for name, values in columns.items() if name in reference.names}
    if not known:
        return []
    try:
        counted = profile(reference, known, absent=set(reference.names) - set(known))
    except Invalid as exc:
        return [Fault(detail.partition(":")[0], "type", detail.partition(": ")[2]) for detail in exc.details]
    questions = 3 * len(known)
    faults = []
    for comparison in compare(reference, counted):
        name = comparison.name
        if name not in known or not comparison.rows:
            continue
        natural = baseline.limits.get(name, {})
        fault = (
            _nulls(comparison, known[name], reference, natural, questions)
            or _unseen(comparison, counted.parts[reference.parts_of(name)[0]], natural, questions)
            or _range(name, known[name], reference, questions)
        )
        faults += [fault] if fault else []
    return faults


def _nulls(
    comparison: Comparison, values: Array, reference: Reference, natural: Mapping[str, float], questions: int
) -> Fault | None:
    at = reference.parts_of(comparison.name)[0]
    before = reference.profile.parts[at].counts[reference.parts[at].bins] / max(reference.rows, 1)
    now = float(_missing(values).mean())
    if now <= before or not _over(comparison, "missing_pp", natural, questions):
        return None
    says = f"{now:.1%} of {comparison.rows:,} rows are null, {before:.1%} were when it was shipped"
    return Fault(comparison.name, "nulls", says)


def _unseen(comparison: Comparison, tally: Tally, natural: Mapping[str, float], questions: int) -> Fault | None:
    if not _over(comparison, "unseen_pp", natural, questions):
        return None
    share = comparison.effects["unseen_pp"].value / 100
    commonest = sorted(tally.names, key=lambda name: -tally.names[name])[:3]
    named = f": {', '.join(map(repr, commonest))}" if commonest else ""
    says = f"{share:.1%} of {comparison.rows:,} rows hold values never seen before{named}"
    return Fault(comparison.name, "unseen", says)


def _over(comparison: Comparison, effect: str, natural: Mapping[str, float], questions: int) -> bool:
    sized = comparison.effects.get(effect)
    if sized is None or sized.p > ALPHA / questions:
        return False
    return sized.value >= max(FLOORS[effect], natural.get(effect, 0.0))


def _range(name: str, values: Array, reference: Reference, questions: int) -> Fault | None:
    ends = beyond(reference, name)
    if ends is None or values.ndim != 1:
        return None
    numbers = values.astype(np.float64)
    outside = numbers[(numbers < ends[0]) | (numbers > ends[1])]
    if not len(outside):
        return None
    worst = float(outside[np.argmax(np.abs(outside - (ends[0] + ends[1]) / 2))])
    return range_fault(name, len(outside), len(values), reference, questions=questions, worst=worst)
