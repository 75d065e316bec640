"""Drawings of the page as SVG. Pure.

Widths are per cent and heights pixels, without a viewBox: a drawing fills its place while its words keep their size.
Nothing is styled inline, which the page's policy would refuse: looks come from classes.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from markupsafe import Markup, escape

from mlspine.core.types import Effect, Interval

COLUMNS_PX = 56
BAR_PX = 14
METER_PX = 18
QUALITY_PX = 168
_FOOT_PX = 22  # under the quality axis, for dates
_DATES_SHOWN = 5
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
# Marks that people know from elsewhere; they are drawn and decide nothing.
CONVENTIONAL = {"psi": (0.1, 0.2)}


Kind = Literal["", "provisional", "estimated", "unverified", "broken"]


class Measured(NamedTuple):
    """Quality of one release in one window."""

    from_at_ms: int
    to_at_ms: int
    interval: Interval
    current: bool  # of the release that is live
    words: str
    kind: Kind = ""  # "": measured on labels that are complete


def columns(reference: Sequence[float], window: Sequence[float]) -> Markup:
    """Two distributions over the same bins, side by side: hollow for the reference, solid for the window.

    >>> columns([.5, .5], [.2, .8]).count("<rect")
    4
    """
    most = max([*reference, *window], default=0.0) or 1.0
    slot = 100 / max(len(reference), 1)
    shapes = []
    for i, (before, after) in enumerate(zip(reference, window, strict=True)):
        for share, shift, style in ((before, 0.08, "was"), (after, 0.5, "now")):
            height = max(1.0, (COLUMNS_PX - 2) * share / most) if share else 0.0
            shapes.append(
                f'<rect class="{style}" x="{slot * (i + shift):.1f}%" y="{COLUMNS_PX - 1 - height:.1f}"'
                f' width="{slot * 0.4:.1f}%" height="{height:.1f}"/>'
            )
    floor = f'<line class="axis" x1="0" x2="100%" y1="{COLUMNS_PX - 0.5}" y2="{COLUMNS_PX - 0.5}"/>'
    return _svg("columns", COLUMNS_PX, [*shapes, floor])


def pair(before: float, after: float, most: float) -> Markup:
    """The two shares of one bin as lying bars, `most` being the full width."""
    shapes = [
        f'<rect class="{style}" x="0" y="{top}" width="{_of(share, most):.1f}%" height="5"/>'
        for share, top, style in ((before, 1, "was"), (after, 8, "now"))
    ]
    return _svg("pair", BAR_PX, shapes)


def meter(effect: Effect, *, alerts: bool) -> Markup:
    """An effect as a bar, with the reach of chance behind it and an upright mark at its limit.

    alerts: whether its column does; only then being over the limit is drawn as such.
    """
    marks = (effect.limit,) if effect.limit else CONVENTIONAL.get(effect.name, ())
    full = 1.15 * max(effect.value, effect.noise, *marks, 0.0) or 1.0
    middle = METER_PX // 2
    style = "over" if alerts and effect.limit and effect.value > effect.limit else "value"
    shapes = [
        f'<rect class="track" x="0" y="{middle - 1}" width="100%" height="2"/>',
        f'<rect class="chance" x="0" y="2" width="{_of(effect.noise, full):.1f}%" height="{METER_PX - 4}"/>',
        f'<rect class="{style}" x="0" y="{middle - 3}" width="{_of(effect.value, full):.1f}%" height="6"/>',
    ]
    style = "limit" if effect.limit else "limit usual"
    for x in (_of(mark, full) for mark in marks):
        shapes.append(f'<line class="{style}" x1="{x:.1f}%" x2="{x:.1f}%" y1="0" y2="{METER_PX}"/>')
    return _svg("meter", METER_PX, shapes)


def quality(
    measured: Sequence[Measured], *, at_ship: Interval | None = None, window: tuple[int, int] | None = None
) -> Markup:
    """Quality over time: an interval band and a point per window and release, the figure at ship as a stripe.

    measured: at least one. Points of the live release are solid, those of others and what is provisional hollow;
    estimates are diamonds, broken ones crosses. window: a stretch of time to mark.
    """
    ends = [end for each in measured for end in (each.interval.lo, each.interval.hi)]
    ends += [at_ship.lo, at_ship.hi] if at_ship else []
    axis = _Axis.around(ends)
    first, last = min(each.from_at_ms for each in measured), max(each.to_at_ms for each in measured)
    span = max(last - first, 1)
    shapes = [_band("ship", 0.0, 100.0, axis, at_ship.lo, at_ship.hi)] if at_ship else []
    if window is not None and window[0] < last and window[1] > first:
        left, right = (_inside((min(max(at, first), last) - first) / span) for at in window)
        shapes.append(f'<rect class="now-on" x="{left:.2f}%" y="0" width="{right - left:.2f}%" height="{QUALITY_PX}"/>')
    shapes.append(_grid(axis))
    for each in measured:
        left, right = _inside((each.from_at_ms - first) / span), _inside((each.to_at_ms - first) / span)
        shapes.append(_point(each, left, right, axis))
    shapes += _dates(measured, first, span)
    return _svg("quality", QUALITY_PX + _FOOT_PX, shapes, "; ".join(each.words for each in measured))


# ---------------------------------------------------------------- the quality axis


class _Axis(NamedTuple):
    """A round range of quality and its marks."""

    lo: float
    hi: float
    marks: tuple[float, ...]

    @classmethod
    def around(cls, values: Sequence[float]) -> _Axis:
        """
        >>> _Axis.around([0.701, 0.743]).marks
        (0.7, 0.71, 0.72, 0.73, 0.74, 0.75)
        """
        lo, hi = min(values), max(values)
        step = next((step for step in _STEPS if (hi - lo) / step <= 5), 10.0 ** math.ceil(math.log10(hi - lo or 1)) / 2)
        first, last = math.floor(round(lo / step, 6)), math.ceil(round(hi / step, 6))
        last = max(last, first + 1)
        marks = tuple(round(i * step, 10) for i in range(first, last + 1))
        return cls(marks[0], marks[-1], marks)

    def y(self, value: float) -> float:
        return round(8 + (QUALITY_PX - 16) * (self.hi - value) / (self.hi - self.lo), 1)


def _grid(axis: _Axis) -> str:
    return "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{axis.y(mark)}" y2="{axis.y(mark)}"/>'
        f'<text x="0" y="{axis.y(mark) - 3}">{mark:g}</text>'
        for mark in axis.marks
    )


def _band(style: str, left: float, right: float, axis: _Axis, lo: float, hi: float) -> str:
    top, width = axis.y(hi), max(right - left, 0.4)
    height = max(axis.y(lo) - top, 1.0)
    return f'<rect class="{style}" x="{left:.2f}%" y="{top}" width="{width:.2f}%" height="{height:.1f}"/>'


def _point(each: Measured, left: float, right: float, axis: _Axis) -> str:
    style = f"{'live' if each.current else 'other'} {each.kind}".rstrip()
    middle, y = (left + right) / 2, axis.y(each.interval.value)
    return (
        _band(f"band {style}", left, right, axis, each.interval.lo, each.interval.hi)
        + f'<line class="{style}" x1="{left:.2f}%" x2="{right:.2f}%" y1="{y}" y2="{y}"/>'
        + _sign(each, style, middle, y)
    )


def _sign(each: Measured, style: str, x: float, y: float) -> str:
    title = f"<title>{escape(each.words)}</title>"
    if each.kind in ("", "provisional"):
        return f'<circle class="{style}" cx="{x:.2f}%" cy="{y}" r="3.5">{title}</circle>'
    path = "M-4-4 4 4M4-4-4 4" if each.kind == "broken" else "M0-5 5 0 0 5-5 0z"
    return f'<svg x="{x:.2f}%" y="{y}"><path class="{style}" d="{path}">{title}</path></svg>'


def _dates(measured: Sequence[Measured], first: int, span: int) -> list[str]:
    starts = sorted({each.from_at_ms for each in measured})
    every = math.ceil(len(starts) / _DATES_SHOWN)
    return [
        f'<text x="{_inside((at - first) / span):.2f}%" y="{QUALITY_PX + _FOOT_PX - 6}">{_day(at)}</text>'
        for at in starts[::every]
    ]


def _inside(share: float) -> float:
    """From 0..1 to per cent, right of the words of the axis."""
    return 9 + 90 * share


def _day(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%-d %b")


# ---------------------------------------------------------------- frame


def _of(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


def _svg(style: str, height: int, shapes: Sequence[str], words: str = "") -> Markup:
    """With words it is a picture that says them; without, the table beside it says everything.

    shapes: markup of this module, made of numbers and escaped words only.
    """
    told = f'role="img" aria-label="{escape(words)}"' if words else 'aria-hidden="true"'
    return Markup(f'<svg class="{style}" width="100%" height="{height}" {told}>{"".join(shapes)}</svg>')
