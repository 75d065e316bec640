"""Columns that are served otherwise than the model learned them. Pure, but for the source that is read.

Two checks, of what there is to compare with:
  clock    a whole number that follows the clock of another column or of the event time (hour, day of month,
           month, weekday) keeps its distance to it; the distance at ship comes from the recorded rows, else from
           earlier rows of the log. A time zone read wrongly moves an hour column by whole hours.
  source   rows of the declared source with the same key (and time, where one is named) hold the same values
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlspine.core.columns import row_count
from mlspine.core.errors import MlspineError
from mlspine.core.types import Columns, Field, Schema
from mlspine.data.source import matching_files, opened, parse_source, texts_of
from mlspine.monitoring.cause_rows import Logged
from mlspine.stats.profile import Array, Ints

AGREEING = 0.9  # share of rows at ship that must keep one distance for it to be a rule
SKEWED = 0.5  # share of served rows at another distance for the column to be named
LEAST_ROWS = 20
LEAST_MATCHED = 30
DIFFERENT = 0.05  # share of matched rows whose value differs from the source
LARGEST_SOURCE_BYTES = 256 * 2**20
_HOUR_US = 3_600_000_000
_CLOCKS = {"hour": 24, "weekday": 7, "month": 12, "day of month": 31}
EVENT_TIME = "the event time"


class Rule(NamedTuple):
    """A column follows a clock of another: value - clock = distance (modulo the clock's length)."""

    column: str
    clock: str
    of: str
    distance: int


def clock_skew(now: Logged, rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """What the served rows break of these rules, one sentence each."""
    found = []
    for rule in rules:
        distance, share = _distance(now.inputs, now.event_at_ms, rule)
        if share >= SKEWED and distance != rule.distance:
            moved = _signed(distance - rule.distance, _CLOCKS[rule.clock])
            found.append(
                f"{rule.column}: {moved:+d} against the {rule.clock} of {rule.of} in {share:.0%} of rows, not so"
                f" {'when the model was shipped' if rule.of != EVENT_TIME else 'before'}"
            )
    return tuple(found)


def clock_rules(columns: Columns, event_at_ms: Ints | None) -> tuple[Rule, ...]:
    """The rules these rows keep; event_at_ms: None where it is not known of them."""
    if row_count(columns) < LEAST_ROWS:
        return ()
    times = [name for name, values in columns.items() if values.dtype.kind == "M"]
    sources = times + ([EVENT_TIME] if event_at_ms is not None else [])
    rules = []
    for name, values in columns.items():
        if not _whole(values):
            continue
        for of in sources:
            for clock in _CLOCKS:
                distance, share = _distance(columns, event_at_ms, Rule(name, clock, of, 0))
                if share >= AGREEING and _varies(columns, event_at_ms, of, clock):
                    rules.append(Rule(name, clock, of, distance))
    return tuple(rules)


def source_skew(
    now: Logged, schema: Schema, *, source: str, root: Path, key: str, time: str
) -> tuple[tuple[str, ...], str]:
    """Columns whose served values differ from the source's rows of the same key, and what was compared.

    The second text says why nothing could be compared, or how many rows were. Only files up to 256 MB are read.
    """
    if not source or not key:
        return (), "no source with a key was named at ship"
    try:
        declared = parse_source(source)
        if declared.kind != "path":
            return (), f"{declared.kind} sources are not read for this"
        if sum(path.stat().st_size for path in matching_files(declared, root=root)) > LARGEST_SOURCE_BYTES:
            return (), "the source is larger than 256 MB"
        with opened(declared, root=root, texts=texts_of(schema) | {key}) as table:
            columns = table.chunk(0, table.rows)
    except MlspineError as exc:
        return (), f"the source cannot be read: {exc.message}"
    if key not in columns:
        return (), f"the source has no column {key}"
    served, stored = _matched(now, columns, key, time)
    if len(served) < LEAST_MATCHED:
        return (), f"{len(served)} served rows have a key of the source; {LEAST_MATCHED} are needed"
    found = [
        said
        for field in schema.fields
        if field.name in columns and field.name in now.inputs and field.name not in (key, time)
        if (said := _differs(field, now.inputs[field.name][served], columns[field.name][stored]))
    ]
    return tuple(found), f"{len(served):,} served rows compared with the source by {key}"


# ---------------------------------------------------------------- clocks


def _distance(columns: Columns, event_at_ms: Ints | None, rule: Rule) -> tuple[int, float]:
    """The most common distance of a column to a clock, and the share of rows that have it."""
    reading = _clock(columns, event_at_ms, rule.of, rule.clock)
    values = columns.get(rule.column)
    if reading is None or values is None or values.dtype.kind not in "iuf":
        return 0, 0.0
    numbers = values.astype(np.float64)
    known = np.isfinite(numbers) & np.isfinite(reading)
    if known.sum() < LEAST_ROWS:
        return 0, 0.0
    # Modulo the clock's length: 23 h and 1 h are two apart.
    apart = np.mod(numbers[known] - reading[known], _CLOCKS[rule.clock])
    distances, counts = np.unique(apart, return_counts=True)
    at = int(counts.argmax())
    return int(distances[at]), float(counts[at] / known.sum())


def _clock(columns: Columns, event_at_ms: Ints | None, of: str, clock: str) -> Array | None:
    if of == EVENT_TIME:
        if event_at_ms is None:
            return None
        times = event_at_ms.astype("datetime64[ms]")
    elif of in columns and columns[of].dtype.kind == "M":
        times = columns[of]
    else:
        return None
    missing = np.isnat(times)
    at = times.astype("datetime64[us]")
    match clock:
        case "hour":
            reading = at.view(np.int64) // _HOUR_US % 24
        case "weekday":
            reading = (at.astype("datetime64[D]").astype(np.int64) + 3) % 7
        case "month":
            reading = at.astype("datetime64[M]").astype(np.int64) % 12 + 1
        case _:
            reading = (at.astype("datetime64[D]") - at.astype("datetime64[M]")).astype(np.int64) + 1
    return np.where(missing, np.nan, reading.astype(np.float64))


def _varies(columns: Columns, event_at_ms: Ints | None, of: str, clock: str) -> bool:
    """A rule over a clock that stood still would hold for any constant column."""
    reading = _clock(columns, event_at_ms, of, clock)
    return reading is not None and np.unique(reading[np.isfinite(reading)]).size >= 4


def _whole(values: Array) -> bool:
    if values.ndim > 1 or values.dtype.kind not in "iuf":
        return False
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return bool(known.size and (known == np.floor(known)).all() and np.ptp(known) <= 60)


def _signed(distance: int, length: int) -> int:
    moved = distance % length
    return moved - length if moved > length / 2 else moved


# ---------------------------------------------------------------- the source


def _matched(now: Logged, columns: Columns, key: str, time: str) -> tuple[list[int], list[int]]:
    """Positions of served rows and of the one source row each stands for; ambiguous keys are left out."""
    by_time = bool(time) and time in columns and columns[time].dtype.kind == "M"
    stored_at = columns[time].astype("datetime64[ms]").astype(np.int64).tolist() if by_time else None
    places: dict[object, list[int]] = {}
    for i, value in enumerate(columns[key].tolist()):
        place: object = (str(value), stored_at[i]) if stored_at else str(value)
        places.setdefault(place, []).append(i)
    served, stored = [], []
    for i, (value, at) in enumerate(zip(now.key.tolist(), now.event_at_ms.tolist(), strict=True)):
        found = places.get((str(value), at) if by_time else str(value), []) if value is not None else []
        if len(found) == 1:
            served.append(i)
            stored.append(found[0])
    return served, stored


def _differs(field: Field, served: Array, stored: Array) -> str:
    """What differs in one column, "" when next to nothing does."""
    if served.ndim > 1 or stored.ndim > 1:
        return ""
    if field.type in ("float", "int") and stored.dtype.kind in "iufb":
        a, b = served.astype(np.float64), stored.astype(np.float64)
        different = ~(np.isclose(a, b, rtol=1e-6, atol=1e-9) | (np.isnan(a) & np.isnan(b)))
        both = different & np.isfinite(a) & np.isfinite(b)
        typical = f", typically by {np.median(a[both] - b[both]):+.4g}" if both.any() else ", one of the two is missing"
    elif field.type == "datetime" and stored.dtype.kind == "M":
        at, was = served.astype("datetime64[us]"), stored.astype("datetime64[us]")
        different = (at != was) & ~(np.isnat(at) & np.isnat(was))
        both = different & ~np.isnat(at) & ~np.isnat(was)
        hours = np.median((at[both] - was[both]).astype(np.int64)) / _HOUR_US if both.any() else 0.0
        typical = f", typically by {hours:+.4g} h"
    else:
        pairs: Mapping[tuple[str, str], int] = {}
        told = [(_text(x), _text(y)) for x, y in zip(served.tolist(), stored.tolist(), strict=True)]
        different = np.array([x != y for x, y in told])
        counts: dict[tuple[str, str], int] = dict(pairs)
        for pair in told:
            if pair[0] != pair[1]:
                counts[pair] = counts.get(pair, 0) + 1
        most = max(counts, key=lambda pair: counts[pair]) if counts else ("", "")
        typical = f", most often {most[0]} where the source has {most[1]}"
    share = float(different.mean())
    return f"{field.name}: differs from the source in {share:.0%} of rows{typical}" if share >= DIFFERENT else ""


def _text(value: object) -> str:
    return "nothing" if value is None or value != value else repr(value)
