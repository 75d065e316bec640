"""Stages and aliases: one place moves them, the gate decides, and all of a change is stored or nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mlspine.artifacts import Artifacts
from mlspine.backends.files import FileBlobStore
from mlspine.core.errors import Conflict, Denied, Invalid, MlspineError, NotFound
from mlspine.core.ids import now_ms
from mlspine.core.types import Actor, Tier
from mlspine.deployment.moves import Moves
from mlspine.registry.catalogue import Catalogue
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.service import Tracking
from tests.unit.deployment.test_service import ADA, House

BEN = Actor(name="ben")


class Models(House):
    """A house with the catalogue and the moves of its models."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.catalogue = Catalogue(
            db=self.db,
            tracking=Tracking(db=self.db),
            models=LoggedModels(db=self.db),
            artifacts=Artifacts(
                db=self.db, blobs=FileBlobStore(folder / "blobs"), drafts=folder / "drafts", clock=now_ms
            ),
            governance=self.governance,
            releases_dir=self.releases,
        )
        self.moves = Moves(
            db=self.db,
            registry=self.registry,
            catalogue=self.catalogue,
            deployment=self.deployment,
            governance=self.governance,
            gated_aliases=("champion",),
        )

    def shipped(self, *penalties: float, tier: Tier = "low") -> Models:
        for penalty in penalties:
            self.ship(penalty, tier=tier)
        return self

    def judged(self, version: int, against: int, verdict: str) -> None:
        release = self.registry.get("churn", version).release_hash
        document = {"release": release, "against": against, "verdict": verdict, "paragraph": f"churn:{version}: no."}
        self.governance.record_evidence("gate", "model:churn", ADA, passed=verdict == "PASSED", document=document)

    def stages(self) -> dict[int, str]:
        return {each.version: each.stage for each in self.registry.versions("churn")}

    def actions(self) -> list[str]:
        return [each.action for each in self.governance.entries()]


@pytest.fixture
def house(tmp_path: Path) -> Models:
    return Models(tmp_path)


# ---------------------------------------------------------------- stages


def test_a_stage_moves_with_a_ledger_line_and_archives_what_was_there(house: Models) -> None:
    house.shipped(1.0, 0.1)
    house.moves.transition("churn", 1, stage="staging", actor=ADA)
    moved = house.moves.transition("churn", 2, stage="Staging", archive_existing=True, actor=BEN, reason="newer")
    assert (moved.version.stage, moved.archived) == ("Staging", (1,))
    assert house.stages() == {1: "Archived", 2: "Staging"}
    line = house.governance.entries()[-1]
    assert (line.action, line.actor, line.reason, line.facts["archived"]) == ("stage", "ben", "newer", [1])
    house.moves.transition("churn", 2, stage="Staging", actor=BEN)
    assert house.actions() == ["ship", "ship", "stage", "stage"]


def test_stages_that_are_none_and_versions_that_are_not_there_are_refused(house: Models) -> None:
    house.shipped(1.0)
    with pytest.raises(Invalid, match="Bogus"):
        house.moves.transition("churn", 1, stage="Bogus", actor=ADA)
    with pytest.raises(Invalid, match="archived for another"):
        house.moves.transition("churn", 1, stage="Archived", archive_existing=True, actor=ADA)
    with pytest.raises(NotFound):
        house.moves.transition("churn", 7, stage="Staging", actor=ADA)


def test_production_of_a_model_that_answers_is_a_promotion(house: Models) -> None:
    house.shipped(1.0, 0.1)
    house.deployment.serve("churn:1", actor=ADA)
    moved = house.moves.transition("churn", 2, stage="Production", actor=ADA)
    assert moved.archived == (1,)
    assert house.deployment.get("churn").current.version == 2
    assert house.stand_in.plans[-1].endpoints[0].live.version == 2  # type: ignore[union-attr]
    assert house.actions()[-1] == "promote"
    assert house.stages() == {1: "Archived", 2: "Production"}


def test_what_answers_is_not_taken_out_of_production_renamed_or_deleted(house: Models) -> None:
    house.shipped(1.0, 0.1)
    house.deployment.serve("churn:1", actor=ADA)
    house.deployment.promote("churn", 2, actor=ADA)
    before = house.actions()
    with pytest.raises(Conflict) as stays:
        house.moves.transition("churn", 2, stage="Archived", actor=ADA)
    assert "mlspine promote" in stays.value.hint
    assert "mlspine rollback" in stays.value.hint
    with pytest.raises(Conflict, match="answers with churn:2"):
        house.moves.delete_version("churn", 2, actor=ADA)
    with pytest.raises(Conflict, match="what a rollback brings back"):
        house.moves.delete_version("churn", 1, actor=ADA)
    with pytest.raises(Conflict):
        house.moves.delete("churn", actor=ADA)
    with pytest.raises(Conflict):
        house.moves.rename("churn", new_name="other", actor=ADA)
    assert house.actions() == before


