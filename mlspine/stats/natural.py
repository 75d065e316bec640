"""How much may a column vary before it means something? Limits from the weeks of the reference's own time.

The reference is cut into blocks as windows are cut in service. Each block is compared with the rows of all
other weeks at the same hours (`stats/seasons.py`), which shows how far the column strays when nothing is
wrong. An effect's limit is what a whole new week of such blocks is expected to stay below.

Why weeks: the blocks of one week share its weather, its holiday, its fault of a feed. Twelve weeks of them are
twelve observations, however many blocks they hold. So the largest value of each week is taken, and a t
prediction limit for the largest of one more week, on the log scale, since such maxima are skewed: an effect
that hardly varies from week to week gets a tight limit, one with rare outbursts a wide one. Bounded effects
are taken as odds, so that a limit is never beyond what the effect can reach.

Sources: Student 1908; Whitmore 1986 (prediction limits); Gumbel 1958 (maxima of blocks of time).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mlspine.core.late import special
from mlspine.stats.binned import Binned, Sums, binned, side_of, summed
from mlspine.stats.bins import Floats, Ints, Reference, Table
from mlspine.stats.calibrate import Limits
from mlspine.stats.effects import column_effects
from mlspine.stats.seasons import SLOTS, Seasons, SlotCounts, expected, kept, moves, shares_of, slots_of
from mlspine.stats.series import series_of
from mlspine.stats.side import Side

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_DAYS = 7
LEAST_BLOCKS = 8
MOST_BLOCKS = 600
NOT_CALIBRATED = "not calibrated for seasonality"
# Alerts of one model in 30 days that its natural variation may cost, over all columns and effects.
NATURAL_ALERTS = 0.5
_PERIOD_DAYS = 30
# The largest value an effect can take; a mean shift has none.
_REACH = {"js": 1.0, "tv": 1.0, "missing_pp": 100.0, "unseen_pp": 100.0}
# Weeks below half the floor are all the same: nobody asks how much less than nothing they were.
_SMALLEST_OF_FLOOR = 0.5


class Blocks(NamedTuple):
    """Blocks of event time. block: per row, -1 for none. group: per block, the week it belongs to.

    days: length of a group in days, as far as its blocks were kept.
    """

    block: Ints
    blocks: int
    group: Ints
    days: float


class Natural(NamedTuple):
    """What event times show. `seasons` is None where no column moves with the clock."""

    limits: Limits
    limits_short: Limits
    seasonality: str
    seasons: Seasons | None


def calibrate(
    reference: Reference, columns: Table, event_at_ms: Ints, floors: Limits, *, min_rows: int, seed: int = 0
) -> Natural:
    """Limits for windows of a day or longer and for shorter ones, and the reference rows by slot of the week.

    columns, event_at_ms: the reference rows and when each was asked for. min_rows: of the smallest window.
    With fewer than 8 blocks there is nothing to go by: floors, and no slots.
    """
    at_ms = np.asarray(event_at_ms, dtype=np.int64)
    long, short = day_blocks(at_ms, min_rows=min_rows, seed=seed), short_blocks(at_ms, min_rows=min_rows, seed=seed)
    if long.blocks < LEAST_BLOCKS:
        return Natural({name: dict(own) for name, own in floors.items()}, {}, NOT_CALIBRATED, None)
    cuts = [cut for cut in (long, short) if cut.blocks >= LEAST_BLOCKS]
    slot = slots_of(at_ms)
    values: list[dict[tuple[str, str], Floats]] = [{} for _ in cuts]
    slots: list[SlotCounts] = []
    for name, own in floors.items():
        column = _Column(reference, name, columns, at_ms, slot)
        slots += column.kept()
        for cut, found in zip(cuts, values, strict=True):
            effects = column.effects(cut)
            found.update({(name, effect): effects[effect] for effect in own if effect in effects})
    limits = [week_limits(found, cut, floors) for cut, found in zip(cuts, values, strict=True)]
    seasons = Seasons(parts=tuple(slots)) if slots else None
    return Natural(limits[0], limits[1] if len(limits) > 1 else {}, "", seasons)


def week_limits(values: Mapping[tuple[str, str], Floats], cut: Blocks, floors: Limits) -> Limits:
    """Limit per column and effect from its values per block; the floor where that is higher.

    values: (column, effect) -> (blocks,).
    """
    limits = {name: dict(own) for name, own in floors.items()}
    # So many alerts may one effect cost per group of blocks, all effects alike.
    tail = NATURAL_ALERTS * cut.days / _PERIOD_DAYS / max(1, len(values))
    for (name, effect), shown in values.items():
        floor = floors[name][effect]
        reach = _REACH.get(effect, math.inf)
        limits[name][effect] = max(floor, upper_limit(_largest(shown, cut.group), floor, reach=reach, tail=tail))
    return limits


def upper_limit(largest: Floats, floor: float, *, reach: float, tail: float) -> float:
    """What the largest value of one more week exceeds with probability `tail`, going by those of `largest`.

    reach: the largest value the effect can take, or infinity.

    >>> weeks = np.array([0.2, 0.22, 0.25, 0.21, 0.19, 0.24, 0.2, 0.23])
    >>> round(upper_limit(weeks, 0.1, reach=1.0, tail=0.01), 2)
    0.29
    >>> round(upper_limit(weeks * 3.5, 0.1, reach=1.0, tail=0.001), 3)
    0.955
    """
    raised = np.log(_odds(np.maximum(largest, _SMALLEST_OF_FLOOR * floor), reach))
    count = raised.size
    spread = float(raised.std(ddof=1)) * math.sqrt(1 + 1 / count)
    bound = float(raised.mean()) - float(special.stdtrit(count - 1, tail)) * spread
    odds = math.exp(min(bound, float(raised.max()) + _FARTHEST))
    return odds if math.isinf(reach) else reach * odds / (1 + odds)


def day_blocks(event_at_ms: Ints, *, min_rows: int, seed: int = 0) -> Blocks:
    """Blocks of whole UTC days with at least min_rows rows each; at most 600 of them, drawn at random.

    >>> day_blocks(np.arange(6) * DAY_MS // 2, min_rows=2).block.tolist()
    [0, 0, 1, 1, 2, 2]
    """
    return _sampled(_grouped(*_cut(event_at_ms, unit_ms=DAY_MS, min_rows=min_rows), event_at_ms), seed)


def short_blocks(event_at_ms: Ints, *, min_rows: int, seed: int = 0) -> Blocks:
    """Blocks of whole hours, each closed as soon as it holds min_rows rows: how windows are cut in service.

    At most 600 of them, drawn at random since every n-th could always be the same hour; rows of the others
    get -1. No block at all when a window takes most of a day anyway.
    """
    block, count = _cut(event_at_ms, unit_ms=HOUR_MS, min_rows=min_rows)
    _, days = _cut(event_at_ms, unit_ms=DAY_MS, min_rows=min_rows)
    if count < 1.5 * days:
        return Blocks(np.full(len(event_at_ms), -1), 0, np.empty(0, dtype=np.int64), 0.0)
    return _sampled(_grouped(block, count, event_at_ms), seed)


# ---------------------------------------------------------------- inside

# A block of which nothing is as before is not infinitely far from one of which next to nothing is.
_FULL = 0.999
# No limit is more than three times what was seen: a column that was wild once is still told from a broken one.
_FARTHEST = math.log(3)


class _Column:
    """One column's rows, looked up once, and what they add up to per week and slot."""

    def __init__(self, reference: Reference, name: str, columns: Table, at_ms: Ints, slot: Ints) -> None:
        self._reference = reference
        self._name = name
        self._slot = slot
        self._rows: dict[int, Binned] = {}
        for i in reference.parts_of(name):
            series = series_of(reference.parts[i], reference.kinds[name], columns[name], at_ms)
            if series is not None:
                mean = reference.profile.parts[i].mean
                self._rows[i] = binned(reference.parts[i], series, centre=mean if math.isfinite(mean) else 0.0)
        self._slots = {i: summed(reference.parts[i], rows, slot, SLOTS) for i, rows in self._rows.items()}
        self._moves = any(moves(reference.parts[i], slots) for i, slots in self._slots.items())

    def kept(self) -> list[SlotCounts]:
        """What a baseline stores of it: nothing, unless it moves with the clock."""
        if not self._moves:
            return []
        return [kept(i, slots, centre=self._rows[i].centre) for i, slots in self._slots.items()]

    def effects(self, cut: Blocks) -> dict[str, Floats]:
        """Effect -> value per block, each compared with the rows of all other groups."""
        sizes = len(self._reference.parts)
        before, after = [_NOTHING] * sizes, [_NOTHING] * sizes
        for i, rows in self._rows.items():
            before[i] = self._side(i, self._others(i, rows, cut))
            after[i] = self._side(i, summed(self._reference.parts[i], rows, cut.block, cut.blocks))
        found = column_effects(self._reference, self._name, before, after)
        return {effect: np.broadcast_to(measured.value, cut.blocks) for effect, measured in found.items()}

    def _others(self, i: int, rows: Binned, cut: Blocks) -> Sums:
        part, groups = self._reference.parts[i], int(cut.group.max()) + 1
        group = np.where(cut.block >= 0, np.append(cut.group, -1)[cut.block], -1)
        if not self._moves:
            own = summed(part, rows, group, groups)
            return (self._slots[i].total(0) - own).at(cut.group)
        cells = summed(part, rows, np.where(group >= 0, group * SLOTS + self._slot, -1), groups * SLOTS)
        own = Sums(*(x.reshape(groups, SLOTS, *x.shape[1:]) for x in cells))
        others = self._slots[i] - own
        shares = shares_of(self._slot, cut.block, cut.blocks)
        found = [expected(others.at(np.asarray(group_)), shares[cut.group == group_]) for group_ in range(groups)]
        # Blocks stand in the order of time, so those of one group are neighbours.
        return Sums(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _side(self, i: int, sums: Sums) -> Side:
        whole = self._reference.profile.parts[i]
        return side_of(self._reference.parts[i], sums, centre=self._rows[i].centre, low=whole.low, high=whole.high)


def _sampled(cut: Blocks, seed: int) -> Blocks:
    if cut.blocks <= MOST_BLOCKS:
        return cut
    drawn = np.sort(np.random.default_rng(seed).permutation(cut.blocks)[:MOST_BLOCKS])
    place = np.full(cut.blocks, -1)
    place[drawn] = np.arange(drawn.size)
    _, group = np.unique(cut.group[drawn], return_inverse=True)
    return Blocks(place[cut.block], drawn.size, group, cut.days * drawn.size / cut.blocks)


def _largest(values: Floats, group: Ints) -> Floats:
    return np.asarray(np.maximum.reduceat(values, np.flatnonzero(np.diff(group, prepend=-1))))


def _odds(values: Floats, reach: float) -> Floats:
    if math.isinf(reach):
        return values
    share = np.minimum(values / reach, _FULL)
    return np.asarray(share / (1 - share))


def _cut(event_at_ms: Ints, *, unit_ms: int, min_rows: int) -> tuple[Ints, int]:
    if not len(event_at_ms):
        return np.empty(0, dtype=np.int64), 0
    _, unit, rows = np.unique(event_at_ms // unit_ms, return_inverse=True, return_counts=True)
    block_of_unit = np.empty(rows.size, dtype=np.int64)
    block = held = 0
    for i, count in enumerate(rows.tolist()):
        block_of_unit[i] = block
        held += count
        if held >= min_rows:
            block, held = block + 1, 0
    # What is left at the end is too little for a block of its own.
    blocks = max(1, block)
    return np.minimum(block_of_unit, blocks - 1)[unit], blocks


def _grouped(block: Ints, blocks: int, event_at_ms: Ints) -> Blocks:
    """Blocks with the week each belongs to; equal runs of blocks where there are fewer than 8 weeks."""
    if not blocks:
        return Blocks(block, 0, np.empty(0, dtype=np.int64), 0.0)
    first = np.full(blocks, np.iinfo(np.int64).max)
    np.minimum.at(first, block, event_at_ms)
    days = float(np.ptp(event_at_ms)) / DAY_MS
    # 1 January 1970 was a Thursday; weeks begin on Monday.
    _, week = np.unique((first // DAY_MS + 3) // WEEK_DAYS, return_inverse=True)
    if int(week.max()) + 1 < LEAST_BLOCKS:
        week = np.arange(blocks) // max(1, blocks // LEAST_BLOCKS)
    return Blocks(block, blocks, week, max(days, 1.0) / (int(week.max()) + 1))


_NOTHING = Side(np.zeros((1, 1)), np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1))
