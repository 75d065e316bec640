"""What the reference looked like at the hours a window covers: hour of day, workday or weekend (UTC).

An hour at night compared with whole days differs in every column that follows the clock, and a limit wide
enough for that hides all else. So for each column that moves with the clock the reference rows are kept per
slot of the week, and a window is compared with the slots mixed as its own rows are. The mixture counts as
many rows as a plain sample of the same precision would have, 1 / sum(w^2) over the weights w of its rows
(Kish 1965, effective sample size).

Columns that do not move with the clock keep the whole reference: all its rows, none of the noise.
"""

from __future__ import annotations

from typing import cast

import msgspec
import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Struct
from mlspine.stats.binned import Sums, side_of
from mlspine.stats.bins import Array, Floats, Ints, LevelPart, Part, Profile, Reference, Tally
from mlspine.stats.cells import coarse_starts, drawn_levels, pool

HOUR_MS = 3_600_000
HOURS = 24
SLOTS = 2 * HOURS
# A slot with fewer reference rows borrows: the hours beside it, the other days, that failing all rows.
LEAST_ROWS = 200
# Chance of calling a column that ignores the clock one that follows it: dear in rows, not in truth.
_MOVES_P = 0.01
_LEAST_CELL = 3
_FRIDAY = 4
# Of a level the reference holds, but not at these hours: so rare that it is as good as 0, and still not new.
_ELSEWHERE = 1e-6


class SlotCounts(Struct, frozen=True, kw_only=True, eq=False):
    """One part of a column that moves with the clock. counts: (slots * counters,); sums: (2 * slots,), of the
    finite numbers less `centre` their sum and sum of squares."""

    position: int
    centre: float
    counts: Array
    sums: Floats


class Seasons(Struct, frozen=True, kw_only=True, eq=False):
    """Reference rows per slot, of the columns for which it matters."""

    parts: tuple[SlotCounts, ...]


def slots_of(at_ms: Ints) -> Ints:
    """Slot per moment: hour of day (UTC), plus 24 on Saturdays and Sundays.

    >>> slots_of(np.array([0, 25 * HOUR_MS, 51 * HOUR_MS])).tolist()  # a Thursday, a Friday, a Saturday
    [0, 1, 27]
    """
    hours = np.asarray(at_ms, dtype=np.int64) // HOUR_MS
    # 1 January 1970 was a Thursday; Monday is 0.
    weekend = (hours // HOURS + 3) % 7 > _FRIDAY
    return np.asarray(hours % HOURS + HOURS * weekend)


def shares_of(slot: Ints, group: Ints, groups: int) -> Floats:
    """Share of each group's rows per slot, (groups, slots); rows of group -1 belong to none."""
    chosen = group >= 0
    rows = np.bincount(group[chosen] * SLOTS + slot[chosen], minlength=groups * SLOTS).reshape(groups, SLOTS)
    return np.asarray(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1))


def moves(part: Part, slots: Sums) -> bool:
    """Whether the shares of a part depend on the slot.

    Chi-squared over slots and coarse bins, and of its parts those that are smooth over the day (two harmonics)
    or differ at the weekend: of all bins, and of the middle rank alone, which sees the least. A cycle too
    small for that in the whole reference is too small to be seen in a window of fewer rows.
    """
    base = slots.counts.sum(axis=0)
    inside, outside = slots.counts[:, : part.bins], slots.counts[:, part.bins :]
    if isinstance(part, LevelPart):
        coarse = pool(inside, drawn_levels(base[: part.bins]))
    else:
        coarse = np.add.reduceat(inside, coarse_starts(base[: part.bins]), axis=-1)
    table = np.concatenate([coarse, outside], axis=-1)
    filled = table.sum(axis=1) > 0
    table, waves = table[filled], _WAVES[filled]
    kept_cells = table.sum(axis=0) >= _LEAST_CELL * len(table)
    if kept_cells.sum() < 2 or len(table) < 2:
        return False
    return _heterogeneity_p(table[:, kept_cells], waves) < _MOVES_P


def expected(slots: Sums, shares: Floats) -> Sums:
    """The reference as windows with these shares of slots would see it unchanged, (windows, ...).

    slots: (slots, ...). shares: (windows, slots). A slot with few rows borrows from its neighbours.
    """
    m = slots.counts.sum(axis=-1)
    weight = shares @ _borrowed(m)  # of one row in each slot
    rows = 1 / np.maximum(np.square(weight) @ m, 1e-12)
    counts = (weight @ slots.counts) * rows[:, None]
    counts = np.where((counts == 0) & (slots.counts.sum(axis=0) > 0), _ELSEWHERE, counts)
    return Sums(counts, (weight @ slots.first) * rows, (weight @ slots.second) * rows)


