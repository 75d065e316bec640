from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from mlspine.core.types import Interval
from mlspine.stats.interval import (
    bootstrap,
    clopper_pearson,
    delong_auc,
    difference,
    mean,
    midranks,
    wilson,
)


def scored(rng: np.random.Generator, n: int, shift: float, share: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.random(n) < share
    return labels, rng.normal(size=n) + shift * labels


def delong_by_definition(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """AUC and its variance straight from the kernel of the 1988 paper, all pairs at once."""
    positive, negative = scores[labels], scores[~labels]
    kernel = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    v10, v01 = kernel.mean(axis=1), kernel.mean(axis=0)
    return kernel.mean(), v10.var(ddof=1) / len(positive) + v01.var(ddof=1) / len(negative)


@pytest.mark.parametrize("decimals", [15, 1, 0])
def test_delong_agrees_with_sklearn_and_with_its_definition_ties_included(decimals: int) -> None:
    labels, scores = scored(np.random.default_rng(1), 400, 0.8)
    scores = scores.round(decimals)
    interval = delong_auc(labels, scores)
    auc, variance = delong_by_definition(labels, scores)
    assert interval.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert interval.value == pytest.approx(auc, abs=1e-12)
    # The half-width on the logit scale is z·se/(auc(1-auc)).
    logit = [math.log(each / (1 - each)) for each in (interval.lo, interval.hi)]
    se = (logit[1] - logit[0]) / 2 / stats.norm.ppf(0.975) * auc * (1 - auc)
    assert se == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_midranks_are_those_of_scipy() -> None:
    values = np.random.default_rng(2).integers(0, 30, 500).astype(float)
    assert np.array_equal(midranks(values), stats.rankdata(values))


def test_a_perfect_auc_from_few_rows_is_not_certain() -> None:
    labels = np.array([False] * 20 + [True] * 5)
    interval = delong_auc(labels, labels.astype(float))
    assert (interval.value, interval.hi) == (1.0, 1.0)
    assert interval.lo < 0.6  # five positives can miss one in two and still all rank first
    assert delong_auc(labels[:21], np.arange(21.0) % 7).lo < 0.1  # one positive row says next to nothing


@pytest.mark.parametrize("labels", [np.zeros(5, bool), np.ones(5, bool)])
def test_an_auc_of_one_class_is_refused(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="both classes"):
        delong_auc(labels, np.arange(5.0))


def test_wilson_and_clopper_pearson_are_those_of_scipy() -> None:
    for successes, n in [(0, 7), (7, 7), (3, 7), (950, 1000)]:
        for level in (0.9, 0.99):
            reference = stats.binomtest(successes, n)
            for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
                theirs = reference.proportion_ci(level, method=method)
                got = ours(successes, n, level=level)
                assert (got.lo, got.hi) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
                assert got.level == level


def test_a_share_of_nothing_is_refused() -> None:
    for successes, n in [(0, 0), (3, 2), (-1, 2)]:
        with pytest.raises(ValueError, match="successes"):
            wilson(successes, n)


def test_the_mean_has_the_normal_interval() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=300)
    interval = mean(values, level=0.95)
    theirs = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert (interval.lo, interval.hi) == pytest.approx(theirs)
    assert mean(np.array([4.0])).hi == math.inf


def coverage(hits: int, trials: int, level: float) -> bool:
    """Whether this many hits are within three standard errors of the level."""
    return abs(hits / trials - level) < 3 * math.sqrt(level * (1 - level) / trials)


def test_delong_covers_the_true_area_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    for shift, share in [(0.5, 0.5), (2.0, 0.15)]:
        truth = float(stats.norm.cdf(shift / math.sqrt(2)))
        hits = 0
        for _ in range(400):
            interval = delong_auc(*scored(rng, 200, shift, share))
            hits += interval.lo <= truth <= interval.hi
        assert coverage(hits, 400, 0.95), (shift, hits)


def _covers_the_median(values: np.ndarray, seed: int, *, truth: float) -> bool:
    interval = bootstrap(lambda rows: float(np.median(values[rows])), len(values), resamples=300, seed=seed)
    return interval.lo <= truth <= interval.hi


def test_the_bootstrap_covers_a_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(150):
        values = rng.exponential(size=80)
        hits += _covers_the_median(values, trial, truth=math.log(2))
    assert coverage(hits, 150, 0.95), hits


def test_blocks_widen_the_bootstrap_of_rows_that_depend() -> None:
    rng = np.random.default_rng(6)
    days = np.repeat(np.arange(40), 25)
    values = rng.normal(size=40)[days] + 0.1 * rng.normal(size=1000)  # what differs is the day
    by_row = bootstrap(lambda rows: float(values[rows].mean()), 1000)
    by_day = bootstrap(lambda rows: float(values[rows].mean()), 1000, blocks=days)
    assert by_day.value == by_row.value
    width, expected = by_day.hi - by_day.lo, 2 * 1.96 * values[::25].std(ddof=1) / math.sqrt(40)
    assert width == pytest.approx(expected, rel=0.15)
    assert by_row.hi - by_row.lo < 0.3 * width
    assert (by_row.method, by_day.method) == ("bootstrap", "block bootstrap")


def test_a_bootstrap_is_the_same_every_time() -> None:
    values = np.random.default_rng(7).normal(size=50)
    runs = {bootstrap(lambda rows: float(values[rows].std()), 50, resamples=50) for _ in range(3)}
    assert len(runs) == 1


def test_resamples_without_a_figure_are_left_out() -> None:
    rare = np.array([1.0] + [0.0] * 9)
    interval = bootstrap(lambda rows: 1.0 if rare[rows].any() else math.nan, 10)
    assert (interval.lo, interval.hi) == (1.0, 1.0)
    nothing = bootstrap(lambda rows: math.nan, 10)
    assert (nothing.lo, nothing.hi) == (-math.inf, math.inf)


def test_a_difference_of_normal_estimates_is_the_z_interval_whatever_their_levels() -> None:
    def estimate(value: float, se: float, level: float) -> Interval:
        half = float(stats.norm.ppf((1 + level) / 2)) * se
        return Interval(value=value, lo=value - half, hi=value + half, level=level)

    got = difference(estimate(0.7, 0.03, 0.95), estimate(0.8, 0.04, 0.9), level=0.99)
    assert got.value == pytest.approx(-0.1)
    assert (got.lo, got.hi) == pytest.approx(stats.norm.interval(0.99, -0.1, 0.05))


def test_a_difference_of_shares_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(600):
        a, b = wilson(rng.binomial(60, 0.9), 60), wilson(rng.binomial(200, 0.97), 200)
        interval = difference(a, b, level=0.95)
        hits += interval.lo <= -0.07 <= interval.hi
    assert coverage(hits, 600, 0.95), hits
