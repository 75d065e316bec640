"""How often unchanged windows alarm, and how often planted changes are found: one run, the same settings.

A split shuffles all rows of a family and takes a reference; windows are drawn from the rows that are left, so
nothing has changed and every alarm is false, whatever the rule under test thinks. Windows of one split share
its reference, hence intervals come from resampling whole splits. Planted changes (`power.py`) are made in the
same windows of 2,000 rows and judged by the same baseline at the same alpha.

    python -m benchmarks.monitoring.quiet [--family flights] [--splits 200] [--windows 25] [--seed 0] [--write]

The weights, levels and tests were settled on splits of seed 9000; what is reported is of seed 0.
"""

from __future__ import annotations

import argparse
import pickle
import resource
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from scipy.special import betaincinv

from benchmarks.monitoring.families import FAMILIES, Family, kinds_of, load, versions
from benchmarks.monitoring.power import BARS, Plant, missing_share, plants, seed_of
from mlspine.core.types import Columns, DriftReport
from mlspine.monitoring.drift import RANK, WARNING_ALPHA, judge
from mlspine.stats.baseline import Baseline, take_baseline
from mlspine.stats.binned import binned
from mlspine.stats.bins import Ints, Profile, Values
from mlspine.stats.calibrate import ALPHA
from mlspine.stats.compare import Comparison, Side, column_components, column_p, compare_windows, sides
from mlspine.stats.levels import coded
from mlspine.stats.profile import profile
from mlspine.stats.series import series_of

SIZES = (500, 2_000, 10_000)
PLANTED_ROWS = 2_000
RESAMPLES = 5_000
RESULTS = Path(__file__).parent.parent / "results"
# Every change is planted in every so many-th split.
PLANTED_EVERY = 4
_SHARE = 10  # splits handed to a process at a time


class Quiet(NamedTuple):
    """Per split and window: whether it was significant, and whether it was WARNING or worse."""

    significant: np.ndarray  # (splits, windows)
    warning: np.ndarray


class Study(NamedTuple):
    """found: (what, column) -> (split, named, WARNING or worse with the column named first) per planted window."""

    family: Family
    quiet: dict[int, Quiet]
    found: dict[tuple[str, str], list[tuple[int, bool, bool]]]
    culprits: Counter[str]
    measured: list[float]  # the self-check's own rate, per split
    cpu_s: float


def run(family: Family, *, splits: int, windows: int, seed: int, first: int = 0) -> Study:
    """Judge every window of every split.

    A window in which the smallest p over the columns is above the level is OK by the rule, so it is asked of
    all windows in one pass over the counts; whatever is at most 1.5 times the level is judged as in service,
    by `mlspine.stats.profile` and `mlspine.monitoring.drift.judge`, and that judgement is what counts.
    """
    began = _cpu_s()
    table = _Table(family)
    changes = plants(family)
    quiet = {n: Quiet(*(np.zeros((splits, windows), dtype=bool) for _ in range(2))) for n in SIZES}
    found: dict[tuple[str, str], list[tuple[int, bool, bool]]] = {(p.what, p.column): [] for p in changes}
    culprits: Counter[str] = Counter()
    measured: list[float] = []
    for split in range(splits):
        picked, drawn = drawn_rows(family, windows=windows, seed=seed, split=first + split)
        baseline = take_baseline(table.rows(picked), kinds_of(family, family.studied), seed=split)
        assert baseline.false_alarm is not None
        assert baseline.critical_p is not None
        measured.append(baseline.false_alarm.value)
        for n in SIZES:
            least = table.p(baseline, drawn[n]).min(axis=0)
            for i in np.flatnonzero(least <= 1.5 * baseline.critical_p).tolist():
                report = _judge(baseline, profile(baseline.inputs, table.rows(drawn[n][i])))
                quiet[n].significant[split, i] = any(feature.significant for feature in report.features)
                quiet[n].warning[split, i] = RANK[report.severity] >= RANK["WARNING"]
                culprits.update(f"{f.name} ({n})" for f in report.features if RANK[f.severity] >= RANK["WARNING"])
        for change, report in _planted(baseline, table, changes, drawn[PLANTED_ROWS], seed, first + split):
            found[change.what, change.column].append((split, *_hit(report, change.column)))
        if (split + 1) % 10 == 0:
            print(f"{family.name}: splits {first + 1} to {first + split + 1}, {_cpu_s() - began:.0f} s", flush=True)
    return Study(family, quiet, found, culprits, measured, _cpu_s() - began)


