"""What somebody exercised about an endpoint, and whether it still counts. Pure.

An exercise is evidence of its kind (a drill, a renewal, a test alert); it holds for HOLDS_DAYS and until a newer one
of the same kind failed.
"""

from __future__ import annotations

from collections.abc import Iterable

from mlspine.core.types import Evidence

HOLDS_DAYS = 90
DAY_MS = 86_400_000
# What the claims of `status` rest on, beside what deployment and the log know themselves.
KINDS = ("drill", "retrain", "card", "alert-test")


class Exercised:
    """The newest evidence of each kind, as of a moment."""

    def __init__(self, evidence: Iterable[Evidence], *, now_ms: int) -> None:
        newest = sorted(evidence, key=lambda each: each.at_ms)
        self._newest = {each.kind: each for each in newest}
        self._now_ms = now_ms

    def find(self, kind: str) -> Evidence | None:
        return self._newest.get(kind)

    def holds(self, kind: str) -> bool:
        """Whether the newest exercise of this kind passed, recently enough."""
        found = self.find(kind)
        return found is not None and found.passed and not is_old(found.at_ms, now_ms=self._now_ms)

    def failed(self, kind: str) -> bool:
        """Whether the newest exercise of this kind did not pass."""
        found = self.find(kind)
        return found is not None and not found.passed

    def told(self, kind: str) -> str:
        """How the newest one ended and when, in words; "" without one."""
        found = self.find(kind)
        if found is None:
            return ""
        words = kind.replace(":", " ").replace("-", " ")
        return f"{words} {'passed' if found.passed else 'FAILED'} {days_ago(found.at_ms, now_ms=self._now_ms)}"


def is_old(at_ms: int, *, now_ms: int) -> bool:
    return now_ms - at_ms > HOLDS_DAYS * DAY_MS


def days_ago(at_ms: int, *, now_ms: int) -> str:
    """
    >>> days_ago(0, now_ms=3 * DAY_MS), days_ago(0, now_ms=1000)
    ('3 days ago', 'today')
    """
    days = (now_ms - at_ms) // DAY_MS
    return "today" if days < 1 else f"{days} day{'s' if days > 1 else ''} ago"
