"""Samples and what they say: probabilities as stated, estimates without bias, intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.stats.interval import clopper_pearson
from mlspine.stats.sampling import draw, inclusion, weighted_mean, weighted_share


@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 2**31))
def test_probabilities_sum_to_the_size_and_none_is_above_one_or_too_small(size: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = inclusion(size, [rng.random(rows) ** 4, np.zeros(rows)], rows)
    assert found.sum() == pytest.approx(min(size, rows))
    assert found.max() <= 1.0 + 1e-12
    assert found.min() >= 0.5 * min(size, rows) / rows - 1e-12


def test_every_row_is_drawn_with_its_probability() -> None:
    probability = inclusion(20, [np.r_[np.ones(10), np.zeros(190)]], 200)
    trials = 4000
    drawn = np.zeros(200)
    for seed in range(trials):
        drawn[draw(probability, seed=seed)] += 1
    sd = np.sqrt(probability * (1 - probability) / trials)
    # 200 rows at once: 4.5 standard errors are passed by chance in one of 700 such tests.
    assert np.abs(drawn / trials - probability).max() <= (4.5 * sd).max()


def fixture(rng: np.random.Generator, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and whether the answer is right: wrong mostly where the score is near one half."""
    score = rng.beta(2, 2, rows)
    return score, rng.random(rows) < np.maximum(score, 1 - score)


def test_the_share_of_right_answers_is_unbiased_and_its_interval_covers() -> None:
    trials, errors, covered, plain = 2000, [], 0, []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        score, right = fixture(rng)
        probability = inclusion(80, [1 - 2 * np.abs(score - 0.5)], len(score))
        chosen = draw(probability, seed=seed)
        found = weighted_share(right[chosen], probability[chosen])
        errors.append(found.value - right.mean())
        plain.append(right[chosen].mean() - right.mean())
        covered += found.lo <= right.mean() <= found.hi
    bias, se = np.mean(errors), np.std(errors) / np.sqrt(trials)
    assert abs(bias) <= 4 * se + 0.002, (bias, se)
    assert np.mean(plain) < -0.02  # without weighing back, what was drawn for being uncertain looks worse than all
    assert clopper_pearson(covered, trials).hi >= 0.94, covered / trials
    assert clopper_pearson(covered, trials).lo >= 0.92, covered / trials


def test_a_first_part_of_the_sample_is_a_sample() -> None:
    errors = []
    for seed in range(1500):
        score, right = fixture(np.random.default_rng(seed))
        probability = inclusion(80, [1 - 2 * np.abs(score - 0.5)], len(score))
        first = draw(probability, seed=seed)[:25]
        errors.append(weighted_share(right[first], probability[first]).value - right.mean())
    assert abs(np.mean(errors)) <= 4 * np.std(errors) / np.sqrt(len(errors)) + 0.003


def test_the_mean_error_is_unbiased_and_its_interval_covers() -> None:
    trials, covered, errors = 1500, 0, []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        unusual = rng.random(3000)
        loss = rng.exponential(1 + 2 * unusual)
        probability = inclusion(60, [unusual], 3000)
        chosen = draw(probability, seed=seed)
        found = weighted_mean(loss[chosen], probability[chosen])
        errors.append(found.value - loss.mean())
        covered += found.lo <= loss.mean() <= found.hi
    assert abs(np.mean(errors)) <= 4 * np.std(errors) / np.sqrt(trials) + 0.005
    assert 0.91 <= covered / trials <= 0.97


def test_one_verdict_has_no_interval_and_few_rows_are_all_drawn() -> None:
    assert weighted_mean(np.array([1.0]), np.array([0.5])).hi == np.inf
    assert sorted(draw(inclusion(10, [], 4), seed=0).tolist()) == [0, 1, 2, 3]
