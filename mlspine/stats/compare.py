"""Is a window of rows different from the reference, by how much, and could it be chance?

Everything is a function of counts. For each column several component tests look at different kinds of change;
the Cauchy combination makes one p-value of them, and the window is significant when the smallest one is at
most alpha/d over d columns. Reference counts `a` of `m` rows, window counts `b` of `n`; leading axes are
windows, so the same code judges one window and ten thousand simulated ones.

Sources: Wilcoxon 1945 and Neyman 1937, Rayner and Best 1989 (smooth tests on mid-ranks); Pearson 1900;
Anscombe 1948 (arcsine root); Przyborowski and Wilenski 1940 (conditional test of two rates); Good 1953 (mass
of unseen levels); Liu and Xie 2020 (Cauchy combination); Benjamini and Hochberg 1995.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.errors import Conflict
from mlspine.core.late import special
from mlspine.stats import distance
from mlspine.stats.profile import (
    Array,
    Floats,
    Ints,
    Kind,
    LevelPart,
    NumericPart,
    Part,
    Profile,
    Reference,
    Tally,
)

COARSE_BINS = 10
DRAWN_LEVELS = 10
NAMING_RATE = 0.05
# Rows a bin must be expected to hold before chi-squared, and a level before its own share test, is trusted.
_EXPECTED_CELL = 5
_EXPECTED_LEVEL = 10
_EXPECTED_ROOT = 25
# A linear statistic is near enough to normal when no row weighs more than 1/25 of its variance.
_ROWS_PER_WEIGHT = 25
# Above this a component has nothing to say; without a cap one p near 1 outweighs a small one (tan -> -inf).
_P_CAP = 0.99
_P_LEAST = 1e-300


class Side(NamedTuple):
    """Counts and moments of one part, of one set of rows or (leading axis) of many."""

    counts: Array
    mean: Floats
    m2: Floats
    low: Floats
    high: Floats


class Measured(NamedTuple):
    """An effect size, its expected size when nothing changed, and how often chance alone gives as much."""

    value: Floats
    noise: Floats
    p: Floats


class Sized(NamedTuple):
    """`Measured` of one window."""

    value: float
    noise: float
    p: float


class Comparison(NamedTuple):
    """One column of one window against the reference. `rows` is 0 when the column was not recorded."""

    name: str
    kind: Kind
    rows: int
    p: float
    components: dict[str, float]
    effects: dict[str, Sized]
    location_z: float  # signed: above 0 when the window lies higher; 0 for levels


class Verdict(NamedTuple):
    """What a window's p-values say together."""

    threshold: float
    significant: bool
    named: tuple[bool, ...]


def compare(reference: Reference, window: Profile) -> tuple[Comparison, ...]:
    """Every column of the window against the reference, in the reference's order.

    Raises Conflict when the window was counted on another reference.

    >>> from mlspine.stats.profile import build_reference, profile
    >>> reference = build_reference({"x": np.arange(1000.0)}, {"x": "numeric"})
    >>> same, = compare(reference, reference.profile)
    >>> higher, = compare(reference, profile(reference, {"x": np.arange(500.0, 1000.0)}))
    >>> same.p > 0.9, higher.p < 1e-12, round(higher.effects["mean_sd"].value, 2)
    (True, True, 0.87)
    """
    if window.reference_id != reference.id:
        raise Conflict(
            f"the window counts on reference {window.reference_id}, not on {reference.id}",
            hint="judge it with the baseline of the release that answered",
        )
    before = sides([reference.profile])
    after = sides([window])
    return tuple(_compare_column(reference, name, before, after) for name in reference.names)


def decide(p: Sequence[float], *, alpha: float, critical_p: float | None = None) -> Verdict:
    """Bonferroni for the window, Benjamini-Hochberg at 5% for the columns to name; the smallest p always is.

    critical_p: per-column level found by simulation for alpha = 0.01, used where stricter than alpha/d.

    >>> decide([0.5, 1e-6, 0.02], alpha=0.01)
    Verdict(threshold=0.0033333333333333335, significant=True, named=(False, True, True))
    """
    if not p:
        return Verdict(alpha, False, ())
    threshold = alpha / len(p)
    if critical_p is not None:
        threshold = min(threshold, critical_p * alpha / 0.01)
    if min(p) > threshold:
        return Verdict(threshold, False, (False,) * len(p))
    last = benjamini_hochberg(p, NAMING_RATE)
    return Verdict(threshold, True, tuple(value <= max(last, min(p)) for value in p))


