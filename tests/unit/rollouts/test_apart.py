from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from mlspine.core.types import Schema, Signature, Task
from mlspine.rollouts.apart import Apart, apart, order_says, taken


def signature(task: Task, classes: tuple[Any, ...] = (0, 1)) -> Signature:
    return Signature(inputs=Schema(fields=()), task=task, classes=classes if task != "regression" else ())


def answers(scores: list[float]) -> list[dict[str, Any]]:
    return [{"prediction": int(each > 0.5), "score": each} for each in scores]


def test_scores_are_compared_and_ordered_as_scipy_does() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(100).round(2)
    b = np.clip(a + rng.normal(scale=0.2, size=100), 0, 1)
    found = apart(answers(a.tolist()), answers(b.tolist()), signature("binary"), signature("binary"))
    assert found.mean == pytest.approx(np.abs(a - b).mean())
    assert found.agreement == pytest.approx(spearmanr(a, b).statistic)


def test_inverted_scores_are_told_by_their_order_even_where_they_lie_close_together() -> None:
    scores = np.linspace(0.45, 0.55, 50)
    found = apart(answers(scores.tolist()), answers((1 - scores).tolist()), signature("binary"), signature("binary"))
    assert found.mean < 0.1
    assert order_says(found.agreement).against
    assert not order_says(1.0).against


def test_numbers_differ_in_standard_deviations_and_labels_by_being_others() -> None:
    numbers = [[{"prediction": value + more, "score": None} for value in (0.0, 10.0)] for more in (0.0, 1.0)]
    kind = signature("regression")
    assert apart(numbers[0], numbers[1], kind, kind).mean == pytest.approx(0.2)
    labels = [
        [{"prediction": value, "score": None} for value in "abcd"],
        [{"prediction": v, "score": None} for v in "abce"],
    ]
    kind = signature("multiclass", tuple("abcde"))
    assert apart(labels[0], labels[1], kind, kind) == Apart(0.25, 1.0)


def test_the_order_of_scores_of_other_classes_says_nothing() -> None:
    scores = np.linspace(0, 1, 50)
    found = apart(
        answers(scores.tolist()), answers((1 - scores).tolist()), signature("binary"), signature("binary", (1, 0))
    )
    assert found.agreement == 1.0


def test_what_is_taken_is_the_pair_s_own_difference_and_a_margin_but_bounded() -> None:
    assert taken(Apart(0.03, 1.0), 0.25) == pytest.approx(0.13)
    assert taken(Apart(0.6, 1.0), 0.25) == 0.25
