"""Rows of a release that answers only a part of the requests neither hide nor falsify the verdict on the live one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlspine.core.config import MonitoringConfig
from mlspine.monitoring.service import Monitoring
from mlspine.predictions.spool import Batch, encode_column, encode_columns
from tests.unit.monitoring.test_service import START, World, shipped, world

__all__ = ["shipped", "world"]  # fixtures

HOUR_MS = 3_600_000


def divided(world: World) -> Monitoring:
    """Monitoring that knows the second release as a candidate."""
    beside = frozenset({world.second.release_hash})
    return Monitoring(
        db=world.db,
        predictions=world.predictions,
        registry=world.registry,
        notifiers=[world.sink],
        governance=world.governance,
        clock=world.clock,
        config=MonitoringConfig(),
        beside_of=lambda endpoint: beside if endpoint == "churn" else frozenset(),
    )


def hour(world: World, monitoring: Monitoring, number: int, *, live: float, candidate: float) -> list[str]:
    """One hour with rows of both, shifted by so much; the alerts that are open then."""
    world.answer(number + 0.5, shift=live)
    world.answer(number + 0.6, shift=candidate, version=world.second)
    for version in (world.first, world.second):
        world.answer(number + 1.0, rows=1, version=version)
    monitoring.check()
    return [alert.cause for alert in monitoring.alerts("churn")]


def test_a_candidate_s_windows_are_judged_and_raise_no_alarm(world: World) -> None:
    monitoring = divided(world)
    assert hour(world, monitoring, 0, live=0.0, candidate=1.5) == []
    reports = {each.release_hash: each.severity for each in monitoring.reports("churn")}
    assert reports[world.second.release_hash] != "OK"
    assert reports[world.first.release_hash] == "OK"
    assert hour(world, world.monitoring, 1, live=0.0, candidate=1.5) != []  # told otherwise, it alarms


def test_a_candidate_s_clean_windows_do_not_clear_what_is_wrong_with_the_live_one(world: World) -> None:
    monitoring = divided(world)
    for number in range(4):
        assert "drift:x0:up" in hour(world, monitoring, number, live=1.0, candidate=0.0)
    (alert,) = [each for each in monitoring.alerts("churn") if each.cause == "drift:x0:up"]
    assert (alert.windows, alert.clear_windows) == (4, 0)


def test_a_candidate_spends_nothing_of_the_budget_for_false_alarms(world: World) -> None:
    monitoring = divided(world)
    for number in range(3):
        hour(world, monitoring, number, live=0.0, candidate=0.0)
    alphas = [each.alpha for each in monitoring.reports("churn") if each.release_hash == world.first.release_hash]
    assert alphas == pytest.approx([1 / 720] * 3)  # one window an hour, as without a candidate


def test_the_state_of_an_endpoint_is_that_of_the_live_release_whoever_answered_last(world: World) -> None:
    monitoring = divided(world)
    world.answer(0.5, rows=600)
    world.answer(2.5, rows=5_000, version=world.second)
    assert monitoring.state("churn").release_hash == world.first.release_hash
    assert world.monitoring.state("churn").release_hash == world.second.release_hash


def test_quality_alarms_are_about_the_live_release_while_a_candidate_answers_more(world: World) -> None:
    monitoring = divided(world)
    world.answer_and_label(1.0, good=False)
    ids = world.answer(1.5, rows=3_000, version=world.second)
    world.label(ids, (world.rng.uniform(size=3_000) < world.scores).astype(np.int64))
    world.answer(30.0, rows=1, version=world.second)
    monitoring.check()
    assert [alert.severity for alert in monitoring.alerts("churn") if alert.cause.startswith("quality")] == ["CRITICAL"]


def test_what_a_rule_answered_is_judged_by_nobody_s_baseline_and_no_error(world: World) -> None:
    world.answer(0.5)
    by_rule(world, 0.5, rows=800)
    world.answer(1.0, rows=1)
    reports = world.monitoring.check()
    assert [(each.release_hash, each.rows) for each in reports] == [(world.first.release_hash, 600)]
    assert world.open_causes() == []
    assert world.monitoring.state("churn").release_hash == world.first.release_hash


def test_labels_of_what_a_rule_answered_measure_nobody_s_quality(world: World) -> None:
    ids = by_rule(world, 0.5, rows=800)
    world.label(ids, np.ones(800, dtype=np.int64))
    world.answer_and_label(1.0, good=True)
    world.answer(26.0, rows=1)
    world.monitoring.check()
    assert {each.release_hash for each in world.monitoring.quality("churn")} == {world.first.release_hash}
    assert [each.labelled_rows for each in world.monitoring.quality("churn")] == [600]


def by_rule(world: World, at_hour: float, *, rows: int) -> list[str]:
    """Requests answered by the declared rule; their ids."""
    at_ms = START + int(at_hour * HOUR_MS)
    inputs: dict[str, Any] = {f"x{i}": world.rng.normal(size=rows) for i in range(3)}
    request = f"ruled-{at_ms}"
    batch = Batch(
        endpoint="churn",
        release_hash=world.first.release_hash,
        version=1,
        revision=1,
        request_ids=[request],
        row_counts=[rows],
        received_at_ms=[world.now_ms],
        latency_s=[0.001],
        inputs=encode_columns(inputs),
        prediction=encode_column("prediction", np.ones(rows, dtype=np.int64)),
        event_at_ms=[at_ms] * rows,
        path="rule",
    )
    world.spool.append([batch])
    world.predictions.ingest()
    return [f"{request}:{row}" for row in range(rows)]
