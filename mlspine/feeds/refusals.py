"""Requests that were refused because of one field: more of late than usual. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mlspine.core.late import special
from mlspine.feeds.health import Fault

WINDOW_S = 300.0
MIN_REQUESTS = 100
FLOOR = 0.05  # of the requests in the window, above the usual share
UNKNOWN = 0.5  # the share taken for usual while there is no "before" to know it from
ALPHA = 1e-6  # asked every few seconds


class _Mark(NamedTuple):
    at_s: float
    requests: int
    refused: Mapping[str, int]


class RefusalWindow:
    """Requests and refusals by field over the last five minutes against all before, from cumulative counters."""

    def __init__(self) -> None:
        self._marks: list[_Mark] = []
        self._usual: dict[str, float] = {}  # of a field at fault, as it was before: a lasting fault is no habit

    def add(self, at_s: float, requests: int, refused: Mapping[str, int]) -> Fault | None:
        """Take the counters as they stand at `at_s`; the field most requests are refused for, None when that is
        not more than usual.

        >>> window = RefusalWindow(); window.add(0.0, 0, {})
        >>> window.add(60.0, 400, {"temp": 290}).field
        'temp'
        """
        if self._marks and requests < self._marks[-1].requests:
            self._marks = [_Mark(at_s, 0, {})]  # the process restarted: its counters began again
        self._marks.append(_Mark(at_s, requests, dict(refused)))
        while len(self._marks) > 2 and self._marks[1].at_s <= at_s - WINDOW_S:
            self._marks.pop(0)
        before = self._marks[0]
        recent = requests - before.requests
        if recent < MIN_REQUESTS or not refused:
            return None
        field = max(refused, key=lambda name: (refused[name] - before.refused.get(name, 0), name))
        count = refused[field] - before.refused.get(field, 0)
        usual = self._usual_of(field, before)
        if count < (usual + FLOOR) * recent or _at_least(count, recent, max(usual, FLOOR / 5)) > ALPHA:
            self._usual.pop(field, None)
            return None
        self._usual = {field: usual}
        return Fault(field, "refused", f"{count:,} of {recent:,} requests in the last 5 minutes were refused for it")

    def _usual_of(self, field: str, before: _Mark) -> float:
        if field in self._usual:
            return self._usual[field]
        return before.refused.get(field, 0) / before.requests if before.requests >= MIN_REQUESTS else UNKNOWN


def _at_least(count: int, n: int, p: float) -> float:
    """Probability of `count` (1 to n) or more among n, each with probability p: the binomial tail as a beta integral.

    >>> round(_at_least(3, 10, 0.2), 4)
    0.3222
    """
    return float(special.betainc(count, n - count + 1, p))
