"""The quality chart of the report page: one dot with its interval per month and release.

Lines are SVG stretched to the card, dots and words are HTML placed in per cent, so that text keeps its size
on a phone.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from mlspine.core.types import Interval
from mlspine.demo.figures import MonthQuality

FLAG_STEP_PX = 16  # flags a month apart would run into each other on one line
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


class Flag(NamedTuple):
    """A moment marked by an upright line."""

    at_ms: int
    text: str


class Stayed(NamedTuple):
    """What the first release scores in a month in which another one answered."""

    month: str
    value: float


class Axis(NamedTuple):
    """The vertical axis: a round range and its marks."""

    lo: float
    hi: float
    marks: tuple[float, ...]

    def per_cent(self, value: float) -> float:
        return round(100 * (value - self.lo) / (self.hi - self.lo), 2)


def quality_chart(
    quality: Sequence[MonthQuality],
    *,
    stayed: Sequence[Stayed] = (),
    band: Interval | None = None,
    flags: Sequence[Flag] = (),
) -> Markup:
    """The chart as one block of HTML. `quality` must hold at least one measured month.

    stayed: drawn dashed.
    band: quality at ship, drawn as a stripe.
    """
    measured = [(row, row.quality) for row in quality if row.quality is not None]
    months = sorted({row.month for row in quality} | {row.month for row in stayed})
    drawn = [end for _, interval in measured for end in (interval.lo, interval.hi)]
    drawn += [band.lo, band.hi] if band else []
    axis = _axis(drawn + [row.value for row in stayed])
    shapes = [_stripe(axis, band)] if band else []
    shapes += [_line(0, axis.per_cent(mark), 100, axis.per_cent(mark), "var(--line)") for mark in axis.marks]
    words = [
        Markup('<span class="y" style="bottom:{}%">{}</span>').format(axis.per_cent(mark), f"{mark:.2f}")
        for mark in axis.marks
    ]
    words += [
        Markup('<span class="x" style="left:{}%">{}</span>').format(_middle(i, months), month_name(month))
        for i, month in enumerate(months)
    ]
    shapes += [_dashed([(_middle(months.index(row.month), months), axis.per_cent(row.value)) for row in stayed])]
    for level, flag in enumerate(flags):
        x = _date_position(flag.at_ms, months)
        shapes.append(_line(x, 0, x, 100, "var(--soft)", dash="3 3"))
        side = " left" if x > 60 else ""
        style = f"left:{x}%;top:{level * FLAG_STEP_PX - 2}px"
        words.append(Markup('<span class="flag{}" style="{}">{}</span>').format(side, style, flag.text))
    for index, (row, interval) in enumerate(measured):
        x = _middle(months.index(row.month), months) + _aside(row, quality, months)
        style = f"v{1 if row.version == 1 else 2}"
        shapes.append(_line(x, axis.per_cent(interval.lo), x, axis.per_cent(interval.hi), "", style=style, width=2))
        words.append(
            Markup('<span class="at {}" style="left:{}%;bottom:{}%" title="{}"></span>').format(
                style,
                x,
                axis.per_cent(interval.value),
                f"{row.month}, release {row.version}: {spell(interval)}",
            )
        )
        every_other = " every-other" if index % 2 else ""
        words.append(
            Markup('<span class="say {}{}" style="left:{}%;bottom:{}%">{}</span>').format(
                style, every_other, x, axis.per_cent(interval.lo), f"{interval.value:.3f}"
            )
        )
    label = escape("; ".join(f"{row.month} release {row.version} {spell(interval)}" for row, interval in measured))
    svg = Markup('<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>')
    return Markup('<div class="plot">{}{}</div>').format(
        svg.format(label, Markup("").join(shapes)), Markup("").join(words)
    )


def spell(interval: Interval) -> str:
    """An interval as people read it.

    >>> spell(Interval(value=.7142, lo=.7, hi=.73))
    '0.714 [0.700, 0.730]'
    """
    return f"{interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"


def month_name(month: str) -> str:
    """The short name of a month.

    >>> month_name("2013-04")
    'Apr'
    """
    return datetime.date.fromisoformat(f"{month}-01").strftime("%b")


def _axis(values: Sequence[float]) -> Axis:
    lo, hi = min(values), max(values)
    step = next((step for step in _STEPS if (hi - lo) / step <= 6), _STEPS[-1])
    first, last = math.floor((lo - 0.3 * step) / step), math.ceil((hi + 0.3 * step) / step)
    marks = tuple(round(i * step, 10) for i in range(first, last + 1))
    return Axis(marks[0], marks[-1], marks)


def _middle(index: int, months: Sequence[str]) -> float:
    return round(100 * (index + 0.5) / len(months), 2)


def _aside(row: MonthQuality, quality: Sequence[MonthQuality], months: Sequence[str]) -> float:
    """Two releases in one month stand side by side."""
    same = sorted({other.version for other in quality if other.month == row.month and other.quality})
    return round((same.index(row.version) - (len(same) - 1) / 2) * 38 / len(months), 2)


def _date_position(at_ms: int, months: Sequence[str]) -> float:
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    month = at.strftime("%Y-%m")
    before = sum(1 for each in months if each < month)
    share = (at.day - 1) / 31 if month in months else 0.0
    return round(min(100.0, 100 * (before + share) / len(months)), 2)


def _stripe(axis: Axis, band: Interval) -> Markup:
    top, bottom = 100 - axis.per_cent(band.hi), 100 - axis.per_cent(band.lo)
    return Markup('<rect x="0" y="{}" width="100" height="{}" fill="var(--one)" opacity=".14"/>').format(
        round(top, 2), round(bottom - top, 2)
    )


def _line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    colour: str,
    *,
    style: str = "",
    width: float = 1,
    dash: str = "",
) -> Markup:
    return Markup(
        '<line x1="{}" y1="{}" x2="{}" y2="{}"{}{}{} stroke-width="{}" vector-effect="non-scaling-stroke"/>'
    ).format(
        x1,
        round(100 - y1, 2),
        x2,
        round(100 - y2, 2),
        Markup(' stroke="{}"').format(colour) if colour else "",
        Markup(' class="{}"').format(style) if style else "",
        Markup(' stroke-dasharray="{}"').format(dash) if dash else "",
        width,
    )


def _dashed(points: Sequence[tuple[float, float]]) -> Markup:
    path = " ".join(f"{x},{round(100 - y, 2)}" for x, y in points)
    return Markup(
        '<polyline points="{}" class="v1" stroke-width="2" stroke-dasharray="5 4" vector-effect="non-scaling-stroke"/>'
    ).format(path)
