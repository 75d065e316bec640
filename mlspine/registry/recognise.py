"""Signs that a step of preparation was left behind in the notebook: the commonest skew between fit and live.

Looks at the rows alone and asks, naming the columns; it refuses nothing. A sign must be too regular for
chance: a false question costs the trust in all others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from mlspine.core.columns import row_count
from mlspine.core.types import Columns, Field, Schema

Array = np.ndarray[Any, np.dtype[Any]]
LEAST_ROWS = 20
NAMED_TOLERANCE = 1e-6  # exactly standardised: these very rows were
NAMELESS_TOLERANCE = 0.1  # a matrix without names, standardised on about these rows
SENTINELS = (-9999.0, -999.0, -99.0, 999.0, 9999.0, 99999.0)
_FIX = "if so, ship raw rows and pass that step as transform=, or put it in a Pipeline with the model"


def questions(columns: Columns, schema: Schema) -> tuple[str, ...]:
    """What to ask the person who ships, each naming columns; () for an ordinary table."""
    if row_count(columns) < LEAST_ROWS:
        return ()
    return (*_scaled(columns, schema), *_dummies(columns, schema), *_imputed(columns, schema))


# ---------------------------------------------------------------- scaled


def _scaled(columns: Columns, schema: Schema) -> Iterator[str]:
    floats = {field.name: columns[field.name] for field in schema.fields if field.type == "float"}
    many_valued = {name: values for name, values in floats.items() if _distinct(values) > 2}
    if len(many_valued) < 2:
        return
    nameless = schema.container == "numpy"
    tolerance = NAMELESS_TOLERANCE if nameless else NAMED_TOLERANCE
    standard = [name for name, values in many_valued.items() if _is_standard(values, tolerance)]
    unit = [name for name, values in many_valued.items() if _spans_unit(values)]
    where = " in a matrix without names" if nameless else ""
    if _most(standard, many_valued, nameless):
        yield f"{_listed(standard)} have mean 0 and spread 1{where}: was a scaler applied before? {_FIX}"
    elif _most(unit, many_valued, nameless):
        yield f"{_listed(unit)} run from exactly 0 to exactly 1{where}: was a scaler applied? {_FIX}"


def _most(found: list[str], among: dict[str, Array], nameless: bool) -> bool:
    # In a nameless matrix all columns went through the same step; in a frame two exact ones are no accident.
    return len(found) == len(among) if nameless else len(found) >= 2


def _is_standard(values: Array, tolerance: float) -> bool:
    present = values[np.isfinite(values)]
    return bool(present.size) and abs(present.mean()) < tolerance and abs(present.std() - 1.0) < tolerance


def _spans_unit(values: Array) -> bool:
    present = values[np.isfinite(values)]
    # Shares and probabilities also lie in [0, 1], and often touch neither end or pile up on them.
    ends = np.isin(present, (0.0, 1.0)).sum()
    return bool(present.size) and present.min() == 0.0 and present.max() == 1.0 and ends <= max(4, 0.01 * present.size)


def _distinct(values: Array) -> int:
    return len(np.unique(values[:1000][np.isfinite(values[:1000])]))


# ---------------------------------------------------------------- dummy-coded


def _dummies(columns: Columns, schema: Schema) -> Iterator[str]:
    flags = {field.name: columns[field.name] for field in schema.fields if _is_flag(columns[field.name], field)}
    taken: set[str] = set()
    blocks = sorted(_by_prefix(list(flags)).items(), key=lambda each: (-len(each[1]), -len(each[0]), each[0]))
    for prefix, names in blocks:
        free = [name for name in names if name not in taken]
        if _is_block([flags[name] for name in free]):
            taken.update(free)
            yield (
                f"{_listed(free)} look like one column {prefix!r} in dummy coding:"
                f" is it encoded before the rows reach the model? {_FIX}"
            )


def _is_flag(values: Array, field: Field) -> bool:
    if field.type == "bool" and values.dtype == np.bool_:
        return True
    return field.type in ("int", "float") and bool(np.isin(values, (0, 1)).all())


def _by_prefix(names: list[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for at, letter in enumerate(name):
            if letter in "_=:." and 0 < at < len(name) - 1:
                groups[name[:at]].append(name)
    return groups


def _is_block(flags: list[Array]) -> bool:
    """One flag is set in every row; or, with the first level dropped, at most one, and often none."""
    if len(flags) < 2 or not all(flag.any() for flag in flags):
        return False
    set_per_row = np.sum([flag.astype(np.int64) for flag in flags], axis=0)
    if (set_per_row == 1).all():
        return True
    exclusive = bool((set_per_row <= 1).all())
    # Rare flags exclude each other by chance; a dropped level does not leave most flags rare.
    return exclusive and len(flags) >= 3 and float(set_per_row.mean()) > 0.5


# ---------------------------------------------------------------- imputed


def _imputed(columns: Columns, schema: Schema) -> Iterator[str]:
    filled: dict[str, list[str]] = defaultdict(list)
    for field in schema.fields:
        if field.type in ("float", "int"):
            how = _filled_with(columns[field.name].astype(np.float64))
            if how:
                filled[how].append(field.name)
    for how, names in filled.items():
        verb = "repeats" if len(names) == 1 else "repeat"
        yield f"{_listed(names)} {verb} {how}: were missing values filled in before? {_FIX}"


def _filled_with(values: Array) -> str:
    present = values[np.isfinite(values)]
    if len(present) < LEAST_ROWS:
        return ""
    distinct, counts = np.unique(present, return_counts=True)
    at = int(counts.argmax())
    value, times = float(distinct[at]), int(counts[at])
    runner_up = int(np.delete(counts, at).max(initial=0))
    # A value that stands out: often enough to be a filling, and far more often than any other.
    if len(distinct) < LEAST_ROWS or times < max(5, 0.005 * len(present)) or times < 5 * runner_up:
        return ""
    others = present[present != value]
    scale = max(float(np.ptp(others)), 1e-300)
    if abs(value - others.mean()) < 1e-9 * scale:
        return "exactly their own mean"
    # The median of an odd number of values is one of them, so one copy may be the column's own.
    medians = (float(np.median(others)), float(np.median(np.append(others, value))))
    if min(abs(value - median) for median in medians) < 1e-9 * scale:
        return "exactly their own median"
    if value in SENTINELS and not others.min() <= value <= others.max():
        return f"{value:g}, far from everything else"
    return ""


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:6])
    return shown + (f" and {len(names) - 6} more columns" if len(names) > 6 else "")
