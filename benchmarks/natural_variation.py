"""How often time-ordered windows of an unchanged season alarm, and whether the turn of the seasons is seen.

Quiet: every other week of a quarter is held out in turn, the other weeks are the baseline, and the held-out
week is judged window by window: what it shows is weather and weekdays, nothing to wake anybody for. Loud: the
baseline is January to March, and the windows of each later month are judged. The columns are those known at
the scheduled departure, with the weather of that hour; no importance is given, so every column counts.

    python benchmarks/natural_variation.py
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
from false_alarms import load, versions

from mlspine.core.types import Columns, DriftReport
from mlspine.monitoring.drift import judge
from mlspine.stats.baseline import MIN_ROWS, Baseline, take_baseline
from mlspine.stats.calibrate import DAY_MS, HOUR_MS
from mlspine.stats.profile import Ints, Kind, profile

KNOWN_LATER = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
CALENDAR = ("month", "day", "time_hour")
NAMES = ("tailnum", "flight")
WEEKS_PER_QUARTER = 13
# One WARNING in 30 days of a single daily window, the default budget.
ALPHA = 0.01 / 30
CADENCES = {"hours until 500 rows": HOUR_MS, "days": DAY_MS}


def flights() -> tuple[Columns, dict[str, Kind], Ints]:
    """The year in order of scheduled departure: columns, kinds, event time."""
    columns, kinds = load()
    at_ms = columns["time_hour"].astype("datetime64[ms]").astype(np.int64)
    order = np.argsort(at_ms, kind="stable")
    kept = {name: kind for name, kind in kinds.items() if name not in KNOWN_LATER + CALENDAR + NAMES}
    return {name: columns[name][order] for name in kept}, kept, at_ms[order]


def judged(
    baseline: Baseline, columns: Columns, at_ms: Ints, rows: Ints, unit_ms: int
) -> Iterator[tuple[int, DriftReport]]:
    """Windows of whole units, each closed as soon as it holds 500 of these rows, with their first row."""
    unit = at_ms[rows] // unit_ms
    starts = [0, *(np.flatnonzero(np.diff(unit)) + 1).tolist(), rows.size]
    begin = 0
    for end in starts[1:]:
        if end - begin < MIN_ROWS:
            continue
        picked = rows[begin:end]
        window = profile(baseline.inputs, {n: v[picked] for n, v in columns.items()}, event_at_ms=at_ms[picked])
        report = judge(
            baseline,
            window,
            None,
            learned_outputs=None,
            alpha=ALPHA,
            history=(),
            endpoint="study",
            release_hash="",
            version=1,
            from_at_ms=int(unit[begin]) * unit_ms,
            to_at_ms=int(unit[end - 1] + 1) * unit_ms,
        )
        yield int(picked[0]), report
        begin = end


def quiet(columns: Columns, kinds: dict[str, Kind], at_ms: Ints) -> list[str]:
    """Alarms in held-out weeks of the season the baseline was taken in."""
    week = (at_ms - at_ms[0]) // (7 * DAY_MS)
    lines = ["held-out weeks of the same quarter, share of windows at WARNING or worse:", ""]
    for quarter in range(4):
        first = quarter * WEEKS_PER_QUARTER
        weeks = range(first, first + WEEKS_PER_QUARTER)
        counts: Counter[str] = Counter()
        for held_out in weeks[::2]:
            fitted = (week >= weeks[0]) & (week <= weeks[-1]) & (week != held_out)
            baseline = _taken(columns, kinds, at_ms, fitted)
            for label, unit_ms in CADENCES.items():
                for _, report in judged(baseline, columns, at_ms, np.flatnonzero(week == held_out), unit_ms):
                    counts[f"{label} all"] += 1
                    counts[label] += report.severity in ("WARNING", "CRITICAL")
        lines += [f"  quarter {quarter + 1}  {label:<21} {_share(label, counts)}" for label in CADENCES]
    return lines


def loud(columns: Columns, kinds: dict[str, Kind], at_ms: Ints) -> list[str]:
    """Alarms from April on, against a baseline of January to March."""
    month = at_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    baseline = _taken(columns, kinds, at_ms, month <= 3)
    lines = ["baseline January to March, daily windows of the later months:", ""]
    counts: Counter[str] = Counter()
    columns_behind: dict[int, Counter[str]] = {}
    for row, report in judged(baseline, columns, at_ms, np.flatnonzero(month > 3), DAY_MS):
        behind = columns_behind.setdefault(int(month[row]), Counter())
        counts[f"{month[row]} all"] += 1
        counts[f"{month[row]}"] += report.severity in ("WARNING", "CRITICAL")
        behind.update(v.name for v in report.features if v.severity in ("WARNING", "CRITICAL"))
    for number, behind in columns_behind.items():
        lines.append(f"  month {number:<3} {_share(str(number), counts)}   {dict(behind.most_common(4))}")
    return lines


def _taken(columns: Columns, kinds: dict[str, Kind], at_ms: Ints, rows: np.ndarray) -> Baseline:
    picked = {name: values[rows] for name, values in columns.items()}
    return take_baseline(picked, kinds, event_at_ms=at_ms[rows])


def _share(label: str, counts: Counter[str]) -> str:
    return f"{counts[label]:3} of {counts[label + ' all']:3}"


def main() -> None:
    began = time.monotonic()
    columns, kinds, at_ms = flights()
    lines = [
        "python benchmarks/natural_variation.py",
        versions(),
        f"{len(kinds)} columns, alpha = {ALPHA:.2g}",
        "",
    ]
    lines += [*quiet(columns, kinds, at_ms), "", *loud(columns, kinds, at_ms)]
    print("\n".join([*lines, "", f"took {time.monotonic() - began:.0f} s"]))


if __name__ == "__main__":
    main()
