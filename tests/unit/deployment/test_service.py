"""Changes of traffic against the real store and registry; only the serving side is a stand-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Conflict, Denied, Unavailable
from mlspine.core.plan import Acknowledgement, LogSettings, Plan, PlannedEndpoint, ProcessState, Proof
from mlspine.core.types import SYSTEM, Actor, Tier
from mlspine.data.service import Data
from mlspine.deployment.service import Deployment
from mlspine.governance.service import Governance
from mlspine.registry.prepare import prepare
from mlspine.registry.service import Registry

ADA = Actor(name="ada")
X = np.random.default_rng(0).normal(size=(300, 2))
Y = (X[:, 0] > 0).astype(int)


class StandIn:
    """Acknowledges every plan; told to, it cannot load anything."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.broken = False

    def prepare(self, endpoint: PlannedEndpoint) -> Proof:
        if self.broken:
            raise Unavailable("the release cannot be loaded")
        assert endpoint.live is not None
        return Proof(
            release_hash=endpoint.live.release_hash,
            recorded_rows=2,
            reproduced_rows=2,
            placement="worker",
            form="matrix",
            load_s=0.1,
            p50_s=0.01,
            p95_s=0.01,
            p99_s=0.01,
            capacity_rows_per_s=100.0,
        )

    def apply(self, plan: Plan) -> tuple[Acknowledgement, ...]:
        self.plans.append(plan)
        return (Acknowledgement(process="inference-0", plan=plan.number, applied_at_ms=0),)

    def observe(self) -> tuple[ProcessState, ...]:
        return ()

    def flush(self) -> None: ...

    def remove(self) -> None: ...


class House:
    """One workspace without processes."""

    def __init__(self, folder: Path) -> None:
        self.releases = folder / "releases"
        self.releases.mkdir()
        self.db = SqliteDatabase(folder / "store.db")
        self.db.migrate(migrations.scripts())
        self.governance = Governance(db=self.db)
        self.registry = Registry(
            db=self.db, data=Data(db=self.db), governance=self.governance, releases_dir=self.releases
        )
        self.stand_in = StandIn()
        self.deployment = Deployment(
            db=self.db,
            registry=self.registry,
            governance=self.governance,
            deployer=self.stand_in,
            base_plan=Plan(number=0, workspace=str(folder), host="127.0.0.1", port=8080),
        )

    def ship(self, C: float = 1.0, *, tier: Tier = "low") -> None:
        model = LogisticRegression(C=C, random_state=0).fit(X, Y)
        prepared = prepare(model, X, name="churn", owner="ada@example.org", tier=tier, releases_dir=self.releases)
        self.registry.register(prepared, actor=ADA)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def refused_by_gate(house: House, version: int, *, verdict: str = "REFUSED") -> None:
    release = house.registry.get("churn", version).release_hash
    document = {"release": release, "verdict": verdict, "paragraph": f"churn:{version} does not pass the gate."}
    house.governance.record_evidence("gate", "model:churn", ADA, passed=verdict == "PASSED", document=document)


def test_a_version_the_promotion_gate_refused_is_promoted_with_a_warning_at_tier_low(house: House) -> None:
    house.ship(1.0)
    house.ship(0.1)
    house.deployment.serve("churn:1", actor=ADA)
    refused_by_gate(house, 2)
    warned = house.deployment.promote("churn", 2, actor=ADA)
    assert any("churn:2 does not pass the gate. Judge it again" in warning for warning in warned.warnings)
    house.deployment.rollback("churn", actor=ADA)
    refused_by_gate(house, 2, verdict="PASSED")  # only the newest verdict counts
    assert house.deployment.promote("churn", 2, actor=ADA).warnings == ()


def test_above_tier_low_the_promotion_gate_s_refusal_stops_a_promotion_but_no_way_back(house: House) -> None:
    house.ship(1.0, tier="medium")
    house.ship(0.1, tier="medium")
    house.deployment.serve("churn:1", actor=ADA)
    refused_by_gate(house, 2)
    with pytest.raises(Denied) as denied:
        house.deployment.promote("churn", 2, actor=ADA)
    assert any("does not pass the gate" in detail for detail in denied.value.details)
    refused_by_gate(house, 2, verdict="NOT_ESTIMABLE")
    house.deployment.promote("churn", 2, actor=ADA)
    refused_by_gate(house, 1)
    assert house.deployment.rollback("churn", actor=ADA).revision.version == 1


def test_an_environment_of_its_own_belongs_to_the_version_and_comes_back_with_it(house: House) -> None:
    house.ship(1.0)
    house.ship(0.1)
    first = house.deployment.serve("churn:1", own_env=True, actor=ADA)
    assert first.revision.own_env
    live = house.deployment.plan().endpoints[0].live
    assert live is not None
    assert (live.own_env, live.placement) == (True, "worker")
    assert not house.deployment.promote("churn", 2, actor=ADA).revision.own_env
    planned = house.deployment.plan().endpoints[0]
    assert planned.live is not None
    assert planned.warm is not None
    assert (planned.live.own_env, planned.warm.own_env) == (False, True)
    back = house.deployment.rollback("churn", actor=ADA)
    assert back.revision.own_env
    assert "the machine's installed packages" not in back.not_restored
    assert not house.deployment.serve("churn:1", actor=ADA).changed  # as it ran before
    ended = house.deployment.serve("churn:1", own_env=False, actor=ADA)
    assert (ended.changed, ended.revision.own_env) == (True, False)
    assert house.deployment.revisions("churn")[0].own_env


