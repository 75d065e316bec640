"""The best non-decreasing curve through points, and the best straight line in the logit: how scores become shares."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlspine.core.late import special

Floats = np.ndarray[Any, np.dtype[Any]]

_STEPS = 50
_CONVERGED = 1e-9
_RIDGE = 1e-6


def pool_adjacent(values: Floats, weights: Floats) -> Floats:
    """The non-decreasing sequence nearest to `values` in weighted squares, by pooling adjacent violators.

    values, weights: shape (n,), weights >= 0. Where a whole block has no weight its neighbours fill it in.
    O(n). Source: Barlow, Bartholomew, Bremner & Brunk 1972; Best & Chakravarti 1990.

    >>> pool_adjacent(np.array([1.0, 3.0, 2.0]), np.ones(3)).tolist()
    [1.0, 2.5, 2.5]
    """
    used = np.flatnonzero(weights > 0)
    if not used.size:
        return np.full(len(values), np.nan)
    levels, masses, counts = list[float](), list[float](), list[int]()
    for value, mass in zip(values[used].tolist(), weights[used].tolist(), strict=True):
        level, count = value, 1
        while levels and levels[-1] >= level:
            before, held = levels.pop(), masses.pop()
            mass, level = held + mass, (before * held + level * mass) / (held + mass)
            count += counts.pop()
        levels.append(level)
        masses.append(mass)
        counts.append(count)
    fitted = np.repeat(np.array(levels), np.array(counts))
    filled: Floats = np.interp(np.arange(len(values)), used, fitted)
    return filled


def isotonic(scores: Floats, outcomes: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """The share of outcomes as a non-decreasing function of the score: its knots and its values there.

    scores, outcomes, weights: shape (n,), any order; ties are one knot. Between knots read it with `np.interp`,
    which also holds the ends. O(n log n).

    >>> knots, shares = isotonic(np.array([3.0, 1.0, 2.0, 2.0]), np.array([1.0, 0.0, 1.0, 0.0]))
    >>> knots.tolist(), shares.tolist()
    ([1.0, 2.0, 3.0], [0.0, 0.5, 1.0])
    """
    weights = np.ones(len(scores)) if weights is None else weights
    knots, place = np.unique(scores, return_inverse=True)
    mass = np.bincount(place, weights, len(knots))
    total = np.bincount(place, weights * outcomes, len(knots))
    means = np.divide(total, mass, out=np.zeros(len(knots)), where=mass > 0)
    return knots, pool_adjacent(means, mass)


def platt(scores: Floats, outcomes: Floats, weights: Floats) -> tuple[float, float]:
    """Slope a and offset b of P(outcome) = 1 / (1 + exp(-(a score + b))), for few rows.

    scores: shape (n,), on any scale; outcomes: shares in 0..1; weights: rows behind each. Platt's targets,
    (hits + 1) / (hits + 2) and 1 / (misses + 2), keep it finite where the classes separate.
    Source: Platt 1999; Lin, Lin & Weng 2007 (Newton's method).

    >>> a, b = platt(np.array([-1.0, 1.0]), np.array([0.2, 0.8]), np.array([1000.0, 1000.0]))
    >>> round(a, 2), round(abs(b), 2)
    (1.38, 0.0)
    """
    hits = float((weights * outcomes).sum())
    misses = float(weights.sum()) - hits
    high, low = (hits + 1) / (hits + 2), 1 / (misses + 2)
    targets = outcomes * high + (1 - outcomes) * low
    design = np.column_stack([scores, np.ones(len(scores))])
    found = np.array([0.0, np.log((hits + 1) / (misses + 1))])
    for _ in range(_STEPS):
        share = special.expit(design @ found)
        slope = design.T @ (weights * (targets - share))
        bend = (design * (weights * share * (1 - share))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(bend, slope)
        found = found + np.clip(step, -5.0, 5.0)
        if np.abs(step).max() < _CONVERGED:
            break
    return float(found[0]), float(found[1])