def benjamini_hochberg(p: Sequence[float], rate: float) -> float:
    """The largest p still rejected at this false discovery rate; 0 when none is.

    >>> benjamini_hochberg([0.01, 0.02, 0.5], 0.05)
    0.02
    """
    ordered = np.sort(np.asarray(p, dtype=np.float64))
    kept = ordered[ordered <= rate * np.arange(1, ordered.size + 1) / ordered.size]
    return float(kept[-1]) if kept.size else 0.0


def cauchy(p: Floats) -> Floats:
    """Combine p-values along the first axis, NaN standing for "does not apply"; all NaN gives 1.

    Valid whatever the dependence as p goes to 0. Tiny values go through 1/(pi p), where tan loses its digits.

    >>> float(cauchy(np.array([1e-200, np.nan, 0.5]))) < 1e-199
    True
    """
    clipped = np.clip(p, _P_LEAST, _P_CAP)
    tiny = clipped < 1e-12
    spread = np.where(tiny, 1 / (np.pi * clipped), np.tan(np.pi * (0.5 - np.where(tiny, 0.5, clipped))))
    known = ~np.isnan(clipped)
    held = known.sum(axis=0)
    mean = np.where(known, spread, 0.0).sum(axis=0) / np.maximum(held, 1)
    return np.where(held > 0, np.arctan2(1.0, mean) / np.pi, 1.0)


# ---------------------------------------------------------------- component tests


def share_test(b: Array, n: Array, a: Array, m: Array) -> Floats:
    """Two-sided p that b of n and a of m are draws of one share; NaN when neither or all of them are hits.

    Difference of arcsine roots where both sides expect 25 or more, with Anscombe's 3/8 (at 10, or without
    the 3/8, p = 0.001 came up two to three times too often at shares of a few percent); else exact given
    a + b. Asked of the rarer of hit and miss, for which the exact test is sharp.

    >>> [round(float(share_test(b, 1000, 50, 10000)), 5) for b in (5, 15, 30)]
    [1.0, 0.00121, 0.0]
    """
    b, n, a, m = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (b, n, a, m)))
    flip = 2 * (a + b) > n + m
    a, b = np.where(flip, m - a, a), np.where(flip, n - b, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = n * a / m
        large = (np.minimum(expected, n - expected) >= _EXPECTED_ROOT) & (a >= _EXPECTED_ROOT) & (b >= 5)
        z = 2 * (_root(b, n) - _root(a, m)) / np.sqrt(1 / n + 1 / m)
    p = np.asarray(2 * special.ndtr(-np.abs(z)))
    small = ~large & (a + b > 0) & (n > 0) & (m > 0)
    p[small] = _conditional(b[small], a[small], (n / np.maximum(n + m, 1))[small])
    p[~large & ~small] = np.nan
    return p


def _root(hits: Floats, rows: Floats) -> Floats:
    return np.asarray(np.arcsin(np.sqrt((hits + 0.375) / (rows + 0.75))))


def _conditional(b: Floats, a: Floats, share: Floats) -> Floats:
    # b ~ Binomial(a + b, share); both tails by the incomplete beta function, which takes vectors of any size.
    lower = np.where(a > 0, special.betainc(np.maximum(a, 1), b + 1, 1 - share), 1.0)
    upper = np.where(b > 0, special.betainc(np.maximum(b, 1), a + 1, share), 1.0)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(lower, upper)))


def unseen_test(s: Array, n: Array, singletons: Array, m: Array) -> Floats:
    """One-sided p of s window rows with levels the reference's m rows lack; NaN when there are none.

    Such levels carry about singletons/m of the rows (Good 1953). The larger of two tails is taken, since
    each alone fires too often somewhere (simulated over shapes of levels and n/m from 0.1 to 8):
    Poisson at the 95% upper bound of that rate, which with no singleton is 3/m, the rule of three, in clumps
    of 1 + n/m rows where there are singletons because an unseen level repeats; and the negative binomial
    that also carries what m rows leave unknown of the rate, (n/(n+m))^s with no singleton.

    >>> round(float(unseen_test(3, 1000, 0, 1000)), 3)
    0.576
    """
    s, n, singletons, m = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (s, n, singletons, m)))
    found = (s > 0) & (m > 0)
    ratio = n / np.maximum(m, 1)
    clump = np.where(singletons > 0, 1 + ratio, 1.0)
    hits = np.where(found, s, 1.0)
    expected = special.gammaincinv(singletons + 1, 0.95) * ratio
    certain = special.gammainc(hits / clump, expected / clump)
    unsure = special.betainc(hits, singletons + 1, ratio / (1 + ratio))
    return np.where(found, np.maximum(certain, unsure), np.nan)


