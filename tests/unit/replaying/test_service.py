"""Logged rows answered again by two releases: what is found, what is left out, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from mlspine.core.errors import Denied, Invalid, NotFound
from mlspine.replaying import rows
from tests.unit.replaying.desk import ME, MINUTE_MS, NOON, Line, ReplayDesk, Rule, loans

SAME, NORTH, OF_AGE, NUMBER = 1, 2, 3, 4  # versions


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loans")
    desk = ReplayDesk(folder)
    assert desk.ship(Rule()) == SAME
    assert desk.ship(Rule("region", "north")) == NORTH
    assert desk.ship(Rule(extra="income"), rows=loans(600, 9).assign(income=1.0)) == OF_AGE
    frame = loans(600, 9)
    assert desk.ship(Line(1.0), rows=frame, labels=frame["amount"]) == NUMBER
    desk.ship(Line(1.01), rows=frame, labels=frame["amount"])
    desk.close()
    return folder


@pytest.fixture
def desk(template: Path, tmp_path: Path) -> Iterator[ReplayDesk]:
    shutil.copytree(template / ".mlspine", tmp_path / ".mlspine")
    desk = ReplayDesk(tmp_path)
    yield desk
    desk.close()


def test_two_releases_are_compared_on_everything_that_was_asked(desk: ReplayDesk) -> None:
    frame = loans(3000, 1)
    ids = desk.answer(SAME, frame)
    found = desk.replay(b="2")
    north = (frame["region"] == "north").to_numpy()
    assert (found.rows, found.held, found.chosen, found.task) == (3000, 3000, "all", "binary")
    assert (found.a.version, found.b.version) == (SAME, NORTH)
    assert found.disagree == int(north.sum())
    assert found.crossing.up + found.crossing.down == found.disagree
    assert {(each.a, each.b) for each in found.matrix} == {(0, 0), (1, 1), (0, 1), (1, 0)}
    assert [(each.column, each.level) for each in found.slices if each.named] == [("region", "north")]
    assert "most where region = north (100% against 0% elsewhere)" in found.verdict
    (again,) = found.reproduced
    assert (again.version, again.rows, again.same, again.worst) == (SAME, 3000, 3000, 0.0)
    asked = dict(zip(ids, frame.to_dict("records"), strict=True))
    assert len(found.different) == 20
    for each in found.different:
        row = asked[each.id.removesuffix(":0")]
        assert row["region"] == "north"
        assert each.values == row
    apart = [abs(each.a_score - each.b_score) for each in found.different]
    assert apart == sorted(apart, reverse=True)


def test_the_parts_a_log_is_read_in_change_nothing(desk: ReplayDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = desk.answer(SAME, loans(1000, 2))
    labels = [{"id": id_, "label": at % 2} for at, id_ in enumerate(ids[::3])]
    desk.workspace.predictions.add_labels("loans", rows=labels, actor=ME)
    whole = desk.replay(b="2")
    monkeypatch.setattr(rows, "PART_ROWS", 128)
    pieces = desk.replay(b="2")
    assert pieces.different == whole.different
    assert pieces.right is not None
    assert pieces.right == whole.right
    assert (pieces.disagree, pieces.matrix, pieces.shift) == (whole.disagree, whole.matrix, whole.shift)


def test_a_release_that_does_not_answer_as_the_log_says_is_told(desk: ReplayDesk) -> None:
    desk.answer(SAME, loans(500, 3))
    off = desk.answer(SAME, loans(40, 4), off=0.25)
    found = desk.replay(b="2")
    (again,) = found.reproduced
    assert (again.rows, again.same) == (540, 500)
    assert again.worst == pytest.approx(0.25)
    assert again.example.removesuffix(":0") in off
    assert "release 1 answers 40 of the 540 rows that it had answered otherwise than the log says" in found.verdict
    (evidence,) = desk.workspace.governance.evidence("endpoint:loans", kind="replay")
    assert not evidence.passed


def test_what_the_declared_rule_answered_is_left_out(desk: ReplayDesk) -> None:
    desk.answer(SAME, loans(60, 3))
    desk.answer(SAME, loans(40, 4), off=0.25, path="rule")
    found = desk.replay(b="2")
    assert (found.rows, found.held, found.reproduced[0].same) == (60, 100, 60)
    assert [(each.rows, each.why) for each in found.left_out] == [(40, "the declared rule answered them, no release")]


def test_what_was_found_is_evidence_without_what_was_asked_and_the_ledger_stays(desk: ReplayDesk) -> None:
    desk.answer(SAME, loans(300, 5))
    before = desk.workspace.governance.entries()
    found = desk.replay(b="2")
    (evidence,) = desk.workspace.governance.evidence("endpoint:loans", kind="replay")
    assert evidence.passed
    assert evidence.document["verdict"] == found.verdict
    assert evidence.document["disagree"] == found.disagree
    assert all(set(each) == {"id"} for each in evidence.document["different"])
    assert desk.workspace.governance.entries() == before


def test_labels_say_which_of_the_two_was_right(desk: ReplayDesk) -> None:
    frame = loans(2000, 6)
    ids = desk.answer(SAME, frame)
    truth = (frame["amount"] > 100).astype(int)
    desk.workspace.predictions.add_labels(
        "loans",
        rows=[{"id": id_, "label": int(label)} for id_, label in zip(ids[:1500], truth, strict=False)],
        actor=ME,
    )
    right = desk.replay(b="2").right
    north = int((frame["region"] == "north")[:1500].sum())
    assert (right.rows, right.differing, right.a, right.b) == (1500, north, north, 0)
    assert right.gain.interval is not None
    assert right.gain.interval.hi < 0
    assert "release 1 was right in" in desk.replay(b="2").verdict


def test_a_span_and_a_number_of_rows_choose_which(desk: ReplayDesk) -> None:
    ids = desk.answer(SAME, loans(1000, 7))
    span = desk.replay(b="2", from_at_ms=NOON + 100 * MINUTE_MS, to_at_ms=NOON + 350 * MINUTE_MS)
    assert (span.rows, span.held) == (250, 250)
    newest = desk.replay(b="2", rows=200, newest=True)
    assert (newest.rows, newest.held, newest.chosen) == (200, 1000, "newest")
    assert {each.id.removesuffix(":0") for each in newest.different} <= set(ids[-200:])
    even = desk.replay(b="2", rows=200)
    assert (even.rows, even.chosen) == (200, "sample")
    assert even.different == desk.replay(b="2", rows=200).different
    places = [ids.index(each.id.removesuffix(":0")) for each in even.different]
    assert min(places) < 300 < 700 < max(places)


def test_live_is_what_the_endpoint_answers_with(desk: ReplayDesk) -> None:
    desk.answer(NORTH, loans(200, 8))
    desk.live = NORTH
    found = desk.replay(a="1", b="live")
    assert (found.a.version, found.b.version) == (SAME, NORTH)
    assert [each.version for each in found.reproduced] == [NORTH]


def test_numbers_disagree_beyond_a_tenth_of_their_spread_or_what_is_said(desk: ReplayDesk) -> None:
    frame = loans(800, 9)
    desk.answer(NUMBER, frame)
    found = desk.replay(a="4", b="5", tolerance=1.0)
    assert (found.task, found.tolerance, found.matrix) == ("regression", 1.0, ())
    assert found.disagree == int((frame["amount"] * 0.01 > 1.0).sum())
    assert found.shift.mean.value == pytest.approx(frame["amount"].mean() * 0.01)
    assert found.crossing is None
    assert desk.replay(a="4", b="5").tolerance == pytest.approx(0.1 * frame["amount"].std(ddof=0))
    assert desk.replay(a="4", b="5").disagree == 0
    assert "at most" in desk.replay(a="4", b="5").verdict
    assert desk.replay(a="4", b="5", threshold=100.0).crossing.up > 0


def test_a_redacted_column_is_given_as_missing_where_that_can_be_and_told(desk: ReplayDesk) -> None:
    desk.redacted = {1: (), 2: ("amount",)}
    desk.answer(SAME, loans(200, 10))
    desk.answer(SAME, loans(300, 11), revision=2, redact=("amount",))
    found = desk.replay(b="2")
    assert found.withheld == ("amount",)
    assert (found.rows, found.reproduced[0].rows, found.reproduced[0].same) == (500, 200, 200)


def test_rows_without_a_column_that_cannot_be_missing_are_left_out_with_the_reason(desk: ReplayDesk) -> None:
    desk.redacted = {1: (), 2: ("age",)}
    desk.answer(SAME, loans(300, 11), revision=2, redact=("age",))
    with pytest.raises(Invalid, match="none of the 300 logged rows of loans can be answered again") as refused:
        desk.replay(b="2")
    assert refused.value.details == ("300 rows: age was redacted from the log, and cannot be given as missing",)
    desk.answer(SAME, loans(200, 10))
    found = desk.replay(b="2")
    assert (found.rows, found.held) == (200, 500)
    assert found.left_out[0].rows == 300


def test_a_release_with_other_columns_is_asked_only_what_was_logged_for_it(desk: ReplayDesk) -> None:
    desk.answer(SAME, loans(100, 12))
    with pytest.raises(Invalid) as refused:
        desk.replay(b=str(OF_AGE))
    assert refused.value.details == ("100 rows: release 1 was not asked about income",)
    desk.answer(OF_AGE, loans(150, 13).assign(income=2.0))
    assert desk.replay(b=str(OF_AGE)).rows == 150


def test_a_column_that_came_to_be_of_another_type_is_named(desk: ReplayDesk) -> None:
    desk.answer(SAME, loans(100, 14))
    texts = loans(600, 9).assign(age=lambda frame: frame["age"].map("{} years".format))
    number = desk.ship(Rule(), rows=texts)
    with pytest.raises(Invalid, match=f"loans:{number} cannot be asked what is in the log") as refused:
        desk.replay(b=str(number))
    assert any("age" in detail for detail in refused.value.details)


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"b": "9"}, NotFound, "no model version loans:9"),
        ({"b": "@candidate"}, NotFound, "no alias loans@candidate"),
        ({"b": "live"}, Invalid, "are the same release"),
        ({"b": "4"}, Invalid, "is for binary, loans:4 for regression"),
        ({"b": "2", "from_at_ms": 2, "to_at_ms": 1}, Invalid, "ends before it begins"),
        ({"b": "2", "from_at_ms": NOON * 2}, Invalid, "no logged row of loans lies in this span"),
        ({"b": "2", "rows": 10_000_000}, Invalid, "cannot be replayed at once"),
        ({"b": "2", "endpoint": "flats"}, NotFound, "no endpoint 'flats'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    desk: ReplayDesk, asked: dict[str, object], error: type[Exception], says: str
) -> None:
    desk.answer(SAME, loans(50, 15))
    with pytest.raises(error, match=says):
        desk.replay(**asked)
    assert desk.workspace.governance.evidence("endpoint:loans", kind="replay") == []


def test_without_a_log_nothing_can_be_replayed(desk: ReplayDesk) -> None:
    with pytest.raises(Invalid, match="holds no requests that could be answered again") as refused:
        desk.replay(b="2")
    assert "--no-log" in refused.value.hint


def test_a_release_from_elsewhere_is_not_run_before_somebody_vouches_for_it(
    desk: ReplayDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.answer(SAME, loans(50, 16))
    get: Callable[..., object] = desk.workspace.registry.get

    def untrusted(model: str, version: int) -> object:
        return msgspec.structs.replace(get(model, version), trusted=version != NORTH)  # type: ignore[type-var]

    monkeypatch.setattr(desk.workspace.registry, "get", untrusted)
    with pytest.raises(Denied, match="nobody has vouched for it"):
        desk.replay(b="2")


def test_a_model_that_fails_on_logged_rows_is_named(desk: ReplayDesk) -> None:
    desk.answer(SAME, loans(50, 17))
    number = desk.ship(Picky())
    with pytest.raises(Invalid, match=f"loans:{number} fails on logged rows: ValueError: too old"):
        desk.replay(b=str(number))


class Picky(Rule):
    """Fails on rows that are unlike those it was shipped with."""

    def predict_proba(self, X: pd.DataFrame) -> object:  # type: ignore[override]
        if (X["amount"] > 1e9).any() or len(X) == 50:
            raise ValueError("too old")
        return super().predict_proba(X)
