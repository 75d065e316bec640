"""The story of a model's year as terminal text, and a progress bar while it happens."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from mlspine.demo.chart import month_name, spell
from mlspine.demo.figures import FeatureDrift, MonthQuality, Story
from mlspine.demo.page import (
    advice,
    broken,
    by_itself,
    charted,
    comparison_cells,
    comparison_verdict,
    day,
    duration,
    lead,
    measure,
    pace,
    renewed,
)

_BLOCKS = "▁▂▃▄▅▆▇█"
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
_DOTS = {
    "ship": "blue",
    "serve": "blue",
    "retrain": "yellow",
    "promote": "yellow",
    "rollback": "bold",
    "canary": "yellow",
    "return": "bold",
    "alert": "red",
    "quality": "yellow",
    "labels": "green",
    "end": "green",
}
_FEATURES_SHOWN = 8
_ALERTS_SHOWN = 5
_WIDTH = 100

Paint = Callable[[str, str], str]


def tell(story: Story, *, colour: bool = False) -> str:
    """The whole story as text, at most 100 columns wide; escape codes only with `colour`."""
    paint = _colours if colour else _plain
    blocks = [
        _heading("A model's year", paint) + "\n" + _wrap(lead(story)),
        _moments(story, paint),
        _quality(story, paint),
        _drift(story, paint),
        _alerts(story, paint),
        _switches(story, paint),
        _by_itself(story, paint),
        _closing(story),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def tell_advice(story: Story, *, colour: bool = False) -> str:
    """What `mlspine advise` said when the year was over."""
    lines = [_heading("What to do next", _colours if colour else _plain), _wrap(pace(story))]
    for name, text in advice(story.advised):
        blank = " " * 14
        lines.append(textwrap.fill(text, _WIDTH, initial_indent=f"  {name:<12}", subsequent_indent=blank))
    return "\n".join(lines)


def sparkline(values: Sequence[float | None], *, lo: float | None = None, hi: float | None = None) -> str:
    """One block per value between lo and hi (by default the values' own range); a dot where there is none.

    >>> sparkline([0.0, 0.5, 1.0, None])
    '▁▅█·'
    """
    known = [value for value in values if value is not None]
    if not known:
        return "·" * len(values)
    lo = min(known) if lo is None else lo
    hi = max(known) if hi is None else hi
    room = (hi - lo) or 1.0
    return "".join(
        "·" if value is None else _BLOCKS[min(7, max(0, round(7 * (value - lo) / room)))] for value in values
    )


def columns(rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows of text aligned to their widest cell; columns numbered in `right` end together.

    >>> print(columns([("a", "1"), ("bb", "20")], right=[1]))
      a    1
      bb  20
    """
    rows = [tuple(row) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


class Progress:
    """A bar on one line of stderr, redrawn at most ten times a second; one plain line per step elsewhere.

    >>> import io
    >>> out = io.StringIO()
    >>> with Progress("replay", total=2, out=out) as bar:
    ...     bar.advance(2)
    >>> out.getvalue().split()[0]
    'replay'
    """

    def __init__(
        self,
        title: str,
        *,
        total: int = 0,
        out: TextIO | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._total = title, total
        self._out = out or sys.stderr
        self._live = self._out.isatty() and os.environ.get("TERM") != "dumb"
        self._clock_s = clock_s
        self._begun_s = self._drawn_s = clock_s()
        self._done = 0
        self._note = ""

    def __enter__(self) -> Progress:
        if self._live:
            self._draw()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        taken = self._clock_s() - self._begun_s
        note = f"  {self._note}" if self._note else ""
        state = "" if kind is None else "  stopped"
        start = "\r\x1b[K" if self._live else ""
        self._out.write(f"{start}  {self._title:<34} {taken:5.1f} s{note}{state}\n")
        self._out.flush()

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return self._clock_s() - self._begun_s

    def advance(self, count: int = 1, note: str = "") -> None:
        """More is done; `note` is shown beside the bar."""
        self._done += count
        self._note = note or self._note
        if self._live and self._clock_s() - self._drawn_s >= 0.1:
            self._draw()

    def say(self, note: str) -> None:
        """What the finished line will read."""
        self._note = note

    def _draw(self) -> None:
        self._drawn_s = self._clock_s()
        if self._total:
            share = min(1.0, self._done / self._total)
            bar = ("█" * round(24 * share)).ljust(24, "░")
            text = f"{bar} {share:4.0%} {self._done:>9,}"
        else:
            text = "…"
        self._out.write(f"\r\x1b[K  {self._title:<34} {text}  {self._note}")
        self._out.flush()


# ---------------------------------------------------------------- the parts of the story


def _moments(story: Story, paint: Paint) -> str:
    lines = [_heading("What happened, and when (2013, event time)", paint)]
    for moment in story.moments:
        dot = paint("●", _DOTS[moment.kind])
        lines.append(f"  {day(moment.at_ms):>6}  {dot} {moment.title}")
        if moment.detail:
            bar = f"          {paint('│', 'dim')} "
            lines += [bar + line for line in textwrap.wrap(moment.detail, _WIDTH - 12)]
    return "\n".join(lines)


def _quality(story: Story, paint: Paint) -> str:
    if not story.quality:
        return ""
    first = story.shipped[0]
    name = measure(story.quality[0].metric)
    promised = f", promised at ship {spell(first.quality)}" if first.quality else ""
    measured = [row.quality.value for row in charted(story.quality, without=broken(story)) if row.quality]
    head = [("month", "release", "answered", "labelled", f"{name} [95%]")]
    rows = [
        (_month(row), str(row.version), f"{row.predicted_rows:,}", f"{row.labelled_rows:,}", _value(row))
        for row in story.quality
    ]
    lines = [
        _heading(f"Did it stay good? {name} on the labels{promised}", paint),
        columns([*head, *rows], right=[1, 2, 3]),
        f"  {sparkline(measured)}",
    ]
    if story.comparison:
        lines += [
            "",
            _wrap(comparison_verdict(story.comparison)),
            columns(
                [
                    (
                        "same flights",
                        "AUC of 1",
                        f"of {renewed(story)}",
                        "gain [95%]",
                        "F1 of 1",
                        f"of {renewed(story)}",
                        "gain [95%]",
                    ),
                    *((month_name(row.month), *comparison_cells(row)) for row in story.comparison),
                ],
                right=[1, 2, 4, 5],
            ),
        ]
    return "\n".join(lines)


def _drift(story: Story, paint: Paint) -> str:
    ranked = sorted(story.drift, key=lambda row: -sum(cell.warned for cell in row.cells))[:_FEATURES_SHOWN]
    shown = [row for row in ranked if any(cell.warned for cell in row.cells)]
    title = f"Did the world change? {story.windows_warned:,} of {story.windows:,} windows told of drift"
    if not shown:
        return _heading(title, paint)
    months = sorted({cell.month for row in shown for cell in row.cells})
    span = f"{month_name(months[0])} to {month_name(months[-1])}"
    rows = [("column", "importance", span, "windows told")]
    rows += [
        (
            row.name,
            f"{row.importance:.0%}" if row.role == "input" else "",
            sparkline(_shares(row, months), lo=0.0, hi=1.0),
            f"{sum(cell.warned for cell in row.cells):,} of {sum(cell.windows for cell in row.cells):,}",
        )
        for row in shown
    ]
    return _heading(title, paint) + "\n" + columns(rows, right=[1, 3])


def _shares(row: FeatureDrift, months: Sequence[str]) -> list[float | None]:
    by_month = {cell.month: cell for cell in row.cells}
    return [
        by_month[month].warned / by_month[month].windows if month in by_month and by_month[month].windows else None
        for month in months
    ]


def _alerts(story: Story, paint: Paint) -> str:
    if not story.alerts:
        return ""
    total = sum(alert.times for alert in story.alerts)
    lines = [_heading(f"What it told us: {total:,} alerts of {len(story.alerts):,} kinds", paint)]
    for alert in story.alerts[:_ALERTS_SHOWN]:
        severity = paint(f"{alert.severity:<8}", "red" if alert.severity == "CRITICAL" else "yellow")
        state = ", open" if alert.open else ""
        times = "once" if alert.times == 1 else f"{alert.times} times"
        lines.append(f"  {severity}  {alert.title} ({times}, {alert.windows:,} windows{state})")
        lines += [f"            {line}" for line in textwrap.wrap(alert.why, _WIDTH - 12)]
    return "\n".join(lines)


def _switches(story: Story, paint: Paint) -> str:
    if not story.switches:
        return ""
    rows = [("", "release", "requests", "failed", "median", "99%", "made ready", "effective", "reproduced")]
    rows += [
        (
            each.verb,
            f"{each.from_version} → {each.to_version}",
            f"{each.requests:,}",
            f"{each.failed:,}",
            duration(each.p50_s),
            duration(each.p99_s),
            duration(each.ready_s),
            duration(each.effective_s),
            f"{each.reproduced_rows} of {each.recorded_rows}",
        )
        for each in story.switches
    ]
    title = "Forward and back while callers kept sending single rows"
    return _heading(title, paint) + "\n" + columns(rows, right=range(2, 9))


def _by_itself(story: Story, paint: Paint) -> str:
    lines = by_itself(story)
    if not lines:
        return ""
    return _heading("Brought forward, and brought back, without anybody", paint) + "\n" + "\n".join(map(_wrap, lines))


def _closing(story: Story) -> str:
    traffic = story.traffic
    exact = "equal" if traffic.rows_logged == traffic.flights_sent else "NOT EQUAL"
    state = "intact" if story.ledger_intact else "BROKEN"
    rows = [
        (
            "flights sent, rows logged",
            f"{traffic.flights_sent:,} and {traffic.rows_logged:,}: {exact};"
            f" {traffic.requests:,} requests, {traffic.failed:,} failed",
        ),
        ("labels sent, matched", f"{traffic.labels_sent:,} and {traffic.labels_matched:,}"),
        ("fitted model to first answer", duration(story.first_answer_s)),
        ("ledger", f"{story.ledger_entries:,} lines, {state}"),
        ("whole demo", f"{duration(story.seconds)} on {story.machine.cpus} cores"),
    ]
    return columns(rows)


def _month(row: MonthQuality) -> str:
    return month_name(row.month) if row.month.startswith("2013") else row.month


def _value(row: MonthQuality) -> str:
    return spell(row.quality) if row.quality else row.status.lower().replace("_", " ")


def _heading(text: str, paint: Paint) -> str:
    return paint(text, "bold")


def _wrap(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _colours(text: str, style: str) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def _plain(text: str, style: str) -> str:
    return text
