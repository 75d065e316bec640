"""Bins from rows, and rows counted on bins, a batch at a time: memory does not grow with the rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec
import numpy as np

from mlspine.comparing.rows import Rows, ahead
from mlspine.core.ids import digest_bytes
from mlspine.stats.bins import MAX_LEVELS, Array, Coded, Ints, Kind, Table, Values
from mlspine.stats.layout import bare_part, clock_parts, repeats
from mlspine.stats.natural import DAY_MS, HOUR_MS
from mlspine.stats.profile import (
    LevelPart,
    Part,
    Profile,
    Reference,
    build_reference,
    empty,
    merge,
    profile,
    profile_blocks,
    uncounted,
)
from mlspine.stats.series import PROJECTIONS, plain, series_of
from mlspine.stats.sketch import LevelSketch, NumberSketch
from mlspine.stats.spread import cores, over_columns

# Values (rows times columns) that are taken into memory to lay the bins out exactly: 256 MB as floats.
HELD_VALUES = 32_000_000
# Each holds a batch and what it is decoded from.
MOST_READERS = 8
Seen = Callable[[int], None]


class Counted(NamedTuple):
    """Rows counted on some bins: all of them, and where they are dated each UTC day of them."""

    whole: Profile
    days: dict[int, Profile] = {}  # by the day's first millisecond
    hours: dict[int, int] = {}  # rows by the hour's first millisecond
    from_at_ms: int = 0  # 0 without dates
    to_at_ms: int = 0


class Batch(NamedTuple):
    """Some rows: the columns that are counted, and when each row was."""

    columns: Table
    event_at_ms: Ints | None


class Surveyed(NamedTuple):
    """The bins of some rows with the rows counted on them. kept: rows to calibrate by, where some were asked for."""

    reference: Reference
    counted: Counted
    kept: Batch | None


def survey(rows: Rows, kinds: Mapping[str, Kind], *, time: str | None, keep: int, seen: Seen) -> Surveyed:
    """The bins of these rows with the rows counted on them.

    Up to 32 million values are held in memory and laid out exactly, as a release's baseline is; of more, one pass
    sketches the quantiles and levels, and a second counts. keep: rows wanted back, drawn at random where there are
    more; never more than memory holds. seen: told the rows of each batch.
    """
    batches = dated(rows, list(kinds), time=time, seen=seen)
    most = max(1, HELD_VALUES // len(kinds))
    if rows.count <= most:
        held = _joined(list(batches))
        reference = build_reference(held.columns, kinds, event_at_ms=held.event_at_ms)
        counted = Counted(reference.profile) if time is None else _count_batch(reference, held)
        return Surveyed(reference, counted, _drawn(held, keep / rows.count) if keep else None)
    kept: list[Batch] = []
    share = min(keep, most) / rows.count
    bare = _sketched(_watched(batches, share, kept), kinds, aged=time is not None)
    counted = count_rows(bare, rows, time=time, seen=seen)
    reference = msgspec.structs.replace(bare, profile=counted.whole)
    return Surveyed(reference, counted, _joined(kept) if keep else None)


def count_rows(reference: Reference, rows: Rows, *, time: str | None, seen: Seen) -> Counted:
    """Rows counted on the bins of a reference, in one pass, on all cores where the rows can be read in pieces."""
    names = list(reference.kinds)
    wanted = list(dict.fromkeys([*names, *([time] if time else [])]))

    def counted(batches: Iterator[Table]) -> Counted:
        found = Counted(empty(reference))
        for columns in batches:
            found = join(found, _count_batch(reference, _dated(columns, names, time)))
            seen(_rows_in(columns))
        return found

    pieces = rows.pieces(wanted)
    if len(pieces) < 2:
        return counted(ahead(rows.batches(wanted)))
    with ThreadPoolExecutor(min(cores(), MOST_READERS), thread_name_prefix="count") as pool:
        return functools.reduce(join, pool.map(lambda piece: counted(piece()), pieces))


def join(a: Counted, b: Counted) -> Counted:
    """The counts of both."""
    days = dict(a.days)
    for day, found in b.days.items():
        days[day] = merge(days[day], found) if day in days else found
    hours = dict(a.hours)
    for hour, count in b.hours.items():
        hours[hour] = hours.get(hour, 0) + count
    starts = [each for each in (a.from_at_ms, b.from_at_ms) if each]
    return Counted(
        merge(a.whole, b.whole),
        dict(sorted(days.items())),
        dict(sorted(hours.items())),
        min(starts, default=0),
        max(a.to_at_ms, b.to_at_ms),
    )


def dated(rows: Rows, names: Sequence[str], *, time: str | None, seen: Seen) -> Iterator[Batch]:
    """The batches with the time column turned into event times."""
    wanted = list(dict.fromkeys([*names, *([time] if time else [])]))
    for columns in ahead(rows.batches(wanted)):
        yield _dated(columns, names, time)
        seen(_rows_in(columns))


def _dated(columns: Table, names: Sequence[str], time: str | None) -> Batch:
    return Batch({name: columns[name] for name in names}, moments(plain(columns[time])) if time else None)


def _rows_in(columns: Table) -> int:
    return len(next(iter(columns.values()), ()))


NO_TIME = int(np.iinfo(np.int64).min)


def moments(values: Array) -> Ints:
    """Times, seconds or milliseconds since 1970 as milliseconds; rows without a time get the smallest integer."""
    if values.dtype.kind == "M":
        return np.asarray(values.astype("datetime64[ms]").astype(np.int64))
    found = np.asarray(values, dtype=np.float64)
    # Seconds reach the year 5138 before they pass for milliseconds of 1973.
    unit = 1.0 if np.nanmax(np.abs(found), initial=0.0) > 1e11 else 1e3
    return np.where(np.isfinite(found), found * unit, NO_TIME).astype(np.int64)


def _count_batch(reference: Reference, batch: Batch) -> Counted:
    if batch.event_at_ms is None:
        return Counted(profile(reference, batch.columns))
    known = batch.event_at_ms > NO_TIME
    days, block = np.unique(batch.event_at_ms // DAY_MS, return_inverse=True)
    found = profile_blocks(reference, batch.columns, block, len(days), event_at_ms=batch.event_at_ms)
    whole = empty(reference)
    for each in found:
        whole = merge(whole, each)
    times = batch.event_at_ms[known]
    hours, held = np.unique(times // HOUR_MS, return_counts=True)
    by_hour = {int(hour) * HOUR_MS: int(count) for hour, count in zip(hours, held, strict=True)}
    by_day = {int(day) * DAY_MS: each for day, each in zip(days, found, strict=True) if day > -(10**9)}
    start, stop = (int(times.min()), int(times.max()) + 1) if times.size else (0, 0)
    return Counted(whole, by_day, by_hour, start, stop)


def drawn(batch: Batch, rows: int) -> Batch:
    """So many rows of a batch, drawn at random; all of them where there are no more."""
    return _drawn(batch, rows / max(1, len(next(iter(batch.columns.values())))))


def _watched(batches: Iterator[Batch], share: float, kept: list[Batch]) -> Iterator[Batch]:
    """The same batches, with a share of their rows put aside."""
    for at, batch in enumerate(batches):
        if share > 0:
            kept.append(_drawn(batch, share, seed=at))
        yield batch


def _drawn(batch: Batch, share: float, *, seed: int = 0) -> Batch:
    if share >= 1:
        return batch
    rows = len(next(iter(batch.columns.values())))
    picked = np.flatnonzero(np.random.default_rng(seed).random(rows) < share)
    times = None if batch.event_at_ms is None else batch.event_at_ms[picked]
    return Batch({name: values[picked] for name, values in batch.columns.items()}, times)


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    names = batches[0].columns
    columns = {name: _under_one_another([batch.columns[name] for batch in batches]) for name in names}
    times = [batch.event_at_ms for batch in batches if batch.event_at_ms is not None]
    return Batch(columns, np.concatenate(times) if times else None)


def _under_one_another(pieces: Sequence[Values]) -> Values:
    coded = [piece for piece in pieces if isinstance(piece, Coded)]
    if len(coded) < len(pieces):
        arrays = [plain(piece) for piece in pieces]
        mixed = any(each.dtype == object for each in arrays)
        return np.concatenate([each.astype(object) if mixed else each for each in arrays])
    place: dict[object, int] = {}
    codes = []
    for piece in coded:
        own = [place.setdefault(level, len(place)) for level in piece.levels]
        codes.append(np.array([*own, -1], dtype=np.int64)[piece.codes])
    return Coded(np.concatenate(codes), tuple(place))


# ---------------------------------------------------------------- bins of more rows than memory holds


class _ColumnSketch:
    """What one column looked like so far, in every way it may yet turn out to be counted."""

    def __init__(self, name: str, kind: Kind, *, aged: bool) -> None:
        self.name, self.kind = name, kind
        self.levels = LevelSketch() if kind in ("text", "categorical") else None
        series: tuple[str, ...] = ()
        if kind == "vector":
            series = tuple(f"projection {i + 1}" for i in range(PROJECTIONS))
        elif kind == "datetime":
            series = ("age",) if aged else ()
        elif kind in ("numeric", "text"):
            series = ("length",) if kind == "text" else ("",)
        # Seeded by name: the same rows give the same bins.
        seed = int(digest_bytes(name.encode())[:12], 16)
        self.numbers = {label: NumberSketch(seed=seed + i) for i, label in enumerate(series)}

    def add(self, values: Values, event_at_ms: Ints | None) -> None:
        if self.levels is not None:
            self.levels.add(values)
            if self.kind == "text" and len(self.levels.counts) > MAX_LEVELS:
                self.levels = None  # free text
        for label, sketch in self.numbers.items():
            numbers = series_of(bare_part(self.name, label), self.kind, values, event_at_ms)
            assert numbers is not None
            sketch.add(plain(numbers))

    def settled(self) -> tuple[Kind, list[Part]]:
        if self.levels is not None:
            counts = self.levels.counts
            if self.kind == "categorical" or repeats(counts, sum(counts.values())):
                return "categorical", [self.levels.part(self.name)]
        parts: list[Part] = clock_parts(self.name) if self.kind == "datetime" else []
        if self.kind == "boolean":
            parts = [LevelPart(column=self.name, levels=(False, True))]
        return self.kind, parts + [sketch.part(self.name, label) for label, sketch in self.numbers.items()]


def _sketched(batches: Iterator[Batch], kinds: Mapping[str, Kind], *, aged: bool) -> Reference:
    sketches = [_ColumnSketch(name, kind, aged=aged) for name, kind in kinds.items()]
    for batch in batches:
        columns, times = batch

        def add(sketch: _ColumnSketch, columns: Table = columns, times: Ints | None = times) -> None:
            sketch.add(columns[sketch.name], times)

        over_columns(add, sketches, rows=len(next(iter(columns.values()))))
    found = [sketch.settled() for sketch in sketches]
    settled = {sketch.name: kind for sketch, (kind, _) in zip(sketches, found, strict=True)}
    return uncounted(settled, [part for _, parts in found for part in parts])