def run_shared(family: Family, *, splits: int, windows: int, seed: int, jobs: int, keep: Path | None) -> Study:
    """`run` with the splits shared out over processes. keep: folder in which finished shares outlive a stop."""
    shares = [(start, min(_SHARE, splits - start)) for start in range(0, splits, _SHARE)]
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        waiting = [pool.submit(_share, family.name, share, windows, seed, keep) for share in shares]
        found = [each.result() for each in waiting]
    return _joined([study._replace(family=family) for study in found], [start for start, _ in shares])


def _share(name: str, share: tuple[int, int], windows: int, seed: int, keep: Path | None) -> Study:
    kept = None if keep is None else keep / f"{name}-{seed}-{windows}-{share[0]}-{share[1]}.pickle"
    if kept is not None and kept.exists():
        return cast(Study, pickle.loads(kept.read_bytes()))
    study = run(_loaded(name), splits=share[1], windows=windows, seed=seed, first=share[0])
    # The tables are large, and the same everywhere.
    bare = study._replace(family=study.family._replace(columns={}))
    if kept is not None:
        kept.write_bytes(pickle.dumps(bare))
    return bare


@cache
def _loaded(name: str) -> Family:
    return load(name)


def _joined(studies: list[Study], starts: list[int]) -> Study:
    quiet = {n: Quiet(*(np.concatenate([study.quiet[n][i] for study in studies]) for i in range(2))) for n in SIZES}
    found: dict[tuple[str, str], list[tuple[int, bool, bool]]] = {}
    for study, start in zip(studies, starts, strict=True):
        for key, hits in study.found.items():
            found.setdefault(key, []).extend((split + start, named, warned) for split, named, warned in hits)
    culprits = sum((study.culprits for study in studies), Counter())
    measured = [rate for study in studies for rate in study.measured]
    return Study(studies[0].family, quiet, found, culprits, measured, sum(study.cpu_s for study in studies))


def drawn_rows(family: Family, *, windows: int, seed: int, split: int) -> tuple[Ints, dict[int, list[Ints]]]:
    """Positions of the reference rows of a split, and of its windows by size, drawn from the rows left over."""
    rng = np.random.default_rng([seed, split])
    order = rng.permutation(family.rows)
    rest = order[family.reference_rows :]
    drawn = {n: [rng.choice(rest, n, replace=False, shuffle=False) for _ in range(windows)] for n in SIZES}
    return order[: family.reference_rows], drawn


def plant(change: Plant, values: np.ndarray, *, seed: int, split: int) -> np.ndarray:
    """The column's values with the change made, the same whoever judges them."""
    return change.apply(values, np.random.default_rng([seed, split, seed_of(change.what, change.column)]))


def planted_in(changes: list[Plant], split: int) -> list[tuple[int, Plant]]:
    """The changes planted in this split, each with a number that says in which window."""
    return [(i, change) for i, change in enumerate(changes) if (i + split) % PLANTED_EVERY == 0]