def test_serving_takes_production_from_a_version_put_there_by_hand(house: Models) -> None:
    house.shipped(1.0, 0.1)
    house.moves.transition("churn", 1, stage="Production", actor=ADA)
    house.deployment.serve("churn:2", actor=ADA)
    assert house.stages() == {1: "Archived", 2: "Production"}


# ---------------------------------------------------------------- the gate decides here too


def test_at_tier_low_a_move_without_a_verdict_is_warned_of_in_the_ledger(house: Models) -> None:
    house.shipped(1.0, 0.1)
    house.moves.set_alias("churn", alias="champion", version=1, actor=ADA)
    moved = house.moves.set_alias("churn", alias="champion", version=2, actor=ADA)
    assert "churn:2 was not compared with churn:1" in moved.warnings[0]
    assert house.governance.entries()[-1].facts["warnings"] == list(moved.warnings)


@pytest.mark.parametrize("place", ["stage", "alias"])
def test_above_tier_low_a_verdict_on_the_two_opens_production_and_gated_aliases(house: Models, place: str) -> None:
    house.shipped(1.0, 0.1, tier="medium")

    def move(version: int) -> None:
        if place == "stage":
            house.moves.transition("churn", version, stage="Production", archive_existing=True, actor=ADA)
        else:
            house.moves.set_alias("churn", alias="champion", version=version, actor=ADA)

    move(1)  # nothing stood there: nothing to be better than
    before = house.actions()
    with pytest.raises(Denied) as unjudged:
        move(2)
    assert "mlspine gate churn:2" in unjudged.value.details[0]
    house.judged(2, 1, "REFUSED")
    with pytest.raises(Denied, match=r"churn:2: no\."):
        move(2)
    assert house.actions() == before
    house.judged(2, 1, "PASSED")
    move(2)
    assert house.registry.get("churn", 2).stage == ("Production" if place == "stage" else "None")


def test_a_verdict_against_another_version_does_not_count(house: Models) -> None:
    house.shipped(1.0, 0.1, 0.2, tier="medium")
    house.moves.set_alias("churn", alias="champion", version=1, actor=ADA)
    house.judged(3, 2, "PASSED")
    with pytest.raises(Denied, match="was not compared with churn:1"):
        house.moves.set_alias("churn", alias="champion", version=3, actor=ADA)


def test_a_lower_tier_does_not_slip_past_the_tier_of_what_it_replaces(house: Models) -> None:
    house.shipped(1.0, tier="medium").shipped(0.1, tier="low")
    house.moves.set_alias("churn", alias="champion", version=1, actor=ADA)
    with pytest.raises(Denied):
        house.moves.set_alias("churn", alias="champion", version=2, actor=ADA)
    house.moves.set_alias("churn", alias="shadow", version=2, actor=ADA)  # not gated


def test_a_move_may_be_taken_back_once(house: Models) -> None:
    house.shipped(1.0, 0.1, tier="medium")
    house.moves.set_alias("churn", alias="champion", version=1, actor=ADA)
    house.judged(2, 1, "PASSED")
    house.moves.set_alias("churn", alias="champion", version=2, actor=ADA)
    house.moves.set_alias("churn", alias="champion", version=1, actor=ADA)
    assert house.registry.aliases("churn") == {"champion": 1}
    house.judged(2, 1, "REFUSED")
    with pytest.raises(Denied):
        house.moves.set_alias("churn", alias="champion", version=2, actor=ADA)


def test_a_bare_version_is_refused_above_tier_low_with_the_command_that_fills_it(house: Models) -> None:
    house.shipped(1.0, tier="medium")
    house.catalogue.create_version("churn", source="s3://bucket/model", actor=ADA)
    assert house.registry.get("churn", 2).tier == "medium"
    with pytest.raises(Denied) as refused:
        house.moves.set_alias("churn", alias="champion", version=2, actor=ADA)
    assert any("mlspine ship FILE --name churn --data ROWS" in each for each in refused.value.details)


# ---------------------------------------------------------------- approvals


def test_tier_high_needs_the_word_of_a_second_person_once_for_each_change(house: Models) -> None:
    house.shipped(1.0, tier="high")
    with pytest.raises(Denied, match="mlspine approve churn:1"):
        house.moves.transition("churn", 1, stage="Production", actor=ADA)
    house.registry.approve("churn:1", actor=ADA)  # one's own word does not count
    with pytest.raises(Denied):
        house.moves.transition("churn", 1, stage="Production", actor=ADA)
    given = house.registry.approve("churn:1", actor=BEN, reason="seen it")
    moved = house.moves.transition("churn", 1, stage="Production", actor=ADA)
    assert moved.approved_by == "ben"
    line = house.governance.entries()[-1]
    assert (line.facts["approval"], line.facts["approved_by"]) == (given.id, "ben")
    used = {each.id: each.used_for for each in house.governance.approvals("model:churn")}
    assert used[given.id] == "stage Production of churn"
    with pytest.raises(Denied, match="approval"):
        house.moves.set_alias("churn", alias="champion", version=1, actor=ADA)


