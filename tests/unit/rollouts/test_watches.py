"""The watch over a switch, over the real store, registry, ledger and alerts; only the serving side is pretended."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlspine.rollouts import store
from tests.unit.rollouts.house import ADA, WATCH_S, House
from tests.unit.rollouts.test_canaries import GOOD, HALF, SHORT, killed


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, watch_s=WATCH_S)


def promoted(house: House) -> store.Rollout:
    """An hour of version 1, then version 2."""
    for _ in range(30):
        house.minute({"requests": 60}, {})
    house.deployment.promote("churn", 2, actor=ADA)
    house.look()
    return house.rollouts.history("churn")[0]


def newest(house: House) -> store.Rollout:
    return house.rollouts.history("churn")[0]


def test_a_promotion_is_watched_for_its_window_with_the_release_before_asked_along(house: House) -> None:
    watch = promoted(house)
    assert (watch.kind, watch.version, watch.against, watch.state) == ("watch", 2, 1, "open")
    assert watch.record.requests == 1800
    planned = house.serving.plan.endpoints[0].traffic if house.serving.plan else None
    assert planned is not None
    assert planned.shadow is not None
    assert (planned.shadow.version, planned.shadow_share) == (1, 0.2)
    for _ in range(31):
        house.minute({"requests": 60}, {})
    assert newest(house).state == "passed"
    assert newest(house).why == "0 of 1,860 answers failed and 0 were slow"
    assert house.serving.plan is not None
    assert house.serving.plan.endpoints[0].traffic.shadow is None  # time alone has ended it
    assert house.current.version == 2


@pytest.mark.parametrize("counts", [{"failures": 6}, {"slow": 60}])
def test_a_breach_brings_the_release_before_back_once_and_says_why(house: House, counts: dict[str, float]) -> None:
    promoted(house)
    for _ in range(4):
        if house.current.version == 2:
            house.minute({"requests": 60, **counts}, {})
    assert (house.current.version, house.current.cause, house.current.actor) == (1, "rollback", "system:mlspine")
    (alert,) = house.alerts()
    assert alert.severity == "CRITICAL"
    assert alert.title == "churn: version 2 came back by itself, version 1 answers"
    assert newest(house).state == "returned"
    assert house.lines()[-2:] == [("rollback", "system:mlspine"), ("watch returned", "system:mlspine")]
    house.minute({"requests": 60, "failures": 60}, {})
    assert house.current.version == 1  # what was left is no way out of it
    assert len(house.rollouts.history("churn")) == 1


def test_inverted_scores_come_back_by_the_recorded_rows(house: House) -> None:
    house.serving.scores[house.hashes[2]] = lambda scores: 1 - scores
    promoted(house)
    assert house.current.version == 1


def test_scores_that_came_apart_in_service_come_back_by_the_compared_rows(house: House) -> None:
    promoted(house)
    house.answers("shadow", 1, requests=300, compared=300, difference=150, difference_squared=90)
    house.now_ms += 60_000
    house.look()
    assert house.current.version == 1
    assert newest(house).why.startswith("both releases' answers to the same 300 rows differ by 0.50")


def test_an_outage_in_which_the_release_before_fails_as_well_brings_nothing_back(house: House) -> None:
    promoted(house)
    house.answers("shadow", 1, requests=6, failures=3)
    house.minute({"requests": 60, "failures": 30}, {})
    assert house.current.version == 2
    house.minute({"requests": 60, "failures": 30}, {})
    assert house.current.version == 1


def test_a_canary_s_end_is_watched_too(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    for _ in range(3):
        house.minute(*GOOD)
    for _ in range(6):
        house.minute(*HALF)
    assert house.current.version == 2
    assert [each.kind for each in house.rollouts.history("churn")] == ["watch", "canary"]
    assert newest(house).record.requests > 5_000


def test_a_rollback_and_the_first_release_are_not_watched(house: House) -> None:
    house.now_ms -= 3_600_000
    house.look()
    assert house.rollouts.history() == []
    house.now_ms += 3_600_000
    promoted(house)
    house.deployment.rollback("churn", actor=ADA, reason="drill")
    house.look()
    assert [(each.version, each.state) for each in house.rollouts.history()] == [(2, "ended")]
    assert newest(house).why == "version 1 was put live (rollback)"


def test_without_a_window_nothing_is_watched(tmp_path: Path) -> None:
    house = House(tmp_path, watch_s=0.0)
    house.deployment.promote("churn", 2, actor=ADA)
    house.look()
    assert house.rollouts.history() == []


def test_killed_between_the_way_back_and_the_row_it_is_closed_and_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(house)
    bad: dict[str, float] = {"requests": 60, "failures": 29}
    killed(monkeypatch, "mlspine.rollouts.telling.Telling.came_back", lambda: house.minute(bad, {}))
    assert house.current.version == 1
    house.restarted().decide()
    assert newest(house).state == "returned"
    assert newest(house).why.startswith("48.3% of 60 answers since the switch failed")
    assert house.alerts()[0].severity == "CRITICAL"


def test_a_way_back_that_does_not_load_is_asked_about(house: House) -> None:
    promoted(house)
    house.serving.refuses = True
    house.minute({"requests": 60, "failures": 30}, {})
    assert house.current.version == 2
    assert house.alerts()[0].title == "churn: somebody has to decide on version 2"
    house.serving.refuses = False
    house.now_ms += 60_000
    house.look()
    assert house.current.version == 1
