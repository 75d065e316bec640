"""Is the planted cause ranked first, is its onset inside the interval, and is the segment named?

A change is planted in one column the model uses, so the truth is known; the ranking sees the served rows, the
release's baseline and the model, as `mlspine causes` does. Three ways a column changes:

    alone       its own values change: a shift, a wrong unit, values missing, a level more frequent, a new level
    dragging    it shifts and columns correlated with it follow, by `DRAG` of what the correlation implies
    selection   rows of one kind become more frequent, so that every column that depends on the kind changes

on simulated tables (`simulator.py`) and on both real tables (`families.py`), windows of 2,000 rows: shuffled
(nothing else changed) and, for real tables, whole days held out of the reference in time order (everything else
varies as it does). Beside it stand the rankings one would use without asking the model. Onsets and segments are
tried on the simulator with its daily cycle.

    python -m benchmarks.monitoring.cause [--trials 240] [--real 150] [--seed 0]
        [--tables simulated flights stops] [--parts rankings onsets segments interactions] [--out FILE]
"""

from __future__ import annotations

import argparse
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.monitoring import families, simulator
from mlspine.core.types import Columns, DriftReport
from mlspine.monitoring.cause_suspects import farness, rank, rank_by_importance
from mlspine.monitoring.drift import judge
from mlspine.registry.flavors import Outputs
from mlspine.registry.importance import influence
from mlspine.stats import mix, onset, two_sample
from mlspine.stats.baseline import Baseline, at_hours, take_baseline
from mlspine.stats.interval import wilson
from mlspine.stats.profile import Array, Floats, Kind, Profile, profile
from mlspine.stats.seasons import SLOTS, slots_of
from mlspine.stats.surrogate import fit_surrogate, pooled_bins
from mlspine.stats.transport import codes_of

REFERENCE_ROWS = 20_000
WINDOW_ROWS = 2_000
ALPHA = 0.01
DRAG = 0.3
LEAST_IMPORTANCE = 0.02
# rows a day, days of log, sd
ONSETS = (
    (2_400, 10, 0.3),
    (2_400, 10, 0.5),
    (12_000, 7, 0.3),
    (720, 14, 0.5),
    (12_000, 2, 0.3),
    (2_400, 10, 0.0),
    (12_000, 7, 0.0),
)
TABLES = ("simulated", "flights", "stops")
PARTS = ("rankings", "onsets", "segments", "interactions")
HOW = ("alone", "dragging", "selection")
RANKINGS = ("mlspine causes", "on a surrogate of the model", "importance x effect / limit", "largest effect / limit")
RESULTS = Path(__file__).parent.parent / "results" / "monitoring_cause.txt"


class Model(NamedTuple):
    """Something that answers: its outputs for columns, and the importance of each."""

    outputs: Callable[[Columns], Outputs]
    importance: dict[str, float]

    def ask(self, columns: Columns) -> Floats:
        """Probabilities, (n, 2)."""
        probabilities = self.outputs(columns).probabilities
        assert probabilities is not None
        return probabilities


class Trial(NamedTuple):
    """One planted change: the column, how, what was served, and what it is judged by."""

    column: str
    how: str
    what: str
    rows: Columns
    baseline: Baseline
    model: Model


class Outcome(NamedTuple):
    """Whether each ranking put the planted column first, and whether there was a WARNING at all."""

    group: str
    how: str
    first: dict[str, bool]
    warned: bool
    in_three: bool
    seconds: float


# ---------------------------------------------------------------- planting


def plant(
    columns: Columns, kinds: dict[str, Kind], name: str, sd: float, rng: np.random.Generator
) -> tuple[Array, str]:
    """The column with one change of its own values, and what was done."""
    values = columns[name]
    if kinds[name] == "numeric":
        numbers = values.astype(np.float64)
        what = str(rng.choice(["shift", "unit", "missing"]))
        if what == "shift":
            return numbers + rng.choice([-1, 1]) * rng.uniform(0.3, 1.0) * sd, what
        if what == "unit":
            return numbers * rng.choice([0.45, 1.8, 2.54]), what
        return np.where(rng.random(numbers.size) < rng.uniform(0.05, 0.2), np.nan, numbers), what
    known = [v for v in values.tolist() if v is not None]
    what = str(rng.choice(["share", "missing", "unseen"] if kinds[name] == "categorical" else ["share", "missing"]))
    objects = values.astype(object)
    hit = rng.random(objects.size) < rng.uniform(0.08, 0.25)
    if what == "unseen":
        objects[hit] = "new"
    elif what == "missing":
        objects[hit] = None
    else:
        objects[hit] = known[int(rng.integers(len(known)))]
    return objects, what