class _Table:
    """A family's studied columns, each value looked up once instead of once per row."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._distinct: dict[str, np.ndarray] = {}
        self._place: dict[str, Ints] = {}
        self._columns: dict[str, Values] = {}
        for name in family.studied:
            values = family.columns[name]
            if values.dtype == object:
                levels = coded(values)
                self._distinct[name], self._place[name] = np.array(levels.levels, dtype=object), levels.codes
                self._columns[name] = levels
            else:
                self._distinct[name], self._place[name] = np.unique(values, return_inverse=True)
                self._columns[name] = values

    def rows(self, index: Ints) -> Columns:
        return cast(Columns, {name: values[index] for name, values in self._columns.items()})

    def values(self, name: str, index: Ints) -> np.ndarray:
        return self._family.columns[name][index]

    def p(self, baseline: Baseline, windows: list[Ints]) -> np.ndarray:
        """p per column and window, (columns, windows), as `compare` gives it."""
        reference = baseline.inputs
        index, group = np.concatenate(windows), np.repeat(np.arange(len(windows)), [w.size for w in windows])
        before = sides([reference.profile])
        after = list(before)
        for i, part in enumerate(reference.parts):
            series = series_of(part, reference.kinds[part.column], self._distinct[part.column], None)
            assert series is not None
            counter = binned(part, series, centre=0.0).counter[self._place[part.column][index]]
            flat = np.bincount(group * part.counters + counter, minlength=len(windows) * part.counters)
            after[i] = Side(flat.reshape(len(windows), part.counters), *(np.zeros(len(windows)) for _ in range(4)))
        return np.stack([column_p(column_components(reference, name, before, after)) for name in reference.names])


def _judge(baseline: Baseline, window: Profile, compared: tuple[Comparison, ...] | None = None) -> DriftReport:
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
        compared=compared,
    )


def _planted(
    baseline: Baseline, table: _Table, changes: list[Plant], windows: list[Ints], seed: int, split: int
) -> Iterator[tuple[Plant, DriftReport]]:
    """Each change in a window of its own, judged as in service."""
    chosen = planted_in(changes, split)
    changed = []
    for i, change in chosen:
        picked = windows[i % len(windows)]
        rows = dict(table.rows(picked))
        rows[change.column] = plant(change, table.values(change.column, picked), seed=seed, split=split)
        changed.append(profile(baseline.inputs, rows))
    compared = compare_windows(baseline.inputs, changed)
    for (_, change), window, each in zip(chosen, changed, compared, strict=True):
        yield change, _judge(baseline, window, each)


def _hit(report: DriftReport, column: str) -> tuple[bool, bool]:
    feature = next(f for f in report.features if f.name == column)
    return feature.named, RANK[feature.severity] >= RANK["WARNING"]


# ---------------------------------------------------------------- figures


def clustered(by_split: np.ndarray, trials: int, seed: int = 0) -> tuple[float, float, float]:
    """Mean over splits with a 95% interval from resampling whole splits.

    Where few splits differ, resampling cannot show what was missed: the upper bound is then at least that of
    Clopper and Pearson over all windows.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, by_split.size, (RESAMPLES, by_split.size))
    lo, hi = np.quantile(by_split[draws].mean(axis=1), [0.025, 0.975])
    hits = round(float(by_split.mean()) * trials)
    exact = float(betaincinv(hits + 1, trials - hits, 0.975)) if hits < trials else 1.0
    return float(by_split.mean()), float(lo), max(float(hi), exact) if hits < 20 else float(hi)


def quiet_table(study: Study) -> list[str]:
    splits, windows = study.quiet[SIZES[0]].significant.shape
    family = study.family
    lines = [
        f"{family.name}: {len(family.studied)} columns, {family.reference_rows:,} reference rows, "
        f"{splits} splits x {windows} unchanged windows",
        f"  {'rows':>7}  {'significant':>12}  {'95% interval':<18}  {'WARNING or worse':>16}  {'95% interval':<18}",
    ]
    for n, quiet in study.quiet.items():
        figures = []
        for fired in quiet:
            mean, lo, hi = clustered(fired.mean(axis=1), fired.size)
            figures.append(f"{mean:.2%} ({int(fired.sum())})  [{lo:.2%}, {hi:.2%}]")
        lines.append(f"  {n:>7,}  {figures[0]:<34}  {figures[1]}")
    all_warnings = np.concatenate([quiet.warning for quiet in study.quiet.values()], axis=1)
    mean, lo, hi = clustered(all_warnings.mean(axis=1), all_warnings.size)
    lines.append(f"  {'all':>7}  {'':<34}  {mean:.3%} ({int(all_warnings.sum())})  [{lo:.3%}, {hi:.3%}]")
    lines.append(f"  columns behind a WARNING (rows): {dict(study.culprits.most_common(8)) or 'none'}")
    lines.append(f"  the self-check's own figure, mean over splits: {np.mean(study.measured):.2%}")
    return lines


