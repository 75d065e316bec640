from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from sklearn import metrics as sk

from mlspine.core.types import Metric, Task
from mlspine.stats import score
from mlspine.stats.score import class_index, f1_interval, macro_f1_interval, measure


def by_name(found: tuple[Metric, ...]) -> dict[str, float]:
    return {metric.name: metric.interval.value for metric in found if metric.interval is not None}


def binary_rows(n: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    share = rng.random(n)
    return (rng.random(n) < share).astype(int), (share > 0.5).astype(int), share


def test_binary_figures_are_those_of_sklearn_with_auc_first() -> None:
    labels, prediction, share = binary_rows()
    found = measure("binary", labels, prediction, np.column_stack([1 - share, share]), (0, 1), rows_from="holdout")
    assert [metric.name for metric in found] == ["auc", "accuracy", "f1", "brier"]
    assert by_name(found) == pytest.approx(
        {
            "auc": sk.roc_auc_score(labels, share),
            "accuracy": sk.accuracy_score(labels, prediction),
            "f1": sk.f1_score(labels, prediction),
            "brier": sk.brier_score_loss(labels, share),
        }
    )
    for metric in found:
        assert metric.interval is not None
        assert metric.interval.lo < metric.interval.value < metric.interval.hi
        assert (metric.status, metric.rows, metric.rows_from) == ("ESTIMATED", 500, "holdout")
    assert [metric.higher_is_better for metric in found] == [True, True, True, False]


def test_without_probabilities_or_with_one_class_accuracy_comes_first() -> None:
    labels, prediction, share = binary_rows()
    without = measure("binary", labels, prediction, None, (0, 1), rows_from="labels")
    assert [metric.name for metric in without] == ["accuracy", "f1"]
    one = measure("binary", np.ones(500), prediction, share, (0, 1), rows_from="labels")
    assert [metric.name for metric in one] == ["accuracy", "f1", "brier"]


def test_multiclass_figures_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(2)
    classes = np.array(["a", "b", "c"], dtype=object)
    labels = classes[rng.integers(0, 3, 400)]
    prediction = np.where(rng.random(400) < 0.7, labels, classes[rng.integers(0, 3, 400)])
    found = measure("multiclass", labels, prediction, None, ("a", "b", "c"), rows_from="labels")
    assert by_name(found) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, prediction),
            "macro_f1": sk.f1_score(labels, prediction, average="macro"),
        }
    )
    macro = found[1].interval
    assert macro is not None
    assert macro.lo < macro.value < macro.hi


def test_macro_f1_counts_the_classes_seen_as_sklearn_does() -> None:
    truth, answer = np.array([0, 0, 1, 1, 3]), np.array([0, 1, 1, 1, 1])
    ours = macro_f1_interval(truth, answer, 5).value
    assert ours == pytest.approx(sk.f1_score(truth, answer, average="macro", zero_division=0))


@pytest.mark.parametrize("rows", [300, 30_000])  # below and above the bootstrap's limit
def test_regression_figures_are_those_of_sklearn(rows: int) -> None:
    rng = np.random.default_rng(3)
    labels = rng.normal(10, 3, rows)
    prediction = labels + rng.normal(0.5, 2, rows)
    found = measure("regression", labels, prediction, None, (), rows_from="holdout")
    assert [metric.name for metric in found] == ["mae", "rmse", "r2"]
    assert by_name(found) == pytest.approx(
        {
            "mae": sk.mean_absolute_error(labels, prediction),
            "rmse": math.sqrt(sk.mean_squared_error(labels, prediction)),
            "r2": sk.r2_score(labels, prediction),
        }
    )
    assert [metric.higher_is_better for metric in found] == [False, False, True]


def test_bootstrap_and_delta_intervals_agree_where_one_takes_over_from_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    labels = rng.normal(size=5_000)
    prediction = labels + rng.standard_t(6, size=5_000)
    resampled = measure("regression", labels, prediction, None, (), rows_from="labels")
    monkeypatch.setattr(score, "BOOTSTRAP_MAX_ROWS", 100)
    normal = measure("regression", labels, prediction, None, (), rows_from="labels")
    for a, b in zip(resampled[1:], normal[1:], strict=True):
        assert a.interval is not None
        assert b.interval is not None
        assert (a.interval.method, b.interval.method) == ("bootstrap", "delta")
        width = a.interval.hi - a.interval.lo
        assert b.interval.hi - b.interval.lo == pytest.approx(width, rel=0.12)
        assert b.interval.lo == pytest.approx(a.interval.lo, abs=0.1 * width)


