"""Do windows of an unchanged season wake anybody, and is a change planted in the same windows still found?

Quiet: a quarter of a real table is cut into weeks. Each is held out in turn, the other twelve are the reference,
and the held-out week runs through the path of `watching.py`: windows, alpha from the budget, verdict, alerts.
What it shows is weather, weekdays and chance. The rule was tuned on the flights' odd weeks alone; figures to go
by are those of the even weeks and of the stops.

Loud: the same windows, with changes planted from the first row on, several columns at a time: a column is named for
its own p at the level of the window, so that others do not help it. Found: the column is at WARNING or worse in that
window; within three: in any of three windows in a row.

Ahead: twelve weeks of reference, and the two weeks that follow. The year turns meanwhile, so some of this is real.

Gaps: hours in which more than a tenth of the flights have no weather at all, found by counting, not by the rule.
An alert in a window that holds such an hour is counted apart: a feed was down, and somebody should know.

    python -m benchmarks.monitoring.seasons [--odd] [--cache FILE] [--write]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.monitoring.families import Family, load, rows_of, versions
from benchmarks.monitoring.watching import (
    Kept,
    Watch,
    alphas,
    judged,
    mean_of,
    window_of_rows,
    windows_of,
    written,
)
from mlspine.core.types import DriftReport
from mlspine.monitoring.alert import RANK
from mlspine.monitoring.window import DAY_MS, HOUR_MS, span_of
from mlspine.stats.baseline import Baseline, take_baseline
from mlspine.stats.profile import Array, Ints, Profile, Reference, profile

RESULTS = Path(__file__).parent.parent / "results" / "monitoring_seasons.txt"
WEEK_MS = 7 * DAY_MS
QUARTER_WEEKS = 13
AHEAD_WEEKS = 2
IN_A_ROW = 3
# The month of the year is one value in a whole quarter: not a column any window could differ in by chance.
LEFT_OUT = ("month",)
TUNED_ON = "flights"
WEATHER = ("temp", "dewp", "humid", "wind_speed", "visib")
CADENCES = (
    ("flights", "hours until 500 rows", 3_600),
    ("flights", "days", 86_400),
    ("stops", "hours until 500 rows", 3_600),
)
PLANTED: dict[str, tuple[tuple[str, str], ...]] = {
    "flights": (
        ("+0.5 sd", "distance"),
        ("+0.5 sd", "sched_dep_time"),
        ("+10 pp", "origin"),
        ("+10 pp", "carrier"),
        ("+5 pp missing", "distance"),
        ("+5 pp missing", "carrier"),
        ("+0.5 sd", "temp"),
        ("+5 pp missing", "temp"),
    ),
    "stops": (
        ("+0.5 sd", "lat"),
        ("+0.5 sd", "hour"),
        ("+10 pp", "problem"),
        ("+10 pp", "gender"),
        ("+5 pp missing", "lat"),
        ("+5 pp missing", "policePrecinct"),
        ("+5 pp missing", "gender"),
    ),
}


class Week(NamedTuple):
    """One held-out week: what its windows said. found: per planted change, by its name, whether each window did."""

    number: int
    windows: int
    warned: int
    alerts: int
    told: int
    in_gaps: int
    columns: dict[str, int]
    found: dict[str, list[bool]]


def held_out(family: Family, window_s: int, kept: Kept, *, odd: bool) -> Iterator[Week]:
    """Every week of every quarter in turn, against the other weeks of that quarter; of the flights the even ones,
    unless the `odd` ones are asked for."""
    gaps, planted = gap_hours(family), PLANTED[family.name]
    for number, week, reference in _splits(family):
        if number % 2 and family.name == TUNED_ON and not odd:
            continue
        watched = partial(_watched, family, number, week, reference, window_s, gaps, planted)
        yield kept.of(f"held out {family.name} {window_s} {number}", Week, watched)


def ahead(family: Family, window_s: int, kept: Kept) -> Iterator[Week]:
    """Two weeks against the twelve before them."""
    week, gaps = _weeks(family), gap_hours(family)
    for first in range(QUARTER_WEEKS - 1, int(week.max()) - AHEAD_WEEKS, AHEAD_WEEKS):
        reference = np.flatnonzero((week >= first - QUARTER_WEEKS + 1) & (week < first))
        rows = np.flatnonzero((week >= first) & (week < first + AHEAD_WEEKS))
        watched = partial(_watched, family, first, rows, reference, window_s, gaps, ())
        yield kept.of(f"ahead {family.name} {window_s} {first}", Week, watched)


# ---------------------------------------------------------------- one week


def _watched(
    family: Family,
    number: int,
    rows: Array,
    reference: Array,
    window_s: int,
    gaps: set[int],
    planted: Sequence[tuple[str, str]],
) -> Week:
    baseline = _baseline(family, reference)
    at_ms = family.event_at_ms[rows]
    windows = windows_of(at_ms, window_s=window_s)
    place = window_of_rows(at_ms, windows)
    alpha = alphas([(0, span_of(window)) for window in windows])
    watch = Watch()
    warned = in_gaps = 0
    columns: Counter[str] = Counter()
    found: dict[str, list[bool]] = {_name(*change): [] for change in planted}
    for i, window in enumerate(windows):
        picked, times = rows_of(family.columns, rows[place == i], baseline.inputs.names), at_ms[place == i]
        counted = profile(baseline.inputs, picked, event_at_ms=times)
        report = judged(baseline, window, counted, alpha=alpha[i], history=watch.history)
        names = _named(report)
        warned += bool(names)
        columns.update(names)
        fresh = watch.take(report)
        in_gaps += len(fresh) if gaps & {hour.start_at_ms // HOUR_MS for hour in window} else 0
        for together in _passes(planted):
            changed = counted
            for what, column in together:
                values = _planted(what, picked[column], number * 1_000 + i)
                changed = _recounted(baseline.inputs, changed, column, values, times)
            names = _named(judged(baseline, window, changed, alpha=alpha[i]))
            for what, column in together:
                found[_name(what, column)].append(column in names)
    return Week(number, len(windows), warned, len(watch.opened), watch.told, in_gaps, columns, found)


def _passes(planted: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """The changes in groups of different columns."""
    passes: list[list[tuple[str, str]]] = []
    for change in planted:
        free = next((group for group in passes if change[1] not in {column for _, column in group}), None)
        if free is None:
            passes.append([change])
        else:
            free.append(change)
    return passes


def _recounted(reference: Reference, counted: Profile, column: str, values: Array, at_ms: Ints) -> Profile:
    """The same rows with other values in one column."""
    others = [name for name in reference.names if name != column]
    changed = profile(reference, {column: values}, event_at_ms=at_ms, absent=others)
    own = set(reference.parts_of(column))
    pairs = zip(counted.parts, changed.parts, strict=True)
    return Profile(
        reference_id=counted.reference_id,
        rows=counted.rows,
        parts=tuple(new if i in own else old for i, (old, new) in enumerate(pairs)),
    )


def _baseline(family: Family, rows: Array) -> Baseline:
    names = [name for name in family.known if name not in LEFT_OUT]
    kinds = {name: family.kinds[name] for name in names}
    return take_baseline(rows_of(family.columns, rows, names), kinds, event_at_ms=family.event_at_ms[rows])


def _name(what: str, column: str) -> str:
    return f"{column:<16} {what:<14}"


def _named(report: DriftReport) -> set[str]:
    return {verdict.name for verdict in report.features if RANK[verdict.severity] >= RANK["WARNING"]}


def _planted(what: str, values: Array, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if what == "+0.5 sd":
        numbers = values.astype(np.float64)
        return np.asarray(numbers + 0.5 * np.nanstd(numbers))
    numeric = values.dtype.kind in "fiu"
    known = ~np.isnan(values.astype(np.float64)) if numeric else np.array([each is not None for each in values])
    if what == "+5 pp missing":
        out = values.astype(np.float64 if numeric else object)
        out[_some(known, 0.05, rng)] = np.nan if numeric else None
        return np.asarray(out)
    # The second most frequent level takes ten of a hundred rows from the others.
    level = Counter(values[known].tolist()).most_common(2)[1][0]
    out = values.copy()
    out[_some(known & (values != level), 0.10, rng)] = level
    return np.asarray(out)


def _some(among: Array, share: float, rng: np.random.Generator) -> Array:
    at = np.flatnonzero(among)
    return rng.choice(at, min(at.size, round(share * among.size)), replace=False)


# ---------------------------------------------------------------- weeks and gaps


def _weeks(family: Family) -> Ints:
    """Number of each row's week, from the first Monday on; -1 before it."""
    day = family.event_at_ms // DAY_MS
    first = int(day[0]) + (-(int(day[0]) + 3)) % 7
    return np.asarray((day - first) // 7)


def _splits(family: Family) -> Iterator[tuple[int, Array, Array]]:
    week = _weeks(family)
    for quarter in range(4):
        weeks = range(quarter * QUARTER_WEEKS, min((quarter + 1) * QUARTER_WEEKS, int(week.max())))
        for number in weeks:
            inside = (week >= weeks[0]) & (week <= weeks[-1])
            yield number, np.flatnonzero(week == number), np.flatnonzero(inside & (week != number))


def gap_hours(family: Family) -> set[int]:
    """The hours in which more than a tenth of the flights have no weather; none for the stops."""
    if family.name != "flights":
        return set()
    hour, index = np.unique(family.event_at_ms // HOUR_MS, return_inverse=True)
    blind = np.all([np.isnan(family.columns[name].astype(np.float64)) for name in WEATHER], axis=0)
    return set(hour[np.bincount(index, weights=blind) > 0.1 * np.bincount(index)].tolist())


# ---------------------------------------------------------------- the table


def _quiet_line(label: str, weeks: Sequence[Week], days: int) -> str:
    windows = sum(week.windows for week in weeks)
    warned = mean_of([week.warned / max(1, week.windows) for week in weeks], weights=[w.windows for w in weeks])
    per = 30 / days
    alerts = mean_of([week.alerts * per for week in weeks])
    told = mean_of([week.told * per for week in weeks])
    no_gaps = mean_of([(week.alerts - week.in_gaps) * per for week in weeks])
    return (
        f"  {label:<38} {len(weeks):3} {windows:5}  {warned.mean:6.1%} [{warned.lo:.1%}, {warned.hi:.1%}]"
        f"   alerts {alerts}   of them outside gaps {no_gaps}   messages {told}"
    )


def _power_lines(weeks: Sequence[Week]) -> Iterator[str]:
    for change in weeks[0].found:
        once = [float(np.mean(week.found[change])) for week in weeks if week.found[change]]
        rows = [week.found[change] for week in weeks]
        soon = [float(np.mean([any(r[i : i + IN_A_ROW]) for i in range(0, len(r), IN_A_ROW)])) for r in rows if r]
        one, three = mean_of(once), mean_of(soon)
        yield f"    {change} {one.mean:5.0%} [{one.lo:.0%}, {one.hi:.0%}]   {three.mean:5.0%}"


def table(kept: Kept, *, odd: bool) -> list[str]:
    """The figures, as lines of text."""
    quiet, loud, forward = [], [], []
    for name, label, window_s in CADENCES:
        family = load(name)
        weeks = list(held_out(family, window_s, kept, odd=odd))
        halves = {"all weeks": weeks}
        if name == TUNED_ON:
            halves = {"even weeks": [week for week in weeks if week.number % 2 == 0]}
            if odd:
                halves["odd weeks, tuned on"] = [week for week in weeks if week.number % 2]
        for half, chosen in halves.items():
            quiet.append(_quiet_line(f"{name}, {label}, {half}", chosen, 7))
        shown = next(iter(halves.values()))
        behind: Counter[str] = sum((Counter(week.columns) for week in shown), Counter())
        quiet.append(f"      columns behind them: {dict(behind.most_common(6))}")
        loud += [f"  {name}, {label}", *_power_lines(shown)]
        forward.append(_quiet_line(f"{name}, {label}", list(ahead(family, window_s, kept)), 7 * AHEAD_WEEKS))
    return [
        "held-out weeks of a quarter, the other twelve the reference: weeks, windows, share at WARNING or worse;",
        "alerts opened and messages sent per 30 days; 95% intervals clustered by week:",
        "",
        *quiet,
        "",
        "a change planted in the same windows (even weeks; all of the stops): found in the window it is in, and in",
        f"any of {IN_A_ROW} windows in a row:",
        "",
        *loud,
        "",
        "two weeks ahead of twelve weeks of reference, the year turning:",
        "",
        *forward,
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULTS.name}")
    parser.add_argument("--cache", default="", help="JSON lines of what was found, read first and added to")
    parser.add_argument("--odd", action="store_true", help="also the weeks of the flights the rule was tuned on")
    given = parser.parse_args(None if arguments is None else list(arguments))
    began = time.monotonic()
    lines = table(Kept(given.cache), odd=given.odd)
    took = f"took {time.monotonic() - began:.0f} s"
    written(["python -m benchmarks.monitoring.seasons", versions(), "", *lines, "", took], str(RESULTS), given.write)


if __name__ == "__main__":
    main()
