"""Two sets of answers: where they disagree, what the log says, and who was right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from mlspine.replaying import differences
from mlspine.replaying.differences import Answers


def answers(predictions: list[Any], scores: list[float] | None = None) -> Answers:
    held = np.empty(len(predictions), dtype=object)
    held[:] = predictions
    return Answers(held, np.array(scores if scores is not None else [np.nan] * len(predictions), dtype=np.float64))


def numbers(values: list[float]) -> Answers:
    return answers(values, values)


def test_labels_disagree_where_they_are_not_the_same() -> None:
    found = differences.disagree(answers(["a", "b", None, 1]), answers(["a", "c", None, 2]), task="multiclass")
    assert found.tolist() == [False, True, False, True]


def test_numbers_disagree_beyond_the_tolerance_and_never_by_rounding() -> None:
    a, b = numbers([100.0, 100.0, 100.0, np.nan]), numbers([100.0 + 1e-8, 100.4, 100.6, 1.0])
    assert differences.disagree(a, b, task="regression", tolerance=0.5).tolist() == [False, False, True, True]
    assert differences.disagree(a, b, task="regression").tolist() == [False, True, True, True]


def test_rows_with_another_label_rank_before_all_others() -> None:
    apart = differences.distance(
        answers([0, 0, 0], [0.1, 0.49, 0.2]), answers([0, 1, 0], [0.45, 0.51, 0.2]), task="binary", scored=True
    )
    assert np.argsort(-apart).tolist() == [1, 0, 2]


def test_the_shift_of_scores_has_its_direction_and_quantiles() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(2000)
    b = a + rng.normal(0.05, 0.02, 2000)
    b[:100] = a[:100]
    found = differences.shift(numbers(a.tolist()), numbers(b.tolist()))
    assert found is not None
    assert found.mean.lo < np.mean(b - a) < found.mean.hi
    assert found.quantiles["0.5"] == pytest.approx(np.median(b - a))
    assert (found.up, found.down) == (int((b > a).sum()), int((b < a).sum()))
    assert found.up + found.down == 1900
    assert differences.shift(answers(["x"]), answers(["y"])) is None


def test_crossings_count_both_directions_and_a_score_at_the_threshold_is_above() -> None:
    found = differences.crossing(numbers([0.4, 0.6, 0.5, 0.1]), numbers([0.5, 0.3, 0.9, 0.2]), threshold=0.5)
    assert found is not None
    assert (found.up, found.down, found.share.value) == (1, 1, 0.5)


def test_the_matrix_holds_every_pair_with_its_rows() -> None:
    cells = differences.matrix(answers(["a", "a", "b"]), answers(["a", "a", "a"]))
    assert [(each.a, each.b, each.rows) for each in cells] == [("a", "a", 2), ("b", "a", 1)]


def test_what_is_not_reproduced_is_counted_with_its_worst_row() -> None:
    logged = answers([1, 0, 1, "1", 0], [0.9, 0.1, 0.7, 0.6, 0.2])
    again = answers([1, 0, 0, 1, 0], [0.9, 0.1 + 1e-12, 0.3, 0.6, 0.21])
    found = differences.reproduced(2, logged, again, ["r:0", "r:1", "r:2", "r:3", "r:4"])
    assert (found.rows, found.same, found.example) == (5, 3, "r:2")
    assert found.worst == pytest.approx(0.4)
    whole = differences.together([differences.reproduced(2, again, again, list("abcde")), found])
    assert whole is not None
    assert (whole.rows, whole.same, whole.example) == (10, 8, "r:2")
    assert differences.together([]) is None


def test_labels_tell_which_was_right_where_they_differ() -> None:
    truth = np.array([1] * 60 + [0] * 60)
    a = answers(([1] * 50 + [0] * 10) + [0] * 60)
    b = answers([1] * 58 + [0] * 2 + [0] * 57 + [1] * 3)
    differing = differences.disagree(a, b, task="binary")
    found = differences.right("binary", truth, a, b, differing, (0, 1))
    assert found is not None
    assert (found.rows, found.differing, found.a, found.b, found.neither) == (120, 11, 3, 8, 0)
    assert found.p == pytest.approx(stats.binomtest(3, 11).pvalue)
    assert found.gain.interval is not None
    assert found.gain.interval.value > 0


def test_for_numbers_the_nearer_one_is_right() -> None:
    truth = np.linspace(0, 10, 100)
    a, b = numbers((truth + 1.0).tolist()), numbers((truth + 0.2).tolist())
    differing = differences.disagree(a, b, task="regression", tolerance=0.5)
    found = differences.right("regression", truth, a, b, differing, ())
    assert found is not None
    assert (found.a, found.b, found.neither) == (0, 100, 0)
    assert found.gain.metric == "mae"


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 9), (30, 44), (7, 7)])
def test_the_sign_test_is_the_binomial_one(one: int, other: int) -> None:
    expected = stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert differences.sign_p(one, other) == pytest.approx(expected)
