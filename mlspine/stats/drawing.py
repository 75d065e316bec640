"""A column's distribution for a chart: a few labelled bins of the reference and of the window."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mlspine.stats.bins import Array, Floats, Ints, LevelPart, NumericPart, Part
from mlspine.stats.cells import DRAWN_LEVELS, coarse_starts, drawn_levels, pool, shares


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
        h, g = pool(h, groups), pool(g, groups)
    else:
        starts = coarse_starts(h)
        labels = _bin_labels(part, starts)
        h, g = np.add.reduceat(h, starts), np.add.reduceat(g, starts)
    shown = [i for i in range(len(labels)) if h[i] or g[i]]
    p, q = shares(h), shares(g)
    return Drawn(
        tuple(labels[i] for i in shown),
        tuple(round(float(p[i]), 6) for i in shown),
        tuple(round(float(q[i]), 6) for i in shown),
    )


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
