"""Rows as they would have been: one column given back the shares it had in the reference, the rest left alone.

A row keeps its rank in the column: numbers move monotonically (the cheapest way between two distributions on a
line), levels and missing values as few rows as the shares ask for. A row whose bin does not change keeps its
value to the last digit, so an unchanged column moves nothing.

Source: Villani 2009, Optimal Transport, chapter 2 (monotone and maximal couplings).

>>> from mlspine.stats.profile import build_reference, profile
>>> reference = build_reference({"x": np.arange(6400.0)}, {"x": "numeric"})
>>> served = {"x": np.arange(6400.0) + 800}
>>> back = returned(reference, "x", served, profile(reference, served), rng=np.random.default_rng(0))
>>> round(float(served["x"].mean()), 1), abs(float(back.mean()) - 3200) < 40
(3999.5, True)
"""

from __future__ import annotations

import numpy as np

from mlspine.core.types import Columns, Scalar
from mlspine.stats.levels import is_missing, level_of
from mlspine.stats.profile import Array, Floats, Ints, LevelPart, NumericPart, Part, Profile, Reference
from mlspine.stats.series import plain, series_of

_MS_PER_DAY = 86_400_000
_US_PER_HOUR = 3_600_000_000


def codes(part: Part, series: Array) -> Ints:
    """Which of a part's counters each value adds to, shape (n,).

    >>> part = LevelPart(column="c", levels=("a", "b"))
    >>> codes(part, np.array(["b", "x", None], dtype=object)).tolist()
    [1, 3, 4]
    """
    if isinstance(part, NumericPart):
        code = np.searchsorted(part.edges, series, side="left")
        code[np.isnan(series)] = part.bins
        code[series == -np.inf] = part.bins + 1
        code[series == np.inf] = part.bins + 2
        return np.asarray(code, dtype=np.int64)
    place = {level: i for i, level in enumerate(part.levels)}
    strange = len(part.levels) + (0 if part.pooled else 1)
    found = (part.bins if is_missing(v) else place.get(level_of(v), strange) for v in series.tolist())
    return np.fromiter(found, dtype=np.int64, count=len(series))


def codes_of(reference: Reference, position: int, columns: Columns, event_at_ms: Ints | None = None) -> Ints | None:
    """The codes of one part's column; None when it cannot be counted for want of event times."""
    part = reference.parts[position]
    series = series_of(part, reference.kinds[part.column], columns[part.column], event_at_ms)
    return None if series is None else codes(part, plain(series))


def returned(
    reference: Reference,
    name: str,
    rows: Columns,
    window: Profile,
    *,
    rng: np.random.Generator,
    event_at_ms: Ints | None = None,
    stand_ins: Array | None = None,
) -> Array:
    """Column `name` of these rows with its values moved from the window's shares to the reference's.

    rows: a sample of the window's rows; window: the counts of all of them. stand_ins: reference values of a
    text or vector column, of which rows that must move get one; without any such a column stays as it is.
    """
    shares = {i: reference.profile.parts[i].counts for i in reference.parts_of(name)}
    return _moved(reference, name, rows, window, shares, rng, event_at_ms, stand_ins)


def jittered(
    reference: Reference,
    name: str,
    rows: Columns,
    *,
    rows_counted: float,
    rng: np.random.Generator,
    event_at_ms: Ints | None = None,
    stand_ins: Array | None = None,
) -> Array:
    """Column `name` of rows that have the reference's shares, moved to what a window may show by chance alone.

    rows_counted: 1 / (1/n + 1/m) of a window of n and a reference of m rows.
    """
    shares = {}
    for i in reference.parts_of(name):
        base = reference.profile.parts[i].counts
        shares[i] = rng.multinomial(max(1, int(rows_counted)), base / max(1, base.sum()))
    return _moved(reference, name, rows, reference.profile, shares, rng, event_at_ms, stand_ins)