def drag(columns: Columns, kinds: dict[str, Kind], name: str, size_sd: float, before: Columns) -> Columns:
    """Every number correlated with the shifted column follows it by DRAG of what its correlation implies."""
    moved = dict(columns)
    for other in columns:
        if other == name or kinds[other] != "numeric":
            continue
        r = correlation(before[name], before[other])
        if abs(r) >= 0.15:
            moved[other] = columns[other].astype(np.float64) + DRAG * r * size_sd * np.nanstd(before[other])
    return moved


def correlation(a: Array, b: Array) -> float:
    """Pearson's, over rows where both are known; 0 for a constant."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 30 or np.std(x[known]) == 0 or np.std(y[known]) == 0:
        return 0.0
    return float(np.corrcoef(x[known], y[known])[0, 1])


def tilt(columns: Columns, kinds: dict[str, Kind], name: str, rng: np.random.Generator) -> Floats:
    """Weights that make rows of one kind, by this column, more frequent."""
    values = columns[name]
    if kinds[name] == "numeric":
        numbers = np.nan_to_num(values.astype(np.float64), nan=float(np.nanmedian(values.astype(np.float64))))
        ranks = np.argsort(np.argsort(numbers)) / numbers.size
        weights = np.exp(rng.choice([-1, 1]) * rng.uniform(1.0, 2.5) * ranks)
    else:
        levels, counts = np.unique(values.astype(str), return_counts=True)
        common = levels[counts >= 0.02 * values.size]
        weights = np.where(values.astype(str) == rng.choice(common), rng.uniform(2.0, 4.0), 1.0)
    return np.asarray(weights / weights.sum())


def served(
    pool: Columns, kinds: dict[str, Kind], name: str, how: str, before: Columns, rng: np.random.Generator
) -> tuple[Columns, str, Array]:
    """2,000 rows drawn from a pool with the change in them, what was done, and their places in the pool."""
    size = len(pool[name])
    if how == "selection":
        picked = rng.choice(size, min(WINDOW_ROWS, size // 2), replace=False, p=tilt(pool, kinds, name, rng))
        return families.rows_of(pool, picked), "selection", picked
    picked = rng.choice(size, min(WINDOW_ROWS, size), replace=False)
    rows = families.rows_of(pool, picked)
    sd = float(np.nanstd(before[name].astype(np.float64))) if kinds[name] == "numeric" else 1.0
    if how == "dragging" and kinds[name] == "numeric":
        size_sd = float(rng.choice([-1, 1]) * rng.uniform(0.3, 1.0))
        dragged = drag(rows, kinds, name, size_sd, before)
        return dragged | {name: rows[name].astype(np.float64) + size_sd * sd}, "shift", picked
    values, what = plant(rows, kinds, name, sd, rng)
    return rows | {name: values}, what, picked


# ---------------------------------------------------------------- tables and models


def simulated(trials: int, seed: int) -> Iterator[Trial]:
    """A new world and model for every three trials: 10 to 40 columns, a gradient boosted or a logistic model."""
    for number in range(-(-trials // len(HOW))):
        rng = np.random.default_rng([seed, number])
        world = simulator.make_world(int(rng.integers(10, 41)), seed=seed * 100_000 + number, daily=False)
        at = np.arange(REFERENCE_ROWS + 6 * WINDOW_ROWS, dtype=np.int64)
        columns = simulator.draw(world, at, rng)
        known = simulator.labels(simulator.answer(world, columns), rng)
        fitted_on = families.rows_of(columns, np.arange(REFERENCE_ROWS))
        model = fit_model(fitted_on, world.kinds, known[:REFERENCE_ROWS], linear=bool(number % 2))
        baseline = take_baseline(fitted_on, world.kinds, importance=model.importance, seed=number)
        pool = families.rows_of(columns, np.arange(REFERENCE_ROWS, len(at)))
        for how in HOW:
            yield _trial(pool, world.kinds, baseline, model, fitted_on, rng, how)


def real(name: str, trials: int, seed: int, *, in_time: bool) -> Iterator[Trial]:
    """Windows of one table; with a new split, model and baseline for every 15 trials."""
    family = families.load(name)
    kinds = families.kinds_of(family, family.known)
    kinds = {each: kind for each, kind in kinds.items() if kind in ("numeric", "categorical", "boolean")}
    columns = families.rows_of(family.columns, np.isfinite(family.label), kinds)
    label = family.label[np.isfinite(family.label)].astype(np.int64)
    at_ms = family.event_at_ms[np.isfinite(family.label)]
    for split in range(-(-trials // 15)):
        rng = np.random.default_rng([seed, split, in_time])
        if in_time:
            days = at_ms // simulator.DAY_MS
            held = np.isin(days, rng.choice(np.unique(days), 60, replace=False))
            order = np.flatnonzero(~held)
            fitted = np.sort(rng.choice(order, min(60_000, order.size), replace=False))
        else:
            order = rng.permutation(label.size)
            fitted, rest = order[: min(REFERENCE_ROWS, label.size // 2)], order[min(REFERENCE_ROWS, label.size // 2) :]
        before = families.rows_of(columns, fitted)
        model = fit_model(before, kinds, label[fitted], linear=bool(split % 2))
        times = at_ms[fitted] if in_time else None
        baseline = take_baseline(before, kinds, importance=model.importance, event_at_ms=times, seed=split)
        for number in range(min(15, trials - 15 * split)):
            if in_time:
                first = rng.choice(np.unique(days[held]))
                rest = np.flatnonzero(held & (days >= first))[: 3 * WINDOW_ROWS]
                if rest.size < WINDOW_ROWS:
                    rest = np.flatnonzero(held)[: 3 * WINDOW_ROWS]
            pool = families.rows_of(columns, rest)
            when = at_ms[rest] if in_time else None
            yield _trial(pool, kinds, baseline, model, before, rng, HOW[number % 3], when)


def _trial(
    pool: Columns,
    kinds: dict[str, Kind],
    baseline: Baseline,
    model: Model,
    before: Columns,
    rng: np.random.Generator,
    how: str,
    at_ms: Array | None = None,
) -> Trial:
    used = [name for name in kinds if model.importance.get(name, 0.0) >= LEAST_IMPORTANCE]
    if how == "dragging":
        used = [name for name in used if kinds[name] == "numeric"] or used
    column = str(rng.choice(used))
    rows, what, picked = served(pool, kinds, column, how, before, rng)
    if at_ms is not None:
        # As in service: compared with the hours of the week the window covers.
        baseline = at_hours(baseline, np.bincount(slots_of(at_ms[picked]), minlength=SLOTS))
    return Trial(column, how, what, rows, baseline, model)


def fit_model(rows: Columns, kinds: dict[str, Kind], label: Array, *, linear: bool) -> Model:
    """A gradient boosted model or, on the same codes, a logistic one; with its importance as at ship."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    levels = {
        name: {level: i for i, level in enumerate(sorted({str(v) for v in rows[name].tolist() if v is not None}))}
        for name, kind in kinds.items()
        if kind == "categorical"
    }

    def matrix(columns: Columns) -> Floats:
        coded = []
        for name, kind in kinds.items():
            values = columns[name]
            if kind == "categorical":
                place = levels[name]
                coded.append(np.array([np.nan if v is None else place.get(str(v), -1) for v in values.tolist()]))
            elif values.dtype == object:
                coded.append(np.array([np.nan if v is None else float(v) for v in values.tolist()]))
            else:
                coded.append(values.astype(np.float64))
        return np.column_stack(coded)

    def one_hot(columns: Columns) -> Floats:
        coded, out = matrix(columns), []
        for i, name in enumerate(kinds):
            if name in levels:
                out.append((coded[:, i][:, None] == np.arange(min(40, len(levels[name])))).astype(np.float64))
            else:
                filled = np.where(np.isfinite(coded[:, i]), coded[:, i], centre[i])
                out.append(np.clip((filled - centre[i]) / spread[i], -5, 5)[:, None])
        return np.hstack(out)

    taken = matrix(rows)
    centre = np.array([np.nanmedian(taken[:, i]) for i in range(taken.shape[1])])
    spread = np.array([np.nanstd(taken[:, i]) or 1.0 for i in range(taken.shape[1])])
    prepared = one_hot if linear else matrix
    model: Any = LogisticRegression(max_iter=300) if linear else HistGradientBoostingClassifier(max_iter=40)
    model.fit(prepared(rows), label)

    def outputs(columns: Columns) -> Outputs:
        shares = model.predict_proba(prepared(columns))
        return Outputs(prediction=shares.argmax(axis=1), probabilities=shares)

    return Model(outputs, influence(outputs, rows, "binary", budget_s=60.0))


