"""`profile`: what a table looks like, counted once, small enough to keep and to judge other tables by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from mlspine.comparing import survey
from mlspine.comparing.profiles import FalseAlarms, Floors, Natural, Profile, recounted
from mlspine.comparing.rows import Rows, open_rows
from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Field, FieldType
from mlspine.stats import calibrate
from mlspine.stats import natural as nature
from mlspine.stats.baseline import MIN_ROWS
from mlspine.stats.bins import Kind, Reference
from mlspine.stats.profile import kind_of
from mlspine.stats.profile import profile as count

# Rows that windows are drawn from to see how often nothing is called something.
CHECKED_ROWS = 100_000
_FAMILIES = {"float": "numbers", "int": "numbers", "bool": "numbers", "category": "text", "text": "text"}
_FAMILIES |= {"datetime": "times", "vector": "vectors"}
Seen = Callable[[int, int], None]


def profile(
    data: Any,
    *,
    time: str | None = None,
    columns: Collection[str] | None = None,
    like: Profile | None = None,
    floors: Mapping[str, Mapping[str, float]] | None = None,
    check: bool = False,
    seen: Seen = lambda rows, of: None,
) -> Profile:
    """Count the rows of a table: all that is kept of them, and all that comparing needs.

    data: a pandas or polars frame, Arrow table, numpy array, list of records or dict of arrays; the path or glob of
        Parquet, CSV or JSON lines, read an eighth of a million rows at a time; or SQL over such files.
    time: the column that dates the rows (times, or seconds or milliseconds since 1970). Days are then kept apart,
        limits follow from how much they differ, and the column itself is not compared.
    columns: only these. like: count on the bins of this profile, so that the two add up.
    floors: column -> effect -> smallest change worth a word, where it is not the usual one.
    check: measure how often windows drawn from these very rows are called different, as `drift` does of a reference
        it is handed as rows. It takes a second or two and is kept with the profile.
    seen: told after each batch how many rows were read, and of how many.
    Raises NotFound for a file that is not there; Invalid for one that cannot be read, for an empty table, for columns
    that do not exist, and with `like` for columns that are missing or of another type.

    >>> first = profile({"x": [float(i) for i in range(1000)], "kind": ["a", "b"] * 500})
    >>> first.rows, first.columns
    (1000, ('x', 'kind'))
    >>> (first + profile({"x": [1.0], "kind": ["c"]}, like=first)).rows
    1001
    """
    if like is not None:
        if floors is not None or check or columns is not None:
            raise Invalid("columns, floors and check belong to the first profile", hint="leave them out, or like=")
        return _count_like(like, data, time=time or like.time, seen=seen)
    with open_rows(data) as rows:
        if time is not None:
            _check_time(rows, time)
        kinds = _kinds(rows, time, columns)
        own = _own_floors(floors or {}, kinds)
        keep = rows.count if time else CHECKED_ROWS if check else 0
        found = survey.survey(rows, kinds, time=time, keep=keep, seen=_Told(rows.count, seen))
        bare = Profile(
            source=rows.source,
            reference=found.reference,
            types={name: rows.types[name] for name in kinds},
            time=time,
            natural=_natural(found, own) if time else None,
            false_alarm=_false_alarm(found) if check else None,
            floors=own,
            skipped=rows.skipped,
        )
        return recounted(bare, found.counted)


def _count_like(like: Profile, data: Any, *, time: str | None, seen: Seen) -> Profile:
    texts = [name for name, kind in like.types.items() if kind in ("text", "category")]
    with open_rows(data, texts=texts) as rows:
        check_types(like, rows)
        if time is not None:
            _check_time(rows, time)
        found = survey.count_rows(like.reference, rows, time=time, seen=_Told(rows.count, seen))
        counted = recounted(like, found)
        return msgspec.structs.replace(counted, source=rows.source, time=time, skipped=rows.skipped)


def check_types(like: Profile, rows: Rows) -> None:
    """Raises Invalid naming every column that these rows lack or hold in another type."""
    problems = []
    for name, expected in like.types.items():
        given = rows.types.get(name)
        if given is None:
            problems.append(_unknown(name, rows))
        elif _family(given) != _family(expected) and name not in rows.blank:
            problems.append(f"{name}: {_family(expected)} in {like.source}, {_family(given)} in {rows.source}")
    if rows.count <= 1 and len(problems) == len(like.types):
        raise Invalid(f"{rows.source} has no rows", hint="a CSV file of one line is a header or a row, nobody can tell")
    if problems:
        raise Invalid(
            f"{rows.source} does not have the columns of {like.source}",
            details=problems,
            hint="compare only what both have: columns=[...], or --columns",
        )


class _Told:
    """Adds up the rows of batches; a second pass over the same rows starts again."""

    def __init__(self, of: int, seen: Seen) -> None:
        self._of, self._seen, self._rows = of, seen, 0
        self._lock = threading.Lock()

    def __call__(self, rows: int) -> None:
        with self._lock:
            self._rows += rows
            self._seen((self._rows - 1) % self._of + 1, self._of)


# ---------------------------------------------------------------- calibration


def _natural(found: survey.Surveyed, floors: Floors) -> Natural:
    """Limits from the rows' own time."""
    columns, times = found.kept if found.kept is not None else ({}, None)
    assert times is not None
    known = times > survey.NO_TIME
    if not known.all():
        columns, times = {name: values[known] for name, values in columns.items()}, times[known]
    least = calibrate.floors_of(found.reference, floors)
    shown = nature.calibrate(found.reference, columns, times, least, min_rows=MIN_ROWS)
    return Natural(
        limits=shown.limits,
        limits_short=shown.limits_short,
        seasonality=shown.seasonality,
        seasons=shown.seasons,
    )