def test_a_constant_truth_has_no_r2_and_perfect_predictions_have_no_error() -> None:
    found = measure("regression", np.full(5, 2.0), np.full(5, 2.0), None, (), rows_from="labels")
    assert by_name(found) == {"mae": 0.0, "rmse": 0.0}


def test_rows_without_a_label_or_a_finite_value_are_left_out_and_counted() -> None:
    labels = np.array([1.0, np.nan, 3.0, 4.0])
    prediction = np.array([1.0, 2.0, np.nan, 5.0])
    mae = measure("regression", labels, prediction, None, (), rows_from="labels")[0]
    assert mae.interval is not None
    assert (mae.rows, mae.interval.value) == (2, 0.5)
    assert "1 rows without a label" in mae.reason
    assert "1 rows with a value that is not finite" in mae.reason


def test_a_label_that_is_no_class_is_a_wrong_answer_and_is_named() -> None:
    labels = np.array(["no", "yes", "maybe", None], dtype=object)
    prediction = np.array(["no", "yes", "yes", "no"], dtype=object)
    accuracy = measure("binary", labels, prediction, None, ("no", "yes"), rows_from="labels")[0]
    assert accuracy.interval is not None
    assert (accuracy.rows, accuracy.interval.value) == (3, pytest.approx(2 / 3))
    assert "'maybe'" in accuracy.reason
    assert "1 rows without a label" in accuracy.reason


@pytest.mark.parametrize(("task", "name"), [("binary", "auc"), ("multiclass", "accuracy"), ("regression", "mae")])
def test_no_rows_give_no_figure_and_the_reason(task: Task, name: str) -> None:
    empty = np.zeros(0)
    (metric,) = measure(task, empty, empty, None, (), rows_from="labels")
    assert (metric.name, metric.status, metric.interval) == (name, "NOT_ESTIMABLE", None)
    assert metric.reason


def test_other_tasks_have_no_figures() -> None:
    assert measure("other", np.ones(3), np.ones(3), None, (), rows_from="labels") == ()


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        (np.array([True, False]), (0, 1), [1, 0]),
        (np.array([0.0, 1.0, 2.0]), (0, 1), [0, 1, -1]),
        (np.array([0.0, np.nan]), (0, 1), [0, -1]),
        (np.array(["True", "0", "1.0", "x"], dtype=object), (False, True), [1, 0, 1, -1]),
        (np.array(["1", 1, None], dtype=object), ("1", 1), [0, 1, -1]),
        (np.array([3, 1, 3]), ("1", "3"), [-1, -1, -1]),
        (np.zeros(0, dtype=np.int64), (0, 1), []),
    ],
)
def test_labels_match_classes_by_value_or_by_how_they_are_written(
    values: np.ndarray, classes: tuple, expected: list[int]
) -> None:
    assert class_index(values, classes).tolist() == expected


def test_classes_are_taken_from_the_rows_when_none_are_given() -> None:
    labels, prediction, share = binary_rows()
    found = measure("binary", labels, prediction, share, (), rows_from="labels")
    assert by_name(found)["f1"] == pytest.approx(sk.f1_score(labels, prediction))


def test_f1_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    cells = np.array([0.06, 0.03, 0.04, 0.87])  # TP, FP, FN, TN
    truth = 2 * cells[0] / (2 * cells[0] + cells[1] + cells[2])
    hits = 0
    for tp, fp, fn, _ in rng.multinomial(250, cells, size=1500):
        interval = f1_interval(int(tp), int(fp + fn))
        hits += interval.lo <= truth <= interval.hi
    assert 0.93 < hits / 1500 < 0.975, hits


def test_f1_without_any_positive_is_unknown() -> None:
    interval = f1_interval(0, 0)
    assert (interval.value, interval.lo, interval.hi) == (0.0, 0.0, 1.0)


def test_a_figure_without_a_bounded_interval_is_not_estimable_and_travels_as_json() -> None:
    one = measure("binary", np.array([0]), np.array([0]), np.array([[0.8, 0.2]]), (0, 1), rows_from="labels")
    found = {metric.name: metric for metric in one}
    assert found["brier"].status == "NOT_ESTIMABLE"
    assert found["brier"].interval is None
    assert msgspec.json.decode(msgspec.json.encode(found["brier"]), type=Metric) == found["brier"]
