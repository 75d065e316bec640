"""When to ask again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 5.0
ASK_AGAIN = frozenset({429, 502, 503, 504})  # overloaded, restarting, or a proxy that finds nobody


class Backoff:
    """Waits that double, each drawn evenly from its upper half so that callers do not come back together.

    >>> waits = Backoff(dice=lambda: 0.5)
    >>> [round(waits.next_s(), 4) for _ in range(3)], waits.next_s(retry_after="1")
    ([0.0375, 0.075, 0.15], 1.25)
    """

    def __init__(self, *, dice: Callable[[], float] = random.random) -> None:
        self._dice = dice
        self._span_s = FIRST_WAIT_S

    def next_s(self, *, retry_after: str = "") -> float:
        """Seconds to wait now; at least what the server asked for (`Retry-After` in seconds)."""
        span_s, self._span_s = self._span_s, min(2 * self._span_s, LONGEST_WAIT_S)
        wait_s = span_s * (0.5 + self._dice() / 2)
        try:
            asked_s = float(retry_after)
        except ValueError:  # absent, or a date: the doubling has to do
            return wait_s
        return asked_s * (1.0 + self._dice() / 2) if asked_s > wait_s else wait_s
