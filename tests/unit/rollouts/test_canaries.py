"""Canaries over the real store, registry, ledger and alerts; only the serving side is pretended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlspine.core.errors import Conflict, Invalid, NotFound, Unavailable
from mlspine.rollouts import store
from mlspine.rollouts.service import Rollouts
from tests.unit.rollouts.house import ADA, House, passes_the_gate

SHORT: dict[str, Any] = {"canary": (5, 50, 100), "hours": 0.1, "step_minutes": 2, "step_requests": 100}
Counted = tuple[dict[str, float], dict[str, float]]
GOOD: Counted = {"requests": 950}, {"requests": 50}
HALF: Counted = {"requests": 1000}, {"requests": 1000}
BAD: Counted = {"requests": 950}, {"requests": 50, "failures": 6}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def newest(house: House) -> store.Rollout:
    return house.rollouts.history("churn")[0]


def test_a_good_candidate_goes_step_by_step_and_takes_over(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, unit="x0", actor=ADA)
    assert (house.current.traffic.candidate, house.current.traffic.share) == (2, 0.05)
    assert house.current.traffic.unit == "x0"
    planned = house.deployment.plan().endpoints[0].traffic
    assert planned.shadow is not None
    assert (planned.shadow.version, planned.shadow_share) == (2, 0.2)  # asked along for what version 1 answers
    salt = house.current.traffic.salt
    for _ in range(3):
        house.minute(*GOOD)
    assert (house.current.traffic.share, house.current.traffic.salt) == (0.5, salt)
    for _ in range(5):
        house.minute(*HALF)
    assert (house.current.version, house.current.cause, house.current.traffic.candidate) == (2, "promote", 0)
    assert newest(house).state == "promoted"
    assert house.lines()[1:] == [
        ("split", "ada"),
        ("canary start", "ada"),
        ("split", "system:mlspine"),
        ("canary step", "system:mlspine"),
        ("promote", "system:mlspine"),
        ("canary promoted", "system:mlspine"),
    ]
    assert house.alerts() == []


def test_a_bad_candidate_comes_back_once_with_an_alert_and_the_numbers(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.minute(*BAD)
    assert (house.current.version, house.current.traffic.candidate) == (1, 0)
    (alert,) = house.alerts()
    assert (alert.cause, alert.severity) == ("rollout", "CRITICAL")
    assert alert.why.startswith("12.0% of 50 answers of the candidate failed, 0.0% of 950 of the live release")
    assert newest(house).state == "returned"
    line = house.governance.entries()[-1]
    assert (line.action, line.actor) == ("canary returned", "system:mlspine")
    assert line.facts["evidence"][0]["newer"] == pytest.approx(0.12)
    house.now_ms += 86_400_000
    house.look()
    assert house.current.traffic.candidate == 0  # not tried again by itself


def test_looks_in_between_count_nothing_twice_and_a_restarted_process_begins_anew(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.answers("live", 1, requests=900)
    house.answers("candidate", 2, requests=40, failures=1)
    for _ in range(3):
        house.rollouts.tally()
    house.restarted().tally()
    house.serving.started_at_ms += 1
    house.serving.tallies.clear()
    house.answers("live", 1, requests=19)
    house.answers("candidate", 2, requests=1)
    house.rollouts.tally()
    (state,) = house.rollouts.status("churn")
    assert (state.older.requests, state.newer.requests, state.newer.failures) == (919, 41, 1)


def test_above_tier_low_a_person_promotes(tmp_path: Path) -> None:
    house = House(tmp_path, tier="medium")
    passes_the_gate(house, 2)
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    for _ in range(3):
        house.minute(*GOOD)
    for _ in range(6):
        house.minute(*HALF)
    assert house.current.version == 1
    (alert,) = house.alerts()
    assert alert.action == "mlspine promote churn 2"
    assert [action for action, _ in house.lines()].count("canary passed") == 1
    house.deployment.promote("churn", 2, actor=ADA)
    house.look()
    assert newest(house).state == "promoted"
    assert house.alerts() == []


def test_a_person_may_abort_and_the_live_release_answers_everything(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.rollouts.abort("churn", actor=ADA, reason="wrong week")
    assert house.current.traffic.candidate == 0
    assert (newest(house).state, newest(house).why) == ("aborted", "wrong week")
    with pytest.raises(NotFound, match="no canary is under way"):
        house.rollouts.abort("churn", actor=ADA)


def test_what_a_person_does_to_the_traffic_ends_it(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.deployment.split("churn", share=0.33, actor=ADA, reason="more of it")
    house.look()
    assert (newest(house).state, newest(house).why) == ("ended", "ada changed the division: more of it")
    house.deployment.split("churn", share=0.0, actor=ADA)
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.deployment.promote("churn", 3, actor=ADA)
    house.look()
    assert newest(house).state == "ended"
    assert house.current.version == 3


def test_another_share_than_dealt_ends_it_without_a_verdict(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.minute({"requests": 500}, {"requests": 500})
    assert newest(house).state == "invalid"
    assert house.current.traffic.candidate == 0
    assert house.alerts()[0].severity == "WARNING"


def test_inverted_scores_come_back_before_a_request(house: House) -> None:
    house.serving.scores[house.hashes[2]] = lambda scores: 1 - scores
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.look()
    assert newest(house).state == "returned"
    assert "rank correlation -1.00" in newest(house).why


def test_disagreement_beyond_that_on_recorded_rows_comes_back(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.look()
    assert newest(house).bound == pytest.approx(0.1)
    house.answers("shadow", 2, requests=300, compared=300, difference=150, difference_squared=90)
    house.look()
    assert newest(house).state == "open"
    house.now_ms += 60_000
    house.look()
    assert newest(house).state == "returned"
    assert newest(house).why.startswith("both releases' answers to the same 300 rows differ by 0.50")


def test_a_process_that_dies_twice_inside_its_call_brings_it_back(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    for _ in range(2):
        assert newest(house).state == "open"
        house.rollouts.note_death(house.hashes[1])  # the live one's deaths are not its own
        house.rollouts.note_death(house.hashes[2])
        house.look()
    assert newest(house).why == "its process died 2 times"


def test_a_worker_that_dies_twice_brings_it_back(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    for pid in (10, 11, 12):
        house.serving.workers[house.hashes[2]] = pid
        house.look()
    assert (newest(house).state, newest(house).why) == ("returned", "its process died 2 times")


# ---------------------------------------------------------------- killed in between


class Killed(Exception):
    """Control dies here."""


def killed(monkeypatch: pytest.MonkeyPatch, where: str, act: Callable[[], object]) -> None:
    """Do it; control dies when it comes to the function named."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(where, die)
        with pytest.raises(Killed):
            act()