def cells(base: Array, h: Array, g: Array) -> tuple[Array, Array, bool]:
    """Pool the bins too rare to count on: (reference cells, window cells, whether the pool is too rare).

    base: counts that settle which bins are rare: fewer than 5 rows expected on the smaller side. They become
    one last cell. Tests and effects look at the same cells: over sparse ones every distance is mostly chance
    and no formula for its noise holds.
    """
    rows = min(float(np.mean(h.sum(axis=-1))), float(np.mean(g.sum(axis=-1))))
    share = base / max(1, base.sum())
    common = share * rows >= _EXPECTED_CELL
    pooled_h, pooled_g = (
        np.concatenate([x[..., common], x[..., ~common].sum(axis=-1, keepdims=True)], axis=-1) for x in (h, g)
    )
    return pooled_h, pooled_g, bool(share[~common].sum() * rows < _EXPECTED_CELL)


def chi_squared(base: Array, h: Array, g: Array) -> tuple[Floats, Floats]:
    """Two-sample chi-squared over the cells, and a share test of the rare pool: (p, p of the rare).

    A pool too rare for chi-squared leaves it and gets its own exact test. NaN where nothing is left.
    """
    m, n = h.sum(axis=-1), g.sum(axis=-1)
    cells_h, cells_g, rare_pool = cells(base, h, g)
    if not rare_pool:
        return _pearson(cells_h, cells_g), np.full(np.shape(n), np.nan)
    return _pearson(cells_h[..., :-1], cells_g[..., :-1]), share_test(cells_g[..., -1], n, cells_h[..., -1], m)