# ---------------------------------------------------------------- ranking


def outcome(trial: Trial, group: str) -> Outcome:
    """What every ranking says of one trial."""
    window = profile(trial.baseline.inputs, trial.rows)
    report = verdict(trial.baseline, window)
    began = time.perf_counter()
    ranked = rank(report, trial.baseline, window, trial.rows, trial.model.ask)
    seconds = time.perf_counter() - began
    stand_in = fit_surrogate(trial.baseline.inputs, trial.rows, trial.model.ask(trial.rows)[:, 1])
    on_surrogate = rank(report, trial.baseline, window, trial.rows, stand_in.ask)
    inputs = [each for each in report.features if each.role == "input" and each.effects]
    largest = max(inputs, key=farness).name
    first = {
        RANKINGS[0]: ranked.credits[0].name == trial.column,
        RANKINGS[1]: on_surrogate.credits[0].name == trial.column,
        RANKINGS[2]: rank_by_importance(report).credits[0].name == trial.column,
        RANKINGS[3]: largest == trial.column,
    }
    in_three = trial.column in [each.name for each in ranked.credits[:3]]
    return Outcome(group, trial.how, first, report.severity in ("WARNING", "CRITICAL"), in_three, seconds)


def verdict(baseline: Baseline, window: Profile) -> DriftReport:
    """The report on a window of a day."""
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
        to_at_ms=simulator.DAY_MS,
    )


