"""How large is the change of one column, and could chance alone give as much?

Effects and their noise are those of `stats/distance.py`, over the cells the tests look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlspine.stats import distance
from mlspine.stats.bins import Array, Floats, LevelPart, NumericPart, Part, Reference
from mlspine.stats.cells import cells, coarse_starts, drawn_levels, pool, shares
from mlspine.stats.components import counts_unseen, unseen_rows
from mlspine.stats.share import share_test, unseen_test
from mlspine.stats.side import Side


class Measured(NamedTuple):
    """An effect size, its expected size when nothing changed, and how often chance alone gives as much."""

    value: Floats
    noise: Floats
    p: Floats


def column_effects(
    reference: Reference, name: str, before: Sequence[Side], after: Sequence[Side]
) -> dict[str, Measured]:
    """Effect sizes of one column; of several parts the largest, its p corrected for choosing.

    `p` belongs to the effect itself: the chance that unchanged data show an effect this large. A verdict asks
    it of the very effect that is over its limit, so that one small but certain change (a missing rate up by
    half a point) cannot carry another effect that is mere noise (total variation over 100 sparse levels).
    """
    positions = reference.parts_of(name)
    by_effect: dict[str, list[Measured]] = {}
    for i in positions:
        part, base = reference.parts[i], reference.profile.parts[i].counts
        found = (
            _numeric_effects(part, base, before[i], after[i])
            if isinstance(part, NumericPart)
            else _level_effects(part, base, before[i].counts, after[i].counts)
        )
        for effect, measured in found.items():
            by_effect.setdefault(effect, []).append(measured)
    effects = {effect: _largest(found) for effect, found in by_effect.items()}
    lead = reference.parts[positions[0]]
    effects.update(_outside_effects(lead, before[positions[0]].counts, after[positions[0]].counts))
    return effects


def _numeric_effects(part: NumericPart, base: Array, before: Side, after: Side) -> dict[str, Measured]:
    bins = part.bins
    h, g = before.counts[..., :bins], after.counts[..., :bins]
    m, n = h.sum(axis=-1), g.sum(axis=-1)
    known, v = _variance_factor(m, n)
    p, q = shares(h), shares(g)
    starts = coarse_starts(base[:bins])
    coarse_h, coarse_g = np.add.reduceat(h, starts, axis=-1), np.add.reduceat(g, starts, axis=-1)
    effects = _cell_effects(*cells(np.add.reduceat(base[:bins], starts), coarse_h, coarse_g)[:2], v)
    effects["ks"] = Measured(distance.ks(p, q), distance.ks_noise(v), np.ones_like(v))
    sd = np.sqrt(before.m2 / np.maximum(m, 1))
    spread = known & (sd > 0) & np.isfinite(sd) & np.isfinite(after.mean) & np.isfinite(after.m2)
    if np.any(spread):
        sd = np.where(spread, sd, 1.0)
        effects["mean_sd"] = _where(spread, _mean_shift(before, after, m, n, sd))
        points = _points(part, base, after)
        gap = Measured(distance.w1(p, q, points) / sd, distance.w1_noise(p, points, v) / sd, np.ones_like(v))
        effects["w1_sd"] = _where(spread, gap)
    return {name: _where(known, measured) for name, measured in effects.items()}


def _mean_shift(before: Side, after: Side, m: Array, n: Array, sd: Floats) -> Measured:
    # Welch: the window's own spread counts, so that one wild value does not look like a shift of all.
    with np.errstate(over="ignore", invalid="ignore"):
        shift = (after.mean - before.mean) / sd
        se = np.sqrt(before.m2 / np.maximum(m, 1) ** 2 + after.m2 / np.maximum(n, 1) ** 2) / sd
    shift, se = np.nan_to_num(shift), np.nan_to_num(se)
    return Measured(np.abs(shift), distance.difference_noise(se), distance.difference_p(shift, se))


def _points(part: NumericPart, base: Array, after: Side) -> Floats:
    # Bins beyond the reference's range hold no reference mean: the window's own extremes stand in.
    points = np.broadcast_to(part.centres, (*np.shape(after.mean), part.bins)).copy()
    if base[0] == 0:
        points[..., 0] = np.minimum(points[..., 0], after.low)
    if base[part.bins - 1] == 0:
        points[..., -1] = np.maximum(points[..., -1], after.high)
    return points


def _level_effects(part: LevelPart, base: Array, before: Array, after: Array) -> dict[str, Measured]:
    h, g = before[..., : part.bins], after[..., : part.bins]
    known, v = _variance_factor(h.sum(axis=-1), g.sum(axis=-1))
    cells_h, cells_g, _ = cells(base[: part.bins], h, g)
    effects = _cell_effects(cells_h, cells_g, v)
    # PSI is read by conventions made for ten bins, so the levels are pooled as they are drawn.
    drawn = drawn_levels(base[: part.bins])
    effects["psi"] = _cell_effects(pool(h, drawn), pool(g, drawn), v)["psi"]
    p, q = shares(cells_h), shares(cells_g)
    moved = distance.tv(p, q)
    chance = np.minimum(distance.tv_p(moved, p, v), _largest_level_p(cells_h, cells_g, moved))
    effects["tv"] = Measured(moved, distance.tv_noise(p, v), chance)
    return {name: _where(known, measured) for name, measured in effects.items()}


def _largest_level_p(h: Array, g: Array, moved: Floats) -> Floats:
    """p of the level that changed most, corrected for choosing it, where at least half of the change is its own.

    Over many levels the sum of all changes is mostly chance and hides a certain change of one of them.

    >>> h, g = np.array([5000] * 20), np.array([94] * 19 + [214])
    >>> float(_largest_level_p(h, g, np.asarray(0.06))) < 1e-6
    True
    """
    m, n = h.sum(axis=-1, keepdims=True), g.sum(axis=-1, keepdims=True)
    change = np.abs(shares(g) - shares(h))
    most = change.argmax(axis=-1)[..., None]
    a, b = (np.take_along_axis(np.broadcast_to(x, change.shape), most, axis=-1) for x in (h, g))
    p = share_test(b, n, a, m)[..., 0]
    carried = np.take_along_axis(change, most, axis=-1)[..., 0] >= moved / 2
    return np.where(carried & ~np.isnan(p), np.minimum(1.0, p * change.shape[-1]), 1.0)


def _cell_effects(h: Array, g: Array, v: Floats) -> dict[str, Measured]:
    p, q = shares(h), shares(g)
    filled = ((h + g) > 0).sum(axis=-1)
    apart = distance.js(p, q)
    return {
        "js": Measured(apart, distance.js_noise(filled, v), distance.js_p(apart, filled, v)),
        "psi": Measured(distance.psi(p, q), distance.psi_noise(filled, v), np.ones_like(v)),
    }


def _outside_effects(lead: Part, before: Array, after: Array) -> dict[str, Measured]:
    bins = lead.bins
    ranges = [slice(bins, bins + 1)]
    if isinstance(lead, NumericPart):
        ranges += [slice(bins + 1, bins + 2), slice(bins + 2, bins + 3)]
    effects = {"missing_pp": _largest([_rate_change(before, after, at) for at in ranges])}
    if counts_unseen(lead):
        n, m = after[..., :bins].sum(axis=-1), before[..., :bins].sum(axis=-1)
        s = unseen_rows(lead, before, after)
        singletons = (before[..., :bins] == 1).sum(axis=-1)
        expected = 100 * singletons / np.maximum(m, 1)
        p = unseen_test(s, n, singletons, m)
        value = 100 * s / np.maximum(n, 1)
        effects["unseen_pp"] = Measured(value, expected, np.where(np.isnan(p), 1.0, p))
    return effects


def _rate_change(before: Array, after: Array, at: slice) -> Measured:
    m, n = before.sum(axis=-1), after.sum(axis=-1)
    known, v = _variance_factor(m, n)
    a, b = before[..., at].sum(axis=-1), after[..., at].sum(axis=-1)
    share = a / np.maximum(m, 1)
    change = 100 * np.abs(b / np.maximum(n, 1) - share)
    noise = 100 * distance.difference_noise(np.sqrt(share * (1 - share) * v))
    p = share_test(b, n, a, m)
    return _where(known, Measured(change, noise, np.where(np.isnan(p), 1.0, p)))


def _largest(found: list[Measured]) -> Measured:
    values = np.stack([measured.value for measured in found])
    best = values.argmax(axis=0)[None]
    pick = [np.take_along_axis(np.stack([measured[i] for measured in found]), best, axis=0)[0] for i in range(3)]
    return Measured(pick[0], pick[1], np.minimum(1.0, pick[2] * len(found)))


def _where(known: Array, measured: Measured) -> Measured:
    return Measured(
        np.where(known, measured.value, 0.0),
        np.where(known, measured.noise, 0.0),
        np.where(known, measured.p, 1.0),
    )


def _variance_factor(m: Array, n: Array) -> tuple[Array, Floats]:
    known = (m > 0) & (n > 0)
    return known, np.asarray(1 / np.maximum(m, 1) + 1 / np.maximum(n, 1))
