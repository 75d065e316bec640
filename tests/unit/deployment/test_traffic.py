"""The division of requests as committed state; only the serving side is a stand-in."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mlspine.core.errors import Conflict, Denied, Invalid, Unavailable
from mlspine.core.plan import Cohort, Guards, LogSettings, PlannedEndpoint, Traffic
from mlspine.core.types import Actor
from mlspine.deployment import store
from mlspine.deployment.service import Deployment
from tests.unit.deployment.test_service import ADA, House
from tests.unit.deployment.test_service import StandIn as Serving

BEN = Actor(name="ben")


class Three(House):
    """Three versions of one model; the first one answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for penalty in (1.0, 0.1, 0.01):
            self.ship(penalty)
        self.deployment.serve("churn:1", actor=ADA)

    @property
    def planned(self) -> PlannedEndpoint:
        return self.deployment.plan().endpoints[0]

    @property
    def traffic(self) -> Traffic:
        return self.deployment.get("churn").current.traffic

    def split(self, version: int, share: float) -> None:
        self.deployment.split("churn", f"churn:{version}", share=share, actor=ADA)

    def actions(self) -> list[str]:
        return [entry.action for entry in self.governance.entries() if entry.action != "ship"]


@pytest.fixture
def house(tmp_path: Path) -> Three:
    return Three(tmp_path)


# ---------------------------------------------------------------- a candidate


def test_a_split_is_a_revision_of_the_same_live_version_with_a_ledger_line(house: Three) -> None:
    switched = house.deployment.split("churn", "churn:2", share=0.05, unit="x0", actor=ADA, reason="look at it")
    revision = switched.revision
    assert (revision.version, revision.cause, revision.reason) == (1, "traffic", "look at it")
    assert (revision.traffic.candidate, revision.traffic.share, revision.traffic.unit) == (2, 0.05, "x0")
    assert switched.proof is not None
    assert switched.proof.release_hash == house.registry.get("churn", 2).release_hash
    line = house.governance.entries()[-1]
    assert line.action == "split"
    assert line.facts["says"] == "version 2 answers 5% of the requests, dealt by x0"
    assert {each.version: each.stage for each in house.registry.versions("churn")}[1] == "Production"


def test_the_plan_resolves_the_candidate_and_says_what_is_slow(house: Three) -> None:
    house.split(2, 0.25)
    traffic = house.planned.traffic
    assert traffic.candidate is not None
    assert traffic.candidate.release_hash == house.registry.get("churn", 2).release_hash
    assert traffic.candidate.path == house.registry.get("churn", 2).path
    assert (traffic.share, traffic.salt) == (0.25, house.traffic.salt)
    assert traffic.slow_s == 0.1  # twice a P99 of 10 ms is less than anybody minds
    declared = Deployment(
        db=house.db,
        registry=house.registry,
        governance=house.governance,
        deployer=Serving(),
        base_plan=house.deployment.plan(),
        latency_s=0.025,
    )
    assert declared.plan().endpoints[0].traffic.slow_s == 0.025


def test_a_growing_share_keeps_salt_unit_and_cohort_and_another_candidate_deals_anew(house: Three) -> None:
    cohort = Cohort(field="x0", values=(1.0,))
    house.deployment.split("churn", "churn:2", share=0.05, unit="x1", cohort=cohort, actor=ADA)
    first = house.traffic
    assert first.salt
    house.deployment.split("churn", "churn", share=0.5, actor=ADA)  # the candidate there is
    assert house.traffic == Traffic(candidate=2, share=0.5, unit="x1", cohort=cohort, salt=first.salt)
    house.deployment.split("churn", "", share=0.5, cohort=Cohort(field="", values=()), actor=ADA)
    assert house.traffic.cohort is None
    house.split(3, 0.05)
    assert (house.traffic.candidate, house.traffic.unit) == (3, "")
    assert house.traffic.salt not in ("", first.salt)