def share(hits: int, trials: int) -> str:
    """A share with its 95% Wilson interval."""
    if not trials:
        return "     -"
    interval = wilson(hits, trials)
    return f"{hits / trials:6.1%} [{interval.lo:.1%}, {interval.hi:.1%}] of {trials}"


def ranking_lines(outcomes: list[Outcome]) -> list[str]:
    """The table of rankings."""
    lines: list[str] = []
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        groups[each.group].append(each)
    for group, held in groups.items():
        warned = [each for each in held if each.warned]
        lines.append(f"planted column ranked first (95% Wilson interval of trials): {group}")
        lines.append(f"  {len(warned)} of {len(held)} windows at WARNING or worse")
        for ranking in RANKINGS:
            hits = sum(each.first[ranking] for each in warned)
            every = sum(each.first[ranking] for each in held)
            lines.append(f"  {ranking:<30} {share(hits, len(warned))}   all windows {share(every, len(held))}")
        for how in HOW:
            own = [each for each in warned if each.how == how]
            lines.append(f"    {RANKINGS[0]}, {how:<12} {share(sum(e.first[RANKINGS[0]] for e in own), len(own))}")
        lines.append(f"    among the first three          {share(sum(e.in_three for e in warned), len(warned))}")
        lines.append(f"    seconds a window, 95% quantile {np.quantile([e.seconds for e in held], 0.95):.2f}")
        lines.append("")
    return lines


# ---------------------------------------------------------------- onset