def _pearson(h: Array, g: Array) -> Floats:
    m, n = h.sum(axis=-1, keepdims=True), g.sum(axis=-1, keepdims=True)
    if h.shape[-1] < 2:
        return np.full(h.shape[:-1], np.nan)
    pooled = (h + g) / np.maximum(m + n, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (h - m * pooled) ** 2 / (m * pooled) + (g - n * pooled) ** 2 / (n * pooled)
    statistic = np.where(pooled > 0, terms, 0.0).sum(axis=-1)
    return np.where((m[..., 0] > 0) & (n[..., 0] > 0), special.chdtrc(h.shape[-1] - 1, statistic), np.nan)


def smooth_basis(base: Array) -> Floats:
    """Polynomials of degree 1 to 3 in the mid-rank, orthonormal under the shares of base: (bins, <= 3).

    Fewer columns when base has fewer than four bins with rows.

    >>> b = smooth_basis(np.array([25, 25, 25, 25]))
    >>> [round(float(x), 3) for x in b[:, 0]]
    [-1.342, -0.447, 0.447, 1.342]
    """
    p = base / max(1, base.sum())
    rank = 2 * (np.cumsum(p) - p / 2) - 1
    columns = [np.ones_like(p)]
    for degree in (1, 2, 3):
        column = rank**degree
        for _ in range(2):  # the second pass removes what rounding left of the first
            for earlier in columns:
                column = column - (p * column * earlier).sum() * earlier
        norm = math.sqrt(float((p * column * column).sum()))
        if norm < 1e-6:
            break
        columns.append(column / norm)
    return np.stack(columns[1:], axis=-1) if len(columns) > 1 else np.empty((p.size, 0))


def coarse_starts(base: Array) -> Ints:
    """Where each of about ten coarse bins starts among the fine ones: reference deciles, duplicates removed.

    A column with at most ten filled bins keeps them all.
    """
    if (base > 0).sum() <= COARSE_BINS:
        return np.arange(base.size)
    below = np.cumsum(base)
    decile = np.minimum(COARSE_BINS - 1, (COARSE_BINS * (below - base / 2) / below[-1]).astype(np.int64))
    return np.flatnonzero(np.diff(decile, prepend=-1))


def smooth_z(base: Array, h: Array, g: Array) -> Floats:
    """Standardised shifts of location, scale and skew of the ranks: (..., k), k <= 3; N(0, 1) by chance.

    A degree whose largest weight is too much for the rows at hand to average out is left out, with those
    after it.
    """
    m, n = h.sum(axis=-1, keepdims=True), g.sum(axis=-1, keepdims=True)
    basis = smooth_basis(base)
    rows = min(float(np.mean(m)), float(np.mean(n)))
    heavy = _ROWS_PER_WEIGHT * np.square(basis).max(axis=0, initial=0.0) > rows
    basis = basis[:, : int(np.argmax(heavy))] if heavy.any() else basis
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((g / n - h / m) @ basis / np.sqrt(1 / n + 1 / m))


def column_components(
    reference: Reference, name: str, before: Sequence[Side], after: Sequence[Side]
) -> dict[str, Floats]:
    """p of every component test of one column; NaN where one does not apply. Sides by part position."""
    found: dict[str, Floats] = {}
    positions = reference.parts_of(name)
    for i in positions:
        part = reference.parts[i]
        base = reference.profile.parts[i].counts
        label = f"{part.name} " if part.name else ""
        for test, p in _shape_components(part, base, before[i].counts, after[i].counts).items():
            found[label + test] = p
    lead = reference.parts[positions[0]]
    found.update(_outside_components(lead, before[positions[0]].counts, after[positions[0]].counts))
    return found


def _shape_components(part: Part, base: Array, before: Array, after: Array) -> dict[str, Floats]:
    bins = part.bins
    base, h, g = base[:bins], before[..., :bins], after[..., :bins]
    if isinstance(part, LevelPart):
        omnibus, rare = chi_squared(base, h, g)
        return {"levels": _level_shares(base, h, g), "omnibus": omnibus, "rare levels": rare}
    z = smooth_z(base, h, g)
    starts = coarse_starts(base)
    omnibus, rare = chi_squared(*(np.add.reduceat(x, starts, axis=-1) for x in (base, h, g)))
    found = {"omnibus": omnibus, "rare bins": rare}
    if z.shape[-1]:
        found["location"] = np.asarray(2 * special.ndtr(-np.abs(z[..., 0])))
        found["smooth"] = np.asarray(special.chdtrc(z.shape[-1], np.square(z).sum(axis=-1)))
    return found


def _level_shares(base: Array, h: Array, g: Array) -> Floats:
    m, n = h.sum(axis=-1, keepdims=True), g.sum(axis=-1, keepdims=True)
    rows = min(float(np.mean(m)), float(np.mean(n)))
    tested = base / max(1, base.sum()) * rows >= _EXPECTED_LEVEL
    if not tested.any():
        return np.full(h.shape[:-1], np.nan)
    p = share_test(g[..., tested], n, h[..., tested], m)
    least = np.where(np.isnan(p), 1.0, p).min(axis=-1)
    return np.asarray(np.minimum(1.0, least * tested.sum()))


def _outside_components(lead: Part, before: Array, after: Array) -> dict[str, Floats]:
    m, n, bins = before.sum(axis=-1), after.sum(axis=-1), lead.bins
    found = {"missing": share_test(after[..., bins], n, before[..., bins], m)}
    if isinstance(lead, NumericPart):
        found["infinite"] = share_test(after[..., bins + 1 :].sum(axis=-1), n, before[..., bins + 1 :].sum(axis=-1), m)
    elif counts_unseen(lead):
        held = before[..., :bins]
        known = held.sum(axis=-1)
        s = unseen_rows(lead, before, after)
        found["unseen"] = unseen_test(s, after[..., :bins].sum(axis=-1), (held == 1).sum(axis=-1), known)
    return found


def counts_unseen(lead: Part) -> bool:
    """Whether a level outside the reference is told from a pooled one; clock parts have every level."""
    return isinstance(lead, LevelPart) and not lead.pooled and not lead.name


def unseen_rows(lead: Part, before: Array, after: Array) -> Ints:
    """Window rows whose level has no row in `before` (a resampled or reduced reference included)."""
    levels = lead.bins
    return np.asarray(np.where(before[..., :levels] == 0, after[..., :levels], 0).sum(axis=-1))


# ---------------------------------------------------------------- effects


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
    p, q = _shares(h), _shares(g)
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
    effects["psi"] = _cell_effects(_pool(h, drawn), _pool(g, drawn), v)["psi"]
    p, q = _shares(cells_h), _shares(cells_g)
    moved = distance.tv(p, q)
    effects["tv"] = Measured(moved, distance.tv_noise(p, v), distance.tv_p(moved, p, v))
    return {name: _where(known, measured) for name, measured in effects.items()}


def _cell_effects(h: Array, g: Array, v: Floats) -> dict[str, Measured]:
    p, q = _shares(h), _shares(g)
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


def _shares(counts: Array) -> Floats:
    return np.asarray(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1))


