"""How much may a column vary before it means something, and how often does the judge cry wolf?

Natural variation: the reference is cut into contiguous blocks of event time, each is compared with all the
others, and an effect counts only beyond what those blocks show among themselves. Without this yardstick
weekdays and weather make every window of time-ordered rows differ from the shuffled whole.

False alarms: windows are drawn from the reference's own counts and judged; the measured rate is stored with
the baseline, and where it is more than twice the promise a stricter level takes over.

Sources: Clopper and Pearson 1934; Student 1908 (t quantile); Whitmore 1986 (prediction limits).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.late import special
from mlspine.core.types import Interval
from mlspine.stats.compare import Side, cauchy, column_components, column_effects, counts_unseen, sides
from mlspine.stats.profile import Floats, Ints, LevelPart, NumericPart, Part, Profile, Reference

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ALPHA = 0.01
# Smallest effect worth telling a person about; the last two in percentage points of rows.
FLOORS: dict[str, float] = {"js": 0.1, "tv": 0.03, "mean_sd": 0.1, "missing_pp": 2.0, "unseen_pp": 0.5}
LEAST_BLOCKS = 8
ENOUGH_BLOCKS = 20
MOST_BLOCKS = 120
NOT_CALIBRATED = "not calibrated for seasonality"
DRAWS = 10_000
# Reference draws cost as much as window draws and vary less: each serves ten windows.
_WINDOWS_PER_REFERENCE = 10
# Wide columns and wide tables draw fewer distinct windows per column and repeat them, so that a thousand
# levels or a hundred columns cost seconds, not minutes.
_DRAWN_COUNTERS = 700_000
_DRAWN_IN_ALL = 14_000_000
_LEAST_DRAWS = 500
_SIGMAS = 3.0
# Share of blocks that pass every limit taken from the others. A larger one is dearly paid: all of them
# would mean limits two to four times as wide on a year of weather.
_PASSING = 0.95

Limits = dict[str, dict[str, float]]


class FalseAlarms(NamedTuple):
    """Share of unchanged windows called significant at alpha = 0.01, and the level to use instead of alpha/d
    where that share is above twice alpha."""

    rate: Interval
    critical_p: float | None


def day_blocks(event_at_ms: Ints, *, min_rows: int) -> tuple[Ints, int]:
    """Block number per row and the number of blocks; a block is whole UTC days with at least min_rows rows.

    At most 120 blocks: more days than that are joined in equal groups.

    >>> day_blocks(np.arange(6) * DAY_MS // 2, min_rows=2)
    (array([0, 0, 1, 1, 2, 2]), 3)
    """
    block, count = _cut(event_at_ms, unit_ms=DAY_MS, min_rows=min_rows)
    group = math.ceil(count / MOST_BLOCKS) if count else 1
    return block // group, math.ceil(count / group)


def short_blocks(event_at_ms: Ints, *, min_rows: int, seed: int = 0) -> tuple[Ints, int]:
    """Blocks of whole hours, each closed as soon as it holds min_rows rows: how windows are cut in service.

    At most 120 of them, drawn at random since every n-th could always be the same hour; rows of the others
    get -1. No block at all when a window takes most of a day anyway.
    """
    block, count = _cut(event_at_ms, unit_ms=HOUR_MS, min_rows=min_rows)
    _, days = _cut(event_at_ms, unit_ms=DAY_MS, min_rows=min_rows)
    if count < 1.5 * days:
        return np.full(len(event_at_ms), -1), 0
    kept = np.sort(np.random.default_rng(seed).permutation(count)[:MOST_BLOCKS])
    place = np.full(count, -1)
    place[kept] = np.arange(kept.size)
    return place[block], int(kept.size)


def floors_of(reference: Reference, floors: Mapping[str, Mapping[str, float]]) -> Limits:
    """Floor of every effect that can decide about a column, with the owner's own floors in place.

    floors: column -> effect -> floor, for the ones that differ from the usual.
    """
    found: Limits = {}
    for name in reference.names:
        own = floors.get(name, {})
        found[name] = {effect: own.get(effect, FLOORS[effect]) for effect in deciding(reference, name)}
    return found


def deciding(reference: Reference, name: str) -> tuple[str, ...]:
    """The effects that decide about a column, by what it counts."""
    parts = [reference.parts[i] for i in reference.parts_of(name)]
    effects = {"js": True, "tv": _any(parts, LevelPart), "mean_sd": _any(parts, NumericPart)}
    effects |= {"missing_pp": True, "unseen_pp": counts_unseen(parts[0])}
    return tuple(effect for effect, decides in effects.items() if decides)


def natural_limits(reference: Reference, blocks: Sequence[Profile], floors: Limits) -> Limits:
    """Limit per column and effect from what blocks of the reference show among themselves; never below the
    floor, and the floors alone below 8 blocks.

    Each block is compared with the reference less that block, from counts alone. An effect's own limit is
    `upper_limit` over the blocks. Then all limits are widened by one factor, so that 95 of 100 blocks, each
    held against limits taken from the other blocks, pass with every column: one limit that is passed once
    in a thousand windows is passed somewhere every tenth window when there are a hundred of them.
    """
    if len(blocks) < LEAST_BLOCKS:
        return {name: dict(effects) for name, effects in floors.items()}
    inside = sides(blocks)
    outside = [_less(total, part) for total, part in zip(sides([reference.profile]), inside, strict=True)]
    keys: list[tuple[str, str]] = []
    shown: list[Floats] = []
    for name, own in floors.items():
        effects = column_effects(reference, name, outside, inside)
        keys += [(name, effect) for effect in own if effect in effects]
        shown += [effects[effect].value for effect in own if effect in effects]
    values = np.stack(shown, axis=-1)
    least = np.array([floors[name][effect] for name, effect in keys])
    widened = np.maximum(least, upper_limit(values) * _widening(values, least))
    limits = {name: dict(effects) for name, effects in floors.items()}
    for (name, effect), limit in zip(keys, widened.tolist(), strict=True):
        limits[name][effect] = limit
    return limits


def upper_limit(values: Floats) -> Floats:
    """Upper limit for one more value like these, per column of (blocks, effects): the prediction limit
    mean + 3 sd sqrt(1 + 1/B), or the largest value seen where that is more.

    Below 20 blocks the factor 3 becomes the t quantile of the same tail. The largest value stands in for
    tails heavier than normal: fog and holidays come in few blocks, and far out.

    >>> upper_limit(np.array([[1.0, 2.0] * 10, [1.0] * 19 + [9.0]]).T).round(2).tolist()
    [3.08, 9.0]
    """
    count = len(values)
    factor = _SIGMAS if count >= ENOUGH_BLOCKS else float(special.stdtrit(count - 1, special.ndtr(_SIGMAS)))
    spread = values.std(axis=0, ddof=1) * math.sqrt(1 + 1 / count)
    return np.asarray(np.maximum(values.max(axis=0), values.mean(axis=0) + factor * spread))


def _widening(values: Floats, floors: Floats) -> float:
    worst = [
        float((values[i] / np.maximum(floors, upper_limit(np.delete(values, i, axis=0)))).max(initial=0.0))
        for i in range(len(values))
    ]
    return max(1.0, float(np.quantile(worst, _PASSING)))


def self_check(references: Sequence[Reference], *, rows: int, draws: int = DRAWS, seed: int = 0) -> FalseAlarms:
    """Judge windows drawn from the reference's own counts, all columns of all references as one family.

    rows: rows per drawn window. Columns are drawn independently, the case in which alpha/d is closest to
    being used up. Both the window and the reference are redrawn, so that a small reference shows.
    """
    rng = np.random.default_rng(seed)
    columns = [(reference, name) for reference in references for name in reference.names]
    if not columns:
        return FalseAlarms(clopper_pearson(0, draws), None)
    budget = min(_DRAWN_COUNTERS, _DRAWN_IN_ALL // len(columns))
    least = np.ones(draws)
    distinct = 0
    for reference, name in columns:
        p = _drawn_p(reference, name, rows, _distinct(reference, name, draws, budget), rng)
        least = np.minimum(least, rng.permutation(np.resize(p, draws)))
        distinct += p.size
    # Repeated draws add no knowledge: the interval is that of the distinct ones.
    trials = distinct // len(columns)
    share = float((least <= ALPHA / len(columns)).mean())
    rate = clopper_pearson(round(share * trials), trials)
    return FalseAlarms(rate, float(np.quantile(least, ALPHA)) if share > 2 * ALPHA else None)


def clopper_pearson(hits: int, trials: int, *, level: float = 0.95) -> Interval:
    """Exact interval of a share.

    >>> interval = clopper_pearson(0, 100)
    >>> interval.lo, round(interval.hi, 4)
    (0.0, 0.0362)
    """
    tail = (1 - level) / 2
    lo = float(special.betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    hi = float(special.betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return Interval(value=hits / trials, lo=lo, hi=hi, level=level, method="Clopper-Pearson")


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


def _any(parts: Sequence[Part], kind: type[Part]) -> bool:
    return any(isinstance(part, kind) for part in parts)


def _less(total: Side, block: Side) -> Side:
    """The rows of `total` outside each block: counts subtracted, moments by Chan's merge turned around."""
    # Moments belong to the finite rows: all but the last three counters of a numeric part. A part of levels
    # has none, and whatever comes out for it is zero.
    n, n_block = total.counts[..., :-3].sum(axis=-1), block.counts[..., :-3].sum(axis=-1)
    left = np.maximum(n - n_block, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(n > n_block, (n * total.mean - n_block * block.mean) / left, 0.0)
        between = np.square(mean - block.mean) * n_block * left / np.maximum(n, 1)
        m2 = np.where(n > n_block, np.maximum(total.m2 - block.m2 - between, 0.0), 0.0)
    return Side(
        total.counts - block.counts,
        mean,
        m2,
        np.broadcast_to(total.low, mean.shape),
        np.broadcast_to(total.high, mean.shape),
    )


def _distinct(reference: Reference, name: str, draws: int, budget: int) -> int:
    widest = max(reference.parts[i].counters for i in reference.parts_of(name))
    return min(draws, max(_LEAST_DRAWS, budget // widest))


def _drawn_p(reference: Reference, name: str, rows: int, draws: int, rng: np.random.Generator) -> Floats:
    before: dict[int, Side] = {}
    after: dict[int, Side] = {}
    for i in reference.parts_of(name):
        counts = reference.profile.parts[i].counts
        total = int(counts.sum())
        if not total:
            return np.ones(draws)
        shares = counts / total
        redrawn = rng.multinomial(total, shares, size=math.ceil(draws / _WINDOWS_PER_REFERENCE))
        before[i] = _counts_only(np.repeat(redrawn, _WINDOWS_PER_REFERENCE, axis=0)[:draws])
        after[i] = _counts_only(rng.multinomial(rows, shares, size=draws))
    size = len(reference.parts)
    components = column_components(
        reference,
        name,
        [before.get(i, _NOTHING) for i in range(size)],
        [after.get(i, _NOTHING) for i in range(size)],
    )
    return cauchy(np.stack(list(components.values())))


def _counts_only(counts: Ints) -> Side:
    zeros = np.zeros(len(counts))
    return Side(counts, zeros, zeros, zeros, zeros)


_NOTHING = _counts_only(np.zeros((1, 1), dtype=np.int64))