def _false_alarm(found: survey.Surveyed) -> FalseAlarms:
    assert found.kept is not None
    kept = survey.drawn(found.kept, CHECKED_ROWS)
    reference = _counting(found.reference, kept)
    shown = calibrate.self_check([calibrate.Sample(reference, kept.columns, kept.event_at_ms)], rows=MIN_ROWS)
    return FalseAlarms(rate=shown.rate, critical_p=shown.critical_p)


def _counting(reference: Reference, kept: survey.Batch) -> Reference:
    counted = count(reference, kept.columns, event_at_ms=kept.event_at_ms)
    return msgspec.structs.replace(reference, profile=counted)


# ---------------------------------------------------------------- what was asked for


def _kinds(rows: Rows, time: str | None, columns: Collection[str] | None) -> dict[str, Kind]:
    wanted: Sequence[str] = [name for name in rows.types if name != time]
    if columns is not None:
        wanted = list(dict.fromkeys(columns))
    if problems := [_unknown(name, rows) for name in wanted if name not in rows.types]:
        raise Invalid(f"{rows.source} does not have these columns", details=problems)
    if not wanted:
        raise Invalid(f"{rows.source} has no column to compare besides {time}")
    return {name: kind_of(Field(name=name, type=rows.types[name], dtype="")) for name in wanted}


def _own_floors(floors: Mapping[str, Mapping[str, float]], known: Mapping[str, object]) -> Floors:
    problems = [f"no column {name}" for name in floors if name not in known]
    for name, own in floors.items():
        problems += [f"{name}: no effect {effect}" for effect in own if effect not in calibrate.FLOORS]
        problems += [f"{name}: {effect} is {floor}" for effect, floor in own.items() if not floor > 0]
    if problems:
        raise Invalid(
            "these floors do not fit", details=problems, hint=f"the effects are {', '.join(calibrate.FLOORS)}"
        )
    return {name: dict(own) for name, own in floors.items()}


def _check_time(rows: Rows, time: str) -> None:
    if time not in rows.types:
        raise Invalid(f"{rows.source} has no time column {time!r}", details=[_unknown(time, rows)])
    if rows.types[time] not in ("datetime", "int", "float"):
        raise Invalid(
            f"the time column {time!r} of {rows.source} holds {_family(rows.types[time])}",
            hint="make it a time, or seconds since 1970",
        )


def _unknown(name: str, rows: Rows) -> str:
    if name in rows.skipped:
        return f"{name}: {rows.skipped[name]}, which cannot be compared"
    near = closest(name, rows.types)
    return f"{name}: no such column" + (f", did you mean {near}?" if near else "")


def _family(kind: FieldType) -> str:
    return _FAMILIES[kind]