# ---------------------------------------------------------------- drawing


class Drawn(NamedTuple):
    """A column's distribution for a chart: shares of the counted rows on a few labelled bins."""

    labels: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


def draw(part: Part, before: Array, after: Array) -> Drawn:
    """Reference and window shares on the coarse bins, or on the ten largest levels and the rest."""
    h, g = before[: part.bins], after[: part.bins]
    if isinstance(part, LevelPart):
        groups = drawn_levels(h)
        labels = [*(str(level) for level in part.levels[:DRAWN_LEVELS]), "other", "unseen"]
        h, g = _pool(h, groups), _pool(g, groups)
    else:
        starts = coarse_starts(h)
        labels = _bin_labels(part, starts)
        h, g = np.add.reduceat(h, starts), np.add.reduceat(g, starts)
    shown = [i for i in range(len(labels)) if h[i] or g[i]]
    p, q = _shares(h), _shares(g)
    return Drawn(
        tuple(labels[i] for i in shown),
        tuple(round(float(p[i]), 6) for i in shown),
        tuple(round(float(q[i]), 6) for i in shown),
    )


def drawn_levels(base: Array) -> Ints:
    """Group per level: the ten largest of the reference one by one, the remaining known ones, the unseen."""
    groups = np.minimum(np.arange(base.size), DRAWN_LEVELS)
    groups[-1] = min(DRAWN_LEVELS, base.size - 1) + 1
    return groups


def _pool(counts: Array, groups: Ints) -> Array:
    return np.add.reduceat(counts, np.flatnonzero(np.diff(groups, prepend=-1)), axis=-1)


def _bin_labels(part: NumericPart, starts: Ints) -> list[str]:
    stops = [*starts[1:].tolist(), part.bins]
    return [_bin_label(part, start, stop) for start, stop in zip(starts.tolist(), stops, strict=True)]


def _bin_label(part: NumericPart, start: int, stop: int) -> str:
    edges = part.edges
    if part.lattice and stop - start == 1 and part.centres[start] == _upper(edges, start):
        return f"{part.centres[start]:.6g}"
    if start == 0:
        return f"<= {edges[stop - 1]:.4g}" if stop <= edges.size else "any"
    if stop > edges.size:
        return f"> {edges[start - 1]:.4g}"
    return f"{edges[start - 1]:.4g} to {edges[stop - 1]:.4g}"


def _upper(edges: Floats, i: int) -> float:
    return float(edges[i]) if i < edges.size else math.inf


# ---------------------------------------------------------------- one column of one window


def sides(profiles: Sequence[Profile]) -> list[Side]:
    """One `Side` per part, profiles on the leading axis; a single profile gives no leading axis."""
    if len(profiles) == 1:
        return [_side(tally) for tally in profiles[0].parts]
    return [_stack([p.parts[i] for p in profiles]) for i in range(len(profiles[0].parts))]


def _side(tally: Tally) -> Side:
    return Side(tally.counts, *(np.asarray(x) for x in (tally.mean, tally.m2, tally.low, tally.high)))


def _stack(tallies: Sequence[Tally]) -> Side:
    moments = np.array([(t.mean, t.m2, t.low, t.high) for t in tallies])
    return Side(np.stack([t.counts for t in tallies]), *moments.T)


def _compare_column(reference: Reference, name: str, before: Sequence[Side], after: Sequence[Side]) -> Comparison:
    components = column_components(reference, name, before, after)
    effects = column_effects(reference, name, before, after)
    lead = reference.parts_of(name)[0]
    part = reference.parts[lead]
    z = np.zeros(0)
    if isinstance(part, NumericPart):
        h, g = (side[lead].counts[: part.bins] for side in (before, after))
        z = smooth_z(h, h, g)
    return Comparison(
        name=name,
        kind=reference.kinds[name],
        rows=int(after[lead].counts.sum()),
        p=float(cauchy(np.stack(list(components.values())))),
        components={test: float(p) for test, p in components.items() if not np.isnan(p)},
        effects={effect: Sized(*(float(x) for x in measured)) for effect, measured in effects.items()},
        location_z=float(z[0]) if z.size and np.isfinite(z[0]) else 0.0,
    )