def onset_lines(trials: int, seed: int) -> list[str]:
    """Is the hour a change began inside the interval? A daily cycle, and a window of the last hours."""
    lines = ["onset: simulated hours with a daily cycle; the last hours with 500 rows are the window", ""]
    for rows_per_day, days, size in (
        (2_400, 10, 0.3),
        (2_400, 10, 0.5),
        (12_000, 7, 0.3),
        (720, 14, 0.5),
        (12_000, 2, 0.3),
        (2_400, 10, 0.0),
        (12_000, 7, 0.0),
    ):
        inside = found = exact = 0
        widths = []
        for number in range(trials):
            said = _onset_trial(rows_per_day, days, size, np.random.default_rng([seed, number, rows_per_day, days]))
            if said is None:
                continue
            step, truth = said
            found += 1
            # As in the report: the last minutes of the hour before do not show in its counts.
            inside += step.lo - 1 <= truth <= step.hi + 1
            exact += abs(step.at - truth) <= 1
            widths.append(step.hi - step.lo + 2)
        if not size:
            lines.append(f"  {rows_per_day:6,} rows a day, {days:2} days, no change: one found {share(found, trials)}")
            continue
        lines.append(
            f"  {rows_per_day:6,} rows a day, {days:2} days, {size} sd: found {found / trials:4.0%}; inside "
            f"{share(inside, found)}; within an hour {exact / max(1, found):4.0%}; median {np.median(widths):.0f} h"
        )
    return [*lines, ""]