def coupled(part: Part, code: Ints, before: Ints, after: Ints, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """New codes of rows that are moved from the shares `before` to `after`, and their place 0..1 in the new bin.

    before, after: counts, shape (part.counters,), neither of them all 0.
    """
    ordered = part.bins if isinstance(part, NumericPart) else 0
    p, q = before / before.sum(), after / after.sum()
    # Numbers of any size are one state here: whether a row is missing comes first, then how large it is.
    state_p = np.concatenate([[p[:ordered].sum()], p[ordered:]]) if ordered else p
    state_q = np.concatenate([[q[:ordered].sum()], q[ordered:]]) if ordered else q
    state = np.where(code < ordered, 0, code - ordered + 1) if ordered else code
    moved = _fewest(state, state_p, state_q, rng)
    if not ordered:
        return moved, np.zeros(len(code))
    place = rng.random(len(code))
    rank = place.copy()  # rows that had no number get one of any rank
    held = (state == 0) & (code < ordered)
    below = np.concatenate([[0.0], np.cumsum(p[:ordered])]) / max(state_p[0], 1e-300)
    rank[held] = below[code[held]] + place[held] * (below[code[held] + 1] - below[code[held]])
    upper = np.cumsum(q[:ordered]) / max(state_q[0], 1e-300)
    to = np.minimum(np.searchsorted(upper, np.minimum(rank, upper[-1]), side="left"), ordered - 1)
    width = upper[to] - np.where(to > 0, upper[to - 1], 0.0)
    inside = np.where(width > 0, 1 - (upper[to] - rank) / np.where(width > 0, width, 1.0), 0.5)
    new = np.where(moved == 0, to, moved + ordered - 1)
    return new.astype(np.int64), np.clip(inside, 0.0, 1.0)


def _fewest(code: Ints, p: Floats, q: Floats, rng: np.random.Generator) -> Ints:
    """Maximal coupling: a row stays where its share did not fall, else goes where shares rose."""
    keep = np.minimum(1.0, q / np.where(p > 0, p, 1.0))[code]
    leaves = rng.random(len(code)) >= keep
    rise = np.maximum(q - p, 0.0)
    new = code.copy()
    if leaves.any() and rise.sum() > 0:
        new[leaves] = rng.choice(rise.size, leaves.sum(), p=rise / rise.sum())
    return new


# ---------------------------------------------------------------- values for the new codes


def _moved(
    reference: Reference,
    name: str,
    rows: Columns,
    window: Profile,
    shares: dict[int, Ints],
    rng: np.random.Generator,
    event_at_ms: Ints | None,
    stand_ins: Array | None,
) -> Array:
    values = rows[name].copy()
    for position, after in shares.items():
        part = reference.parts[position]
        before = window.parts[position].counts
        code = codes_of(reference, position, {name: values}, event_at_ms)
        if code is None or not before.sum() or not after.sum():
            continue
        new, inside = coupled(part, code, before, after, rng)
        changed = new != code
        if not changed.any():
            continue
        match reference.kinds[name]:
            case "numeric" if isinstance(part, NumericPart):
                values = _numbers(part, reference, position, values, new, inside, changed)
            case "categorical" | "boolean" if isinstance(part, LevelPart):
                values = _levels(part, values, new, changed)
            case "datetime":
                values = _times(part, values, code, new, changed, event_at_ms)
            case _ if stand_ins is not None and len(stand_ins):
                values[changed] = stand_ins[rng.integers(0, len(stand_ins), int(changed.sum()))]
    return values


def _numbers(
    part: NumericPart,
    reference: Reference,
    position: int,
    values: Array,
    new: Ints,
    inside: Floats,
    changed: Array,
) -> Array:
    tally = reference.profile.parts[position]
    whole = values.dtype.kind in "iu"
    numbers = values.astype(np.float64)
    inner = changed & (new < part.bins)
    numbers[inner] = _inside(part, tally.low, tally.high, new[inner], inside[inner])
    for offset, value in enumerate((np.nan, -np.inf, np.inf)):
        numbers[changed & (new == part.bins + offset)] = value
    if whole and np.isfinite(numbers).all():
        return np.round(numbers).astype(values.dtype)
    return numbers


def _inside(part: NumericPart, low: float, high: float, code: Ints, inside: Floats) -> Floats:
    if part.lattice or not part.edges.size:
        return np.asarray(part.centres[code], dtype=np.float64)
    bounds = np.concatenate([[min(low, part.edges[0])], part.edges, [max(high, part.edges[-1])]])
    # Halves on either side of the bin's mean, so that the long last bin of a skewed column keeps it.
    centre = np.clip(part.centres[code], bounds[code], bounds[code + 1])
    lower = bounds[code] + (centre - bounds[code]) * 2 * inside
    upper = centre + (bounds[code + 1] - centre) * (2 * inside - 1)
    return np.asarray(np.where(inside < 0.5, lower, upper))


def _levels(part: LevelPart, values: Array, new: Ints, changed: Array) -> Array:
    known: list[Scalar] = list(part.levels)
    goes = changed & (new < len(known))
    taken = np.empty(int(goes.sum()), dtype=object)
    taken[:] = [known[i] for i in new[goes].tolist()]
    out = values.astype(object)
    out[goes] = taken
    out[changed & (new == part.bins)] = None
    if values.dtype != object and not (changed & (new == part.bins)).any():
        return out.astype(values.dtype)
    return out


def _times(part: Part, values: Array, code: Ints, new: Ints, changed: Array, event_at_ms: Ints | None) -> Array:
    times = values.astype("datetime64[us]").copy()
    if isinstance(part, NumericPart):
        if event_at_ms is not None:
            inner = changed & (new < part.bins)
            age_us = (part.centres[new[inner]] * 1e6).astype(np.int64)
            times[inner] = (event_at_ms[inner] * 1000 - age_us).astype("datetime64[us]")
        return times
    step = _US_PER_HOUR if part.name == "hour" else _MS_PER_DAY * 1000
    inner = changed & (new < len(part.levels)) & (code < len(part.levels))
    times[inner] += ((new[inner] - code[inner]) * step).astype("timedelta64[us]")
    times[changed & (new == part.bins)] = np.datetime64("NaT")
    return times
