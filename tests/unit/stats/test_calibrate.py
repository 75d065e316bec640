"""Floors of the effects that decide, and the measured false-alarm rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mlspine.stats import calibrate as cal
from mlspine.stats.compare import Side, column_effects, sides
from mlspine.stats.profile import build_reference


def numeric(values):
    return build_reference({"x": np.asarray(values, dtype=float)}, {"x": "numeric"})


# ---------------------------------------------------------------- floors


def test_owners_floors_replace_the_usual_ones():
    reference = numeric(np.arange(100.0))
    floors = cal.floors_of(reference, {"x": {"mean_sd": 0.4}})
    assert floors == {"x": {"js": 0.1, "mean_sd": 0.4, "missing_pp": 2.0}}


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("numeric", np.arange(9.0), ("js", "mean_sd", "missing_pp")),
        ("boolean", np.array([True, False]), ("js", "tv", "missing_pp", "unseen_pp")),
        ("categorical", np.array(["a", "b"], dtype=object), ("js", "tv", "missing_pp", "unseen_pp")),
        ("datetime", np.array(["2024-01-01"], dtype="datetime64[us]"), ("js", "tv", "missing_pp")),
        ("vector", np.zeros((5, 3)), ("js", "mean_sd", "missing_pp")),
    ],
)
def test_which_effects_decide_follows_from_the_kind(kind, values, expected):
    reference = build_reference({"x": values}, {"x": kind})
    assert cal.deciding(reference, "x") == expected
    measured = column_effects(reference, "x", sides([reference.profile]), sides([reference.profile]))
    assert set(expected) - {"mean_sd"} <= set(measured)
    assert all(isinstance(side, Side) for side in sides([reference.profile]))


# ---------------------------------------------------------------- false alarms


@pytest.mark.parametrize(("hits", "trials"), [(0, 10_000), (3, 200), (98, 10_000), (50, 50)])
def test_clopper_pearson_is_scipys_exact_interval(hits, trials):
    found = cal.clopper_pearson(hits, trials)
    expected = stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-12)


def mixed(rows, seed=5):
    rng = np.random.default_rng(seed)
    columns = {f"x{i}": rng.standard_normal(rows) for i in range(6)}
    columns["skewed"] = rng.lognormal(size=rows)
    columns["nulls"] = np.where(rng.random(rows) < 0.05, np.nan, rng.random(rows))
    columns["count"] = rng.poisson(0.4, rows).astype(float)
    columns["level"] = rng.choice(np.array(list("abcdefgh"), dtype=object), rows)
    columns["tail"] = (1 / rng.random(rows)).astype(int).astype(str).astype(object)
    return columns, {n: "categorical" if n in ("level", "tail") else "numeric" for n in columns}


def sample(columns, kinds):
    return cal.Sample(build_reference(columns, kinds), columns, None)


@pytest.mark.parametrize("rows", [600, 20_000])
def test_the_measured_level_is_near_the_nominal_one_where_columns_are_independent(rows):
    columns, kinds = mixed(rows)
    alarms = cal.self_check([sample(columns, kinds)], rows=500)
    assert alarms.rate.lo <= cal.ALPHA <= alarms.rate.hi
    assert 0.6 < alarms.critical_p / (cal.ALPHA / len(columns)) < 1.6


def test_columns_that_say_the_same_thing_share_one_level():
    rng = np.random.default_rng(3)
    said = rng.standard_normal(20_000)
    columns = {f"x{i}": said + i for i in range(20)}
    alarms = cal.self_check([sample(columns, dict.fromkeys(columns, "numeric"))], rows=500)
    # One question asked twenty times; the level is raised as far as it may be.
    assert alarms.critical_p == pytest.approx(2 * cal.ALPHA / 20)


def test_windows_are_judged_against_the_rows_outside_them():
    columns, kinds = mixed(3_000)
    found = cal.self_check([sample(columns, kinds)], rows=1_500, draws=1_000)
    # Half of the rows against the other half: against all rows, chance would look half as large.
    assert found.rate.lo <= cal.ALPHA <= found.rate.hi


def test_a_combination_that_is_too_small_is_answered_by_a_stricter_level(monkeypatch):
    columns, kinds = mixed(2_000)
    honest = cal.column_p
    monkeypatch.setattr(cal, "column_p", lambda components: honest(components) / 10)
    alarms = cal.self_check([sample(columns, kinds)], rows=500)
    assert alarms.critical_p < cal.ALPHA / len(columns) / 5


def test_the_self_check_is_the_same_for_the_same_seed():
    columns, kinds = mixed(1_000)
    held = sample(columns, kinds)
    first, second = (cal.self_check([held], rows=500, draws=1_000, seed=7) for _ in range(2))
    assert first == second


def test_columns_without_rows_and_no_columns_raise_no_alarm():
    nothing = cal.FalseAlarms(cal.clopper_pearson(0, 1_000), None)
    assert cal.self_check([], rows=500, draws=1_000) == nothing
    empty = {"x": np.empty(0)}
    assert cal.self_check([sample(empty, {"x": "numeric"})], rows=500, draws=1_000) == nothing
