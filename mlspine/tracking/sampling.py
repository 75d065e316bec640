"""Which points of a long history a chart shows. Pure, but for a bounded memory of steps."""

from __future__ import annotations

import bisect
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

STEPS_KEPT = 4_000_000  # over all histories remembered: 32 MB


def ranks(count: int, amount: int) -> list[int]:
    """Which of `count` points a chart of at most `amount` shows: the first of each of as many even groups, and the
    last point for the last of them.

    >>> ranks(100, 4), ranks(3, 4)
    ([0, 25, 50, 99], [0, 1, 2])
    """
    if count <= amount:
        return list(range(count))
    small, large_groups = divmod(count, amount)
    chosen = [group * small + min(group, large_groups) for group in range(amount)]
    return [*chosen[:-1], count - 1]


def sample(steps: Sequence[int], amount: int, *, start: int | None = None, end: int | None = None) -> list[int]:
    """At most `amount` of some ascending steps, evenly by rank. start, end: only from here to there, both included.

    >>> sample([1, 5, 9], 4, start=5)
    [5, 9]
    """
    first = 0 if start is None else bisect.bisect_left(steps, start)
    behind = len(steps) if end is None else bisect.bisect_right(steps, end)
    return [steps[first + rank] for rank in ranks(behind - first, amount)]


class StepMemory:
    """The steps of histories looked at lately, each valid as long as the number of its points stays the same."""

    def __init__(self, kept: int = STEPS_KEPT) -> None:
        self._kept = kept
        self._held = 0
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Hashable, str], tuple[int, array[int]]] = OrderedDict()

    def steps(self, run: Hashable, key: str, points: int, read: Callable[[], list[int]]) -> Sequence[int]:
        """The steps of a history of so many points, read when they are not known.

        run: what no other run is ever called; numbers are given again once a run is removed.
        """
        with self._lock:
            known = self._known.get((run, key))
            if known is not None and known[0] == points:
                self._known.move_to_end((run, key))
                return known[1]
        found = array("q", read())
        with self._lock:
            before = self._known.pop((run, key), None)
            self._held += len(found) - (len(before[1]) if before else 0)
            self._known[run, key] = (points, found)
            while self._held > self._kept and self._known:
                _, (_, gone) = self._known.popitem(last=False)
                self._held -= len(gone)
        return found
