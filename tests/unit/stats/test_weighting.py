"""Weights for labels that come early: against scikit-learn, and by simulation with the truth known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, mean_absolute_error, roc_auc_score

from mlspine.stats.interval import delong_auc
from mlspine.stats.score import measure as plain_measure
from mlspine.stats.weighting import Weights, auc, inverse_shares, measure


def rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    score = rng.beta(1.5, 3.0, n)
    return score, (rng.random(n) < score).astype(np.int64)


def test_the_weighted_figures_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    score, label = rows(rng, 500)
    score = score.round(2)  # ties
    answer = (score > 0.4).astype(np.int64)
    w = rng.integers(1, 9, 500).astype(float)
    found = {
        m.name: m.interval.value
        for m in measure("binary", label, answer, score, (0, 1), Weights(w, 0.0, False))
        if m.interval
    }
    assert found == {
        "auc": pytest.approx(roc_auc_score(label, score, sample_weight=w)),
        "accuracy": pytest.approx(accuracy_score(label, answer, sample_weight=w)),
        "f1": pytest.approx(f1_score(label, answer, sample_weight=w)),
        "brier": pytest.approx(brier_score_loss(label, score, sample_weight=w)),
    }
    errors = {
        m.name: m.interval.value
        for m in measure("regression", label * 1.0, score, None, (), Weights(w, 0.0, False))
        if m.interval
    }
    assert errors["mae"] == pytest.approx(mean_absolute_error(label, score, sample_weight=w))


def test_equal_weights_say_what_no_weights_say() -> None:
    score, label = rows(np.random.default_rng(1), 800)
    found, plain = auc(label == 1, score, np.full(800, 3.0)), delong_auc(label == 1, score)
    assert (found.value, found.lo, found.hi) == pytest.approx((plain.value, plain.lo, plain.hi), abs=1e-12)


def test_a_cell_without_labels_is_said_and_a_large_weight_is_cut() -> None:
    weights = inverse_shares(np.array([0, 0, 1]), np.array([2, 100, 898]))
    assert weights.uncovered == pytest.approx(0.898)
    assert (weights.row.tolist(), weights.clipped) == ([1.0, 1.0, 20.0], True)


def test_early_labels_of_high_scores_bias_the_plain_figure_and_not_the_weighted_one() -> None:
    """100 windows of 2,000 rows, labels four times as likely in at the top as at the bottom of the scores.

    The truth is the AUC of 300,000 rows. The weighted interval covers it in 90 to 99 of 100 windows (nominal 95).
    """
    rng = np.random.default_rng(2)
    truth = roc_auc_score(*reversed(rows(rng, 300_000)))
    values: dict[str, list[float]] = {"plain": [], "weighted": []}
    covered = 0
    trials = 100
    for _ in range(trials):
        score, label = rows(rng, 2_000)
        place = np.searchsorted(np.quantile(score, np.arange(1, 10) / 10), score)
        early = rng.random(2_000) < np.interp(place, [0, 9], [0.2, 0.8])
        weights = inverse_shares(place[early], np.bincount(place, minlength=10))
        found = auc(label[early] == 1, score[early], weights.row)
        values["weighted"].append(found.value)
        values["plain"].append(delong_auc(label[early] == 1, score[early]).value)
        covered += found.lo <= truth <= found.hi
    bias = {name: float(np.mean(each)) - truth for name, each in values.items()}
    assert abs(bias["plain"]) > 0.008
    assert abs(bias["weighted"]) < 0.004
    assert 0.90 <= covered / trials <= 0.99


def test_rows_without_a_label_are_left_out_and_a_model_without_scores_has_fewer_figures() -> None:
    label = np.array([1.0, 0.0, np.nan, 1.0])
    found = measure("binary", label, np.array([1, 0, 0, 0]), None, (0, 1), Weights(np.ones(4), 0.0, False))
    assert [(m.name, m.rows) for m in found] == [("accuracy", 3), ("f1", 3)]
    assert found[0].interval is not None
    assert found[0].interval.value == pytest.approx(2 / 3)
    names = [m.name for m in plain_measure("binary", label, np.array([1, 0, 0, 0]), None, (0, 1), rows_from="labels")]
    assert [m.name for m in found] == names
