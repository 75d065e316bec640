"""Which windows are read in one go: a join over a few more files costs less than another join."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mlspine.monitoring.window import Span

T = TypeVar("T")

ROWS_AT_ONCE = 2_000_000
NEARBY = 3  # windows that may lie between two that are read together


def together(windows: Sequence[T], *, span: Callable[[T], Span], rows: Callable[[T], int]) -> Iterator[list[T]]:
    """Windows, oldest first, in groups that lie near each other and hold a bounded number of rows.

    >>> days = [Span(day * 10, day * 10 + 10) for day in (1, 2, 3, 9)]
    >>> [len(group) for group in together(days, span=lambda day: day, rows=lambda day: 900_000)]
    [2, 1, 1]
    """
    group, held = list[T](), 0
    for window in windows:
        if group and (_far(span(group[-1]), span(window)) or held + rows(window) > ROWS_AT_ONCE):
            yield group
            group, held = [], 0
        group.append(window)
        held += rows(window)
    if group:
        yield group


def _far(a: Span, b: Span) -> bool:
    return b.from_at_ms - a.to_at_ms > NEARBY * (b.to_at_ms - b.from_at_ms)
