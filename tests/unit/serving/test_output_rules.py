from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from mlspine.core.plan import OutputRule
from mlspine.core.types import Columns, Field, Schema, Signature
from mlspine.registry.flavors import Outputs, score_of
from mlspine.serving.output_rules import OutputRules, Ruled, Span

INPUTS = Schema(
    fields=(
        Field(name="income", type="float", dtype="", nullable=True),
        Field(name="region", type="category", dtype=""),
        Field(name="age", type="int", dtype=""),
    )
)
REGRESSION = Signature(inputs=INPUTS, task="regression")
BINARY = Signature(inputs=INPUTS, task="binary", classes=("no", "yes"))


def numbers(*values: float) -> Outputs:
    return Outputs(np.array(values, dtype=np.float64), None)


def chances(*scores: float) -> Outputs:
    score = np.array(scores)
    prediction = np.empty(len(scores), object)
    prediction[:] = ["yes" if each > 0.5 else "no" for each in scores]
    return Outputs(prediction, np.column_stack([1 - score, score]))


def apply(rules: list[OutputRule], outputs: Outputs, spans: list[Span] | None = None, **columns: Any) -> Ruled:
    signature = REGRESSION if outputs.probabilities is None else BINARY
    compiled = OutputRules(tuple(rules), signature)
    return compiled.apply(outputs, columns, spans or [(0, len(outputs.prediction))])


def in_range(action: Any, lo: float | None = None, hi: float | None = None) -> OutputRule:
    return OutputRule(kind="range", action=action, lo=lo, hi=hi)


def test_without_rules_the_outputs_are_the_very_same() -> None:
    outputs = numbers(1.0)
    compiled = OutputRules((), REGRESSION)
    assert not compiled.active
    assert compiled.apply(outputs, {}, [(0, 1)]).outputs is outputs


def test_answers_that_keep_the_rules_are_the_very_same() -> None:
    outputs = numbers(1.0, 2.0)
    ruled = apply([in_range("clip", 0.0, 5.0)], outputs)
    assert ruled == Ruled(outputs)


