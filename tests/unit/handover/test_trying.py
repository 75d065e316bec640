"""Who would answer: real releases, and a stand-in for the serving process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlspine.core.errors import Unavailable
from mlspine.core.plan import Guards
from mlspine.core.types import ModelVersion
from mlspine.handover.trying import ROWS, Tried, try_paths
from mlspine.registry.prepare import prepare
from tests.unit.deployment.test_service import ADA, House, X, Y


class Desk(House):
    """Two versions, the second live; what is asked of which release is kept."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ship(1.0)
        self.ship(0.1)
        self.deployment.serve("churn:1", actor=ADA)
        self.deployment.promote("churn", 2, actor=ADA)
        self.asked: dict[str, int] = {}
        self.silent: set[str] = set()

    def version(self, number: int) -> ModelVersion:
        return self.registry.get("churn", number)

    def ask(self, release_hash: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if release_hash in self.silent:
            raise Unavailable("release is not loaded here")
        self.asked[release_hash] = len(rows)
        return [{"prediction": 1, "score": 0.9} for _ in rows]

    def tried(self, *, live: int = 2, previous: int = 1) -> tuple[Tried, ...]:
        return try_paths(
            self.deployment.get("churn"),
            self.version(live) if live else None,
            self.version(previous) if previous else None,
            rows_of=self.version(live or 2),
            ask=self.ask,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_everybody_is_asked_in_the_order_in_which_they_stand_in(desk: Desk) -> None:
    desk.deployment.guard("churn", guards=Guards(answer=0), actor=ADA)
    live, before, rule, nobody = desk.tried()
    assert [each.path for each in (live, before, rule, nobody)] == ["live", "fallback", "rule", "cannot-answer"]
    assert (live.version, before.version, rule.says) == (2, 1, "0")
    assert all(each.answers and each.rows == ROWS for each in (live, before, rule))
    assert not nobody.answers
    assert desk.asked == {desk.version(number).release_hash: ROWS for number in (1, 2)}


def test_what_is_declared_off_or_absent_is_not_asked(desk: Desk) -> None:
    assert [each.path for each in desk.tried(previous=0)] == ["live", "cannot-answer"]
    desk.deployment.guard("churn", guards=Guards(fallback="none"), actor=ADA)
    tried = desk.tried()
    assert [each.path for each in tried] == ["live", "cannot-answer"]
    assert "at once" in tried[-1].why


def test_a_release_that_is_not_there_is_told_and_the_others_are_asked_all_the_same(desk: Desk) -> None:
    desk.silent = {desk.version(1).release_hash}
    live, before, _ = desk.tried()
    assert live.answers
    assert not before.answers
    assert before.why == "release is not loaded here"


def test_a_release_before_that_takes_other_columns_is_told_without_being_asked(desk: Desk) -> None:
    wider = np.column_stack([X, X[:, 0]])
    model = LogisticRegression().fit(wider, Y)
    desk.registry.register(
        prepare(model, wider, name="churn", owner="ada@example.org", releases_dir=desk.releases), actor=ADA
    )
    before = next(each for each in desk.tried(previous=3) if each.path == "fallback")
    assert before.why == "it cannot read these rows: x2: not among the columns that are asked for now"
    assert desk.version(3).release_hash not in desk.asked


def test_an_endpoint_that_cannot_answer_says_so_and_what_its_rule_would_answer(desk: Desk) -> None:
    desk.deployment.guard("churn", guards=Guards(answer=1), actor=ADA)
    desk.deployment.rollback("churn", actor=ADA)
    desk.deployment.rollback("churn", actor=ADA)
    assert [each.path for each in desk.tried(live=0, previous=0)] == ["rule", "cannot-answer"]
