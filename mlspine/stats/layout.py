"""Laying out the bins of a column: quantiles of its numbers, its most frequent levels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from mlspine.core.errors import Corrupt
from mlspine.core.ids import digest_bytes
from mlspine.core.types import Scalar
from mlspine.stats.bins import (
    MAX_BINS,
    MAX_LEVELS,
    Floats,
    Ints,
    Kind,
    LevelPart,
    NumericPart,
    Part,
    Reference,
    Values,
)
from mlspine.stats.levels import levels_of
from mlspine.stats.series import PROJECTIONS, plain, series_of

# Text is taken for a category when its values repeat this often on average.
ROWS_PER_LEVEL = 10
_LOOK = 262_144


def lay_out(name: str, kind: Kind, values: Values, event_at_ms: Ints | None) -> tuple[Kind, list[Part]]:
    """The kind a column turns out to be of, and its parts."""
    if kind in ("text", "categorical"):
        known = _known_levels(values, most=MAX_LEVELS if kind == "text" else None)
        if kind == "categorical" or repeats(known, sum(known.values())):
            return "categorical", [level_part(name, known)]
    if kind == "boolean":
        return kind, [LevelPart(column=name, levels=(False, True))]
    series: tuple[str, ...] = ("",)
    parts: list[Part] = []
    if kind == "datetime":
        parts += clock_parts(name)
        series = () if event_at_ms is None else ("age",)
    elif kind == "text":
        series = ("length",)
    elif kind == "vector":
        series = tuple(f"projection {i + 1}" for i in range(PROJECTIONS))
    for label in series:
        numbers = series_of(bare_part(name, label), kind, values, event_at_ms)
        assert numbers is not None
        ordered = np.sort(plain(numbers).astype(np.float64))
        parts.append(numeric_part(name, label, _finite(ordered)))
    return kind, parts


def repeats(known: Mapping[Scalar, int], rows: int) -> bool:
    """Whether text repeats often enough to be counted by its levels."""
    return bool(known) and len(known) <= MAX_LEVELS and rows >= ROWS_PER_LEVEL * len(known)


def clock_parts(column: str) -> list[Part]:
    hour = LevelPart(column=column, name="hour", levels=tuple(range(24)))
    return [hour, LevelPart(column=column, name="weekday", levels=tuple(range(7)))]


def bare_part(column: str, name: str) -> NumericPart:
    """A part that names a series and has no bins yet."""
    return NumericPart(column=column, name=name, edges=np.empty(0), centres=np.zeros(1))


def layout_id(kinds: Mapping[str, Kind], parts: Sequence[Part]) -> str:
    layout = [
        [part.column, part.name, part.edges.astype("<f8").tobytes()]
        if isinstance(part, NumericPart)
        else [part.column, part.name, part.levels, part.pooled]
        for part in parts
    ]
    return digest_bytes(msgspec.msgpack.encode([sorted(kinds.items()), layout]))[:32]


def check_reference(reference: Reference) -> None:
    """Raises Corrupt when a reference's id is not that of its bins, or its own counts do not fit them."""
    fits = [part.counters for part in reference.parts] == [t.counts.size for t in reference.profile.parts]
    if layout_id(reference.kinds, reference.parts) != reference.id or not fits:
        raise Corrupt(f"the reference {reference.id} does not match its own bins")


def numeric_part(column: str, name: str, finite: Floats) -> NumericPart:
    """Bins between the 64-quantiles of numbers in order, or one per value when there are at most 64."""
    lattice = finite.size > 0 and int(np.count_nonzero(finite[1:] != finite[:-1])) < MAX_BINS
    if lattice:
        edges = _lattice_edges(np.unique(finite))
    elif finite.size:
        edges = np.unique(_quantiles(finite, np.arange(1, MAX_BINS) / MAX_BINS))
        edges = edges[np.isfinite(edges)]
    else:
        edges = np.empty(0)
    return NumericPart(column=column, name=name, edges=edges, centres=_centres(finite, edges), lattice=lattice)


def _quantiles(ordered: Floats, shares: Floats) -> Floats:
    """np.quantile of numbers that are in order already, to the last digit."""
    place = shares * (ordered.size - 1)
    before = np.floor(place).astype(np.int64)
    left, right = ordered[before], ordered[np.minimum(before + 1, ordered.size - 1)]
    part = place - before
    with np.errstate(over="ignore", invalid="ignore"):
        gap = right - left
        return np.asarray(np.where(part < 0.5, left + gap * part, right - gap * (1 - part)), dtype=np.float64)


def _centres(ordered: Floats, edges: Floats) -> Floats:
    """Mean of every bin. A bin without numbers has none; the edge it ends at stands in."""
    stand_in = np.append(edges, edges[-1] if edges.size else 0.0)
    bounds = np.concatenate([[0], np.searchsorted(ordered, edges, side="right"), [ordered.size]])
    with np.errstate(over="ignore", invalid="ignore"):
        means = [ordered[start:stop].mean() if start < stop else np.nan for start, stop in itertools.pairwise(bounds)]
    return np.where(np.isfinite(means), means, stand_in)


def _lattice_edges(distinct: Floats) -> Floats:
    # Room permitting, values below the smallest and above the largest get bins of their own, so that a
    # constant column is seen to change.
    if distinct.size + 2 > MAX_BINS:
        return distinct[:-1]
    below = np.nextafter(distinct[0], -np.inf)
    return np.concatenate([[below], distinct]) if np.isfinite(below) else distinct


def level_part(column: str, known: Mapping[Scalar, int], *, pooled: bool = False) -> LevelPart:
    """The most frequent levels. pooled: there are more than are known."""
    ordered = sorted(known, key=lambda level: (-known[level], str(level), type(level).__name__))
    return LevelPart(column=column, levels=tuple(ordered[:MAX_LEVELS]), pooled=pooled or len(ordered) > MAX_LEVELS)


def _known_levels(values: Values, *, most: int | None) -> dict[Scalar, int]:
    """Count per level; stops soon after `most` different ones, since free text is known as such before its end."""
    known: dict[Scalar, int] = {}
    for start in range(0, len(values), _LOOK if most else max(1, len(values))):
        found, _ = levels_of(values[start : start + _LOOK] if most else values)
        for level, count in found.items():
            known[level] = known.get(level, 0) + count
        if most is not None and len(known) > most:
            break
    return known


def _finite(ordered: Floats) -> Floats:
    start, stop = np.searchsorted(ordered, -np.inf, side="right"), np.searchsorted(ordered, np.inf, side="left")
    return ordered[start:stop]
