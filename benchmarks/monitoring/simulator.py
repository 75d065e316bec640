"""A seeded simulator of served rows: many columns, a daily cycle, and planted changes whose cause is known.

A world fixes its columns once: plain numbers, heavy tails, counts with ties, categories with rare levels,
booleans, nulls. Columns come in blocks that share a common factor, so they are correlated. Level and traffic
follow the hour of the day and, where asked for, the day of the week; both are benign. A `Change` begins at a
known moment in a known column, for all rows or for one level of another column.

    world = make_world(20, seed=1, rows_per_day=20_000)
    rng = np.random.default_rng(0)
    at_ms = event_times(world, rng, from_at_ms=0, to_at_ms=7 * DAY_MS)
    columns = draw(world, at_ms, rng, changes=[Change("x3", "shift", 0.5, onset_at_ms=3 * DAY_MS)])
    score = answer(world, columns)          # what the model says, (n_rows,) in (0, 1)
    world.kinds, world.importance           # for `take_baseline`

Same seed, same rows. Nothing of mlspine is used but the name of a column kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import expit, ndtri

from mlspine.stats.profile import Kind

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
Array = np.ndarray[Any, np.dtype[Any]]
Shape = Literal["normal", "heavy", "count", "category", "boolean"]
What = Literal["shift", "scale", "share", "missing", "unseen", "constant"]

SHAPES: tuple[Shape, ...] = ("normal", "heavy", "count", "normal", "category", "boolean", "normal", "heavy")
BLOCK_COLUMNS = 5
FACTOR = 0.6  # loading of a column on the common factor of its block
NULLS = (0.0, 0.0, 0.02, 0.0, 0.15)
MOST_SWING_SD = 0.6  # of the daily and of the weekly cycle
SAMPLE_ROWS = 20_000
LEAST_WEIGHT = 0.01  # below it the model does not read a column


@dataclass(frozen=True)
class Feature:
    """One column. `cuts`: upper ends, on the standard normal scale, of a category's levels but the last."""

    name: str
    shape: Shape
    missing: float
    daily_sd: float
    weekly_sd: float
    peak_h: float
    levels: tuple[str, ...] = ()
    cuts: tuple[float, ...] = ()
    sd: float = 1.0  # of the values without any change


@dataclass(frozen=True)
class World:
    """Columns, traffic and the model that reads them. `weights`: column -> weight on its standardised value."""

    features: tuple[Feature, ...]
    weights: dict[str, float]
    rows_per_day: float
    night: float  # traffic in the quietest hour as a share of that in the busiest
    weekend: float  # traffic of a weekend day as a share of a workday's

    @property
    def kinds(self) -> dict[str, Kind]:
        """How each column is profiled."""
        kind: dict[str, Kind] = {"category": "categorical", "boolean": "boolean"}
        return {each.name: kind.get(each.shape, "numeric") for each in self.features}

    @property
    def importance(self) -> dict[str, float]:
        """Share of each column in the model's answer, summing to 1."""
        total = sum(abs(weight) for weight in self.weights.values())
        return {name: abs(weight) / total for name, weight in self.weights.items()}

    def feature(self, name: str) -> Feature:
        """The column of this name; KeyError when there is none."""
        return {each.name: each for each in self.features}[name]


@dataclass(frozen=True)
class Change:
    """A planted change, from `onset_at_ms` on, in the rows where column `within[0]` is level `within[1]`.

    size, by what:
      shift     standard deviations added to a number
      scale     factor on a number's distance from 0 (unit error)
      share     share of all rows moved to `level` of a category or boolean
      missing   share of the known values that go missing
      unseen    share of the rows that get the level "new"
      constant  not used: every value becomes that of the first row
    """

    column: str
    what: What
    size: float = 0.0
    onset_at_ms: int = 0
    level: Any = None  # None: a category's second level, a boolean's True
    within: tuple[str, Any] | None = None


