"""The component tests of one column, each looking at a different kind of change.

Numbers: location, smooth (location, scale and skew together), omnibus. Levels: each level's share, omnibus,
unseen levels. Both: the rate of missing values, and of infinite ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mlspine.core.late import special
from mlspine.stats.bins import Array, Floats, Ints, LevelPart, NumericPart, Part, Reference
from mlspine.stats.cells import coarse_starts
from mlspine.stats.combine import cauchy
from mlspine.stats.shape import chi_squared, smooth_z
from mlspine.stats.share import share_test, unseen_test
from mlspine.stats.side import Side

# Rows a level must be expected to hold before its own share test is made.
_EXPECTED_LEVEL = 10


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


def column_p(components: Mapping[str, Floats]) -> Floats:
    """The p-value of one column: its component tests combined; 1 where none applies.

    All weigh the same: other weights gained nothing (docs/decisions/0017).

    >>> found = {"location": np.array([1e-6, 0.4]), "missing": np.array([0.5, np.nan])}
    >>> [float(f"{p:.2g}") for p in column_p(found)]
    [2e-06, 0.4]
    """
    return cauchy(np.stack(np.broadcast_arrays(*components.values())))


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
    # The shares of the only two levels move together: they are one question.
    questions = 1 if tested.sum() == 2 and not base[~tested].any() else tested.sum()
    return np.asarray(np.minimum(1.0, least * questions))


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
