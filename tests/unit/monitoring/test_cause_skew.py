"""Columns served otherwise than learned: clocks that were moved, values that differ from the source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlspine.core.types import Columns, Field, Schema
from mlspine.monitoring.cause_rows import Logged
from mlspine.monitoring.cause_skew import clock_rules, clock_skew, source_skew

START = 1_700_000_000_000
FIELDS = (
    Field(name="hour", type="int", dtype="int64"),
    Field(name="weekday", type="int", dtype="int64"),
    Field(name="temp", type="float", dtype="float64"),
    Field(name="place", type="category", dtype="object", levels=("a", "b")),
)


def served(rows: int = 400, *, moved_h: int = 0, seed: int = 0) -> Logged:
    """Rows over two weeks whose hour and weekday columns follow the event time, the first `moved_h` off."""
    rng = np.random.default_rng(seed)
    at_ms = np.sort(START + rng.integers(0, 14 * 86_400_000, rows))
    hours = at_ms // 3_600_000
    inputs: Columns = {
        "hour": (hours + moved_h) % 24,
        "weekday": (hours // 24 + 3) % 7,
        "temp": np.round(rng.normal(10, 3, rows), 1),
        "place": rng.choice(np.array(["a", "b"], dtype=object), rows),
    }
    keys = np.array([f"k{i}" for i in range(rows)], dtype=object)
    blank = np.full(rows, np.nan)
    return Logged(tuple(map(str, range(rows))), at_ms, inputs, blank, keys, keys, keys)


@pytest.mark.parametrize("moved_h", [4, -5, 1, 12])
def test_a_time_zone_read_wrongly_is_named_with_its_hours(moved_h: int) -> None:
    before, now = served(), served(moved_h=moved_h, seed=1)
    said = clock_skew(now, clock_rules(before.inputs, before.event_at_ms))
    assert len(said) == 1
    assert said[0].startswith(f"hour: {moved_h:+d} against the hour of the event time in 100% of rows")


def test_unchanged_clocks_and_numbers_that_follow_none_are_not_named() -> None:
    before = served()
    rules = clock_rules(before.inputs, before.event_at_ms)
    assert {(rule.column, rule.clock) for rule in rules} == {("hour", "hour"), ("weekday", "weekday")}
    assert clock_skew(served(seed=2), rules) == ()


def test_the_rule_may_come_from_a_time_among_the_columns_at_ship() -> None:
    before, now = served(), served(moved_h=2, seed=3)
    shipped, later = (
        each.inputs | {"at": each.event_at_ms.astype("datetime64[ms]").astype("datetime64[us]")}
        for each in (before, now)
    )
    said = clock_skew(now._replace(inputs=later), clock_rules(shipped, None))
    assert said == ("hour: +2 against the hour of at in 100% of rows, not so when the model was shipped",)


def stored(folder: Path, now: Logged) -> None:
    """The source's own rows: as served, but temperatures in another unit and a tenth of the places otherwise."""
    place = now.inputs["place"].copy()
    place[::10] = np.where(place[::10] == "a", "b", "a")
    temp = now.inputs["temp"] - 2.5
    pd.DataFrame({"id": now.key, "temp": temp, "place": place, "hour": now.inputs["hour"]}).to_csv(
        folder / "rows.csv", index=False
    )


def test_served_values_that_differ_from_the_source_are_named(tmp_path: Path) -> None:
    now = served()
    stored(tmp_path, now)
    schema = Schema(fields=FIELDS)
    said, compared = source_skew(now, schema, source="rows.csv", root=tmp_path, key="id", time="")
    assert compared == "400 served rows compared with the source by id"
    assert said == (
        "temp: differs from the source in 100% of rows, typically by +2.5",
        said[1],
    )
    assert said[1].startswith("place: differs from the source in 10% of rows, most often '")


@pytest.mark.parametrize(
    ("source", "key", "why"),
    [
        ("", "id", "no source with a key was named at ship"),
        ("rows.csv", "", "no source with a key was named at ship"),
        ("select 1 as id", "id", "sql sources are not read for this"),
        ("absent.csv", "id", "the source cannot be read: no file absent.csv"),
        ("rows.csv", "nr", "the source has no column nr"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, source: str, key: str, why: str) -> None:
    now = served()
    stored(tmp_path, now)
    said, compared = source_skew(now, Schema(fields=FIELDS), source=source, root=tmp_path, key=key, time="")
    assert said == ()
    assert compared.startswith(why)


def test_a_key_that_several_rows_have_is_left_out(tmp_path: Path) -> None:
    now = served()
    now = now._replace(key=np.array(["same"] * now.rows, dtype=object))
    stored(tmp_path, now)
    said, compared = source_skew(now, Schema(fields=FIELDS), source="rows.csv", root=tmp_path, key="id", time="")
    assert (said, compared) == ((), "0 served rows have a key of the source; 30 are needed")
