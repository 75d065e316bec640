"""Estimates without labels against scikit-learn, exact formulas and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import _sigmoid_calibration
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, f1_score, precision_score, recall_score, roc_auc_score

from mlspine.core.errors import Corrupt
from mlspine.stats import blind, cbpe, dle
from mlspine.stats.anchor import forecast, unit_of
from mlspine.stats.backtest import BackTest, broken, factor
from mlspine.stats.interval import delong_auc
from mlspine.stats.isotonic import isotonic, platt
from mlspine.stats.tally import bins_of, decode, empty, encode, parts_of_days, tally

DAY_MS = 86_400_000


def scored(rng: np.random.Generator, n: int, *, shift: float = 0.0, flip: float = 0.0) -> dict[str, np.ndarray]:
    """Rows of a model whose scores are what they say, except for the flipped."""
    score = 1 / (1 + np.exp(-(1.7 * rng.normal(size=n) + shift)))
    label = (rng.uniform(size=n) < score) ^ (rng.uniform(size=n) < flip)
    return {"score": score, "prediction": (score > 0.5).astype(np.int64), "label": label.astype(np.int64)}


@given(
    st.lists(st.tuples(st.integers(0, 8), st.floats(-5, 5), st.floats(0.1, 9)), min_size=1, max_size=40),
)
@settings(deadline=None, max_examples=50)
def test_isotonic_is_that_of_scikit_learn(rows: list[tuple[int, float, float]]) -> None:
    x, y, w = (np.array(each, dtype=np.float64) for each in zip(*rows, strict=True))
    knots, shares = isotonic(x, y, w)
    other = IsotonicRegression().fit(x, y, sample_weight=w)
    np.testing.assert_allclose(shares, other.predict(knots), atol=1e-9)


def test_platt_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = (rng.uniform(size=400) < 1 / (1 + np.exp(-(1.3 * x - 0.4)))).astype(np.float64)
    a, b = platt(x, y, np.ones(400))
    theirs = _sigmoid_calibration(x, y)
    assert (a, b) == pytest.approx((-theirs[0], -theirs[1]), abs=2e-3)


def test_figures_and_variances_from_counts_are_those_of_rows() -> None:
    rng = np.random.default_rng(1)
    rows = scored(rng, 3000)
    rows["score"] = rows["score"].round(2)  # ties, and few enough values for exact bins
    bins = bins_of("binary", (0, 1), rows["score"])
    counted = tally(bins, rows)
    figures = cbpe.binary_figures(bins, counted.labelled, counted.outcomes[0])
    y, answer, score = rows["label"], rows["prediction"], rows["score"]
    expected = {
        "auc": roc_auc_score(y, score),
        "accuracy": (y == answer).mean(),
        "precision": precision_score(y, answer),
        "recall": recall_score(y, answer),
        "f1": f1_score(y, answer),
        "brier": brier_score_loss(y, score),
    }
    assert {name: float(value) for name, value in figures.items()} == pytest.approx(expected)
    found = cbpe.binary_variances(bins, counted.labelled[None], counted.outcomes[:1])
    interval = delong_auc(y == 1, score)
    sd = (interval.hi - interval.lo) / 2 / 1.96
    assert np.sqrt(found["auc"][0]) == pytest.approx(sd, rel=0.02)
    draws = [cbpe.binary_figures(bins, *_resampled(bins, rows, rng)) for _ in range(200)]
    for name, value in found.items():
        assert np.sqrt(value[0]) == pytest.approx(np.std([draw[name] for draw in draws]), rel=0.2)


def _resampled(bins: object, rows: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    pick = rng.integers(0, len(rows["label"]), len(rows["label"]))
    counted = tally(bins, {name: values[pick] for name, values in rows.items()})  # type: ignore[arg-type]
    return counted.labelled, counted.outcomes[0]


def test_expected_auc_is_the_mean_over_drawn_labels() -> None:
    rng = np.random.default_rng(2)
    rows = scored(rng, 2000)
    chance = rows["score"] ** 1.3
    area = cbpe.macro_auc(np.c_[1 - rows["score"], rows["score"]], np.c_[1 - chance, chance])
    drawn = [roc_auc_score(rng.uniform(size=2000) < chance, rows["score"]) for _ in range(100)]
    assert area == pytest.approx(np.mean(drawn), abs=3 * np.std(drawn) / 10 + 1e-3)


def test_multiclass_accuracy_and_f1_are_found_again() -> None:
    rng = np.random.default_rng(3)

    def rows(n: int, favour: float) -> dict[str, np.ndarray]:
        chance = rng.dirichlet([1.0, 1.0, favour], size=n)
        label = (rng.uniform(size=(n, 1)) > np.cumsum(chance, axis=1)).sum(axis=1).clip(0, 2)
        return {"score": chance.max(axis=1), "prediction": chance.argmax(axis=1), "label": label}

    known = rows(20_000, 1.0)
    bins = bins_of("multiclass", (0, 1, 2), known["score"])
    now = rows(20_000, 3.0)
    counted = tally(bins, now)
    truth = cbpe.multiclass_figures(counted.labelled, counted.outcomes)
    assert truth["macro_f1"] == pytest.approx(f1_score(now["label"], now["prediction"], average="macro"))
    fitted = tally(bins, known)
    per_row = cbpe.calibrate(bins, fitted.labelled, fitted.outcomes).per_row
    guessed = cbpe.multiclass_figures(counted.rows, counted.rows * per_row)
    before = cbpe.multiclass_figures(fitted.labelled, fitted.outcomes)
    # Right answers of a class depend on its score alone here as good as; how wrong ones spread shifts a little.
    for metric, near in (("accuracy", 0.03), ("macro_f1", 0.05)):
        assert float(guessed[metric]) == pytest.approx(float(truth[metric]), abs=near)
        assert abs(guessed[metric] - truth[metric]) < 0.6 * abs(before[metric] - truth[metric])


def test_dle_follows_answers_whose_errors_are_larger() -> None:
    rng = np.random.default_rng(4)

    def rows(n: int, centre: float) -> dict[str, np.ndarray]:
        answer = rng.normal(centre, 2.0, n)
        return {
            "prediction": answer,
            "score": answer,
            "label": answer + (1 + 0.3 * np.abs(answer)) * rng.normal(size=n),
        }

    known, now = rows(10_000, 4.0), rows(10_000, 6.0)
    bins = bins_of("regression", (), known["prediction"])
    counted = tally(bins, known)
    loss = dle.loss_per_row(bins, counted.labelled, counted.outcomes)
    current = tally(bins, now)
    guessed = dle.regression_figures(current.rows, current.rows * loss)
    truth = np.abs(now["label"] - now["prediction"])
    before = np.abs(known["label"] - known["prediction"]).mean()
    assert float(guessed["mae"]) == pytest.approx(truth.mean(), rel=0.05)
    assert truth.mean() > 1.15 * before
    assert np.sqrt(dle.variances(current.rows, current.outcomes)["mae"]) == pytest.approx(truth.std() / 100, rel=0.01)


def test_the_interval_covers_what_it_says_where_only_the_rows_change() -> None:
    """40 streams of 6 windows: 90% intervals of the newest, whose true share is 95% or more with so few windows."""
    rng = np.random.default_rng(5)
    inside, errors = [], []
    for _ in range(40):
        shifts = np.cumsum(rng.normal(0, 0.2, 6))
        windows = [scored(rng, 1500, shift=shift) for shift in shifts]
        bins = bins_of("binary", (0, 1), windows[0]["score"])
        counted = [tally(bins, rows) for rows in windows]
        past = [blind.Matured((place + 0.5,), (each,), float(5 - place)) for place, each in enumerate(counted[:5])]
        now = empty(bins)._replace(rows=counted[5].rows)
        found = blind.estimate(bins, past, [now], at=5.5).forecasts["auc"]
        truth = roc_auc_score(windows[5]["label"], windows[5]["score"])
        inside.append(found.quantile(0.05) <= truth <= found.quantile(0.95))
        errors.append(abs(found.mean - truth))
    assert np.mean(inside) >= 0.85
    assert np.mean(errors) < 0.015


def test_too_few_labels_and_no_overlap_give_a_reason_and_no_number() -> None:
    rng = np.random.default_rng(6)
    bins = bins_of("binary", (0, 1), scored(rng, 2000)["score"])
    few, many = tally(bins, scored(rng, 60)), tally(bins, scored(rng, 2000))
    now = tally(bins, scored(rng, 1000, shift=8.0))
    assert "of the rarer class" in blind.estimate(bins, [blind.Matured((0.5,), (few,), 1.0)], [now], at=1.5).why
    found = blind.estimate(bins, [blind.Matured((0.5,), (many,), 1.0)], [now], at=1.5)
    assert "cannot be estimated" in found.why
    assert not found.forecasts
    shifted = tally(bins, scored(rng, 1000, shift=1.2))
    assert blind.estimate(bins, [blind.Matured((0.5,), (many,), 1.0)], [shifted], at=1.5).method == "M-CBPE, isotonic"


def test_calibration_error_is_noise_where_the_curve_holds_and_more_where_not() -> None:
    rng = np.random.default_rng(7)
    bins = bins_of("binary", (0, 1), scored(rng, 4000)["score"])
    fitted = tally(bins, scored(rng, 4000))
    error, noise = cbpe.calibration_error(bins, fitted, tally(bins, scored(rng, 4000)))
    assert error < 2.5 * noise
    error, noise = cbpe.calibration_error(bins, fitted, tally(bins, scored(rng, 4000, flip=0.2)))
    assert error > 5 * noise
    assert error > cbpe.ECE_LIMIT


def test_the_forecast_believes_the_estimate_as_far_as_it_was_right() -> None:
    rng = np.random.default_rng(8)
    estimated = 0.7 + 0.05 * rng.normal(size=20)
    noise, variances, at = 0.003 * rng.normal(size=20), np.full(20, 1e-5), np.arange(20.0)

    def next_value(realised: np.ndarray) -> float:
        return forecast(
            realised, estimated, variances, at, next_estimate=0.8, next_variance=1e-5, next_at=20.0, unit=0.45
        ).mean

    assert next_value(estimated + noise) == pytest.approx(0.8, abs=0.01)  # it was right, so it is believed
    assert next_value(0.72 + noise) == pytest.approx(0.72, abs=0.01)  # it said nothing, so the level is
    assert unit_of("auc", 1.0) > 0


def test_an_interval_that_misses_widens_and_one_that_never_does_narrows() -> None:
    rng = np.random.default_rng(9)
    tested = list[BackTest]()
    for _ in range(400):  # an interval of half the width it should have
        half = 0.82 * factor(tested)
        tested.append(BackTest(0.0, -half, half, rng.normal()))
    covered = np.mean([abs(each.miss) <= 1 for each in tested])
    assert 0.87 <= covered <= 0.93
    assert not broken([BackTest(0.8, 0.7, 0.9, 0.91), BackTest(0.8, 0.7, 0.9, 0.69)])  # either side once


def test_tallies_are_kept_by_day_and_read_back() -> None:
    rng = np.random.default_rng(10)
    rows = scored(rng, 500)
    bins = bins_of("binary", (False, True), rows["score"])
    at_ms = rng.integers(0, 5 * DAY_MS, 500)
    parts = [
        (start, end, tally(bins, {name: values[where] for name, values in rows.items()}))
        for start, end, where in parts_of_days(at_ms, 500)
    ]
    data = encode(bins, parts, rows_from="holdout")
    again, kept, rows_from = decode(data)
    assert (again, rows_from, len(kept)) == (bins, "holdout", 5)
    for (start, end, before), (start_, end_, after) in zip(parts, kept, strict=True):
        assert (start, end) == (start_, end_)
        assert np.array_equal(before.labelled, after.labelled)
        assert np.array_equal(before.outcomes, after.outcomes)
    with pytest.raises(Corrupt):
        decode(data[:-3])
    weeks = parts_of_days(np.arange(150) * DAY_MS, 150)
    assert {end - start for start, end, _ in weeks} == {7 * DAY_MS}
    assert sum(len(where) for *_, where in weeks) == 150
