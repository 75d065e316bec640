"""How many WARNING alerts a workspace gets in a month in which nothing changed, and how soon a change is one.

Workspaces of 1 to 5 models, 10 to 100 columns each, drawn by `simulator.py`: ties, nulls, heavy tails, rare
levels, correlated columns, a daily cycle in level and in traffic, for half of the workspaces a weekly one too.
Each model is shipped with training rows of the eight weeks before and then serves for months along the path of
`watching.py`. An alert that opens is one WARNING; a month is 30 days of event time; intervals resample whole
workspaces. The first month is counted like any other: alpha knows no history then. No importance is given, so
that every column counts.

All windows of a month are compared in one pass; those that come anywhere near a WARNING, and a sample of the
others, are then judged by `judge` itself, and the sample must agree.

Rows until a change is a WARNING: 0.5 sd are added to one of the first four columns, which carry 10 to 25% of the
answer each, at a random moment of the fourth day of service. Counted are the rows served from then until the end
of the window that makes a WARNING of that column.

    python -m benchmarks.monitoring.months [--workspaces 85] [--months 4] [--models 50] [--cache FILE] [--write]
"""

from __future__ import annotations

import argparse
import platform
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.monitoring import spending
from benchmarks.monitoring.simulator import Change, World, answer, draw, event_times, make_world
from benchmarks.monitoring.watching import (
    Kept,
    Watch,
    Window,
    alphas,
    judged,
    mean_of,
    window_of_rows,
    windows_of,
    written,
)
from mlspine.core.types import Columns, DriftReport
from mlspine.monitoring.alert import RANK
from mlspine.monitoring.window import DAY_MS, PERIOD_MS, rows_by_slot, span_of
from mlspine.stats.baseline import Baseline, output_key, take_baseline
from mlspine.stats.binned import Sums, binned, side_of, summed
from mlspine.stats.calibrate import clopper_pearson
from mlspine.stats.compare import column_components, column_effects, column_p
from mlspine.stats.profile import Floats, Ints, Profile, Reference, profile
from mlspine.stats.seasons import SLOTS, Seasons, expected
from mlspine.stats.series import series_of
from mlspine.stats.side import Side

RESULTS = Path(__file__).parent.parent / "results" / "monitoring_months.txt"
START_MS = 19_723 * DAY_MS  # 1 January 2024, a Monday
TRAINING_MS = 56 * DAY_MS
TRAINING_ROWS = (10_000, 60_000)
FEATURES = (10, 100)
ROWS_PER_DAY = (1_000, 12_000)
SAMPLED = 2  # windows of each month judged in full although nothing shows
MARGIN = 1.5  # how far from a WARNING a window may be and still be judged in full
CHUNK_MS = 3 * DAY_MS
SHIFT_SD = 0.5
ROWS_BAR = 1_000
TRIED = 6  # windows a change is given to be seen in
# Busy endpoints cost more to draw, so only every fourth model has its turn there.
TRAFFIC = (("quiet endpoints", 2_500, 1), ("busy endpoints", 30_000, 4))


