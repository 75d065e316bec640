"""The same report for a terminal: the verdict, columns ranked by impact with small drawings, quality, what to do.

Made from the document that the page is made from. Names and levels come from outside: signs that would move the
cursor or turn the direction of writing are spelt out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import click

from mlspine.cli import render
from mlspine.monitoring.document import Document
from mlspine.reporting.page import at_the_edge, figure, loud, moment, percent, quality
from mlspine.reporting.words import SEVERITIES, SEVERITY_MARKS, amount, harmless, share

EIGHTHS = "▁▂▃▄▅▆▇█"
NAME_WIDTH = 24
COLUMNS_SHOWN = 20
POINTS_SHOWN = 8


def text(found: Document, *, width: int = 100) -> str:
    """Lines no wider than `width` where words allow it, at least 60; coloured signs, for `click.echo`."""
    width = max(width, 60)
    parts = [_head(found, width), _columns(found, width), _edges(found, width), _causes(found, width)]
    parts += [_quality(found, width), _actions(found)]
    return "\n\n".join("\n".join(lines) for lines in map(list, parts) if lines)


def spark(shares: Sequence[float | None], most: float) -> str:
    """Shares as a row of small bars, `most` being the highest; a bin without rows is a blank.

    >>> spark([0.0, 0.1, 0.5, 0.4], 0.5)
    ' ▂█▆'
    """
    return "".join(_bar(part or 0.0, most) for part in shares)


def _bar(part: float, most: float) -> str:
    if part <= 0 or most <= 0:
        return " "
    return EIGHTHS[min(7, max(0, round(8 * part / most) - 1))]


# ---------------------------------------------------------------- parts, in the order of the page


def _head(found: Document, width: int) -> Iterator[str]:
    window, rate = found["window"], found["false_alarm_rate"]
    name = _safe(found["model"] or "comparison")
    version = f", version {found['version']}" if found["version"] else ""
    yield f"{_sign(found['severity'])} {click.style(name, bold=True)}{version}"
    span = f"{moment(window['from'])} to {moment(window['to'])} UTC, " if window["from"] else ""
    yield f"  {span}{window['rows']:,} rows"
    yield from _wrapped(f"{_safe(found['verdict'])}.", width, "  ")
    measured = "not measured"
    if rate["measured"] is not None:
        lo, hi = rate["ci"]
        measured = f"measured {percent(rate['measured'])} [{percent(lo)}, {percent(hi)}]"
        measured += f" where {percent(rate['measured_at'])} was promised"
    seasons = f"; {_safe(found['seasonality'])}" if found["seasonality"] else ""
    promised = f"{percent(rate['nominal'])} may be called significant"
    if rate.get("warning") is not None:
        promised += f", {percent(rate['warning'])} a WARNING"
    yield from _wrapped(f"of windows without change {promised}; {measured}{seasons}", width, "  ")


def _columns(found: Document, width: int) -> Iterator[str]:
    judged = [each for each in found["features"] if each["noise"]]
    if not judged:
        return
    shown = judged[:COLUMNS_SHOWN]
    bars = max((len(each["shares"]["bins"]) for each in shown), default=0)
    bars = max(bars, len("reference"))
    named = min(NAME_WIDTH, max(len(_name(each)) for each in shown))
    yield click.style("Columns, the greatest impact first", bold=True)
    yield f"  {'':<10} {'':<{named}}  {'reference':<{bars}}  {'window':<{bars}}"
    for each in shown:
        yield from _column(each, named, bars, width)
    rest = judged[COLUMNS_SHOWN:]
    if rest:
        worst = sum(loud(each) for each in rest)
        yield f"  and {len(rest)} more, {worst} of them warn: --html FILE shows all"
    for each in found["features"]:
        if not each["noise"]:
            yield from _wrapped(f"{_name(each)}: {_safe(each['why'])}", width, "  not judged  ")


def _column(each: Document, named: int, bars: int, width: int) -> Iterator[str]:
    was, now = each["shares"]["reference"], each["shares"]["window"]
    most = max([part or 0.0 for part in (*was, *now)], default=0.0)
    left = f"  {_sign(each['severity'])} {each['severity']:<8} {_name(each):<{named}}"
    drawn = f"  {spark(was, most):<{bars}}  {spark(now, most):<{bars}}"
    why = _safe(each["why"])
    room = width - 12 - named - 2 * bars - 6
    if each["severity"] == "OK":
        yield f"{left}{drawn}  p {each['p'] if each['p'] is None else format(each['p'], '.2g')}"
    elif len(why) <= room:
        yield f"{left}{drawn}  {why}"
    else:
        yield f"{left}{drawn}".rstrip()
        yield from _wrapped(why, width, " " * 13)


def _edges(found: Document, width: int) -> Iterator[str]:
    near = [each for each in found["features"] if at_the_edge(each)][:COLUMNS_SHOWN]
    if near:
        yield click.style("What would change the verdict", bold=True)
    for each in near:
        yield from _wrapped(f"{_name(each)}: {_safe(each['would_change']['says'])}", width, "  ", "    ")


def _causes(found: Document, width: int) -> Iterator[str]:
    causes = found["causes"]
    if not causes:
        return
    yield click.style("Where it comes from", bold=True)
    for said in (causes["says"], causes["interaction"], *causes["skew"]):
        if said:
            yield from _wrapped(_safe(said), width, "  ")
    for each in causes["suspects"][:5]:
        since = f", since {moment(each['onset'])} UTC" if each["onset"] else ""
        part = share(each["influence"]) if each["influence"] is not None else "-"
        yield from _wrapped(f"{_safe(each['name'])}: {part} of the change{since}", width, "  ", "    ")


def _quality(found: Document, width: int) -> Iterator[str]:
    over_time = quality(found)
    if over_time is None:
        return
    yield click.style(f"Quality: {over_time.metric}", bold=True)
    shipped = over_time.at_ship
    if shipped:
        yield f"  {figure(shipped)} at ship, {shipped['rows_from']}"
    for start, real, guess in reversed(over_time.rows[:POINTS_SHOWN]):
        for each, how in ((real, "measured"), (guess, "estimated")):
            if each:
                yield from _wrapped(f"{moment(start)[:10]}  {_point(each, how)}", width, "  ", "    ")


def _point(each: Document, how: str) -> str:
    said = f"{figure(each)} {how}, {each['status']}"
    if each.get("coverage") is not None:
        said += f", {share(each['coverage'])} labelled"
    if each.get("backtest_rmse") is not None:
        said += f", back-test error {amount(each['backtest_rmse'])}"
    calm = each["value"] is not None and each["status"] in ("FINAL", "ESTIMATED") and each.get("severity", "OK") == "OK"
    return said + (f": {_safe(each['why'])}" if each["why"] and not calm else "")


def _actions(found: Document) -> Iterator[str]:
    if found["actions"]:
        yield click.style("Next", bold=True)
    for each in found["actions"]:
        yield f"  {_safe(each['command'])}"
        yield f"      {_safe(each['says'])}"


# ---------------------------------------------------------------- words


def _sign(severity: str) -> str:
    return click.style(SEVERITY_MARKS[severity], fg=render.COLOURS[SEVERITIES[severity]])


def _name(each: Document) -> str:
    name = each["name"] if each["role"] == "input" else f"output {each['role']}"
    shown = _safe(name)
    return shown if len(shown) <= NAME_WIDTH else shown[: NAME_WIDTH - 1] + "…"


def _safe(value: str) -> str:
    return str(harmless(value, 2000)).replace("\n", " ")


def _wrapped(value: str, width: int, indent: str, further: str | None = None) -> list[str]:
    further = " " * len(indent) if further is None else further
    return textwrap.wrap(
        value, width, initial_indent=indent, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )
