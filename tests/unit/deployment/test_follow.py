"""What another machine put live is followed here."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlspine.core.errors import Unavailable
from mlspine.core.plan import Acknowledgement, Plan
from mlspine.deployment.service import FOLLOW_RETRY_S, Deployment
from tests.unit.deployment.test_service import ADA, House, StandIn


class Follower(StandIn):
    """The serving side of the other machine: it keeps the last plan, as `run/plan.json` does."""

    def apply(self, plan: Plan) -> tuple[Acknowledgement, ...]:
        done = super().apply(plan)
        if self.broken:
            raise Unavailable("a library is missing here")
        return done

    def applied(self) -> Plan | None:
        return self.plans[-1] if self.plans else None


class Other:
    """A second machine on the store of a house."""

    def __init__(self, house: House) -> None:
        self.now_ms = 0
        self.stand_in = Follower()
        self.deployment = Deployment(
            db=house.db,
            registry=house.registry,
            governance=house.governance,
            deployer=self.stand_in,
            base_plan=Plan(number=0, workspace="elsewhere", host="127.0.0.1", port=9090),
            clock=lambda: self.now_ms,
        )


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path)
    made.ship(1.0)
    made.ship(0.1)
    return made


def test_every_change_is_followed_once_at_the_own_address(house: House) -> None:
    other = Other(house)
    assert not other.deployment.follow()  # nothing is served yet
    house.deployment.serve("churn:1", actor=ADA)
    assert other.deployment.follow()
    assert not other.deployment.follow()
    house.deployment.promote("churn", 2, actor=ADA)
    house.deployment.rollback("churn", actor=ADA)
    assert other.deployment.follow()
    assert not other.deployment.follow()
    versions = [plan.endpoints[0].live.version for plan in other.stand_in.plans if plan.endpoints[0].live]
    assert versions == [1, 1]
    assert other.stand_in.plans[-1].port == 9090


def test_a_crash_counted_elsewhere_moves_the_release_here_too(house: House) -> None:
    house.deployment.serve("churn:1", actor=ADA)
    other = Other(house)
    other.deployment.follow()
    house.deployment.record_native_crash(house.registry.get("churn", 1).release_hash, actor=ADA)
    assert other.deployment.follow()


def test_a_plan_that_cannot_be_applied_is_told_each_time_and_tried_again_later(house: House) -> None:
    house.deployment.serve("churn:1", actor=ADA)
    other = Other(house)
    other.stand_in.broken = True
    for _ in range(3):
        with pytest.raises(Unavailable, match="library"):
            other.deployment.follow()
    assert len(other.stand_in.plans) == 1
    other.now_ms += int(FOLLOW_RETRY_S * 1000)
    other.stand_in.broken = False
    assert other.deployment.follow()
    assert not other.deployment.follow()


def test_a_newer_plan_is_tried_at_once_after_a_refused_one(house: House) -> None:
    house.deployment.serve("churn:1", actor=ADA)
    other = Other(house)
    other.stand_in.broken = True
    with pytest.raises(Unavailable):
        other.deployment.follow()
    other.stand_in.broken = False
    house.deployment.promote("churn", 2, actor=ADA)
    assert other.deployment.follow()