def _onset_trial(
    rows_per_day: int, days: int, size: float, rng: np.random.Generator
) -> tuple[onset.Step, float] | None:
    seed = int(rng.integers(2**31))
    world = simulator.make_world(3, seed=seed, rows_per_day=rows_per_day)
    hours = 24 * days
    began = float(rng.uniform(hours // 3, hours - 3))  # at any minute
    at = simulator.event_times(world, rng, from_at_ms=0, to_at_ms=hours * simulator.HOUR_MS)
    change = simulator.Change("x0", "shift", size, onset_at_ms=int(began * simulator.HOUR_MS))
    rows = simulator.draw(world, at, rng, changes=[change], only=["x0"])
    old = simulator.event_times(world, rng, from_at_ms=-28 * simulator.DAY_MS, to_at_ms=0)
    reference = take_baseline(simulator.draw(world, old, rng, only=["x0"]), {"x0": "numeric"}).inputs
    code = codes_of(reference, 0, rows)
    assert code is not None
    counters = reference.parts[0].counters
    hour = at // simulator.HOUR_MS
    counts = np.bincount(hour * counters + code, minlength=hours * counters).reshape(hours, counters)
    last = int(np.argmax(np.cumsum(counts.sum(axis=1)[::-1]) >= 500)) + 1
    groups = pooled_bins(reference.parts[0], reference.profile.parts[0].counts)
    few = np.array([np.bincount(groups, weights=row) for row in counts]).astype(np.int64)
    whole = np.bincount(groups, weights=reference.profile.parts[0].counts).astype(np.int64)
    step = onset.step(few, np.arange(hours), reference=whole, last=last)
    return None if step is None else (step, began)


# ---------------------------------------------------------------- segments and interactions


def segment_lines(trials: int, seed: int) -> list[str]:
    """A change in the rows of one group only: is that group named first; and is any named without a change?"""
    named = alarmed = 0
    for number in range(trials):
        rng = np.random.default_rng([seed, number, 5])
        groups = int(rng.integers(4, 30))
        share_of = rng.dirichlet(np.full(groups, 2.0))
        offset = rng.normal(0, 0.5, groups)
        before, now = rng.choice(groups, 6_000, p=share_of), rng.choice(groups, 2_000, p=share_of)
        common = [
            g for g in range(groups) if (now == g).sum() >= mix.LEAST_ROWS and (before == g).sum() >= mix.LEAST_ROWS
        ]
        guilty = int(rng.choice(common))
        value = offset[before] + rng.normal(size=before.size)
        clean = offset[now] + rng.normal(size=now.size)
        hurt = clean + 1.0 * (now == guilty)
        for planted, values in ((True, hurt), (False, clean)):
            parts = mix.split(before.astype(object), value, now.astype(object), values)
            found = mix.named(parts, looked_at=sum(mix.comparable(part) for part in parts))
            if planted:
                named += bool(found) and found[0].level == guilty
            else:
                alarmed += bool(found)
    return [
        "segments: one of 4 to 30 groups changes by 1 sd in 2,000 rows",
        "",
        f"  that group named first   {share(named, trials)}",
        f"  any named, none changed  {share(alarmed, trials)}",
        "",
    ]


def interaction_lines(trials: int, seed: int) -> list[str]:
    """Two of 12 columns go together otherwise while no single one moves; beside gradient boosted trees."""
    ours, trees, pairs, quiet = [], [], 0, 0
    for number in range(trials):
        rng = np.random.default_rng([seed, number, 6])
        before, now = rng.normal(size=(2, 2_000, 12))
        i, j = rng.choice(12, 2, replace=False)
        r = 0.4
        clean = two_sample.told_apart(before, now, seed=number)
        quiet += clean.lo > 0.5
        now[:, j] = r * now[:, i] + np.sqrt(1 - r * r) * now[:, j]
        ours.append(two_sample.told_apart(before, now, seed=number).lo > 0.5)
        a, b, p = two_sample.clearest_pair(before, now)
        pairs += {a, b} == {int(i), int(j)} and p < 0.01
        trees.append(_tree_auc(before, now, number))
    return [
        "interactions: two of 12 columns become correlated at 0.4, no column moves; 2,000 rows a side",
        "",
        f"  products of ranks: told apart      {share(sum(ours), trials)}",
        f"  boosted trees (60 x 8 leaves)      {share(sum(trees), trials)}",
        f"  the pair named                     {share(pairs, trials)}",
        f"  told apart, nothing changed        {share(quiet, trials)}   (nominal 1%)",
        "",
    ]


def _tree_auc(before: Floats, now: Floats, seed: int) -> bool:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import cross_val_predict

    from mlspine.stats.interval import delong_auc

    rows = np.vstack([before, now])
    label = np.arange(len(rows)) >= len(before)
    model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=8, random_state=seed)
    scores = cross_val_predict(model, rows, label, cv=2, method="predict_proba")[:, 1]
    return delong_auc(label, scores, level=0.98).lo > 0.5


def rankings(tables: Sequence[str], trials: int, real_trials: int, seed: int) -> list[str]:
    """The rankings of each table: simulated, and each real one shuffled and in time order."""
    lines = []
    for name in tables:
        if name == "simulated":
            lines += _table("simulated, 10 to 40 columns", simulated(trials, seed))
            continue
        for in_time in (False, True):
            group = f"{name}, {'days held out, in time order' if in_time else 'shuffled'}"
            lines += _table(group, real(name, real_trials, seed, in_time=in_time))
    return lines


def _table(group: str, trials: Iterable[Trial]) -> list[str]:
    lines = ranking_lines([outcome(trial, group) for trial in trials])
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    """Run the parts asked for and write their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=240, help="simulated windows, onsets and segments")
    parser.add_argument("--real", type=int, default=150, help="windows of each real table and split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="of the rankings")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    began = time.perf_counter()
    made = {
        "rankings": lambda: rankings(options.tables, options.trials, options.real, options.seed),
        "onsets": lambda: onset_lines(options.trials, options.seed),
        "segments": lambda: segment_lines(options.trials, options.seed),
        "interactions": lambda: interaction_lines(max(20, options.trials // 2), options.seed),
    }
    lines = [
        f"python -m benchmarks.monitoring.cause --trials {options.trials} --real {options.real} --seed {options.seed}"
        f" --tables {' '.join(options.tables)} --parts {' '.join(options.parts)}",
        f"Python {platform.python_version()}, numpy {np.__version__}; windows of {WINDOW_ROWS:,} rows; "
        f"columns with at least {LEAST_IMPORTANCE:.0%} of importance are changed",
        "",
    ]
    for part in options.parts:
        lines += made[part]()
    lines.append(f"{time.perf_counter() - began:.0f} s")
    options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