def make_world(
    features: int,
    *,
    seed: int,
    rows_per_day: float = 12_000,
    daily: bool = True,
    weekly: bool = False,
    missing: bool = True,
    night: float = 0.2,
) -> World:
    """A world of `features` columns x0, x1, ...; the first columns carry most of the model's answer.

    daily, weekly: whether levels move with the hour and the weekday. Half the columns have a cycle.
    """
    rng = np.random.default_rng([seed, 7])
    made = []
    for i in range(features):
        shape = SHAPES[i % len(SHAPES)]
        swings = rng.random(2) * MOST_SWING_SD * (rng.random(2) < 0.5)
        levels, cuts = _levels(rng) if shape == "category" else ((), ())
        bare = Feature(
            name=f"x{i}",
            shape=shape,
            missing=float(rng.choice(NULLS)) if missing else 0.0,
            daily_sd=float(swings[0]) if daily else 0.0,
            weekly_sd=float(swings[1]) if weekly else 0.0,
            peak_h=float(rng.uniform(0, 24)),
            levels=levels,
            cuts=cuts,
        )
        made.append(_with_sd(bare, seed))
    sign = rng.choice([-1.0, 1.0], features)
    weights = {each.name: float(2.0 * 0.75**i * sign[i]) for i, each in enumerate(made)}
    return World(tuple(made), weights, rows_per_day, night if daily else 1.0, 0.6 if weekly else 1.0)


def event_times(world: World, rng: np.random.Generator, *, from_at_ms: int, to_at_ms: int) -> Array:
    """Event times (int64 ms UTC, ascending) of the rows served in this stretch, whole hours; Poisson traffic."""
    starts = np.arange(from_at_ms, to_at_ms, HOUR_MS)
    rows = rng.poisson(_traffic(world, starts))
    within = rng.integers(0, HOUR_MS, int(rows.sum()))
    return np.asarray(np.sort(np.repeat(starts, rows) + within))


def draw(
    world: World,
    at_ms: Array,
    rng: np.random.Generator,
    *,
    changes: Iterable[Change] = (),
    only: Sequence[str] | None = None,
) -> dict[str, Array]:
    """One row per event time: column -> (n_rows,), floats with NaN, or objects with None.

    only: names of the columns wanted; the others are drawn all the same, so that seeds agree.
    """
    columns: dict[str, Array] = {}
    factor = np.zeros(0)
    for i, each in enumerate(world.features):
        if i % BLOCK_COLUMNS == 0:
            factor = rng.standard_normal(at_ms.size, dtype=np.float32)
        own = rng.standard_normal(at_ms.size, dtype=np.float32)
        holes = rng.random(at_ms.size, dtype=np.float32) < each.missing if each.missing else None
        if only is None or each.name in only:
            z = FACTOR * factor + np.sqrt(1 - FACTOR**2) * own + _cycle(each, at_ms)
            columns[each.name] = _shaped(each, z, holes)
    for change in changes:
        _plant(world, change, columns, at_ms, rng)
    return columns


def answer(world: World, columns: dict[str, Array]) -> Array:
    """The model's score per row, (n_rows,) in (0, 1): a logistic of the standardised columns, missing as 0."""
    rows = len(next(iter(columns.values())))
    logit = np.zeros(rows)
    for each in world.features:
        if abs(world.weights[each.name]) >= LEAST_WEIGHT:
            logit += world.weights[each.name] * _read(each, columns[each.name])
    return np.asarray(expit(logit / 2))


def labels(score: Array, rng: np.random.Generator) -> Array:
    """True outcomes of a calibrated model: 1 with the probability the score says."""
    return (rng.random(score.size) < score).astype(np.int64)


# ---------------------------------------------------------------- columns