class Model:
    """One served model: its world, its baseline, and the rows it is asked for, the same each time they are."""

    def __init__(self, seed: int, *, weekly: bool, months: int, rows_per_day: float = 0, until_at_ms: int = 0) -> None:
        rng = np.random.default_rng([seed, 2])
        features = round(float(np.exp(rng.uniform(*np.log(FEATURES)))))
        rows_per_day = rows_per_day or float(np.exp(rng.uniform(*np.log(ROWS_PER_DAY))))
        self.world = make_world(features, seed=seed, rows_per_day=rows_per_day, weekly=weekly)
        self.seed = seed
        until = until_at_ms or START_MS + months * PERIOD_MS
        self.at_ms: Ints = event_times(self.world, rng, from_at_ms=START_MS, to_at_ms=until)
        self.baseline = self._shipped(rng)

    def _shipped(self, rng: np.random.Generator) -> Baseline:
        every = event_times(self.world, rng, from_at_ms=START_MS - TRAINING_MS, to_at_ms=START_MS)
        wanted = min(every.size, int(np.exp(rng.uniform(*np.log(TRAINING_ROWS)))))
        at_ms = np.sort(rng.choice(every, wanted, replace=False))
        columns = draw(self.world, at_ms, rng)
        return take_baseline(
            columns,
            self.world.kinds,
            outputs=outputs_of(self.world, columns),
            outputs_from="out-of-fold",
            event_at_ms=at_ms,
            seed=self.seed,
        )

    def rows(self, from_at_ms: int, to_at_ms: int, changes: Sequence[Change] = ()) -> tuple[Ints, Columns, Columns]:
        """Event times, inputs and outputs of a stretch of whole chunks."""
        picked = self.at_ms[(self.at_ms >= from_at_ms) & (self.at_ms < to_at_ms)]
        parts = []
        for start in range(from_at_ms, to_at_ms, CHUNK_MS):
            at_ms = picked[(picked >= start) & (picked < start + CHUNK_MS)]
            rng = np.random.default_rng([self.seed, 3, start // CHUNK_MS])
            parts.append(draw(self.world, at_ms, rng, changes=changes))
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return picked, columns, outputs_of(self.world, columns)

    def window(self, window: Window, changes: Sequence[Change] = ()) -> tuple[Profile, Profile]:
        """Inputs and outputs of one window, counted as serving counts them."""
        span = span_of(window)
        first = START_MS + (span.from_at_ms - START_MS) // CHUNK_MS * CHUNK_MS
        last = START_MS - (START_MS - span.to_at_ms) // CHUNK_MS * CHUNK_MS
        at_ms, columns, outputs = self.rows(first, last, changes)
        inside = (at_ms >= span.from_at_ms) & (at_ms < span.to_at_ms)
        assert self.baseline.outputs is not None
        return tuple(
            profile(reference, {name: values[inside] for name, values in table.items()}, event_at_ms=at_ms[inside])
            for reference, table in ((self.baseline.inputs, columns), (self.baseline.outputs, outputs))
        )  # type: ignore[return-value]


class Near(NamedTuple):
    """Per window and column: p; per window and effect of a column: value over limit and p of the effect."""

    p: Floats
    over: Floats
    effect_p: Floats


class Month(NamedTuple):
    """What one workspace got in 30 days. spent: the sum of alpha over its windows."""

    models: int
    windows: int
    alerts: int
    told: int
    spent: float
    causes: dict[str, int]


class Workspace(NamedTuple):
    """Months in which nothing changed, and the checks made on the way."""

    months: tuple[Month, ...]
    judged: int
    disagreed: int


def outputs_of(world: World, columns: Columns) -> Columns:
    """What the model answers: its score and the class it gives."""
    score = answer(world, columns)
    return {"score": score, "prediction": (score > 0.5).astype(np.int64)}


def workspace(seed: int, months: int) -> Workspace:
    """Months of one workspace in which nothing changes."""
    rng = np.random.default_rng([seed, 1])
    models = [
        Model(int(rng.integers(2**31)), weekly=seed % 2 == 1, months=months) for _ in range(int(rng.integers(1, 6)))
    ]
    windows = [windows_of(model.at_ms) for model in models]
    near = [nearness(model, cut) for model, cut in zip(models, windows, strict=True)]
    order = sorted((span_of(window).to_at_ms, i, k) for i, cut in enumerate(windows) for k, window in enumerate(cut))
    alpha = alphas([(i, span_of(windows[i][k])) for _, i, k in order])
    drawn = set(rng.choice(len(order), min(len(order), SAMPLED * months), replace=False).tolist())
    found = [Month(len(models), 0, 0, 0, 0.0, Counter()) for _ in range(months)]
    watches = [Watch() for _ in models]
    judged_, disagreed = 0, 0
    for turn, ((to_at_ms, i, k), level) in enumerate(zip(order, alpha, strict=True)):
        candidate = _candidate(near[i], k, level)
        report = _quiet(windows[i][k], models[i].baseline)
        if candidate or turn in drawn:
            inputs, outputs = models[i].window(windows[i][k])
            report = judged(
                models[i].baseline, windows[i][k], inputs, outputs=outputs, alpha=level, history=watches[i].history
            )
            judged_ += 1
            disagreed += not candidate and RANK[report.severity] >= RANK["WARNING"]
        at = min(months - 1, (to_at_ms - 1 - START_MS) // PERIOD_MS)
        found[at] = _added(found[at], watches[i], report, level)
    return Workspace(tuple(found), judged_, disagreed)


def nearness(model: Model, windows: Sequence[Window]) -> Near:
    """How near every window comes to a WARNING, all windows compared in one pass per column."""
    assert model.baseline.outputs is not None
    spans = [span_of(window) for window in windows]
    slots = np.stack([rows_by_slot(window) for window in windows])
    short = np.array([span.to_at_ms - span.from_at_ms < DAY_MS for span in spans])
    references = (model.baseline.inputs, model.baseline.outputs)
    counted: tuple[dict[int, Sums], ...] = ({}, {})
    edge = START_MS - (START_MS - int(model.at_ms[-1]) - 1) // CHUNK_MS * CHUNK_MS
    for start in range(START_MS, edge, CHUNK_MS):
        at_ms, *tables = model.rows(start, start + CHUNK_MS)
        place = window_of_rows(at_ms, windows)
        for reference, table, held in zip(references, tables, counted, strict=True):
            for i, part in enumerate(reference.parts):
                series = series_of(part, reference.kinds[part.column], table[part.column], at_ms)
                assert series is not None
                rows = binned(part, series, centre=_centre(reference, i))
                more = summed(part, rows, place, len(windows))
                held[i] = Sums(*(x + y for x, y in zip(held[i], more, strict=True))) if i in held else more
    p, over, effect_p = [], [], []
    for reference, held, seasons, key in zip(
        references, counted, (model.baseline.seasons, model.baseline.output_seasons), (str, output_key), strict=True
    ):
        after = [_side(reference, i, held[i]) for i in range(len(reference.parts))]
        before = _expected(reference, seasons, slots)
        for name in reference.names:
            p.append(np.broadcast_to(column_p(column_components(reference, name, before, after)), len(windows)))
            effects = column_effects(reference, name, before, after)
            long = model.baseline.limits[key(name)]
            brief = model.baseline.limits_short.get(key(name), long)
            for effect, limit in long.items():
                if effect in effects:
                    over.append(effects[effect].value / np.where(short, brief[effect], limit))
                    effect_p.append(np.broadcast_to(effects[effect].p, len(windows)))
    return Near(np.stack(p, -1), np.stack(over, -1), np.stack(effect_p, -1))


# ---------------------------------------------------------------- inside


def _candidate(near: Near, k: int, alpha: float) -> bool:
    """Whether a window may be at WARNING: generous, since bins differ a little from those of one window."""
    level = MARGIN * alpha / near.p.shape[1]
    if near.p[k].min() > level:
        return False
    return bool(np.any((near.over[k] > 1 / MARGIN) & (near.effect_p[k] <= level)))


def _expected(reference: Reference, seasons: Seasons | None, slots: Ints) -> list[Side]:
    """The reference as each window's hours looked."""
    shares = slots / slots.sum(axis=1, keepdims=True)
    moving = {each.position: each for each in seasons.parts} if seasons is not None else {}
    found = []
    for i, part in enumerate(reference.parts):
        if i in moving:
            stored = moving[i]
            first, second = stored.sums.reshape(2, -1)
            counts = stored.counts.astype(np.float64).reshape(SLOTS, -1)
            mixed = expected(Sums(counts, first, second), shares)
            found.append(_side(reference, i, mixed))
        else:
            tally = reference.profile.parts[i]
            found.append(
                Side(
                    np.broadcast_to(tally.counts, (len(slots), part.counters)),
                    *(np.full(len(slots), x) for x in (tally.mean, tally.m2, tally.low, tally.high)),
                )
            )
    return found


def _side(reference: Reference, i: int, sums: Sums) -> Side:
    whole = reference.profile.parts[i]
    return side_of(reference.parts[i], sums, centre=_centre(reference, i), low=whole.low, high=whole.high)


def _centre(reference: Reference, i: int) -> float:
    mean = reference.profile.parts[i].mean
    return mean if np.isfinite(mean) else 0.0


def _quiet(window: Window, baseline: Baseline) -> DriftReport:
    span = span_of(window)
    return DriftReport(
        endpoint="study",
        release_hash="r",
        version=1,
        reference_id=baseline.inputs.id,
        from_at_ms=span.from_at_ms,
        to_at_ms=span.to_at_ms,
        rows=sum(hour.rows for hour in window),
        status="JUDGED",
        severity="OK",
        alpha=0.0,
        false_alarm_nominal=0.0,
        false_alarm_measured=None,
        seasonality="",
        features=(),
    )


def _added(month: Month, watch: Watch, report: DriftReport, alpha: float) -> Month:
    told = watch.told
    fresh = watch.take(report)
    return Month(
        month.models,
        month.windows + 1,
        month.alerts + len(fresh),
        month.told + watch.told - told,
        month.spent + alpha,
        Counter(month.causes) + Counter(alert.cause.split(":")[-1] for alert in fresh),
    )


# ---------------------------------------------------------------- rows until a change is seen


class Seen(NamedTuple):
    """rows: served until a WARNING names the column; inf when it never came."""

    rows: float
    window_rows: float


def detections(seed: int, rows_per_day: float) -> list[Seen]:
    """Half a standard deviation on each of the first four columns of one model in turn."""
    model = Model(seed, weekly=False, months=1, rows_per_day=rows_per_day, until_at_ms=START_MS + 6 * DAY_MS)
    windows = windows_of(model.at_ms)
    spans = [span_of(window) for window in windows]
    alpha = alphas([(0, span) for span in spans])
    rng = np.random.default_rng([seed, 5])
    found = []
    for column in ("x0", "x1", "x2", "x3"):
        onset = START_MS + 3 * DAY_MS + int(rng.integers(DAY_MS))
        change = Change(column, "shift", SHIFT_SD, onset_at_ms=onset)
        first = next(k for k, span in enumerate(spans) if span.to_at_ms > onset)
        seen = next((k for k in range(first, first + TRIED) if _warns(model, windows[k], alpha[k], change)), None)
        until = np.inf if seen is None else float(((model.at_ms >= onset) & (model.at_ms < spans[seen].to_at_ms)).sum())
        found.append(Seen(until, float(np.mean([sum(hour.rows for hour in w) for w in windows]))))
    return found


def _warns(model: Model, window: Window, alpha: float, change: Change) -> bool:
    inputs, outputs = model.window(window, [change])
    report = judged(model.baseline, window, inputs, outputs=outputs, alpha=alpha)
    return any(v.name == change.column and RANK[v.severity] >= RANK["WARNING"] for v in report.features)


# ---------------------------------------------------------------- the table


def quiet_table(found: Sequence[Workspace]) -> list[str]:
    """Alerts per workspace-month, in all, of the first month, by size of workspace, and their distribution."""
    months = [month for each in found for month in each.months]
    model_months = sum(month.models for month in months)
    windows = sum(month.windows for month in months)
    lines = [
        f"{len(found)} workspaces of 1 to 5 models, {len(months)} workspace-months, {model_months} model-months,",
        f"{windows} windows; nothing changed; mean per workspace-month, 95% interval clustered by workspace:",
        "",
    ]
    for label, of in (("WARNING alerts", "alerts"), ("messages sent", "told"), ("alpha spent", "spent")):
        every = mean_of([float(np.mean([getattr(month, of) for month in each.months])) for each in found])
        young = mean_of([float(getattr(each.months[0], of)) for each in found])
        lines.append(f"  {label:<18} {every}   in the first month {young}")
    lines.append("")
    for models in range(1, 6):
        some = [each for each in found if each.months[0].models == models]
        if some:
            alerts = mean_of([float(np.mean([month.alerts for month in each.months])) for each in some])
            lines.append(f"  {models} models, {len(some):3} workspaces: WARNING alerts {alerts}")
    share = Counter(month.alerts for month in months)
    listed = ", ".join(f"{count}: {share[count]}" for count in sorted(share))
    causes: Counter[str] = sum((Counter(month.causes) for month in months), Counter())
    lines += [
        "",
        f"  workspace-months by number of alerts: {listed}",
        f"  alerts by direction: {dict(causes.most_common()) or 'none'}",
        f"  windows judged in full {sum(each.judged for each in found)}, of them at WARNING although the one-pass",
        f"  comparison had ruled it out: {sum(each.disagreed for each in found)}",
    ]
    return lines


def loud_table(label: str, seen: Sequence[Seen]) -> list[str]:
    """Rows until the change was a WARNING, as quantiles."""
    rows = np.array([each.rows for each in seen])
    soon = int((rows <= ROWS_BAR).sum())
    share = clopper_pearson(soon, rows.size)
    quantiles = np.quantile(rows, [0.5, 0.9, 0.95, 0.99], method="higher")
    window = float(np.mean([each.window_rows for each in seen]))
    return [
        f"  {label}, {rows.size} trials, {window:.0f} rows a window:",
        f"    half {quantiles[0]:.0f}, 90% {quantiles[1]:.0f}, 95% {quantiles[2]:.0f}, 99% {quantiles[3]:.0f} rows;"
        f" at most {ROWS_BAR}: {share.value:.1%} [{share.lo:.1%}, {share.hi:.1%}]",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workspaces", type=int, default=85)
    parser.add_argument("--months", type=int, default=4)
    parser.add_argument("--models", type=int, default=50, help="models on which changes are planted, four each")
    parser.add_argument("--cache", default="", help="JSON lines of what was found, read first and added to")
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULTS.name}")
    given = parser.parse_args(None if arguments is None else list(arguments))
    began = time.monotonic()
    kept = Kept(given.cache)
    found = [
        kept.of(f"quiet {seed} {given.months}", Workspace, partial(workspace, seed, given.months))
        for seed in range(given.workspaces)
    ]
    lines = [*quiet_table(found), "", f"+{SHIFT_SD} sd on an influential column, rows until it is a WARNING:", ""]
    for label, rows_per_day, every in TRAFFIC:
        trials = [
            each
            for seed in range(given.models // every)
            for each in kept.of(f"loud {seed} {rows_per_day}", list[Seen], partial(detections, seed, rows_per_day))
        ]
        lines += loud_table(f"{label}, {rows_per_day:,} rows a day", trials)
    lines += ["", "alpha spent, by how the rows come (budget 1.0):", "", *spending.table()]
    command = (
        f"python -m benchmarks.monitoring.months --workspaces {given.workspaces} --months {given.months}"
        f" --models {given.models}"
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("mlspine", "numpy", "scipy"))
    took = f"took {time.monotonic() - began:.0f} s" + (", part of it read from the cache" if given.cache else "")
    head = [command, f"{packages}, CPython {platform.python_version()}", ""]
    written([*head, *lines, "", took], str(RESULTS), given.write)


if __name__ == "__main__":
    main()