def power_table(study: Study) -> list[str]:
    lines = [f"{study.family.name}: changes planted in windows of {PLANTED_ROWS:,} rows, share found (bar)"]
    for bar in BARS:
        columns = sorted({column for what, column in study.found if what == bar.what})
        if not columns:
            continue
        by_column = {column: _shares(study, bar.what, column, bar.asks) for column in columns}
        windows = sum(len(study.found[bar.what, column]) for column in columns)
        mean, lo, hi = _pooled(study, bar.what, columns, bar.asks)
        asks = "window significant, column named" if bar.asks == "named" else "WARNING on the column"
        lines.append(
            f"  {bar.what:<15} {asks:<32} {mean:6.1%} [{lo:.1%}, {hi:.1%}] of {windows:>5} in {len(columns):>2} columns"
            f"  (>= {bar.least:.0%})"
        )
        weak = {column: share for column, share in by_column.items() if share < bar.least}
        if weak:
            lines.append("      below the bar: " + ", ".join(f"{c} {s:.0%}" for c, s in sorted(weak.items())))
        if bar.what.startswith("missing"):
            sound = [column for column in columns if missing_share(study.family, column) <= 0.05]
            mean, lo, hi = _pooled(study, bar.what, sound, bar.asks)
            lines.append(
                f"      of the {len(sound)} columns with at most 5% missing before: {mean:.1%} [{lo:.1%}, {hi:.1%}]"
            )
    return lines


def _shares(study: Study, what: str, column: str, asks: str) -> float:
    return float(np.mean([_reached(each, asks) for each in study.found[what, column]]))


def _pooled(study: Study, what: str, columns: list[str], asks: str) -> tuple[float, float, float]:
    """Mean over columns, each with the same weight, and its interval over splits."""
    splits = sorted({split for column in columns for split, *_ in study.found[what, column]})
    place = {split: i for i, split in enumerate(splits)}
    hits, trials = np.zeros((len(splits), len(columns))), np.zeros((len(splits), len(columns)))
    for j, column in enumerate(columns):
        for each in study.found[what, column]:
            trials[place[each[0]], j] += 1
            hits[place[each[0]], j] += _reached(each, asks)
    draws = np.random.default_rng(0).integers(0, len(splits), (2_000, len(splits)))
    shares = (hits[draws].sum(axis=1) / np.maximum(trials[draws].sum(axis=1), 1)).mean(axis=1)
    lo, hi = np.quantile(shares, [0.025, 0.975])
    return float((hits.sum(axis=0) / trials.sum(axis=0)).mean()), float(lo), float(hi)


def _reached(each: tuple[int, bool, bool], asks: str) -> bool:
    return each[1] if asks == "named" else each[2]


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="False alarms on unchanged windows, and the power beside them.")
    parser.add_argument("--family", choices=sorted(FAMILIES), action="append", help="default: both")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--windows", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, help="folder for finished shares of the splits, to go on from")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/monitoring_quiet_FAMILY.txt")
    given = parser.parse_args(None if arguments is None else list(arguments))
    for name in given.family or list(FAMILIES):
        began = time.monotonic()
        study = run_shared(
            load(name), splits=given.splits, windows=given.windows, seed=given.seed, jobs=given.jobs, keep=given.keep
        )
        lines = [
            f"python -m benchmarks.monitoring.quiet --family {name} --splits {given.splits} "
            f"--windows {given.windows} --seed {given.seed}",
            versions(),
            f"alpha = {ALPHA}, WARNING at {WARNING_ALPHA}; intervals clustered by split",
            "",
            *quiet_table(study),
            "",
            *power_table(study),
            "",
            f"took {study.cpu_s:.0f} s of one core, {time.monotonic() - began:.0f} s by the clock",
        ]
        print("\n".join(lines))
        if given.write:
            (RESULTS / f"monitoring_quiet_{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
