from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
import pytest

from mlspine.core.plan import Guards
from mlspine.core.types import Field, Schema, Signature
from mlspine.serving.fallback import Path, Reserve, StandIn, next_answerer, reserve
from mlspine.serving.rule_answer import RuleAnswer

ORDER: tuple[Path, ...] = ("candidate", "live", "fallback", "rule", "cannot-answer")
BOOLEANS = (False, True)


def schema(*fields: tuple[str, str], nullable: bool = False, **more: Any) -> Schema:
    return Schema(
        fields=tuple(Field(name=name, type=kind, dtype="", nullable=nullable, **more) for name, kind in fields)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("failed", get_args(Path))
def test_every_choice_is_further_back_so_that_a_request_always_ends(failed: Path) -> None:
    for previous, rule, live, before in itertools.product(BOOLEANS, repeat=4):
        chosen = next_answerer(failed, Reserve(previous, rule), live_admits=live, previous_admits=before)
        assert ORDER.index(chosen) > ORDER.index(failed) or failed == chosen == "cannot-answer"


@pytest.mark.parametrize("failed", get_args(Path))
def test_only_what_exists_and_whose_breaker_admits_is_chosen(failed: Path) -> None:
    for previous, rule, live, before in itertools.product(BOOLEANS, repeat=4):
        chosen = next_answerer(failed, Reserve(previous, rule), live_admits=live, previous_admits=before)
        assert chosen != "candidate"
        assert chosen != "live" or (live and failed == "candidate")
        assert chosen != "fallback" or (previous and before)
        assert chosen != "rule" or rule


def test_what_exists_is_not_passed_over() -> None:
    everything = Reserve(previous=True, rule=True)
    path: Path = "candidate"
    seen = []
    while path != "cannot-answer":
        path = next_answerer(path, everything, live_admits=True, previous_admits=True)
        seen.append(path)
    assert seen == ["live", "fallback", "rule", "cannot-answer"]


def test_the_release_before_is_not_asked_where_it_is_declared_off() -> None:
    assert reserve(Guards(fallback="none"), previous_ready=True) == Reserve(previous=False, rule=False)


def test_a_rule_that_answers_zero_or_no_is_a_rule() -> None:
    assert reserve(Guards(answer=0), previous_ready=False).rule
    assert reserve(Guards(answer=False), previous_ready=False).rule


def test_a_release_with_fewer_columns_in_another_order_stands_in() -> None:
    stand_in = StandIn(schema(("a", "float"), ("b", "category"), ("c", "int")), schema(("c", "int"), ("a", "float")))
    assert stand_in.problems == ()
    columns = {"a": np.array([1.5]), "b": np.array(["x"], object), "c": np.array([3])}
    taken = stand_in.columns(columns)
    assert taken is not None
    assert list(taken) == ["c", "a"]


def test_a_release_that_needs_other_columns_or_types_does_not_and_says_why() -> None:
    stand_in = StandIn(schema(("a", "float"), ("b", "text")), schema(("a", "int"), ("b", "text"), ("z", "float")))
    assert stand_in.problems == ("a: float now, it takes int", "z: not among the columns that are asked for now")


def test_whole_numbers_are_handed_on_as_the_floats_that_the_other_release_reads() -> None:
    taken = StandIn(schema(("a", "int")), schema(("a", "float"))).columns({"a": np.array([3])})
    assert taken is not None
    assert taken["a"].dtype == np.float64


@pytest.mark.parametrize(
    ("kind", "whole", "with_null"),
    [
        ("float", np.array([1.0, 2.0]), np.array([1.0, np.nan])),
        ("category", np.array(["x", "y"], object), np.array(["x", None], object)),
        ("datetime", np.array(["2026-01-01"], "M8[ns]"), np.array(["NaT"], "M8[ns]")),
    ],
)
def test_rows_with_nulls_it_never_saw_are_not_handed_to_it(kind: str, whole: Any, with_null: Any) -> None:
    stand_in = StandIn(schema(("a", kind), nullable=True), schema(("a", kind)))
    assert stand_in.problems == ()
    assert stand_in.columns({"a": whole}) is not None
    assert stand_in.columns({"a": with_null}) is None


def test_nullable_whole_numbers_become_whole_again_for_a_release_without_nulls() -> None:
    stand_in = StandIn(schema(("a", "int"), nullable=True), schema(("a", "int")))
    taken = stand_in.columns({"a": np.array([1.0, 2.0])})
    assert taken is not None
    assert taken["a"].dtype == np.int64


def test_vectors_of_another_width_do_not_fit() -> None:
    assert StandIn(schema(("v", "vector"), width=3), schema(("v", "vector"), width=4)).problems


def signature(task: str, *classes: Any) -> Signature:
    return Signature(inputs=Schema(fields=()), task=task, classes=classes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "classes", "answer", "kind"),
    [
        ("binary", (0, 1), 1, "i"),
        ("binary", (False, True), True, "b"),
        ("multiclass", ("a", "b", "c"), "b", "O"),
        ("regression", (), 3, "f"),
        ("other", (), "none", "O"),
    ],
)
def test_a_rule_answers_in_the_type_of_the_release(task: str, classes: tuple[Any, ...], answer: Any, kind: str) -> None:
    outputs = RuleAnswer(Guards(answer=answer), signature(task, *classes)).outputs(3)
    assert outputs.prediction.dtype.kind == kind
    assert outputs.prediction.tolist() == [answer] * 3
    assert outputs.probabilities is None


def test_a_rule_with_a_score_gives_probabilities_of_all_classes() -> None:
    outputs = RuleAnswer(Guards(answer="b", score=0.6), signature("multiclass", "a", "b", "c")).outputs(2)
    assert outputs.probabilities is not None
    np.testing.assert_allclose(outputs.probabilities, [[0.2, 0.6, 0.2]] * 2)


def test_no_rows_are_answered_with_none() -> None:
    assert len(RuleAnswer(Guards(answer=1.5), signature("regression")).outputs(0).prediction) == 0