def _levels(rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """4 to 40 levels whose shares fall off like 1/rank^1.3, so most of them are rare."""
    count = int(rng.integers(4, 41))
    shares = 1 / np.arange(1, count + 1) ** 1.3
    upper = np.cumsum(shares / shares.sum())[:-1]
    return tuple(f"level {i}" for i in range(count)), tuple(ndtri(upper).tolist())


def _with_sd(feature: Feature, seed: int) -> Feature:
    if feature.shape in ("category", "boolean"):
        return feature
    rng = np.random.default_rng([seed, 11])
    at_ms = rng.integers(0, 7 * DAY_MS, SAMPLE_ROWS)
    z = rng.standard_normal(SAMPLE_ROWS) + _cycle(feature, at_ms)
    return Feature(**{**feature.__dict__, "sd": float(np.std(_shaped(feature, z, None)))})


def _cycle(feature: Feature, at_ms: Array) -> Array | float:
    if not feature.daily_sd and not feature.weekly_sd:
        return 0.0
    hours = at_ms / HOUR_MS - feature.peak_h
    daily = feature.daily_sd * np.cos(2 * np.pi * hours / 24)
    return np.asarray(daily + feature.weekly_sd * _is_weekend(at_ms), dtype=np.float32)


def _shaped(feature: Feature, z: Array, holes: Array | None) -> Array:
    values: Array
    if feature.shape == "category":
        values = np.array(feature.levels, dtype=object)[np.searchsorted(feature.cuts, z)]
    elif feature.shape == "boolean":
        values = (z > 0.5).astype(object) if holes is not None else z > 0.5
    elif feature.shape == "heavy":
        values = np.exp(1.2 * z.astype(np.float64))
    elif feature.shape == "count":
        values = np.floor(np.exp(0.8 * z.astype(np.float64)))
    else:
        values = 10.0 + 3.0 * z.astype(np.float64)
    if holes is not None:
        values[holes] = None if values.dtype == object else np.nan
    return values


def _read(feature: Feature, values: Array) -> Array:
    """A column as the model reads it: standardised, missing and unknown as 0."""
    if feature.shape == "category":
        rank = {level: i for i, level in enumerate(feature.levels)}
        codes = np.array([rank.get(value, -1) for value in values.tolist()])
        return np.asarray(np.where(codes < 0, 0.0, 1.0 - 2.0 * np.minimum(codes, 2) / 2))
    if feature.shape == "boolean":
        return np.array([0.0 if value is None else (1.0 if value else -0.5) for value in values.tolist()])
    centre = {"normal": 10.0, "heavy": 1.0, "count": 1.0}[feature.shape]
    return np.clip(np.nan_to_num((values - centre) / feature.sd), -3.0, 3.0)


# ---------------------------------------------------------------- traffic and changes


def _traffic(world: World, starts: Array) -> Array:
    hour = starts // HOUR_MS % 24
    share = world.night + (1 - world.night) * (1 + np.cos(2 * np.pi * (hour - 14) / 24)) / 2
    mean = world.night + (1 - world.night) / 2
    week = np.where(_is_weekend(starts), world.weekend, 1.0)
    return np.asarray(world.rows_per_day / 24 * share / mean * week)


def _is_weekend(at_ms: Array) -> Array:
    # 1970-01-01 was a Thursday.
    return np.asarray((at_ms // DAY_MS + 3) % 7 >= 5)


def _plant(world: World, change: Change, columns: dict[str, Array], at_ms: Array, rng: np.random.Generator) -> None:
    if change.column not in columns:
        return
    feature, values = world.feature(change.column), columns[change.column].copy()
    touched = at_ms >= change.onset_at_ms
    if change.within is not None:
        touched = touched & (columns[change.within[0]] == change.within[1])
    chance = rng.random(values.size)
    if change.what == "shift":
        values[touched] += change.size * feature.sd
    elif change.what == "scale":
        values[touched] *= change.size
    elif change.what == "constant":
        values[touched] = values[0]
    elif change.what == "missing":
        if values.dtype == bool:
            values = values.astype(object)
        values[touched & (chance < change.size)] = np.nan if values.dtype.kind == "f" else None
    else:
        level = "new" if change.what == "unseen" else _level(feature, change.level)
        others = touched & (values != level)
        moved = others & (chance < change.size * touched.sum() / max(1, others.sum()))
        values[moved] = level
    columns[change.column] = values


def _level(feature: Feature, level: Any) -> Any:
    if level is not None:
        return level
    return feature.levels[1] if feature.shape == "category" else True
