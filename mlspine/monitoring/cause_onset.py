"""Since when columns are changed, from the hourly counts before a window and in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.types import SubWindow
from mlspine.monitoring.window import DAY_MS, HOUR_MS
from mlspine.stats import onset
from mlspine.stats.influence import widest_part
from mlspine.stats.profile import Ints, Profile, Reference, decode
from mlspine.stats.surrogate import pooled_together


class Begun(NamedTuple):
    """When a change began, and between which moments; all 0 where it cannot be told."""

    at_ms: int = 0
    lo_ms: int = 0
    hi_ms: int = 0


class Onsets(NamedTuple):
    """The onset of each column asked for, and how many days of log it was looked for in."""

    begun: dict[str, Begun]
    days: float


def onsets(
    hours: Sequence[SubWindow], reference: Reference, window: Profile, names: Sequence[str], *, from_at_ms: int
) -> Onsets:
    """When each of these columns began to look as in the window, which starts at `from_at_ms` and ends the hours."""
    counted = [(hour.start_at_ms, decode(hour.inputs, reference)) for hour in hours if hour.inputs] if names else []
    if not counted:
        return Onsets({}, 0.0)
    starts = np.array([start for start, _ in counted], dtype=np.int64)
    profiles = [profile for _, profile in counted]
    last = int((starts >= from_at_ms).sum())
    begun = {name: _begun(starts, profiles, reference, window, name, last) for name in names}
    return Onsets(begun, (int(starts[-1] - starts[0]) + HOUR_MS) / DAY_MS)


def _begun(
    starts: Ints, hours: Sequence[Profile], reference: Reference, window: Profile, name: str, last: int
) -> Begun:
    position = widest_part(reference, window, name)
    base = reference.profile.parts[position].counts
    groups = pooled_together(reference.parts[position], base, window.parts[position].counts)
    size = int(groups.max()) + 1
    counts = np.array([np.bincount(groups, weights=hour.parts[position].counts, minlength=size) for hour in hours])
    whole = np.bincount(groups, weights=base, minlength=size).astype(np.int64)
    step = onset.step(counts.astype(np.int64), starts // HOUR_MS, reference=whole, last=last)
    if step is None:
        return Begun()
    # The last minutes of the hour before do not show in its counts.
    return Begun(int(starts[step.at]), int(starts[step.lo]) - HOUR_MS, int(starts[step.hi]) + HOUR_MS)