def test_serving_at_tier_high_uses_an_approval_up(house: Models) -> None:
    house.shipped(1.0, tier="high")
    house.registry.approve("churn:1", actor=BEN)
    house.deployment.serve("churn:1", actor=ADA)
    assert house.governance.entries()[-1].facts["approved_by"] == "ben"
    assert house.governance.approval_for("model:churn", "", requester=ADA) is None
    (used,) = house.governance.approvals("model:churn")
    assert used.used_for == "serve churn"


def test_an_approval_is_for_the_release_it_was_given_for(house: Models) -> None:
    house.shipped(1.0, 0.1, tier="high")
    house.registry.approve("churn:2", actor=BEN)
    with pytest.raises(Denied, match="mlspine approve churn:1"):
        house.moves.set_alias("churn", alias="champion", version=1, actor=ADA)


# ---------------------------------------------------------------- together or not at all


def test_a_ledger_that_cannot_be_written_leaves_stage_alias_and_approval_as_they_were(house: Models) -> None:
    house.shipped(1.0, tier="high")
    house.registry.approve("churn:1", actor=BEN)
    with house.db.write() as tx:
        tx.execute("create trigger no_room before insert on ledger begin select raise(abort, 'disk full'); end")
    with pytest.raises(Exception, match="disk full"):
        house.moves.transition("churn", 1, stage="Production", actor=ADA)
    with pytest.raises(Exception, match="disk full"):
        house.moves.set_alias("churn", alias="champion", version=1, actor=ADA)
    with pytest.raises(Exception, match="disk full"):
        house.deployment.serve("churn:1", actor=ADA)
    assert house.stages() == {1: "None"}
    assert house.registry.aliases("churn") == {}
    assert house.deployment.endpoints() == []
    assert house.governance.approvals("model:churn")[0].used_at_ms == 0
    with house.db.write() as tx:
        tx.execute("drop trigger no_room")
    house.moves.transition("churn", 1, stage="Production", actor=ADA)
    assert house.governance.verify().intact


def test_two_who_move_one_alias_each_stand_on_what_the_other_left(house: Models) -> None:
    house.shipped(1.0, 0.1, 0.2)
    failed: list[BaseException] = []

    def move(actor: Actor, versions: tuple[int, int]) -> None:
        for turn in range(20):
            try:
                house.moves.set_alias("churn", alias="champion", version=versions[turn % 2], actor=actor)
            except MlspineError as exc:
                failed.append(exc)

    threads = [
        threading.Thread(target=move, args=(ADA, (1, 2))),
        threading.Thread(target=move, args=(BEN, (3, 1))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    lines = [each.facts for each in house.governance.entries(limit=1_000) if each.action == "alias"]
    assert {each["version"] for each in lines} == {1, 2, 3}
    stood = 0
    for each in lines:
        assert each["previous_version"] == stood
        stood = each["version"]
    assert house.registry.aliases("churn") == {"champion": stood}


# ---------------------------------------------------------------- away


def test_an_alias_is_taken_away_with_a_line_and_an_absent_one_without(house: Models) -> None:
    house.shipped(1.0)
    house.moves.set_alias("churn", alias="champion", version=1, actor=ADA)
    for _ in range(2):
        house.moves.delete_alias("churn", alias="champion", actor=ADA)
    assert house.registry.aliases("churn") == {}
    assert house.actions() == ["ship", "alias", "alias"]
    for alias in ("latest", "v1", "V12", "a b", "", "x" * 256):
        with pytest.raises(Invalid):
            house.moves.set_alias("churn", alias=alias, version=1, actor=ADA)


def test_models_that_do_not_answer_are_renamed_and_deleted(house: Models) -> None:
    house.shipped(1.0, 0.1)
    house.moves.delete_version("churn", 1, actor=ADA)
    house.moves.rename("churn", new_name="other", actor=ADA)
    house.moves.delete("other", actor=BEN)
    assert house.registry.models() == []
    assert house.actions()[2:] == ["delete", "rename", "rename", "delete"]
    assert house.governance.verify().intact


def test_what_answers_a_share_or_is_asked_along_cannot_be_deleted(house: Models) -> None:
    house.shipped(1.0, 0.1, 0.01)
    house.deployment.serve("churn:1", actor=ADA)
    house.deployment.split("churn", "churn:2", share=0.1, actor=ADA)
    house.deployment.shadow("churn", "churn:3", actor=ADA)
    with pytest.raises(Conflict, match="churn:2 answers a share of the requests") as caught:
        house.moves.delete_version("churn", 2, actor=ADA)
    assert caught.value.hint == "end that first: mlspine split churn --off"
    with pytest.raises(Conflict, match="churn:3 is asked along unseen"):
        house.moves.delete_version("churn", 3, actor=ADA)
    house.deployment.shadow("churn", None, actor=ADA)
    house.moves.delete_version("churn", 3, actor=ADA)
    house.deployment.split("churn", share=0.0, actor=ADA)
    with pytest.raises(Conflict, match="churn:2 has answered"):
        house.moves.delete_version("churn", 2, actor=ADA)
