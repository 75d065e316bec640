"""What would change a verdict is true: shown by making the change and judging again."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest

from mlspine.core.types import DriftReport, FeatureVerdict
from mlspine.monitoring.drift import judge
from mlspine.monitoring.edge import at_the_edge, edge
from mlspine.stats.baseline import take_baseline
from mlspine.stats.profile import profile

DAY_MS = 86_400_000
REFERENCE_ROWS = 50_000
LEVELS = np.array(["a", "b", "c", "d"], dtype=object)
SHARES = np.array([0.4, 0.3, 0.2, 0.1])
WEIGHTS = {"x": 0.6, "level": 0.399, "idle": 0.001}
KINDS = {"x": "numeric", "level": "categorical", "idle": "numeric"}


def rows(count, seed, *, shift=0.0, moved=0.0, idle=0.0):
    rng = np.random.default_rng(seed)
    shares = SHARES + np.array([moved, 0, -moved, 0])
    return {
        "x": rng.normal(shift, 1, count),
        "level": rng.choice(LEVELS, count, p=shares),
        "idle": rng.normal(idle, 1, count),
    }


BASELINE = take_baseline(rows(REFERENCE_ROWS, 0), KINDS, importance=WEIGHTS)


def judged(columns, alpha=0.001, **known) -> DriftReport:
    report = judge(
        BASELINE,
        profile(BASELINE.inputs, columns),
        None,
        endpoint="e",
        release_hash="r",
        version=1,
        from_at_ms=DAY_MS,
        to_at_ms=2 * DAY_MS,
        learned_outputs=None,
        alpha=alpha,
        history=(),
        min_rows=200,
    )
    return msgspec.structs.replace(report, **known)


def of(report: DriftReport, name: str) -> FeatureVerdict:
    return next(verdict for verdict in report.features if verdict.name == name)


def warnings(name, count, windows=60, **change) -> float:
    """The share of windows of that many rows in which the column warns."""
    reports = [judged(rows(count, seed, **change)) for seed in range(1000, 1000 + windows)]
    return float(np.mean([of(report, name).severity in ("WARNING", "CRITICAL") for report in reports]))


def test_an_effect_within_chance_warns_at_about_the_rows_it_says() -> None:
    # 0.12 sd at 500 rows: over the floor of 0.1, p about 0.007, and the level is 0.00033.
    report = next(
        report
        for report in (judged(rows(500, seed, shift=0.12)) for seed in range(100))
        if abs(next(e.value for e in of(report, "x").effects if e.name == "mean_sd") - 0.12) < 0.003
    )
    found = edge(of(report, "x"), report)
    assert found is not None
    assert (found.effect, found.toward) == ("mean_sd", "WARNING")
    assert "within the reach of chance with 500 rows" in found.says
    assert 700 < found.rows < 1200
    # The same change in so many rows is found about every other time, in many more nearly always, in fewer seldom.
    assert warnings("x", found.rows // 3, shift=0.12) < 0.15
    assert 0.1 < warnings("x", found.rows, shift=0.12) < 0.8
    assert warnings("x", 10 * found.rows, shift=0.12) > 0.9


@pytest.mark.parametrize(("name", "effect", "change"), [("x", "mean_sd", "shift"), ("level", "tv", "moved")])
def test_so_many_times_the_effect_is_what_it_takes(name: str, effect: str, change: str) -> None:
    small = {"shift": 0.06, "moved": 0.015}[change]
    report = judged(rows(20_000, 1, **{change: small}))
    found = edge(of(report, name), report)
    assert found is not None
    assert found.effect == effect
    assert re.search(r"would be a WARNING, .* was found", found.says)
    assert 1.2 < found.factor < 3
    # The found effect is the planted one give or take chance, so the marks stand well to both sides.
    assert warnings(name, 20_000, windows=20, **{change: 0.7 * small * found.factor}) < 0.4
    assert warnings(name, 20_000, windows=20, **{change: 1.35 * small * found.factor}) > 0.8


def test_a_column_that_warns_says_how_much_less_would_not() -> None:
    report = judged(rows(5_000, 3, shift=0.5))
    found = edge(of(report, "x"), report)
    assert found is not None
    assert found.factor == pytest.approx(found.limit / found.value)
    assert "5." in found.says or "4." in found.says  # times its limit of 0.1 sd
    assert "a second WARNING within the next two windows makes it CRITICAL" in found.says
    assert warnings("x", 5_000, windows=20, shift=0.5 * found.factor * 0.8) < 0.2


def test_light_columns_cannot_become_critical_by_lasting() -> None:
    report = judged(rows(5_000, 3, shift=0.5), alerting_importance=0.12)
    found = edge(msgspec.structs.replace(of(report, "x"), importance=0.12), report)
    assert found is not None
    assert "must carry 20% of model importance, they carry 12%" in found.says


def test_what_the_model_ignores_stays_info_whatever_its_size() -> None:
    report = judged(rows(5_000, 4, idle=1.0))
    found = edge(of(report, "idle"), report)
    assert of(report, "idle").severity == "INFO"
    assert found is not None
    assert (found.factor, found.toward) == (0.0, "INFO")
    assert not at_the_edge(of(report, "idle"), report)


def test_what_was_not_judged_has_no_edge() -> None:
    report = judged(rows(2_000, 5))
    assert of(report, "score").why.endswith("not judged yet")
    assert edge(of(report, "score"), report) is None
    few = judged(rows(100, 6))
    assert few.features == ()


def test_a_reference_too_small_is_said_to_be_so() -> None:
    report = next(
        report
        for report in (judged(rows(500, seed, shift=0.12), reference_rows=400) for seed in range(100))
        if 0.11 < next(e.value for e in of(report, "x").effects if e.name == "mean_sd") < 0.13
    )
    found = edge(of(report, "x"), report)
    assert found is not None
    assert found.rows == 0
    assert "the reference has too few rows" in found.says