def test_a_clipped_chance_stays_a_pair_that_sums_to_one() -> None:
    ruled = apply([in_range("clip", 0.1, 0.9)], chances(0.02, 0.5, 0.97))
    assert ruled.outputs.probabilities is not None
    np.testing.assert_allclose(ruled.outputs.probabilities, [[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    assert ruled.broken == (("range", 2),)


def test_an_answer_that_is_no_number_cannot_be_clipped_and_is_not_given() -> None:
    ruled = apply([in_range("clip", 0.0, 9.0)], numbers(np.nan, np.inf, 3.0))
    assert ruled.abstained is not None
    assert ruled.abstained.tolist() == [True, False, False]
    assert ruled.outputs.prediction[1:].tolist() == [9.0, 3.0]


def test_whole_numbers_clipped_to_a_whole_number_stay_whole() -> None:
    outputs = Outputs(np.array([1, 50]), None)
    assert apply([in_range("clip", 0.0, 9.0)], outputs).outputs.prediction.dtype == np.int64
    assert apply([in_range("clip", 0.0, 9.5)], outputs).outputs.prediction.tolist() == [1.0, 9.5]


def test_the_model_s_own_array_is_not_written_to() -> None:
    outputs = numbers(-1.0)
    apply([in_range("clip", 0.0)], outputs)
    assert outputs.prediction.tolist() == [-1.0]


def test_denied_answers_are_found_by_value_and_type() -> None:
    deny = OutputRule(kind="deny", action="abstain", values=("yes",))
    ruled = apply([deny], chances(0.2, 0.8))
    assert ruled.abstained is not None
    assert ruled.abstained.tolist() == [False, True]
    whole = OutputRules((OutputRule(kind="deny", action="count", values=(1,)),), REGRESSION)
    assert whole.apply(Outputs(np.array([0, 1, 2]), None), {}, [(0, 3)]).broken == (("deny", 1),)
    flags = OutputRules((OutputRule(kind="deny", action="count", values=(True,)),), REGRESSION)
    assert flags.apply(Outputs(np.array([True, False]), None), {}, [(0, 2)]).broken == (("deny", 1),)
    assert flags.apply(Outputs(np.array([1, 0]), None), {}, [(0, 2)]).broken == ()


def test_too_close_to_call_is_inclusive_at_both_ends() -> None:
    ruled = apply([OutputRule(kind="abstain", action="abstain", lo=0.45, hi=0.55)], chances(0.44, 0.45, 0.55, 0.56))
    assert ruled.abstained is not None
    assert ruled.abstained.tolist() == [False, True, True, False]


def test_a_request_goes_to_the_fallback_as_a_whole_and_others_of_the_call_do_not() -> None:
    ruled = apply([in_range("fallback", hi=9.0)], numbers(1.0, 10.0, 2.0, 3.0), [(0, 2), (2, 3), (3, 4)])
    assert ruled.to_fallback == (0,)
    assert ruled.broken_spans == (0,)
    assert ruled.outputs.prediction.tolist() == [1.0, 10.0, 2.0, 3.0]


def test_counting_changes_nothing() -> None:
    outputs = numbers(10.0)
    ruled = apply([in_range("count", hi=9.0)], outputs)
    assert (ruled.outputs, ruled.abstained, ruled.to_fallback) == (outputs, None, ())
    assert ruled.broken == (("range", 1),)


def test_a_row_without_a_prediction_is_looked_at_by_no_later_rule() -> None:
    rules = [in_range("abstain", hi=5.0), in_range("fallback", hi=7.0)]
    ruled = apply(rules, numbers(6.0, 9.0))
    assert ruled.to_fallback == ()
    assert ruled.broken == (("range", 2),)


def test_later_rules_see_what_earlier_ones_left() -> None:
    ruled = apply([in_range("clip", hi=5.0), in_range("count", hi=7.0)], numbers(9.0))
    assert ruled.broken == (("range", 1),)


UP = OutputRule(kind="monotonic", action="clip", field="income")
COUNT_UP = OutputRule(kind="monotonic", action="count", field="income")


def people(incomes: list[Any], regions: list[str] | None = None, ages: list[int] | None = None) -> Columns:
    region = np.empty(len(incomes), object)
    region[:] = regions or ["north"] * len(incomes)
    age = np.array(ages or [40] * len(incomes))
    return {"income": np.array(incomes, dtype=np.float64), "region": region, "age": age}


def test_more_income_and_all_else_equal_never_scores_less() -> None:
    ruled = apply([UP], chances(0.3, 0.6, 0.5), **people([30.0, 10.0, 20.0]))
    assert ruled.outputs.probabilities is not None
    assert ruled.outputs.probabilities[:, 1].tolist() == [0.6, 0.6, 0.6]
    assert ruled.broken == (("monotonic", 2),)


def test_downwards_it_never_scores_more() -> None:
    down = OutputRule(kind="monotonic", action="clip", field="income", direction="down")
    ruled = apply([down], chances(0.3, 0.2, 0.5), **people([10.0, 20.0, 30.0]))
    assert ruled.outputs.probabilities is not None
    assert ruled.outputs.probabilities[:, 1].tolist() == [0.3, 0.2, 0.2]


@pytest.mark.parametrize(
    ("columns", "spans"),
    [
        (people([10.0, 20.0], regions=["north", "south"]), [(0, 2)]),
        (people([10.0, 20.0], ages=[30, 31]), [(0, 2)]),
        (people([10.0, 20.0]), [(0, 1), (1, 2)]),
        (people([10.0, 10.0]), [(0, 2)]),
        (people([np.nan, 20.0]), [(0, 2)]),
    ],
    ids=["another region", "another age", "another request", "the same income", "no income"],
)
def test_rows_that_cannot_be_compared_break_nothing(columns: Columns, spans: list[Span]) -> None:
    assert apply([COUNT_UP], chances(0.9, 0.1), spans, **columns).broken == ()


def test_nulls_of_the_other_columns_are_equal_to_each_other() -> None:
    columns = people([10.0, 20.0]) | {"region": np.array([None, float("nan")], object)}
    assert apply([COUNT_UP], chances(0.9, 0.1), **columns).broken == (("monotonic", 1),)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Outputs, Columns, list[Span]]:
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    rows = sum(sizes)
    scores = draw(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), min_size=rows, max_size=rows))
    columns = people(
        draw(st.lists(st.sampled_from([1.0, 2.0, 3.0, np.nan]), min_size=rows, max_size=rows)),
        draw(st.lists(st.sampled_from(["n", "s"]), min_size=rows, max_size=rows)),
        draw(st.lists(st.sampled_from([1, 2]), min_size=rows, max_size=rows)),
    )
    stops = np.cumsum(sizes).tolist()
    return chances(*scores), columns, list(zip([0, *stops[:-1]], stops, strict=True))


