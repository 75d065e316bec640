"""Parts of the rows that a better average could hide a loss in: one level, or one quarter of a number's range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlspine.core.types import Columns, Schema

Array = np.ndarray[Any, np.dtype[Any]]
MOST_LEVELS = 20
MOST_SLICES = 100
QUARTERS = (0.25, 0.5, 0.75)


def slices(columns: Columns, inputs: Schema, *, least_rows: int) -> Iterator[tuple[str, Array]]:
    """Name and positions of each part with at least `least_rows` rows, at most MOST_SLICES of them.

    Levels of text, categories, flags and whole numbers with few values; quarters of other numbers. Columns that
    hold free text, dates or vectors make none.
    """
    made = 0
    for name in inputs.names:
        for part, chosen in _of_column(columns[name], inputs.field(name).type):
            if made == MOST_SLICES:
                return
            if least_rows <= len(chosen) < len(columns[name]):
                made += 1
                yield f"{name} {part}", chosen


def _of_column(values: Array, kind: str) -> Iterator[tuple[str, Array]]:
    if kind in ("category", "text", "bool", "int"):
        listed = values.tolist()
        levels = set(listed)
        if len(levels) <= MOST_LEVELS:
            for level in sorted(levels, key=str):
                yield f"= {level}", np.flatnonzero([value == level for value in listed])
            return
    if kind in ("int", "float"):
        yield from _quarters(values.astype(np.float64))


def _quarters(values: Array) -> Iterator[tuple[str, Array]]:
    present = values[np.isfinite(values)]
    if not len(present):
        return
    edges = np.unique(np.quantile(present, QUARTERS))
    place = np.digitize(values, edges, right=True)
    for at in range(len(edges) + 1):
        name = f"> {edges[-1]:.4g}" if at == len(edges) else f"<= {edges[at]:.4g}"
        if 0 < at < len(edges):
            name = f"{edges[at - 1]:.4g} to {edges[at]:.4g}"
        yield name, np.flatnonzero((place == at) & np.isfinite(values))
