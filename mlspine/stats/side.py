"""The counts and moments of one set of rows, or of many at once: what every test and effect is a function of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlspine.stats.bins import Array, Floats, Profile, Tally


class Side(NamedTuple):
    """Counts and moments of one part, of one set of rows or (leading axis) of many."""

    counts: Array
    mean: Floats
    m2: Floats
    low: Floats
    high: Floats


def sides(profiles: Sequence[Profile]) -> list[Side]:
    """One `Side` per part, profiles on the leading axis; a single profile gives no leading axis."""
    return [_side(tally) for tally in profiles[0].parts] if len(profiles) == 1 else stacked(profiles)


def stacked(profiles: Sequence[Profile]) -> list[Side]:
    """`sides` with a leading axis always, of a single profile too."""
    return [_stack([p.parts[i] for p in profiles]) for i in range(len(profiles[0].parts))]


def _side(tally: Tally) -> Side:
    return Side(tally.counts, *(np.asarray(x) for x in (tally.mean, tally.m2, tally.low, tally.high)))


def _stack(tallies: Sequence[Tally]) -> Side:
    moments = np.array([(t.mean, t.m2, t.low, t.high) for t in tallies])
    return Side(np.stack([t.counts for t in tallies]), *moments.T)