def broken_pairs(score: Any, columns: Columns, spans: list[Span]) -> set[int]:
    """The rows at fault, pair by pair: the definition, slowly."""
    at_fault = set()
    for start, stop in spans:
        for one in range(start, stop):
            for other in range(start, stop):
                alike = all(columns[name][one] == columns[name][other] for name in ("region", "age"))
                if alike and columns["income"][one] < columns["income"][other] and score[one] > score[other]:
                    at_fault.add(other)
    return at_fault


@given(calls())
def test_rows_at_fault_are_those_of_the_definition(call: tuple[Outputs, Columns, list[Span]]) -> None:
    outputs, columns, spans = call
    ruled = apply([COUNT_UP], outputs, spans, **columns)
    at_fault = broken_pairs(score_of(outputs, "binary"), columns, spans)
    assert dict(ruled.broken).get("monotonic", 0) == len(at_fault)
    assert ruled.broken_spans == tuple(
        n for n, (start, stop) in enumerate(spans) if any(start <= row < stop for row in at_fault)
    )


@given(calls(), st.sampled_from(["up", "down"]))
def test_nothing_is_at_fault_after_clipping_and_other_rows_are_untouched(
    call: tuple[Outputs, Columns, list[Span]], direction: Any
) -> None:
    outputs, columns, spans = call
    clip = OutputRule(kind="monotonic", action="clip", field="income", direction=direction)
    ruled = apply([clip], outputs, spans, **columns)
    assert apply([clip], ruled.outputs, spans, **columns).broken == ()
    before, after = score_of(outputs, "binary"), score_of(ruled.outputs, "binary")
    assert before is not None
    assert after is not None
    assert int((before != after).sum()) == sum(count for _, count in ruled.broken)


@given(st.lists(st.floats(), min_size=1, max_size=20), st.floats(-5, 0), st.floats(0, 5))
def test_after_clipping_everything_answered_is_within_the_range(values: list[float], lo: float, hi: float) -> None:
    ruled = apply([in_range("clip", lo, hi)], numbers(*values))
    given_ = ruled.outputs.prediction if ruled.abstained is None else ruled.outputs.prediction[~ruled.abstained]
    assert ((given_ >= lo) & (given_ <= hi)).all()


def test_several_classes_are_never_clipped_but_not_answered() -> None:
    signature = Signature(inputs=INPUTS, task="multiclass", classes=("a", "b", "c"))
    outputs = Outputs(np.array(["a"], object), np.array([[0.4, 0.3, 0.3]]))
    ruled = OutputRules((in_range("clip", lo=0.5),), signature).apply(outputs, {}, [(0, 1)])
    assert ruled.abstained is not None
    assert ruled.outputs is outputs
