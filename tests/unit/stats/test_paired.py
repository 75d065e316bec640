"""The gain of one model over another: against brute force, scikit-learn, known variances, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import f1_score, mean_absolute_error

from mlspine.stats.paired import LEAST_ROWS, Array, paired_gain


def answers(rows: int, *, classes: int = 2, seed: int = 0) -> tuple[Array, Array, Array]:
    """Truth and two models that are right about as often, and alike more often than by chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    one = np.where(rng.random(rows) < 0.8, truth, rng.integers(0, classes, rows))
    other = np.where(rng.random(rows) < 0.7, one, np.where(rng.random(rows) < 0.85, truth, 0))
    return truth, one, other


@pytest.mark.parametrize("classes", [2, 5])
def test_the_figures_are_scikit_learn_s(classes: int) -> None:
    truth, one, other = answers(700, classes=classes)
    task, average = ("binary", "binary") if classes == 2 else ("multiclass", "macro")
    gain = paired_gain(task, truth, one, other, tuple(range(classes)))  # type: ignore[arg-type]
    assert gain.production == pytest.approx(f1_score(truth, one, average=average))
    assert gain.candidate == pytest.approx(f1_score(truth, other, average=average))
    assert gain.interval is not None
    assert gain.interval.value == pytest.approx(gain.candidate - gain.production)
    assert gain.differing == int((one != other).sum())


@pytest.mark.parametrize("classes", [2, 4])
def test_the_interval_is_that_of_rows_drawn_again_one_by_one(classes: int) -> None:
    truth, one, other = answers(2_000, classes=classes)
    task, average = ("binary", "binary") if classes == 2 else ("multiclass", "macro")
    gain = paired_gain(task, truth, one, other, tuple(range(classes)))  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(300):
        at = rng.integers(0, len(truth), len(truth))
        drawn.append(f1_score(truth[at], other[at], average=average) - f1_score(truth[at], one[at], average=average))
    assert gain.interval is not None
    spread = float(np.std(drawn))
    assert gain.error == pytest.approx(spread, rel=0.15)
    lo, hi = np.quantile(drawn, [0.05, 0.95])
    assert gain.interval.lo == pytest.approx(lo, abs=0.3 * spread)
    assert gain.interval.hi == pytest.approx(hi, abs=0.3 * spread)


def test_with_half_of_each_class_the_bound_of_f1_is_the_one_of_its_first_order() -> None:
    """F1 = 2 TP / (2 TP + FP + FN): its influence per row, worked out by hand, gives the same bound."""
    truth, one, other = answers(20_000)
    gain = paired_gain("binary", truth, one, other, (0, 1))

    def influence(answer: Array) -> Array:
        hits, sizes = (truth & answer), truth + answer
        f1 = 2 * hits.mean() / sizes.mean()
        return np.asarray((2 * hits - f1 * sizes) / sizes.mean())

    error = float((influence(other) - influence(one)).std() / np.sqrt(len(truth)))
    assert gain.interval is not None
    assert gain.error == pytest.approx(error, rel=0.05)
    assert gain.interval.lo == pytest.approx(gain.interval.value - norm.ppf(0.95) * error, abs=0.1 * error)


def test_errors_of_numbers_are_compared_as_a_share_of_production_s() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=1_000)
    one, other = truth + rng.normal(size=1_000), truth + 0.9 * rng.normal(size=1_000)
    gain = paired_gain("regression", truth, one, other, ())
    before, after = mean_absolute_error(truth, one), mean_absolute_error(truth, other)
    assert gain.relative
    assert gain.interval is not None
    assert gain.interval.value == pytest.approx(1 - after / before)
    # The ratio of two independent means, to first order (Stuart & Ord 10.6).
    ratio = after / before
    a, b = np.abs(one - truth), np.abs(other - truth)
    error = np.sqrt((b - ratio * a).var(ddof=1) / len(a)) / before
    assert gain.error == pytest.approx(error, rel=0.1)


def test_many_rows_of_numbers_give_the_interval_that_resampling_would() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros(25_000)
    one, other = rng.normal(size=25_000), 0.97 * rng.normal(size=25_000)
    many = paired_gain("regression", truth, one, other, ())
    fewer = paired_gain("regression", truth[:20_000], one[:20_000], other[:20_000], ())
    assert many.error == pytest.approx(fewer.error * np.sqrt(20 / 25), rel=0.1)


def test_labels_from_files_mean_the_classes_they_spell() -> None:
    truth, one, other = answers(200)
    spelled = np.array([str(label) for label in truth], dtype=object)
    assert paired_gain("binary", spelled, one, other, (0, 1)) == paired_gain("binary", truth, one, other, (0, 1))


def test_a_label_that_is_no_class_is_answered_wrongly_by_both_and_a_missing_one_is_left_out() -> None:
    truth, one, other = (each.astype(object) for each in answers(200))
    strange = truth.copy()
    strange[:5], strange[5:10] = "perhaps", None
    gain = paired_gain("binary", strange, one, other, (0, 1))
    known = np.where(strange == "perhaps", 0, strange)[[i for i in range(200) if not 5 <= i < 10]]
    kept = np.array([i for i in range(200) if not 5 <= i < 10])
    assert gain.rows == 195
    assert gain.production == pytest.approx(f1_score(known.astype(int), one[kept].astype(int)))


def test_the_same_answers_differ_nowhere_and_gain_nothing() -> None:
    truth, one, _ = answers(300)
    gain = paired_gain("binary", truth, one, one, (0, 1))
    assert gain.interval is not None
    assert (gain.differing, gain.interval.value, gain.interval.lo) == (0, 0.0, 0.0)


def test_too_few_rows_say_how_many_are_needed() -> None:
    truth, one, other = answers(LEAST_ROWS - 1)
    assert paired_gain("binary", truth, one, other, (0, 1)).needed == LEAST_ROWS
    rare = np.zeros(400, dtype=int)
    rare[:4] = 1
    gain = paired_gain("binary", rare, rare, 1 - rare, (0, 1))
    assert (gain.interval, gain.needed) == (None, 1_000)
    assert "4 of 400 rows are of the class" in gain.reason


def test_no_error_to_gain_a_share_of_is_not_estimable() -> None:
    truth = np.arange(100.0)
    assert paired_gain("regression", truth, truth, truth + 1, ()).interval is None


def test_a_few_lucky_rows_are_no_proof() -> None:
    """Four rows answered differently, all in the candidate's favour: a sign test gives p = 1/16."""
    truth = np.tile([0, 1], 50)
    one, other = truth.copy(), truth.copy()
    one[:8:2] = 1 - one[:8:2]
    gain = paired_gain("binary", truth, one, other, (0, 1))
    assert gain.interval is not None
    assert gain.interval.value > 0
    assert gain.interval.lo <= 0


@pytest.mark.parametrize("rows", [200, 1_000])
def test_an_equal_candidate_is_rarely_taken_for_better(rows: int) -> None:
    """One-sided 5%: 200 trials reach 21 by chance in under one of a thousand."""
    rng = np.random.default_rng(rows)
    above = 0
    for _ in range(200):
        truth = rng.random(rows) < 0.3
        draws = rng.random((2, rows))
        one, other = draws < np.where(truth, 0.7, 0.1)
        gain = paired_gain("binary", truth.astype(int), one.astype(int), other.astype(int), (0, 1), resamples=500)
        above += gain.interval is not None and gain.interval.lo > 0
    assert above <= 20
