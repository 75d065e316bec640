"""Does alpha, summed over the windows of any 30 days, stay at the budget, from the first window on?

Alpha of a window is the budget over the windows expected in 30 days, going by those seen. An endpoint that is an
hour old has seen one. Here only hours and their rows are simulated: no data, every window one more payment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmarks.monitoring.watching import alphas
from mlspine.monitoring.window import HOUR_MS, PERIOD_MS, Span
from mlspine.stats.baseline import MIN_ROWS

DAYS = 75
MONTH_H = PERIOD_MS // HOUR_MS
MONDAY_H = 96  # 1 January 1970 was a Thursday
Traffic = Callable[[int], float]


def _day(hour: int) -> bool:
    return 8 <= hour % 24 < 20


SHAPES: dict[str, Traffic] = {
    "an hour is a window": lambda hour: 800,
    "ten times more by day": lambda hour: 1_500 if _day(hour) else 150,
    "office hours only": lambda hour: 900 if _day(hour) and (hour // 24 + 3) % 7 < 5 else 0,
    "40 rows an hour": lambda hour: 40,
    "one batch a day": lambda hour: 20_000 if hour % 24 == 5 else 0,
    "one batch a week": lambda hour: 20_000 if hour % 168 == 50 else 0,
}


def table(starts: int = 12) -> Iterator[str]:
    """Lines: mean and largest spending of the first 30 days, and of any 30 days."""
    rng = np.random.default_rng(0)
    for label, traffic in SHAPES.items():
        found = [spent([spans(traffic, MONDAY_H + 13 * i, rng)]) for i in range(starts)]
        yield _line(f"{label}, {starts} moments to start at", found)
    young = [spans(SHAPES["ten times more by day"], MONDAY_H + 720 + 5 * i, rng) for i in range(4)]
    yield _line(
        "four endpoints join one of 30 days", [spent([spans(SHAPES["an hour is a window"], MONDAY_H, rng), *young])]
    )
    thin = [spans(SHAPES["40 rows an hour"], MONDAY_H + 2 * i, rng) for i in range(20)]
    yield _line("20 endpoints of 40 rows an hour", [spent(thin)])


def spans(traffic: Traffic, from_h: int, rng: np.random.Generator) -> list[Span]:
    """Windows of 500 rows or more, from Poisson traffic with this mean per hour."""
    found: list[Span] = []
    held, begin = 0, -1
    for hour in range(from_h, from_h + 24 * DAYS):
        rows = int(rng.poisson(traffic(hour)))
        if not rows:
            continue
        begin = hour if begin < 0 else begin
        held += rows
        if held >= MIN_ROWS:
            found.append(Span(begin * HOUR_MS, (hour + 1) * HOUR_MS))
            held, begin = 0, -1
    return found


def spent(endpoints: Sequence[Sequence[Span]]) -> tuple[float, float]:
    """Sum of alpha over the first 30 days of a workspace, and the largest over any."""
    order = sorted((span.to_at_ms, i, span) for i, own in enumerate(endpoints) for span in own)
    alpha = np.array(alphas([(i, span) for _, i, span in order]))
    ends = np.array([to_at_ms for to_at_ms, _, _ in order]) // HOUR_MS
    begin = min(span.from_at_ms for own in endpoints for span in own) // HOUR_MS
    months = [alpha[(ends > start) & (ends <= start + MONTH_H)].sum() for start in range(begin, int(ends.max()), 24)]
    return float(months[0]), float(max(months))


def _line(label: str, found: Sequence[tuple[float, float]]) -> str:
    first, most = zip(*found, strict=True)
    return f"  {label:<46} first 30 days {np.mean(first):.2f}, at most {max(first):.2f}; any 30 days {max(most):.2f}"
