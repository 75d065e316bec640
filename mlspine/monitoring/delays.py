"""How long labels take, and when a window is expected to have nearly all of them. Pure.

Young rows have not had the time to get a late label: counting only the labels that came would make the feed look
faster than it is. Each day counts for a delay only if it is old enough to have shown one (Kaplan and Meier).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.types import Struct
from mlspine.predictions.counting import LAST_BIN, bin_end_ms
from mlspine.predictions.store import LabelDay

Array = np.ndarray[Any, np.dtype[Any]]

DAY_MS = 86_400_000
MIN_LABELS = 100
NEARLY_ALL = 0.95
SETTLED = 0.99
_ENDS = np.array([bin_end_ms(number) for number in range(LAST_BIN + 1)])


class Delays(NamedTuple):
    """share: shape (k,), the share of rows with a label once `ends_ms` have passed since the event; rows: labels it
    stands on. Known as far as the oldest rows go: `known_ms`."""

    share: Array
    rows: int
    known_ms: float

    def at(self, age_ms: float) -> float:
        """The share of rows expected to have a label at this age."""
        passed = int(np.searchsorted(_ENDS, age_ms, side="right"))
        return float(self.share[min(passed, LAST_BIN + 1) - 1]) if passed else 0.0

    def until_ms(self, share: float) -> float | None:
        """The delay by which that share of rows has a label; None when it is not reached in the time seen."""
        reached = np.flatnonzero(self.share >= share)
        return float(_ENDS[reached[0]]) if self.rows >= MIN_LABELS and len(reached) else None

    def settled_ms(self, max_delay_ms: int) -> int:
        """The delay after which next to no label comes any more (99% of those within the longest time allowed are
        there), or that longest time while no row is old enough to tell."""
        if self.rows < MIN_LABELS or self.known_ms < max_delay_ms:
            return max_delay_ms
        found = self.until_ms(SETTLED * self.at(max_delay_ms))
        return max_delay_ms if found is None else min(max_delay_ms, int(found))


class LabelDelays(Struct, frozen=True, kw_only=True):
    """How long labels take: half of those that come within `half_ms`, and nearly all (95%) within `nearly_all_ms`.

    share: of all rows that get a label within the time seen. None: cannot be told from so few labels.
    """

    labels: int
    share: float
    half_ms: float | None
    nearly_all_ms: float | None


def label_delays(found: Delays) -> LabelDelays:
    """The delays in three figures, relative to the labels that come in the time seen."""
    share = float(found.share[-1])
    return LabelDelays(
        labels=found.rows,
        share=share,
        half_ms=found.until_ms(0.5 * share),
        nearly_all_ms=found.until_ms(NEARLY_ALL * share),
    )


def delays_of(days: Sequence[LabelDay], hours: Sequence[tuple[str, int, int]], *, as_of_ms: int) -> Delays:
    """The delays of an endpoint's labels, from what each day of event time has shown so far.

    hours: (release, start of the hour, rows). A day speaks for a delay when its youngest row is that old.
    Source: Kaplan & Meier 1958, JASA 53.

    >>> half = LabelDay(release_hash="r", start_at_ms=0, labelled_rows=500, delays={131: 500}, changed=1)
    >>> found = delays_of([half], [("r", 0, 1000)], as_of_ms=30 * DAY_MS)
    >>> found.at(2 * DAY_MS), found.until_ms(0.95)
    (0.5, None)
    """
    rows: dict[tuple[str, int], int] = {}
    for release, start, count in hours:
        day = (release, start // DAY_MS * DAY_MS)
        rows[day] = rows.get(day, 0) + count
    labelled = {(day.release_hash, day.start_at_ms): day.delays for day in days}
    events, at_risk = np.zeros(LAST_BIN + 1), np.zeros(LAST_BIN + 1)
    oldest = 0.0
    for (release, start), count in rows.items():
        age_ms = as_of_ms - (start + DAY_MS)
        shown = int(np.searchsorted(_ENDS, age_ms, side="right"))
        if shown == 0:
            continue
        came = np.zeros(LAST_BIN + 1)
        for number, labels in labelled.get((release, start), {}).items():
            came[number] += labels
        events[:shown] += came[:shown]
        at_risk[:shown] += np.maximum(count - np.r_[0.0, np.cumsum(came)[:-1]], came)[:shown]
        oldest = max(oldest, age_ms)
    stays = 1.0 - np.divide(events, at_risk, out=np.zeros_like(events), where=at_risk > 0)
    return Delays(1.0 - np.cumprod(stays), int(events.sum()), oldest)
