"""Rules on facts made by hand: what the stories do not reach."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlspine.advisor import rules
from mlspine.advisor.advice import Advice
from mlspine.advisor.facts import Cluster, Facts, Labels, ModelFacts, Practice, Traffic, shared_features
from mlspine.advisor.stages import maturity
from mlspine.monitoring.claims import Claim

from .world import NOW_MS


def model(name: str = "churn", **changes: Any) -> ModelFacts:
    """A model that serves, is watched, labelled and owned."""
    made = ModelFacts(
        name=name,
        version=1,
        served=True,
        tier="low",
        owner="maria",
        owner_assumed=False,
        shipped_by=("maria",),
        columns={"a": "float"},
        traffic=Traffic(requests=1_000, minutes=10, mean_per_s=2.0, peak_per_s=3.0, p99_s=0.01),
        labels=Labels(feed="labels/*.csv", labels=900, first_answer_at_ms=1, newest_at_ms=NOW_MS, blind_days=0.5),
        feeds=(),
        gaps=(),
        retrains_by_hand=0,
        retrains_by_itself=0,
        retrain_minutes=0.0,
        capacity_rows_per_s=1_000.0,
        rollback_exercised=True,
    )
    return msgspec.structs.replace(made, **changes)


def facts(*models: ModelFacts, **changes: Any) -> Facts:
    """A workspace in which nothing is missing."""
    made = Facts(
        now_ms=NOW_MS,
        models=models or (model(),),
        serving=True,
        supervised_by="systemd",
        machines=1,
        shared_store=False,
        sinks=1,
        alert_delivered=True,
        alerts_30_days=0,
        alerts_untold=0,
        deadman=True,
        scrapers=(),
        people=("maria", "ana"),
        practice=Practice(),
        cluster=None,
        idle=(),
        per_cpu_hour=None,
        currency="USD",
        cpu_s_30_days=0.0,
    )
    return msgspec.structs.replace(made, **changes)


def whats(given: Facts, kind: str) -> list[str]:
    return [each.what for each in rules.advise(given) if each.kind == kind]


def one(given: Facts, what: str) -> Advice:
    return next(each for each in rules.advise(given) if each.what == what)


def test_where_nothing_is_missing_nothing_changes() -> None:
    assert whats(facts(), "add") == whats(facts(), "remove") == []
    assert "the level reached (1)" in whats(facts(), "keep")


def test_what_does_not_answer_comes_before_all_else() -> None:
    silent = facts(model(tier="high", critical="tier high"), serving=False, deadman=False, supervised_by="")
    assert whats(silent, "add")[0] == "start the serving process"


def test_a_second_machine_is_enough_redundancy() -> None:
    critical = model(tier="high", critical="tier high")
    assert whats(facts(critical), "add") == ["a second machine on one store"]
    assert whats(facts(critical, machines=2), "add") == []


def test_a_declared_feed_that_brings_nothing_is_looked_after() -> None:
    silent = model(labels=Labels(feed="labels/*.csv", labels=5, first_answer_at_ms=1, newest_at_ms=1, blind_days=31.0))
    advice = one(facts(silent), "look after the label feed of churn")
    assert advice.do == "mlspine feeds churn --pull"
    assert advice.brief == "quality is estimated blind since 31 days"


def test_near_capacity_room_is_made_and_one_process_is_no_longer_kept() -> None:
    tight = model(traffic=Traffic(requests=1, minutes=1, mean_per_s=500.0, peak_per_s=800.0))
    assert whats(facts(tight), "add") == ["capacity for churn"]
    assert "one serving process per machine" not in whats(facts(tight), "keep")
    assert "serving engine" in whats(facts(tight), "not yet")  # it is one model


def test_large_workspaces_are_no_longer_refused_what_they_need() -> None:
    busy = Traffic(requests=1, minutes=1, mean_per_s=50.0, peak_per_s=60.0)
    many = facts(*(model(f"m{n}", traffic=busy, retrains_by_hand=2) for n in range(12)))
    refused = whats(many, "not yet")
    assert not {"cluster", "feature store", "orchestrator", "serving engine"} & set(refused)
    assert "retraining without a person" in refused


def test_a_cluster_in_use_is_kept_and_an_idle_one_goes() -> None:
    used = Cluster(url="http://p", nodes=3, cpus=24, used_share=0.5, days=30)
    assert "the cluster" in whats(facts(cluster=used), "keep")
    idle = msgspec.structs.replace(used, used_share=0.04)
    advice = one(facts(cluster=idle), "the cluster")
    assert (advice.kind, advice.confidence) == ("remove", "medium")
    assert advice.effect == "saves 16,819 CPU-hours a month that are paid for and unused"


@pytest.mark.parametrize(
    ("changes", "level", "missing"),
    [
        ({"gaps": (Claim(name="rollback", state="amber", evidence=""),)}, 0, ("churn: rollback",)),
        ({"rollback_exercised": False}, 0, ("churn: rollback",)),
        ({}, 1, ()),
        ({"retrains_by_hand": 1}, 2, ()),
        ({"retrains_by_itself": 1}, 3, ()),
    ],
)
def test_a_level_is_what_was_exercised_and_no_more_than_needed_is_missing(
    changes: dict[str, Any], level: int, missing: tuple[str, ...]
) -> None:
    found = maturity(facts(model(**changes), practice=Practice(ci=("ci.yml",))))
    assert (found.level, found.target, found.missing) == (level, 1, missing)


def test_dozens_of_models_need_the_second_level() -> None:
    found = maturity(facts(*(model(f"m{n}") for n in range(13))))
    assert (found.level, found.target) == (1, 2)
    assert "CI in the repository" in found.missing


def test_a_feature_is_shared_when_name_and_type_agree() -> None:
    models = (model("a", columns={"x": "float"}), model("b", columns={"x": "float"}), model("c", columns={"x": "int"}))
    assert shared_features(models) == {"x": ("a", "b")}


def test_every_addition_says_what_it_costs_brings_and_how_to_do_it() -> None:
    bare = facts(
        model(tier="high", critical="tier high", owner_assumed=True, retrains_by_hand=9),
        supervised_by="",
        alert_delivered=False,
        deadman=False,
        people=("maria",),
    )
    for each in rules.advise(bare):
        if each.kind in ("add", "remove"):
            assert each.do, each.what
            assert each.effect, each.what
            assert each.price.effort != "nothing to do", each.what
        assert each.why, each.what
        assert each.evidence, each.what
