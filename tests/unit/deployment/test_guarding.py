"""Guards as committed state; only the serving side is a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from mlspine.core.errors import Invalid
from mlspine.core.plan import Guards, OutputRule, Revision
from mlspine.deployment import guards as pure
from mlspine.deployment.guarding import answers_of
from mlspine.registry.prepare import prepare
from tests.unit.deployment.test_service import ADA, House, X, Y

IN_RANGE = OutputRule(kind="range", action="clip", lo=0.1, hi=0.9)
CAREFUL = Guards(answer=0, score=0.1, deadline_s=0.2, rules=(IN_RANGE,))


class Guarded(House):
    """Two versions of a model with the classes 0 and 1; the first one answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for penalty in (1.0, 0.1):
            self.ship(penalty)
        self.deployment.serve("churn:1", actor=ADA)

    def guard(self, guards: Guards = CAREFUL, **more: Any) -> Revision:
        return self.deployment.guard("churn", guards=guards, actor=ADA, **more).revision

    def refused(self, **guards: Any) -> tuple[str, ...]:
        with pytest.raises(Invalid) as refused:
            self.guard(Guards(**guards))
        return refused.value.details

    @property
    def guards(self) -> Guards:
        return self.deployment.get("churn").current.guards

    @property
    def planned(self) -> Guards:
        return self.deployment.plan().endpoints[0].guards

    def register(self, model: Any, name: str) -> None:
        self.registry.register(
            prepare(model, X, name=name, owner="ada@example.org", releases_dir=self.releases), actor=ADA
        )


