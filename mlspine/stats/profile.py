"""Mergeable count profiles on the bins of one reference: all that is kept of the rows a model answered.

A reference fixes the bins of every column once; a profile counts rows in those bins. Profiles of one
reference add up: merged counts equal the counts of one pass over all rows, moments agree within 1e-12.

How a column is counted, by kind:
  numeric      at most 64 right-closed bins between the reference's 64-quantiles; one bin per value when the
               reference holds at most 64; counters for missing, -inf and +inf; mean, spread, min and max
  categorical  the reference's levels (the 1,000 most frequent, the rest pooled), unseen, missing, and up to
               32 names of unseen levels so that an alert can say what is new
  boolean      as categorical
  datetime     hour of day and day of week (UTC) as levels, and age at the event in seconds where event times
               are given
  text         length in characters; text whose values repeat is counted by its levels
  vector       four fixed random sign projections

Sources: Chan, Golub and LeVeque 1983 (merging variances); Misra and Gries 1982, Agarwal et al. 2012
(mergeable heavy hitters); Achlioptas 2003 (sign projections).

>>> reference = build_reference({"x": np.arange(1000.0)}, {"x": "numeric"})
>>> morning, evening = (profile(reference, {"x": np.array(v)}) for v in ([1.0, np.nan], [999.0]))
>>> merged = merge(morning, evening)
>>> merged.rows, int(merged.parts[0].counts.sum()), merged.parts[0].mean
(3, 3, 500.0)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from mlspine.core.errors import Conflict, Invalid
from mlspine.stats.bins import (
    MAX_BINS,
    MAX_LEVELS,
    MAX_NAMES,
    Array,
    Coded,
    Floats,
    Ints,
    Kind,
    LevelPart,
    NumericPart,
    Part,
    Profile,
    Reference,
    Table,
    Tally,
    kind_of,
)
from mlspine.stats.counting import count, count_blocks, merge_tally, nothing
from mlspine.stats.layout import check_reference, lay_out, layout_id
from mlspine.stats.profile_bytes import (
    DECODE_HOOK,
    ENCODER,
    decode,
    decode_reference,
    encode,
    encode_reference,
)
from mlspine.stats.series import series_of
from mlspine.stats.spread import over_columns

__all__ = [
    "DECODE_HOOK",
    "ENCODER",
    "MAX_BINS",
    "MAX_LEVELS",
    "MAX_NAMES",
    "Array",
    "Coded",
    "Floats",
    "Ints",
    "Kind",
    "LevelPart",
    "NumericPart",
    "Part",
    "Profile",
    "Reference",
    "Table",
    "Tally",
    "build_reference",
    "check_reference",
    "decode",
    "decode_reference",
    "empty",
    "encode",
    "encode_reference",
    "kind_of",
    "merge",
    "profile",
    "profile_blocks",
    "uncounted",
]


def build_reference(columns: Table, kinds: Mapping[str, Kind], *, event_at_ms: Ints | None = None) -> Reference:
    """The bins of the named columns, taken from these rows, with the rows counted on them.

    kinds: column -> kind; columns without a kind are left out. A text column whose values repeat (at most
    1,000 of them, ten rows each on average) is counted as categorical.
    event_at_ms: when each row was asked for, ms UTC; without it datetimes have no age.
    Raises Invalid naming every column that is absent, of another length, or cannot be read as its kind.
    """
    _check(columns, kinds, event_at_ms)

    def laid_out(name: str) -> tuple[Kind, list[Part], str]:
        try:
            return *lay_out(name, kinds[name], columns[name], event_at_ms), ""
        except (TypeError, ValueError) as exc:
            return kinds[name], [], f"{name}: cannot be read as {kinds[name]}: {exc}"

    found = over_columns(laid_out, kinds, rows=_row_count(columns, kinds))
    if problems := [problem for _, _, problem in found if problem]:
        raise Invalid("the reference rows cannot be profiled", details=problems)
    settled = {name: kind for name, (kind, _, _) in zip(kinds, found, strict=True)}
    bare = uncounted(settled, [part for _, parts, _ in found for part in parts])
    return msgspec.structs.replace(bare, profile=profile(bare, columns, event_at_ms=event_at_ms))


def uncounted(kinds: Mapping[str, Kind], parts: Sequence[Part]) -> Reference:
    """The reference of these bins, with no row counted on them yet."""
    reference_id = layout_id(kinds, parts)
    hollow = Profile(reference_id=reference_id, rows=0, parts=tuple(nothing(part) for part in parts))
    return Reference(id=reference_id, kinds=dict(kinds), parts=tuple(parts), profile=hollow)


def profile(
    reference: Reference,
    columns: Table,
    *,
    event_at_ms: Ints | None = None,
    absent: Collection[str] = (),
) -> Profile:
    """Count rows on the reference's bins.

    columns: at least the reference's columns; others are ignored.
    event_at_ms: when each row was asked for; without it the age of datetimes is not counted.
    absent: columns withheld on purpose (redacted); they count no row and are not judged.
    Raises Invalid naming every column that is absent, of another length, or cannot be read as its kind.
    """
    wanted = {name: kind for name, kind in reference.kinds.items() if name not in absent}
    _check(columns, wanted, event_at_ms)

    def tally(part: Part) -> Tally | str:
        if part.column in absent:
            return nothing(part)
        kind = reference.kinds[part.column]
        try:
            series = series_of(part, kind, columns[part.column], event_at_ms)
            return nothing(part) if series is None else count(part, series)
        except (TypeError, ValueError) as exc:
            return f"{part.column}: cannot be read as {kind}: {exc}"

    rows = _row_count(columns, wanted)
    found = over_columns(tally, reference.parts, rows=rows)
    if problems := [each for each in found if isinstance(each, str)]:
        raise Invalid("these rows cannot be profiled on the reference", details=list(dict.fromkeys(problems)))
    tallies = tuple(each for each in found if isinstance(each, Tally))
    return Profile(reference_id=reference.id, rows=rows, parts=tallies)


def profile_blocks(
    reference: Reference,
    columns: Table,
    block: Ints,
    blocks: int,
    *,
    event_at_ms: Ints | None = None,
) -> tuple[Profile, ...]:
    """One profile per block of rows, in one pass; `block` (n_rows,) names each row's block, 0..blocks-1.

    Rows of block -1 belong to none.
    """
    _check(columns, reference.kinds, event_at_ms)
    order = np.argsort(block, kind="stable")
    bounds = np.searchsorted(block[order], np.arange(blocks + 1))

    def tallies(part: Part) -> list[Tally]:
        series = series_of(part, reference.kinds[part.column], columns[part.column], event_at_ms)
        return [nothing(part)] * blocks if series is None else count_blocks(part, series, order, bounds)

    by_part = over_columns(tallies, reference.parts, rows=len(block))
    rows = np.diff(bounds)
    return tuple(
        Profile(reference_id=reference.id, rows=int(rows[i]), parts=tuple(found[i] for found in by_part))
        for i in range(blocks)
    )


def empty(reference: Reference) -> Profile:
    """The profile of no rows: merging it changes nothing."""
    parts = tuple(nothing(part) for part in reference.parts)
    return Profile(reference_id=reference.id, rows=0, parts=parts)


def merge(a: Profile, b: Profile) -> Profile:
    """The profile of both sets of rows. Raises Conflict when they count on different references.

    Counts are exact. Names of unseen levels are exact up to 32 different ones; beyond that every name with
    more than 1/33 of the unseen rows is kept, with a count too low by at most that share.
    """
    if a.reference_id != b.reference_id:
        raise Conflict(
            f"profiles of different references cannot be merged: {a.reference_id} and {b.reference_id}",
            hint="profile both sets of rows on one release's baseline",
        )
    parts = tuple(merge_tally(x, y) for x, y in zip(a.parts, b.parts, strict=True))
    return Profile(reference_id=a.reference_id, rows=a.rows + b.rows, parts=parts)


def _check(columns: Table, wanted: Mapping[str, Kind], event_at_ms: Ints | None) -> None:
    rows = _row_count(columns, wanted)
    problems = [f"{name}: no such column" for name in wanted if name not in columns]
    problems += [
        f"{name}: {len(columns[name])} rows, the others have {rows}"
        for name in wanted
        if name in columns and len(columns[name]) != rows
    ]
    if event_at_ms is not None and len(event_at_ms) != rows:
        problems.append(f"event_at_ms: {len(event_at_ms)} rows, the columns have {rows}")
    if problems:
        raise Invalid("the columns do not fit the profile", details=problems)


def _row_count(columns: Table, wanted: Mapping[str, Kind]) -> int:
    return next((len(columns[name]) for name in wanted if name in columns), 0)
