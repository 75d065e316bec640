"""One piece of advice, and the order in which pieces are told."""

from __future__ import annotations

from typing import Literal

from mlspine.advisor.facts import Link
from mlspine.core.types import Struct

Kind = Literal["add", "keep", "not yet", "remove"]
Confidence = Literal["high", "medium", "low"]
# What an addition is for, most urgent first: people are harmed; nobody would know; work is saved.
Reason = Literal["safety", "evidence", "effort"]


class Price(Struct, frozen=True, kw_only=True):
    """A planning figure: money per month, and people's time once."""

    low: float
    high: float
    effort: str

    def text(self, currency: str) -> str:
        """In words.

        >>> Price(low=0, high=0, effort="minutes").text("USD")
        'nothing per month, minutes'
        """
        per_month = f"{self.low:,.0f}-{self.high:,.0f} {currency}/month" if self.high else "nothing per month"
        return f"{per_month}, {self.effort}"


NOTHING = Price(low=0, high=0, effort="nothing to do")
MINUTES = Price(low=0, high=0, effort="minutes")
HOURS = Price(low=0, high=0, effort="hours")
SECOND_MACHINE = Price(low=50, high=500, effort="2-3 days")
PLATFORM_PART = Price(low=1_000, high=5_000, effort="2-4 weeks")


class Advice(Struct, frozen=True, kw_only=True):
    """What to add, keep, leave or remove. `brief`: for one line. do, undo: a command or a step, "" for none."""

    kind: Kind
    what: str
    why: str
    brief: str = ""
    evidence: tuple[Link, ...] = ()
    do: str = ""
    undo: str = ""
    price: Price = NOTHING
    effect: str = ""
    confidence: Confidence = "high"
    reason: Reason = "effort"
    weight: float = 0.0  # among equals, the larger first


KINDS: tuple[Kind, ...] = ("add", "remove", "keep", "not yet")
REASONS: tuple[Reason, ...] = ("safety", "evidence", "effort")


def ranked(advice: list[Advice]) -> tuple[Advice, ...]:
    """Additions by urgency first, then removals, what to keep, what not yet."""
    return tuple(
        sorted(advice, key=lambda each: (KINDS.index(each.kind), REASONS.index(each.reason), -each.weight, each.what))
    )