@pytest.fixture
def house(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


def test_guards_are_a_revision_of_the_same_live_version_with_a_ledger_line(house: Guarded) -> None:
    revision = house.guard(reason="be careful")
    assert (revision.version, revision.number, revision.cause, revision.reason) == (1, 2, "guards", "be careful")
    assert house.guards == CAREFUL
    line = house.governance.entries()[-1]
    assert (line.action, line.reason) == ("guard", "be careful")
    assert line.facts["guards"] == pure.told(CAREFUL)
    assert house.stand_in.plans[-1].endpoints[0].guards.rules == (IN_RANGE,)


def test_the_same_guards_again_write_nothing(house: Guarded) -> None:
    house.guard()
    before = house.governance.entries()
    assert house.deployment.guard("churn", guards=CAREFUL, actor=ADA).changed is False
    assert house.governance.entries() == before


def test_guards_stay_over_a_promotion_a_split_and_a_change_of_what_is_recorded(house: Guarded) -> None:
    house.guard()
    house.deployment.split("churn", "churn:2", share=0.1, actor=ADA)
    assert house.guards == CAREFUL
    house.deployment.promote("churn", 2, actor=ADA)
    assert house.guards == CAREFUL
    assert "guards" not in house.governance.entries()[-1].facts


def test_guards_change_neither_the_way_back_nor_the_division(house: Guarded) -> None:
    house.deployment.promote("churn", 2, actor=ADA)
    house.deployment.split("churn", "churn:1", share=0.1, actor=ADA)
    before = house.deployment.get("churn")
    house.guard()
    after = house.deployment.get("churn")
    assert after.current.traffic == before.current.traffic
    assert after.previous == before.previous
    assert house.deployment.rollback("churn", actor=ADA).revision.version == 2  # the candidate is taken back first
    assert house.deployment.rollback("churn", actor=ADA).revision.version == 1


def test_a_rollback_leaves_guards_that_fit_so_that_no_way_back_takes_safety_away(house: Guarded) -> None:
    house.deployment.promote("churn", 2, actor=ADA)
    house.guard()
    house.deployment.rollback("churn", actor=ADA)
    assert house.guards == CAREFUL
    house.deployment.rollback("churn", actor=ADA)
    assert house.planned.answer == 0


def test_nothing_falls_back_to_a_release_that_was_left_on_purpose(house: Guarded) -> None:
    assert house.planned.fallback == "none"
    house.deployment.promote("churn", 2, actor=ADA)
    assert house.planned.fallback == "previous"
    house.deployment.rollback("churn", actor=ADA)
    planned = house.deployment.plan().endpoints[0]
    assert planned.warm is not None
    assert planned.warm.version == 2
    assert planned.guards.fallback == "none"


def test_answers_given_as_text_become_those_of_the_release(house: Guarded) -> None:
    deny = OutputRule(kind="deny", action="abstain", values=("1",))
    house.guard(Guards(answer="0", rules=(deny,)))
    assert (house.guards.answer, house.guards.rules[0].values) == (0, (1,))
    assert type(house.guards.answer) is int


def test_everything_that_does_not_fit_is_told_at_once(house: Guarded) -> None:
    details = house.refused(
        answer="maybe",
        score=1.5,
        deadline_s=0.0,
        rules=(
            OutputRule(kind="range", action="clip", lo=-1.0),
            OutputRule(kind="deny", action="clip", values=(7,)),
            OutputRule(kind="monotonic", action="count", field="income"),
            OutputRule(kind="abstain", action="abstain", lo=0.5),
            OutputRule(kind="abstain", action="abstain", lo=0.6, hi=0.4),
        ),
    )
    assert details == (
        "deadline 0 s: from above 0 to 3600",
        "answer 'maybe': churn:1 answers 0, 1",
        "score 1.5: a probability, so from 0 to 1",
        "range -1..: a score is a probability, so from 0 to 1",
        "deny 7: it cannot clip; it can abstain, fallback, count",
        "deny 7: value 7: churn:1 answers 0, 1",
        "monotonic income:up: churn:1 takes no column 'income'",
        "abstain 0.5..: it needs both ends",
        "abstain 0.6..0.4: it ends before it begins",
    )
    assert house.guards == Guards()


@pytest.mark.parametrize(
    ("guards", "said"),
    [
        ({"score": 0.5}, "score: without an answer it is the score of nothing"),
        ({"rules": (IN_RANGE, IN_RANGE)}, "range 0.1..0.9: given twice"),
        ({"rules": (OutputRule(kind="range", action="count"),)}, "range ..: it needs an end"),
        ({"rules": (OutputRule(kind="deny", action="count"),)}, "deny : it names no values"),
        ({"rules": (OutputRule(kind="deny", action="count", values=(1,), lo=0.5),)}, "deny 1: lo means nothing here"),
        ({"rules": (OutputRule(kind="range", action="count", hi=float("inf")),)}, "range ..inf: ends are finite"),
        ({"answer": True}, "answer True: churn:1 answers 0, 1"),
    ],
)
def test_what_means_nothing_is_refused_rather_than_ignored(house: Guarded, guards: dict[str, Any], said: str) -> None:
    assert any(said in detail for detail in house.refused(**guards))


def test_numbers_are_guarded_as_numbers(house: Guarded) -> None:
    house.register(LinearRegression().fit(X, X[:, 0]), "price")
    house.deployment.serve("price", actor=ADA)
    rules = (
        OutputRule(kind="range", action="clip", lo=-5.0, hi=500.0),
        OutputRule(kind="monotonic", action="count", field="x0"),
    )
    switched = house.deployment.guard("price", guards=Guards(answer="3", rules=rules), actor=ADA)
    assert switched.revision.guards.answer == 3.0
    with pytest.raises(Invalid) as refused:
        house.deployment.guard("price", guards=Guards(answer=3.0, score=0.5), actor=ADA)
    assert refused.value.details == ("score: price:1 answers numbers without one",)


def test_several_classes_are_not_clipped_and_classes_without_chances_have_no_range(house: Guarded) -> None:
    three = np.digitize(X[:, 0], [-0.5, 0.5])
    house.register(LogisticRegression().fit(X, three), "three")
    house.register(LinearSVC().fit(X, Y), "bare")
    clip = Guards(rules=(IN_RANGE,))
    for name, why in (("three", "no one number to clip"), ("bare", "gives no score")):
        house.deployment.serve(name, actor=ADA)
        with pytest.raises(Invalid) as refused:
            house.deployment.guard(name, guards=clip, actor=ADA)
        assert why in refused.value.details[0]


def test_a_version_that_the_guards_do_not_fit_is_not_promoted_but_brought_back(house: Guarded) -> None:
    letters = np.where(Y == 1, "yes", "no")
    house.guard()
    house.register(LogisticRegression().fit(X, letters), "churn")
    with pytest.raises(Invalid) as refused:
        house.deployment.promote("churn", 3, actor=ADA)
    assert refused.value.details == ("answer 0: churn:3 answers no, yes",)
    assert house.deployment.get("churn").current.version == 1
    house.guard(Guards())
    house.deployment.promote("churn", 3, actor=ADA)
    house.guard(Guards(answer="no"))
    back = house.deployment.rollback("churn", actor=ADA).revision
    assert (back.version, back.guards) == (1, Guards())


def test_what_has_nothing_to_stand_on_yet_is_said(house: Guarded) -> None:
    falls = OutputRule(kind="abstain", action="fallback", lo=0.4, hi=0.6)
    warnings = house.deployment.guard("churn", guards=Guards(rules=(falls,)), actor=ADA).warnings
    assert warnings == (
        "there is no release before this one yet",
        'rules with "fallback" have nothing to fall back on: such requests get "cannot answer"',
    )
    house.deployment.promote("churn", 2, actor=ADA)
    assert house.deployment.guard("churn", guards=CAREFUL, actor=ADA).warnings == ()


def test_an_endpoint_that_cannot_answer_can_be_given_a_rule(house: Guarded) -> None:
    house.deployment.rollback("churn", actor=ADA)
    revision = house.guard()
    assert (revision.version, revision.cause) == (0, "guards")
    assert house.planned.answer == 0
    assert house.deployment.get("churn").previous is None


def test_words_for_guards_say_who_answers_in_which_order() -> None:
    assert pure.told(Guards(fallback="none")) == ["no answer: cannot answer"]
    assert pure.told(CAREFUL) == [
        "no answer: the release before, then the rule: 0 with score 0.1",
        "deadline 0.2 s",
        "range 0.1..0.9: clip",
    ]


def test_what_a_release_answers_is_read_from_its_files(house: Guarded) -> None:
    answers = answers_of(house.registry.get("churn", 1))
    assert (answers.ref, answers.scored, answers.signature.classes) == ("churn:1", True, (0, 1))
