"""Estimates over the real rooms below: a release with a holdout, answered requests, labels that come late or never."""

from __future__ import annotations

import numpy as np
import pytest

from mlspine.core.types import Estimate
from mlspine.monitoring import estimate_store
from tests.unit.monitoring.test_service import START, World, shipped, world

__all__ = ["shipped", "world"]  # fixtures

DAY_H = 24
ROWS = 1200


def days(world: World, count: int, *, first: int = 0, labelled: bool = True, meaning: str = "as ever") -> None:
    """Days of answers whose labels, if they come, follow the scores as ever, in reverse, or to the letter."""
    for day in range(first, first + count):
        ids = world.answer(day * DAY_H + 12, ROWS)
        chance = {"as ever": world.scores, "reversed": 1 - world.scores, "sharper": world.scores > 0.5}[meaning]
        if labelled:
            world.label(ids, (world.rng.uniform(size=ROWS) < chance).astype(np.int64))


def of(found: list[Estimate], metric: str = "auc") -> list[Estimate]:
    return [each for each in found if each.metric == metric]


def test_before_any_label_the_holdout_of_the_release_gives_an_estimate(world: World) -> None:
    days(world, 1, labelled=False)
    (found,) = of(world.monitoring.estimates("churn", by="day"))
    assert found.interval is not None
    assert found.realised is None
    assert found.status == "UNVERIFIED"
    assert found.why == "0 of 3 matured windows to test estimates on"
    assert (found.rows, found.method, found.interval.level) == (ROWS, "CBPE, isotonic", 0.9)
    assert found.interval.lo < world.first.metric.interval.value < found.interval.hi
    assert found.from_at_ms == START


def test_matured_windows_verify_estimates_and_stand_beside_what_came_out(world: World) -> None:
    days(world, 5)
    days(world, 1, first=5, labelled=False)
    found = of(world.monitoring.estimates("churn", by="day"))
    assert [each.status for each in found] == ["UNVERIFIED"] * 2 + ["ESTIMATED"] * 4
    assert [each.realised is not None for each in found] == [True] * 5 + [False]
    measured = world.monitoring.quality("churn", by="day")
    quality = [report.metrics[0].interval for report in measured if report.metrics]
    assert [each.realised for each in found if each.realised] == quality
    last = found[-1]
    assert last.interval is not None
    assert last.matured_windows == 5
    assert last.backtest_rmse == pytest.approx(
        np.sqrt(np.mean([(each.interval.value - each.realised.value) ** 2 for each in found[:-1]]))
    )
    assert {each.metric for each in world.monitoring.estimates("churn", by="day")} == {
        "auc", "accuracy", "f1", "precision", "recall", "brier",
    }  # fmt: skip


def test_an_estimate_stays_as_it_was_made_and_its_versions_are_kept(world: World) -> None:
    days(world, 3)
    days(world, 1, first=3, labelled=False)
    world.now_ms += DAY_H * 3_600_000
    before = of(world.monitoring.estimates("churn", by="day"))[-1]
    ids = [f"{row[0]}:{row[1]}" for row in world.predictions.query("churn", "select _id, _row from outcomes").rows]
    world.label(ids[-ROWS:], np.ones(ROWS, dtype=np.int64) - (world.rng.uniform(size=ROWS) < 0.5))
    world.now_ms += 120_000
    after = of(world.monitoring.estimates("churn", by="day"))[-1]
    assert after.interval == before.interval
    assert after.realised is not None
    assert before.realised is None
    kept = estimate_store.versions(world.db, "churn", period="day", from_at_ms=before.from_at_ms, metric="auc")
    assert kept[-2:] == [before, after]
    then = of(world.monitoring.estimates_as_of("churn", as_of_ms=before.as_of_ms, by="day"))
    assert then[-1] == before


def test_concept_drift_is_an_alert_that_says_both_figures_and_clears_when_estimates_hold_again(world: World) -> None:
    days(world, 5)
    world.monitoring.check_now("churn")
    assert world.open_causes() == []
    days(world, 1, first=5, meaning="sharper")
    days(world, 1, first=6, labelled=False)
    world.now_ms += 120_000
    world.monitoring.check_now("churn")
    (alert,) = world.monitoring.alerts("churn")
    assert (alert.cause, alert.severity) == ("estimate:auc", "WARNING")
    assert "was estimated 0.8" in alert.why
    assert "turned out 0.99" in alert.why or "turned out 1" in alert.why
    found = of(world.monitoring.estimates("churn", by="day"))
    assert [each.status for each in found[-2:]] == ["BROKEN", "BROKEN"]
    days(world, 5, first=7, meaning="sharper")
    world.now_ms += 120_000
    world.monitoring.check_now("churn")
    assert world.open_causes() == []
    last = of(world.monitoring.estimates("churn", by="day"))[-2]  # of a day that is over
    assert last.status == "ESTIMATED"
    assert abs(last.interval.value - last.realised.value) < 0.1


def test_where_measured_quality_alerts_estimates_are_broken_without_a_second_alert(world: World) -> None:
    days(world, 4)
    days(world, 1, first=4, meaning="reversed")
    days(world, 1, first=5, labelled=False)
    world.monitoring.check_now("churn")
    assert world.open_causes() == ["quality:auc"]
    every = world.monitoring.estimates("churn", by="day")
    assert {each.status for each in every if each.from_at_ms == every[-1].from_at_ms} == {"BROKEN"}


def test_without_labelled_rows_at_ship_there_is_no_number_but_a_reason(world: World) -> None:
    world.answer(12, ROWS, version=world.young, endpoint="young")
    (found,) = of(world.monitoring.estimates("young", by="day"))
    assert found.status == "NOT_ESTIMABLE"
    assert found.interval is None
    assert found.why.startswith("nothing to calibrate on: the release holds no labelled rows")


def test_scores_unlike_any_labelled_ones_cannot_be_estimated(world: World) -> None:
    world.answer(12, ROWS, shift=6.0)
    (found,) = of(world.monitoring.estimates("churn", by="day"))
    assert found.status == "NOT_ESTIMABLE"
    assert "cannot be estimated" in found.why


def test_a_check_reads_no_rows_when_nothing_came(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    days(world, 2)
    world.monitoring.check()
    world.now_ms += 120_000
    world.monitoring.check()
    monkeypatch.setattr(world.predictions, "predicted", lambda *a, **k: pytest.fail("rows were read"))
    world.now_ms += 120_000
    world.monitoring.check()
