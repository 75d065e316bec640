"""Faults of fresh rows: each one planted is named once, and rows like those at ship are never called faulty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlspine.core.columns import to_columns
from mlspine.core.types import Columns, Field, Schema
from mlspine.feeds.health import ALPHA, Fault, judge
from mlspine.stats.baseline import Baseline, take_baseline
from mlspine.stats.profile import kind_of

SCHEMA = Schema(
    fields=(
        Field(name="temp", type="float", dtype="float64", nullable=True),
        Field(name="delay", type="float", dtype="float64"),
        Field(name="count", type="int", dtype="int64"),
        Field(name="city", type="category", dtype="category", levels=("Oslo", "Rome", "Bern")),
        Field(name="zip", type="text", dtype="str"),
        Field(name="paid", type="bool", dtype="bool"),
        Field(name="at", type="datetime", dtype="datetime64[us]"),
    )
)


def rows(n: int, seed: int) -> Columns:
    """Rows with what real tables have: nulls, a heavy tail, a rare level, a long tail of zip codes."""
    rng = np.random.default_rng(seed)
    temp = rng.normal(15, 8, n)
    temp[rng.random(n) < 0.05] = np.nan
    return {
        "temp": temp,
        "delay": rng.lognormal(1.0, 1.5, n),
        "count": rng.poisson(3, n),
        "city": rng.choice(np.array(["Oslo", "Rome", "Bern"], dtype=object), n, p=[0.7, 0.29, 0.01]),
        "zip": np.array([f"{value:05}" for value in rng.zipf(1.6, n) % 100_000], dtype=object),
        "paid": rng.random(n) < 0.3,
        "at": np.datetime64("2024-01-01", "us") + rng.integers(0, 30 * 86_400, n).astype("timedelta64[s]"),
    }


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    kinds = {field.name: kind_of(field) for field in SCHEMA.fields}
    return take_baseline(rows(3000, 0), kinds)


def with_fault(fault: str, fresh: Columns) -> Columns:
    rng = np.random.default_rng(9)
    hit = rng.random(len(fresh["temp"])) < 0.1
    match fault:
        case "nulls":
            fresh["temp"] = np.where(hit, np.nan, fresh["temp"])
        case "range":
            fresh["count"] = np.where(hit, -999, fresh["count"])
        case "new category":
            fresh["city"] = np.where(hit, "Kyiv", fresh["city"]).astype(object)
        case "gone":
            del fresh["delay"]
        case "renamed":
            fresh["delays"] = fresh.pop("delay")
        case "type":
            fresh["delay"] = np.array([f"{value:.1f} min" for value in fresh["delay"]], dtype=object)
        case "all null":
            fresh["temp"] = np.full(len(hit), None, dtype=object)
    return fresh


@pytest.mark.parametrize(
    ("fault", "field", "symptom", "said"),
    [
        ("nulls", "temp", "nulls", "are null"),
        ("range", "count", "range", "e.g. -999"),
        ("new category", "city", "unseen", "'Kyiv'"),
        ("gone", "delay", "gone", "the column is gone"),
        ("renamed", "delay", "gone", "renamed to 'delays'?"),
        ("type", "delay", "type", "are no numbers"),
        ("all null", "temp", "nulls", "100.0% of 1,000 rows are null"),
    ],
)
def test_a_planted_fault_is_named_once(baseline: Baseline, fault: str, field: str, symptom: str, said: str) -> None:
    found = judge(with_fault(fault, rows(1000, 1)), SCHEMA, baseline)
    assert [(each.field, each.symptom) for each in found] == [(field, symptom)]
    assert said in found[0].says


def test_rows_like_those_at_ship_are_called_faulty_less_often_than_stated(baseline: Baseline) -> None:
    """600 checks of unchanged rows, of 100 to 2,000 rows each, at a stated rate of ALPHA = 0.001: none expected,
    three would be beyond chance (p < 0.03)."""
    sizes = (100, 500, 2000)
    alarms: list[tuple[int, list[Fault]]] = []
    for seed in range(600):
        found = judge(rows(sizes[seed % 3], 1000 + seed), SCHEMA, baseline)
        alarms += [(seed, found)] if found else []
    assert ALPHA == 0.001
    assert len(alarms) < 3, alarms


def test_too_few_rows_are_asked_for_columns_and_types_alone(baseline: Baseline) -> None:
    few = with_fault("nulls", rows(99, 1))
    few["temp"][:] = np.nan
    assert judge(few, SCHEMA, baseline) == []
    assert [fault.field for fault in judge(with_fault("gone", few), SCHEMA, baseline)] == ["delay"]


def test_a_table_without_rows_has_its_columns_checked(baseline: Baseline) -> None:
    empty = {name: values[:0] for name, values in rows(10, 1).items()}
    assert judge(empty, SCHEMA, baseline) == []
    del empty["zip"]
    assert [fault.field for fault in judge(empty, SCHEMA, baseline)] == ["zip"]


def test_more_columns_than_the_model_takes_are_no_fault(baseline: Baseline) -> None:
    assert judge(rows(500, 3) | {"late": np.zeros(500)}, SCHEMA, baseline) == []


def test_a_few_impossible_values_are_below_the_floor(baseline: Baseline) -> None:
    fresh = rows(2000, 4)
    fresh["count"][:4] = -999
    assert judge(fresh, SCHEMA, baseline) == []


def test_flags_written_as_numbers_are_flags(baseline: Baseline) -> None:
    fresh = rows(500, 5)
    fresh["paid"] = fresh["paid"].astype(np.int64)
    assert judge(fresh, SCHEMA, baseline) == []


def test_two_faults_are_two_alerts(baseline: Baseline) -> None:
    fresh: Any = with_fault("gone", with_fault("nulls", rows(1000, 6)))
    assert [fault.field for fault in judge(fresh, SCHEMA, baseline)] == ["temp", "delay"]


def test_one_half_of_a_real_table_is_healthy_by_the_other() -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    data = sklearn.load_diabetes(as_frame=True).frame
    columns, schema = to_columns(data)
    order = np.random.default_rng(0).permutation(len(data))
    first, second = order[:221], order[221:]
    half = {name: values[first] for name, values in columns.items()}
    baseline = take_baseline(half, {field.name: kind_of(field) for field in schema.fields})
    assert judge({name: values[second] for name, values in columns.items()}, schema, baseline) == []