def test_killed_between_a_step_s_revision_and_its_row_the_next_look_goes_on_from_the_revision(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    for _ in range(2):
        house.minute(*GOOD)
    killed(monkeypatch, "mlspine.rollouts.store.change", lambda: house.minute(*GOOD))
    assert (newest(house).step, house.current.traffic.share) == (0, 0.5)
    house.restarted().decide()
    assert (newest(house).step, newest(house).revision) == (1, house.current.number)
    for _ in range(6):
        house.minute(*HALF)
    assert newest(house).state == "promoted"


def test_killed_between_a_return_and_its_row_it_is_closed_and_told_with_the_reason(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    killed(monkeypatch, "mlspine.rollouts.telling.Telling.came_back", lambda: house.minute(*BAD))
    assert house.current.traffic.candidate == 0
    assert newest(house).state == "open"
    assert house.alerts() == []
    house.restarted().decide()
    assert newest(house).state == "returned"
    assert newest(house).why.startswith("12.0% of 50 answers")
    assert house.alerts()[0].severity == "CRITICAL"


def test_killed_between_the_promotion_and_its_row_it_is_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    for _ in range(3):
        house.minute(*GOOD)
    for _ in range(3):
        house.minute(*HALF)
    killed(monkeypatch, "mlspine.rollouts.store.change", lambda: house.minute(*HALF))
    assert house.current.version == 2
    house.restarted().decide()
    assert newest(house).state == "promoted"


def test_killed_between_its_row_and_the_first_share_it_is_dealt_at_the_next_look(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = partial(house.rollouts.start, "churn:2", **SHORT, actor=ADA)
    killed(monkeypatch, "mlspine.rollouts.canaries.Canaries._deal", start)
    assert (newest(house).state, house.current.traffic.candidate) == ("open", 0)
    house.restarted().decide()
    assert (house.current.traffic.candidate, house.current.traffic.share) == (2, 0.05)


def test_a_kill_while_counting_counts_all_of_a_look_or_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.answers("live", 1, requests=95)
    house.answers("candidate", 2, requests=5)
    killed(monkeypatch, "mlspine.rollouts.store.put_mark", house.rollouts.tally)
    house.restarted().tally()
    (state,) = house.rollouts.status("churn")
    assert (state.older.requests, state.newer.requests) == (95, 5)


# ---------------------------------------------------------------- refusals


def test_nothing_is_left_of_a_canary_whose_release_does_not_load(house: House) -> None:
    house.serving.refuses = True
    with pytest.raises(Unavailable):
        house.rollouts.start("churn:2", **SHORT, actor=ADA)
    assert house.rollouts.history() == []


def test_a_second_canary_the_live_release_and_odd_steps_are_refused(house: House) -> None:
    with pytest.raises(Conflict, match="answers everything there already"):
        house.rollouts.start("churn:1", actor=ADA)
    with pytest.raises(Invalid) as refused:
        house.rollouts.start("churn:2", canary=(50, 5), margin=2.0, actor=ADA)
    assert len(refused.value.details) == 2
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    with pytest.raises(Conflict, match="version 2 is on its way"):
        house.rollouts.start("churn:3", actor=ADA)


def test_a_move_that_fails_is_asked_about_and_tried_again_after_a_while(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.serving.refuses = True
    for _ in range(3):
        house.minute(*GOOD)
    assert house.current.traffic.share == 0.05
    assert house.alerts()[0].title == "churn: somebody has to decide on version 2"
    house.serving.refuses = False
    house.now_ms += 60_000
    house.look()
    assert house.current.traffic.share == 0.5


def test_status_says_what_is_missing_and_what_the_evidence_is(house: House) -> None:
    house.rollouts.start("churn:2", **SHORT, actor=ADA)
    house.minute(*GOOD)
    (state,) = house.rollouts.status()
    assert state.missing == ("50 more requests of the candidate", "60 s more of this step")
    assert {each.metric for each in state.evidence} == {"failures", "slow", "rules", "disagreement", "order"}
    assert isinstance(house.rollouts, Rollouts)