def test_what_is_not_installed_stops_a_version_only_where_it_would_run_here(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.ship()
    monkeypatch.setattr(house.registry, "missing_dependencies", lambda _: ["scikit-learn==1.5.2"])
    with pytest.raises(Denied, match="stands in the way"):
        house.deployment.serve("churn", actor=ADA)
    assert house.deployment.serve("churn", own_env=True, actor=ADA).revision.version == 1
    assert house.deployment.serve("churn", log=LogSettings(enabled=False), actor=ADA).revision.own_env


def test_a_failed_preparation_changes_nothing(house: House) -> None:
    house.ship()
    house.stand_in.broken = True
    with pytest.raises(Unavailable):
        house.deployment.serve("churn", actor=ADA)
    assert house.deployment.endpoints() == []
    assert house.stand_in.plans == []
    assert [entry.action for entry in house.governance.entries()] == ["ship"]


def test_a_switch_keeps_the_release_before_warm_and_remembers_where_it_ran(house: House) -> None:
    house.ship(1.0)
    house.ship(0.1)
    house.deployment.serve("churn:1", actor=ADA)
    house.deployment.promote("churn", 2, actor=ADA)
    planned = house.stand_in.plans[-1].endpoints[0]
    assert planned.live is not None
    assert planned.warm is not None
    assert (planned.live.version, planned.warm.version) == (2, 1)
    assert planned.live.placement == "worker"
    stages = {each.version: each.stage for each in house.registry.versions("churn")}
    assert stages == {1: "Archived", 2: "Production"}


def test_a_rollback_past_the_first_release_cannot_answer_and_a_further_one_is_refused(house: House) -> None:
    house.ship()
    house.deployment.serve("churn", actor=ADA)
    assert house.deployment.rollback("churn", actor=ADA, reason="drill").revision.version == 0
    assert house.stand_in.plans[-1].endpoints[0].live is None
    with pytest.raises(Conflict, match="nothing further back"):
        house.deployment.rollback("churn", actor=ADA)
    last = house.governance.entries()[-1]
    assert (last.action, last.actor, last.reason) == ("rollback", "ada", "drill")


def test_a_rollback_typed_just_after_it_went_back_by_itself_does_not_leave_nothing(house: House) -> None:
    house.ship(1.0)
    house.ship(0.1)
    house.deployment.serve("churn:1", actor=ADA)
    house.deployment.promote("churn", 2, actor=ADA)
    house.deployment.rollback("churn", actor=SYSTEM, reason="watch: slow")
    with pytest.raises(Conflict, match="went back from version 2 to 1 by itself 0 s ago"):
        house.deployment.rollback("churn", actor=ADA)
    assert house.deployment.get("churn").current.version == 1
    house.deployment.promote("churn", 2, actor=ADA)
    house.deployment.rollback("churn", actor=ADA)
    assert house.deployment.rollback("churn", actor=ADA).revision.version == 0  # one's own word twice is meant


def test_serving_what_is_served_writes_nothing(house: House) -> None:
    house.ship()
    house.deployment.serve("churn", actor=ADA)
    again = house.deployment.serve("churn", actor=ADA)
    assert not again.changed
    assert len(house.deployment.revisions("churn")) == 1


def test_what_is_recorded_can_be_changed_on_the_only_release_of_a_medium_tier(house: House) -> None:
    house.ship(tier="medium")
    house.deployment.serve("churn", actor=ADA)
    switched = house.deployment.serve("churn", log=LogSettings(enabled=False), actor=ADA)
    assert switched.changed
    assert not house.stand_in.plans[-1].endpoints[0].log.enabled


def test_above_tier_low_the_plan_says_that_the_record_comes_first(house: House) -> None:
    house.ship(tier="medium")
    house.deployment.serve("churn", actor=ADA)
    assert house.deployment.plan().endpoints[0].log_first
    house.ship(C=2.0, tier="low")
    refused_by_gate(house, 2, verdict="PASSED")  # what is left was of tier medium, and so is the step
    house.deployment.promote("churn", 2, actor=ADA)
    assert not house.deployment.plan().endpoints[0].log_first


def test_a_medium_tier_without_a_named_owner_is_refused(house: House) -> None:
    model = LogisticRegression(random_state=0).fit(X, Y)
    prepared = prepare(model, X, name="churn", tier="medium", releases_dir=house.releases)
    house.registry.register(prepared, actor=ADA)
    with pytest.raises(Denied) as caught:
        house.deployment.serve("churn", actor=ADA)
    assert any("owner" in detail for detail in caught.value.details)


def test_two_native_crashes_move_the_release_out_of_the_loop(house: House) -> None:
    house.ship()
    release = house.deployment.serve("churn", actor=ADA).revision.release_hash
    assert not house.deployment.record_native_crash(release, actor=ADA)
    assert house.deployment.record_native_crash(release, actor=ADA)
    live = house.deployment.plan().endpoints[0].live
    assert live is not None
    assert live.placement == "worker"
    assert house.governance.entries()[-1].action == "move-to-worker"