def test_a_candidate_taken_back_and_tried_again_is_dealt_anew_unless_a_salt_is_given(house: Three) -> None:
    house.split(2, 0.05)
    salt = house.traffic.salt
    house.deployment.split("churn", share=0.0, actor=ADA)
    assert house.traffic == Traffic()
    house.split(2, 0.05)
    assert house.traffic.salt != salt
    house.deployment.split("churn", share=0.05, salt="mine", actor=ADA)
    assert house.traffic.salt == "mine"


def test_the_same_split_again_writes_nothing(house: Three) -> None:
    house.split(2, 0.05)
    number = house.deployment.get("churn").current.number
    assert not house.deployment.split("churn", "churn:2", share=0.05, actor=ADA).changed
    assert not house.deployment.shadow("churn", None, actor=ADA).changed
    assert house.deployment.get("churn").current.number == number


def test_a_candidate_that_cannot_be_loaded_changes_nothing(house: Three) -> None:
    house.stand_in.broken = True
    with pytest.raises(Unavailable):
        house.split(2, 0.05)
    assert house.traffic == Traffic()
    assert "split" not in house.actions()


@pytest.mark.parametrize(
    ("ref", "share", "told"),
    [
        ("churn:1", 0.1, "churn:1 answers already"),
        ("churn", 0.1, "no candidate yet"),
        ("churn:2", 1.5, "a share of 1.5 is outside 0 to 1"),
        ("churn:2", float("nan"), "a share of nan is outside"),
    ],
)
def test_what_cannot_be_split_is_refused_with_the_values(house: Three, ref: str, share: float, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        house.deployment.split("churn", ref, share=share, actor=ADA)
    assert house.traffic == Traffic()


def test_an_unknown_column_is_refused_with_those_there_are(house: Three) -> None:
    with pytest.raises(Invalid, match="takes no column 'x7'") as caught:
        house.deployment.split("churn", "churn:2", share=0.1, cohort=Cohort(field="x7", values=("a",)), actor=ADA)
    assert "x0, x1" in (caught.value.hint or "")
    with pytest.raises(Invalid, match="takes no column 'customer'"):
        house.deployment.split("churn", "churn:2", share=0.1, unit="customer", actor=ADA)
    with pytest.raises(Invalid, match="column x0 never is much"):
        house.deployment.split("churn", "churn:2", share=0.1, cohort=Cohort(field="x0", values=("much",)), actor=ADA)


def test_values_of_a_cohort_take_the_type_of_their_column(house: Three) -> None:
    cohort = Cohort(field="x0", values=("1", "2.5"))
    house.deployment.split("churn", "churn:2", share=0.1, cohort=cohort, actor=ADA)
    assert house.traffic.cohort == Cohort(field="x0", values=(1.0, 2.5))


def test_requests_that_nobody_answers_cannot_be_divided(house: Three) -> None:
    house.deployment.rollback("churn", actor=ADA)
    with pytest.raises(Conflict, match="nothing to divide"):
        house.split(2, 0.1)
    with pytest.raises(Conflict, match="nothing to divide"):
        house.deployment.shadow("churn", "churn:2", actor=ADA)


# ---------------------------------------------------------------- the gate


def test_above_tier_low_a_candidate_needs_what_a_promotion_needs(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.ship(1.0, tier="medium")
    house.ship(0.1, tier="medium")
    house.deployment.serve("churn:1", actor=ADA)
    with pytest.raises(Denied, match="may not promote churn:2"):
        house.deployment.split("churn", "churn:2", share=0.01, actor=ADA)
    house.deployment.shadow("churn", "churn:2", actor=ADA)  # answers nobody


def test_one_approval_holds_from_the_first_share_to_the_promotion_and_ends_with_the_candidate(tmp_path: Path) -> None:
    house = House(tmp_path)
    for penalty in (1.0, 0.1):
        house.ship(penalty, tier="high")
    candidate = house.registry.get("churn", 2)
    passed(house, 2)
    approve(house, 1)
    house.deployment.serve("churn:1", actor=ADA)
    with pytest.raises(Denied, match="may not promote"):
        house.deployment.split("churn", "churn:2", share=0.05, actor=ADA)
    approve(house, 2)
    first = house.deployment.split("churn", "churn:2", share=0.05, actor=ADA)
    assert house.governance.entries()[-1].facts["approved_by"] == "ben"
    assert first.changed
    house.deployment.split("churn", share=1.0, actor=ADA)
    house.deployment.split("churn", share=0.0, actor=ADA)
    with pytest.raises(Denied, match="may not promote"):
        house.deployment.split("churn", "churn:2", share=0.05, actor=ADA)
    approve(house, 2)
    house.deployment.split("churn", "churn:2", share=0.05, actor=ADA)
    assert house.deployment.promote("churn", 2, actor=ADA).revision.release_hash == candidate.release_hash


def test_a_shadow_has_to_be_able_to_run_here(house: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.registry, "missing_dependencies", lambda version: ("leftpad",))
    with pytest.raises(Denied, match="may not shadow churn:2") as caught:
        house.deployment.shadow("churn", "churn:2", actor=ADA)
    assert any("pip install leftpad" in each for each in caught.value.details)
    assert house.traffic == Traffic()


# ---------------------------------------------------------------- a shadow


def test_a_shadow_runs_in_a_process_of_its_own_and_ends_on_request(house: Three) -> None:
    switched = house.deployment.shadow("churn", "churn:3", share=0.5, actor=ADA)
    assert switched.revision.traffic == Traffic(shadow=3, shadow_share=0.5)
    planned = house.planned.traffic
    assert planned.shadow is not None
    assert (planned.shadow.version, planned.shadow.placement, planned.shadow_share) == (3, "worker", 0.5)
    house.split(2, 0.1)
    assert house.traffic.shadow == 3
    house.deployment.shadow("churn", None, actor=ADA)
    assert (house.traffic.candidate, house.traffic.shadow) == (2, 0)
    assert house.actions()[-3:] == ["shadow", "split", "shadow"]


def test_a_shadow_that_is_loaded_already_stays_where_it_runs(house: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    house.deployment.promote("churn", 2, actor=ADA)
    asked: list[PlannedEndpoint] = []
    monkeypatch.setattr(house.stand_in, "prepare", asked.append)
    house.deployment.shadow("churn", "churn:1", actor=ADA)  # what a rollback brings back, so it is warm
    assert asked == []
    assert house.planned.traffic.shadow == house.planned.warm


# ---------------------------------------------------------------- moves while requests are divided


def test_promoting_the_candidate_ends_its_split_and_keeps_what_it_leaves_warm(house: Three) -> None:
    house.split(2, 1.0)
    switched = house.deployment.promote("churn", 2, actor=ADA)
    assert (switched.revision.version, switched.revision.traffic) == (2, Traffic())
    assert not any("ended" in warning for warning in switched.warnings)  # nothing was lost
    assert house.planned.warm is not None
    assert house.planned.warm.version == 1


def test_promoting_another_version_ends_the_division_and_says_so(house: Three) -> None:
    house.split(2, 0.1)
    switched = house.deployment.promote("churn", 3, actor=ADA)
    assert switched.revision.traffic == Traffic()
    assert any("has ended: version 2 answers 10% of the requests" in warning for warning in switched.warnings)
    assert house.governance.entries()[-1].facts["ended"] == "version 2 answers 10% of the requests"


def test_serving_what_is_live_with_other_settings_keeps_the_division(house: Three) -> None:
    house.split(2, 0.1)
    before = house.traffic
    house.deployment.serve("churn", log=LogSettings(enabled=False), actor=ADA)
    assert house.traffic == before
    assert not house.deployment.serve("churn", actor=ADA).changed


def test_a_rollback_takes_the_candidate_back_first_and_goes_further_the_second_time(house: Three) -> None:
    house.deployment.promote("churn", 2, actor=ADA)
    house.split(3, 0.2)
    first = house.deployment.rollback("churn", actor=ADA)
    assert (first.revision.version, first.revision.cause, first.revision.rolled_back_from) == (2, "traffic", 3)
    assert first.revision.traffic == Traffic()
    second = house.deployment.rollback("churn", actor=ADA)
    assert (second.revision.version, second.revision.cause) == (1, "rollback")


def test_a_rollback_with_a_shadow_goes_back_at_once_and_ends_it(house: Three) -> None:
    house.deployment.promote("churn", 2, actor=ADA)
    house.deployment.shadow("churn", "churn:3", actor=ADA)
    switched = house.deployment.rollback("churn", actor=ADA)
    assert (switched.revision.version, switched.revision.traffic) == (1, Traffic())


def test_guards_go_along_with_every_change_of_what_answers(house: Three) -> None:
    guarded(house, Guards(answer=0))
    house.split(2, 0.1)
    house.deployment.promote("churn", 2, actor=ADA)
    assert house.deployment.get("churn").current.guards == Guards(answer=0)
    guarded(house, Guards(answer=1))
    house.split(3, 0.1)
    assert house.planned.guards == Guards(answer=1)
    house.deployment.rollback("churn", actor=ADA)
    house.deployment.rollback("churn", actor=ADA)
    assert house.deployment.get("churn").current.guards == Guards(answer=1)


def test_a_change_decided_on_an_older_state_is_refused(house: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = house.stand_in.prepare

    def meanwhile(endpoint: PlannedEndpoint) -> object:
        monkeypatch.setattr(house.stand_in, "prepare", prepare)
        house.deployment.promote("churn", 3, actor=BEN)
        return prepare(endpoint)

    monkeypatch.setattr(house.stand_in, "prepare", meanwhile)
    with pytest.raises(Conflict, match="changed meanwhile: it is at revision 2"):
        house.split(2, 0.1)
    assert [each.version for each in house.deployment.revisions("churn")] == [1, 3]


def test_the_moment_a_version_went_live_stays_while_its_requests_are_divided(house: Three) -> None:
    went_live = house.deployment.get("churn").live_since_ms
    house.split(2, 0.1)
    endpoint = house.deployment.get("churn")
    assert endpoint.live_since_ms == went_live == house.deployment.revisions("churn")[0].created_at_ms


def guarded(house: House, guards: Guards) -> None:
    """What a change of guards stores."""
    current = house.deployment.get("churn").current
    with house.db.write() as tx:
        next_one = msgspec.structs.replace(current, number=current.number + 1, cause="guards", guards=guards)
        store.append_revision(tx, next_one)


def passed(house: House, version: int) -> None:
    release = house.registry.get("churn", version).release_hash
    document = {"release": release, "against": 1, "verdict": "PASSED", "paragraph": ""}
    house.governance.record_evidence("gate", "model:churn", ADA, passed=True, document=document)


def approve(house: House, version: int) -> None:
    house.registry.approve(f"churn:{version}", actor=BEN)


# ---------------------------------------------------------------- whose rows alarms are about


def test_releases_that_answer_a_part_stand_beside_until_they_are_live_or_answer_everything(house: Three) -> None:
    hashes = {each.version: each.release_hash for each in house.registry.versions("churn")}
    beside = house.deployment.beside
    assert beside("churn") == beside("unknown") == frozenset()
    house.split(2, 0.1)
    assert beside("churn") == {hashes[2]}
    house.deployment.shadow("churn", "churn:3", actor=ADA)
    assert beside("churn") == {hashes[2]}  # a shadow has no rows in the log
    house.split(2, 1.0)
    assert beside("churn") == frozenset()
    house.deployment.split("churn", share=1.0, cohort=Cohort(field="x0", values=(1.0,)), actor=ADA)
    assert beside("churn") == {hashes[2]}
    house.deployment.split("churn", share=0.0, actor=ADA)
    assert beside("churn") == {hashes[2]}  # its rows are still to be judged
    house.deployment.promote("churn", 2, actor=ADA)
    assert beside("churn") == frozenset()
    house.split(1, 0.1)  # one that was live before, as a candidate now
    assert beside("churn") == {hashes[1]}
