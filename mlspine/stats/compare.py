"""Is a window of rows different from the reference, by how much, and could it be chance?

Everything is a function of counts. For each column several component tests look at different kinds of change
(`stats/components.py`); the Cauchy combination makes one p-value of them, and the window is significant when
the smallest one is at most alpha/d over d columns (`stats/combine.py`). How large a change is stands in
`stats/effects.py`. Leading axes are windows, so the same code judges one window and ten thousand simulated
ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.errors import Conflict
from mlspine.stats.bins import Kind, NumericPart, Profile, Reference
from mlspine.stats.cells import COARSE_BINS, DRAWN_LEVELS, cells, coarse_starts, drawn_levels
from mlspine.stats.combine import NAMING_RATE, Verdict, benjamini_hochberg, cauchy, decide
from mlspine.stats.components import column_components, column_p, counts_unseen, unseen_rows
from mlspine.stats.drawing import Drawn, draw
from mlspine.stats.effects import Measured, column_effects
from mlspine.stats.shape import chi_squared, smooth_basis, smooth_z
from mlspine.stats.share import share_test, unseen_test
from mlspine.stats.side import Side, sides, stacked

__all__ = [
    "COARSE_BINS",
    "DRAWN_LEVELS",
    "NAMING_RATE",
    "Comparison",
    "Drawn",
    "Measured",
    "Side",
    "Sized",
    "Verdict",
    "benjamini_hochberg",
    "cauchy",
    "cells",
    "chi_squared",
    "coarse_starts",
    "column_components",
    "column_effects",
    "column_p",
    "compare",
    "compare_windows",
    "counts_unseen",
    "decide",
    "draw",
    "drawn_levels",
    "share_test",
    "sides",
    "smooth_basis",
    "smooth_z",
    "unseen_rows",
    "unseen_test",
]


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
    return compare_windows(reference, [window])[0]


def compare_windows(reference: Reference, windows: Sequence[Profile]) -> list[tuple[Comparison, ...]]:
    """`compare` of many windows of one reference in one pass, in their order.

    For windows of about the same number of rows: which bins are too rare to count on is settled once, by the
    mean over the windows. Raises Conflict when a window was counted on another reference.

    >>> from mlspine.stats.profile import build_reference, profile
    >>> reference = build_reference({"x": np.arange(1000.0)}, {"x": "numeric"})
    >>> window = profile(reference, {"x": np.arange(500.0, 1000.0)})
    >>> [round(one.effects["mean_sd"].value, 2) for one, in compare_windows(reference, [window, reference.profile])]
    [0.87, 0.0]
    """
    for window in windows:
        if window.reference_id != reference.id:
            raise Conflict(
                f"the window counts on reference {window.reference_id}, not on {reference.id}",
                hint="judge it with the baseline of the release that answered",
            )
    if not windows:
        return []
    before = sides([reference.profile])
    after = stacked(windows)
    by_column = [_compare_column(reference, name, before, after) for name in reference.names]
    return [tuple(column[i] for column in by_column) for i in range(len(windows))]


def _compare_column(reference: Reference, name: str, before: Sequence[Side], after: Sequence[Side]) -> list[Comparison]:
    lead = reference.parts_of(name)[0]
    rows = after[lead].counts.sum(axis=-1)
    components = column_components(reference, name, before, after)
    p = np.broadcast_to(column_p(components), rows.shape).tolist()
    by_test = {test: np.broadcast_to(found, rows.shape).tolist() for test, found in components.items()}
    by_effect = {
        effect: [np.broadcast_to(x, rows.shape).tolist() for x in measured]
        for effect, measured in column_effects(reference, name, before, after).items()
    }
    z = _location_z(reference, lead, before, after, len(p))
    return [
        Comparison(
            name=name,
            kind=reference.kinds[name],
            rows=count,
            p=p[i],
            components={test: found[i] for test, found in by_test.items() if not math.isnan(found[i])},
            effects={effect: Sized(value[i], noise[i], by[i]) for effect, (value, noise, by) in by_effect.items()},
            location_z=z[i],
        )
        for i, count in enumerate(rows.tolist())
    ]


def _location_z(
    reference: Reference, lead: int, before: Sequence[Side], after: Sequence[Side], windows: int
) -> list[float]:
    part = reference.parts[lead]
    if not isinstance(part, NumericPart):
        return [0.0] * windows
    h, g = (side[lead].counts[..., : part.bins] for side in (before, after))
    z = smooth_z(h, h, g)
    return np.where(np.isfinite(z[..., 0]), z[..., 0], 0.0).tolist() if z.shape[-1] else [0.0] * windows
