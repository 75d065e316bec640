"""Which column is behind a window's verdict: those that changed beyond chance, by what it made of the answers. Pure.

The model is asked where it can be (`stats/influence.py`); else a surrogate fitted on logged answers is, when it
explains most of them; else columns are ranked by importance times how far they are past their limits. The
report says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.columns import row_count, take
from mlspine.core.types import Columns, DriftReport, FeatureVerdict
from mlspine.stats.baseline import Baseline
from mlspine.stats.influence import Ask, Credit, Influence, credited, influences
from mlspine.stats.profile import Array, Ints, Profile

MOST_COLUMNS = 30  # asked about, the farthest past their limits first
ASKED_ROWS = 500
LOOKED_AT_ROWS = 5_000  # rows read for what columns explain of each other
NEAREST = 5  # columns shown where none changed beyond chance
BUDGET_S = 10.0


class Ranked(NamedTuple):
    """Columns, the likeliest cause first. `rows_asked`: rows the model or its stand-in was asked about, twice a
    column; `left_out`: columns the time did not suffice for."""

    credits: tuple[Credit, ...]
    influences: Mapping[str, Influence]
    beyond_chance: bool
    rows_asked: int = 0
    left_out: tuple[str, ...] = ()


def changed(report: DriftReport) -> tuple[list[FeatureVerdict], bool]:
    """The input columns to suspect, farthest past their limits first, and whether they changed beyond chance."""
    inputs = [each for each in report.features if each.role == "input" and each.effects]
    named = [each for each in inputs if each.named]
    if named:
        return sorted(named, key=lambda each: (-excess(each), -farness(each), each.p))[:MOST_COLUMNS], True
    return sorted(inputs, key=lambda each: each.p)[:NEAREST], False


def rank(
    report: DriftReport,
    baseline: Baseline,
    window: Profile,
    rows: Columns,
    ask: Ask,
    *,
    event_at_ms: Ints | None = None,
    stand_ins: Mapping[str, Array] | None = None,
    budget_s: float = BUDGET_S,
) -> Ranked:
    """Rank by what giving each column its old shares back undoes of the answers.

    window: all rows of the window counted on the baseline's inputs. rows: its logged rows, every column the
    model takes. ask: the model, or what stands in for it.
    """
    suspects, beyond = changed(report)
    names = [each.name for each in suspects if each.name in rows]
    sample = _spread(row_count(rows), ASKED_ROWS)
    found = influences(
        ask,
        take(rows, sample),
        baseline.inputs,
        window,
        names,
        event_at_ms=None if event_at_ms is None else event_at_ms[sample],
        stand_ins=stand_ins,
        budget_s=budget_s,
    )
    looked_at = _spread(row_count(rows), LOOKED_AT_ROWS)
    by_influence = credited(
        found,
        take(rows, looked_at),
        baseline.inputs,
        window,
        event_at_ms=None if event_at_ms is None else event_at_ms[looked_at],
        weight=_weights(suspects),
    )
    known = {each.name for each in found}
    return Ranked(
        credits=tuple(by_influence),
        influences={each.name: each for each in found},
        beyond_chance=beyond,
        rows_asked=sample.size,
        left_out=tuple(each.name for each in suspects if each.name not in known),
    )


def rank_by_importance(report: DriftReport) -> Ranked:
    """Rank by importance times how far each column is past its limit: for when nothing can be asked."""
    suspects, beyond = changed(report)
    weights = _weights(suspects)
    even = not any(each.importance for each in suspects)
    own = {each.name: (1.0 if even else each.importance) * weights[each.name] for each in suspects}
    total = sum(own.values()) or 1.0
    ordered = sorted(own, key=lambda name: -own[name])
    by_importance = tuple(Credit(name, own[name], own[name], own[name] / total, ()) for name in ordered)
    return Ranked(credits=by_importance, influences={}, beyond_chance=beyond)


def excess(verdict: FeatureVerdict) -> float:
    """The part of a column's change past its limit, 0..1: 0 within what is natural for it, near 1 far outside."""
    return max(0.0, 1.0 - 1.0 / farness(verdict)) if farness(verdict) > 0 else 0.0


def farness(verdict: FeatureVerdict) -> float:
    """The largest effect beyond its noise, in units of its limit."""
    past = [
        float(np.sqrt(max(0.0, each.value**2 - each.noise**2))) / each.limit
        for each in verdict.effects
        if each.limit > 0
    ]
    return max(past, default=0.0)


def _weights(suspects: Sequence[FeatureVerdict]) -> dict[str, float]:
    weights = {each.name: excess(each) for each in suspects}
    if any(weights.values()):
        return weights
    # Nothing is unusual: how far each has come towards its limit still tells them apart.
    return {each.name: farness(each) for each in suspects}


def _spread(rows: int, most: int) -> Ints:
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64)) if rows else np.empty(0, np.int64)
