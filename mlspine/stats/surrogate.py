"""A stand-in for a model that cannot be asked: a sum of steps per column, fitted on what it answered.

Each column is cut into the bins of its reference, pooled to a dozen; every bin adds an amount. It sees no
interaction of columns, and `share_explained`, measured on rows it was not fitted on, says how far to trust it.

Sources: Hastie and Tibshirani 1990 (additive models); Hoerl and Kennard 1970 (ridge).

>>> from mlspine.stats.profile import build_reference
>>> rng = np.random.default_rng(0)
>>> rows = {"x": rng.normal(size=2000), "y": rng.normal(size=2000)}
>>> reference = build_reference(rows, {"x": "numeric", "y": "numeric"})
>>> model = fit_surrogate(reference, rows, np.tanh(rows["x"]))
>>> model.share_explained > 0.9, model.ask(rows).shape
(True, (2000, 1))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.types import Columns
from mlspine.stats.profile import Floats, Ints, LevelPart, Part, Reference
from mlspine.stats.transport import codes_of

RIDGE = 1.0
GROUPS = 12
COMMON_LEVELS = 20


class Surrogate(NamedTuple):
    """The fitted steps. `share_explained`: R squared on halves it was not fitted on; at most 1, may be below 0."""

    reference: Reference
    names: tuple[str, ...]
    weights: Floats
    share_explained: float

    def ask(self, columns: Columns, event_at_ms: Ints | None = None) -> Floats:
        """What it answers, shape (n, 1)."""
        return _design(self.reference, self.names, columns, event_at_ms) @ self.weights[:, None]


def fit_surrogate(
    reference: Reference,
    columns: Columns,
    answers: Floats,
    *,
    names: Sequence[str] = (),
    event_at_ms: Ints | None = None,
) -> Surrogate:
    """Fit on logged rows and what was answered; answers: shape (n,), rows with NaN are left out.

    names: columns to use; all of the reference's by default.
    """
    chosen = tuple(names) or reference.names
    known = np.isfinite(answers)
    design = _design(reference, chosen, columns, event_at_ms)[known]
    target = answers[known]
    weights = _ridge(design, target)
    return Surrogate(reference, chosen, weights, _explained(design, target))


def _explained(design: Floats, target: Floats) -> float:
    total = float(np.square(target - target.mean()).sum()) if target.size else 0.0
    if target.size < 20 or total <= 0:
        return 0.0
    half = np.arange(target.size) % 2
    left = 0.0
    for fold in (0, 1):
        weights = _ridge(design[half != fold], target[half != fold])
        left += float(np.square(target[half == fold] - design[half == fold] @ weights).sum())
    return 1.0 - left / total


def _ridge(design: Floats, target: Floats) -> Floats:
    gram = design.T @ design
    gram[np.diag_indices_from(gram)] += RIDGE
    return np.asarray(np.linalg.solve(gram, design.T @ target))


def _design(reference: Reference, names: Sequence[str], columns: Columns, event_at_ms: Ints | None) -> Floats:
    rows = len(next(iter(columns.values())))
    blocks = [np.ones((rows, 1))]
    for name in names:
        for position in reference.parts_of(name):
            code = codes_of(reference, position, columns, event_at_ms)
            if code is not None:
                groups = pooled_bins(reference.parts[position], reference.profile.parts[position].counts)
                blocks.append((groups[code][:, None] == np.arange(int(groups.max()) + 1)).astype(np.float64))
    return np.hstack(blocks)


def pooled_bins(part: Part, counts: Ints) -> Ints:
    """Which of about a dozen groups each counter belongs to: even ones of numbers, the common levels on their own."""
    if isinstance(part, LevelPart):
        common = np.argsort(-counts, kind="stable")[:COMMON_LEVELS]
        groups = np.full(part.counters, common.size, dtype=np.int64)
        groups[common] = np.arange(common.size)
        return groups
    inner = counts[: part.bins]
    below = np.cumsum(inner) - inner / 2
    bins = np.minimum(GROUPS - 1, (GROUPS * below / max(1.0, float(inner.sum()))).astype(np.int64))
    _, bins = np.unique(bins, return_inverse=True)
    last = int(bins.max()) + 1
    return np.concatenate([bins.reshape(-1), last + np.arange(3)]).astype(np.int64)


def pooled_together(part: Part, before: Ints, after: Ints) -> Ints:
    """The groups of `pooled_bins` when what is common after matters as much as what was before."""
    return pooled_bins(part, before + after * max(1, int(before.sum())) // max(1, int(after.sum())))