def kept(position: int, slots: Sums, *, centre: float) -> SlotCounts:
    """What a baseline stores of one part: counts in the smallest whole numbers that hold them."""
    counts = slots.counts.ravel()
    small = np.min_scalar_type(int(counts.max(initial=0)))
    return SlotCounts(
        position=position,
        centre=centre,
        counts=counts.astype(small),
        sums=np.concatenate([slots.first, slots.second]),
    )


def matched(reference: Reference, seasons: Seasons, rows_by_slot: Ints) -> Reference:
    """The reference as these hours of it looked: to judge a window with `rows_by_slot` rows per slot against.

    Bins and id stay. Counts are fractions of rows. What was counted once stays as rare as it was: how often
    to expect a level never seen before is read off it.
    """
    total = float(rows_by_slot.sum())
    if not total or not seasons.parts:
        return reference
    parts = list(reference.profile.parts)
    for each in seasons.parts:
        parts[each.position] = _matched(reference, each, np.asarray(rows_by_slot / total)[None])
    profile = Profile(reference_id=reference.id, rows=reference.rows, parts=tuple(parts))
    return msgspec.structs.replace(reference, profile=profile)


def _matched(reference: Reference, stored: SlotCounts, shares: Floats) -> Tally:
    part, whole = reference.parts[stored.position], reference.profile.parts[stored.position]
    counts = stored.counts.astype(np.float64).reshape(SLOTS, -1)
    first, second = stored.sums.reshape(2, SLOTS)
    found = expected(Sums(counts, first, second), shares)
    side = side_of(part, found, centre=stored.centre, low=whole.low, high=whole.high)
    own = side.counts[0].copy()
    if isinstance(part, LevelPart):
        _keep_singletons(own[: part.bins], whole.counts[: part.bins], float(own.sum()))
    return Tally(
        counts=cast(Ints, own),
        mean=float(side.mean[0]),
        m2=float(side.m2[0]),
        low=whole.low,
        high=whole.high,
        names=whole.names,
    )


def _keep_singletons(own: Floats, whole: Array, rows: float) -> None:
    once = np.flatnonzero(whole == 1)
    some = round(once.size * rows / max(1, int(whole.sum())))
    # Whatever else came out at exactly 1 is not a level seen once.
    own[own == 1] += _ELSEWHERE
    own[once] = _ELSEWHERE
    own[once[:some]] = 1


def _borrowed(m: Floats) -> Floats:
    """Weight of one row of each slot (columns) in what stands for a slot (rows), given the slots' rows m."""
    pooled = _POOLS @ m
    enough = pooled >= LEAST_ROWS
    enough[-1] = True
    step = enough.argmax(axis=0)
    slot = np.arange(SLOTS)
    return np.asarray(_POOLS[step, slot] / np.maximum(pooled[step, slot], 1.0)[:, None])


def _heterogeneity_p(table: Floats, waves: Floats) -> float:
    rows, share = table.sum(axis=1), table.sum(axis=0) / table.sum()
    beyond = table - rows[:, None] * share
    freedom = (len(table) - 1) * (len(share) - 1)
    anything = float(special.chdtrc(freedom, float((np.square(beyond) / (rows[:, None] * share)).sum())))
    # Contrasts of slots, orthonormal under their rows: each gives a normal value per bin when nothing moves.
    root = np.sqrt(rows)[:, None]
    basis = np.linalg.qr(np.concatenate([root, waves * root], axis=1))[0][:, 1:]
    z = basis.T @ (beyond / root)
    smooth = float(special.chdtrc(len(z) * (len(share) - 1), float((np.square(z) / share).sum())))
    rank = np.cumsum(share) - share / 2
    spread = float(share @ np.square(rank - share @ rank))
    middle = float(special.chdtrc(len(z), float(np.square(z @ rank).sum()) / max(spread, 1e-12)))
    return 3 * min(anything, smooth, middle)


def _pools() -> Floats:
    """Whose rows may stand for a slot's, first choice first: (choices, slots, slots)."""
    slot = np.arange(SLOTS)
    hour, kind = slot % HOURS, slot // HOURS
    apart = np.abs(hour[:, None] - hour)
    apart = np.minimum(apart, HOURS - apart)
    alike = kind[:, None] == kind
    own = [alike & (apart <= wide) for wide in (0, 1, 2)]
    both = [apart <= wide for wide in (0, 1, 2, 3)]
    return np.stack([*own, *both, np.ones((SLOTS, SLOTS), dtype=bool)]).astype(np.float64)


def _waves() -> Floats:
    slot = np.arange(SLOTS)
    angle = 2 * np.pi * (slot % HOURS) / HOURS
    return np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle), slot >= HOURS], axis=1)


_POOLS = _pools()
_WAVES = _waves()
