"""An honest figure or none."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score

from mlspine.core.errors import Invalid
from mlspine.core.types import Interval, Metric
from mlspine.registry.evaluate import (
    CannotRefitError,
    evaluate_holdout,
    not_estimable,
    out_of_fold,
    pick,
    refuse_overlap,
    widened,
)
from mlspine.registry.flavors import Flavor, Outputs, identify

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(600, 5)), columns=list("abcde"))
NOISE = RNG.choice(["no", "yes"], 600).astype(object)
SIGNAL = np.where(X["a"] + 0.3 * RNG.normal(size=600) > 0, "yes", "no").astype(object)


def test_an_overfit_forest_gets_no_false_figure() -> None:
    model = RandomForestClassifier(30, random_state=0).fit(X, NOISE)
    assert model.score(X, NOISE) == 1.0
    evaluation = out_of_fold(model, identify(model, X, NOISE), X, NOISE)
    metric = evaluation.metrics[0]
    assert (metric.name, metric.status, metric.rows_from, metric.rows) == (
        "auc",
        "ESTIMATED",
        "out-of-fold",
        600,
    )
    assert metric.interval is not None
    assert metric.interval.lo < 0.5 < metric.interval.hi


def test_out_of_fold_rows_are_each_predicted_once_and_in_order() -> None:
    model = LogisticRegression().fit(X, SIGNAL)
    evaluation = out_of_fold(model, identify(model, X, SIGNAL), X, SIGNAL)
    assert evaluation.rows is not None
    assert evaluation.outputs is not None
    assert evaluation.outputs.probabilities is not None
    np.testing.assert_array_equal(evaluation.rows, np.arange(600))
    score = roc_auc_score(SIGNAL == "yes", evaluation.outputs.probabilities[:, 1])
    assert evaluation.metrics[0].interval.value == pytest.approx(score)  # type: ignore[union-attr]


def test_with_time_only_the_past_predicts() -> None:
    class Newest(BaseEstimator, ClassifierMixin):  # type: ignore[misc]
        """Remembers the latest row it was fitted on."""

        def fit(self, rows: Any, labels: Any) -> Newest:
            self.classes_, self.seen_ = np.array(["no", "yes"], dtype=object), rows["at"].max()
            return self

        def predict(self, rows: Any) -> Any:
            assert (rows["at"] > self.seen_).all()
            return np.array(["no"] * len(rows), dtype=object)

    times = np.random.default_rng(1).permutation(600)
    rows = pd.DataFrame({"at": times})
    flavor = Flavor(name="sklearn", task="binary", classes=("no", "yes"), method="predict")
    evaluation = out_of_fold(Newest().fit(rows, SIGNAL), flavor, rows, SIGNAL, at_ms=times)
    assert evaluation.rows is not None
    assert len(evaluation.rows) == 500
    assert times[evaluation.rows].min() == 100


def test_rows_of_one_key_are_never_on_both_sides() -> None:
    keys = np.repeat(np.arange(60), 10)
    memory = pd.DataFrame({"key": keys})
    labels = np.repeat(RNG.choice(["no", "yes"], 60), 10).astype(object)
    model = RandomForestClassifier(20, random_state=0).fit(memory, labels)
    flavor = identify(model, memory, labels)
    by_rows = out_of_fold(model, flavor, memory, labels).metrics[0].interval
    by_keys = out_of_fold(model, flavor, memory, labels, keys=keys).metrics[0].interval
    assert by_rows is not None
    assert by_keys is not None
    assert by_rows.value > 0.95
    assert by_keys.value < 0.8


def test_the_caller_s_model_is_left_as_it_was() -> None:
    model = RandomForestClassifier(5, random_state=None).fit(X, SIGNAL)
    before = model.predict_proba(X)
    out_of_fold(model, identify(model, X, SIGNAL), X, SIGNAL)
    assert model.random_state is None
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_refits_are_the_same_every_time_even_without_a_seed() -> None:
    model = RandomForestClassifier(5).fit(X, SIGNAL)
    flavor = identify(model, X, SIGNAL)
    first, again = (out_of_fold(model, flavor, X, SIGNAL).outputs for _ in range(2))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)  # type: ignore[union-attr]


def test_a_class_too_rare_for_a_fold_gets_probability_zero_there() -> None:
    labels = SIGNAL.copy()
    labels[7] = "rare"
    model = LogisticRegression().fit(X, labels)
    evaluation = out_of_fold(model, identify(model, X, labels), X, labels)
    assert evaluation.metrics[0].status == "ESTIMATED"
    assert evaluation.outputs is not None
    shares = evaluation.outputs.probabilities
    assert shares is not None
    assert shares.shape == (600, 3)
    assert shares[7, 1] == 0.0
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)


def test_regression_is_scored_by_its_error() -> None:
    labels = X["a"].to_numpy() * 2
    model = LinearRegression().fit(X, labels)
    metric = out_of_fold(model, identify(model, X, labels), X, labels).metrics[0]
    assert (metric.name, metric.higher_is_better) == ("mae", False)
    assert metric.interval is not None
    assert metric.interval.value < 1e-9


# ---------------------------------------------------------------- none, and why


class NoFit:
    def predict(self, rows: Any) -> Any:
        return np.array(["no"] * len(rows), dtype=object)


class FailsOnParts(BaseEstimator, ClassifierMixin):  # type: ignore[misc]
    def fit(self, rows: Any, labels: Any) -> FailsOnParts:
        if len(rows) < 600:
            raise RuntimeError("needs all of it")
        self.classes_ = np.array(["no", "yes"], dtype=object)
        return self

    def predict(self, rows: Any) -> Any:
        return np.array(["no"] * len(rows), dtype=object)


def test_the_interval_of_refits_is_longer_and_stays_within_what_is_possible() -> None:
    def of(name: str, lo: float, value: float, hi: float) -> tuple[float, float]:
        given = Metric(name=name, status="ESTIMATED", interval=Interval(value=value, lo=lo, hi=hi))
        longer = widened(given).interval
        assert longer is not None
        assert longer.value == value
        return round(longer.lo, 6), round(longer.hi, 6)

    assert of("auc", 0.7, 0.8, 0.88) == (0.65, 0.92)
    assert of("auc", 0.98, 0.99, 0.999) == (0.975, 1.0)
    assert of("mae", 0.01, 0.1, 2.0) == (0.0, 2.95)
    assert of("r2", -0.1, 0.1, 0.3) == (-0.2, 0.4)
    assert widened(Metric(name="auc", status="NOT_ESTIMABLE")).interval is None


def test_what_cannot_be_refitted_says_why_and_what_opens_it() -> None:
    booster = lgb.train({"objective": "binary", "verbose": -1}, lgb.Dataset(X, SIGNAL == "yes"), 2)
    flags = (SIGNAL == "yes").astype(int)
    for model, labels, reason in [
        (NoFit(), SIGNAL, "a NoFit cannot be cloned and refitted"),
        (booster, flags, "a Booster cannot be cloned and refitted"),
        (FailsOnParts().fit(X, SIGNAL), SIGNAL, "fails: RuntimeError: needs all of it"),
    ]:
        evaluation = out_of_fold(model, identify(model, X, labels), X, labels)
        (metric,) = evaluation.metrics
        assert metric.status == "NOT_ESTIMABLE"
        assert metric.interval is None
        assert reason in metric.reason
        assert "holdout=" in metric.opens_with
        assert (evaluation.outputs, evaluation.outputs_from) == (None, "LEARNING")


def test_too_few_rows_and_no_way_to_split_them_are_said() -> None:
    model = LogisticRegression().fit(X, SIGNAL)
    flavor = identify(model, X, SIGNAL)
    few = out_of_fold(model, flavor, X[:20], SIGNAL[:20])
    assert "20 rows are too few" in few.metrics[0].reason
    at_once = out_of_fold(model, flavor, X, SIGNAL, at_ms=np.zeros(600, dtype=np.int64))
    assert "cannot be split" in at_once.metrics[0].reason


def test_a_model_that_takes_too_long_is_not_refitted_to_the_end() -> None:
    model = DummyClassifier().fit(X, SIGNAL)
    seconds = iter(range(0, 10_000, 30))
    slow = out_of_fold(model, identify(model, X, SIGNAL), X, SIGNAL, timer=lambda: float(next(seconds)))
    assert slow.metrics[0].reason == "refitting it 5 times takes more than 60 s"


def test_many_rows_are_probed_before_they_are_refitted() -> None:
    rows = pd.DataFrame({"a": np.zeros(100_000)})
    labels = np.tile(np.array(["no", "yes"], dtype=object), 50_000)
    model = DummyClassifier().fit(rows, labels)
    ticks = iter([0.0, 0.0, 10.0, 10.0, 30.0])  # 10 s for 1,000 rows, 20 s for 2,000: linear
    slow = out_of_fold(model, identify(model, rows[:10], labels), rows, labels, timer=lambda: next(ticks))
    assert slow.metrics[0].reason == "refitting it 3 times would take about 33 min"


def test_no_labels_and_no_task_are_not_estimable() -> None:
    (metric,) = not_estimable("binary", "no labels were given", "mlspine.ship(model, X, y, ...)").metrics
    assert (metric.name, metric.status, metric.reason) == ("auc", "NOT_ESTIMABLE", "no labels were given")
    other = Flavor(name="python", task="other")
    assert out_of_fold(NoFit(), other, X, SIGNAL).metrics[0].status == "NOT_ESTIMABLE"


def test_the_reason_is_an_exception_of_its_own() -> None:
    assert issubclass(CannotRefitError, Exception)


# ---------------------------------------------------------------- the holdout


def test_the_holdout_is_scored_as_it_is() -> None:
    def predict(columns: dict[str, Any]) -> Outputs:
        second = columns["p"]
        return Outputs((second > 0.5).astype(int), np.column_stack([1 - second, second]))

    p, labels = RNG.random(400), RNG.integers(0, 2, 400)
    evaluation = evaluate_holdout(predict, {"p": p}, labels, task="binary", classes=(0, 1))
    assert evaluation.outputs_from == "holdout"
    assert evaluation.metrics[0].interval.value == pytest.approx(roc_auc_score(labels, p))  # type: ignore[union-attr]


def test_holdout_rows_that_were_trained_on_are_refused_with_their_number() -> None:
    fitted = {"a": RNG.normal(size=1000), "\0label": np.array(["yes"] * 1000, dtype=object)}
    held = {
        "a": np.append(RNG.normal(size=90), fitted["a"][:10]),
        "\0label": np.array(["yes"] * 100, dtype=object),
    }
    with pytest.raises(Invalid, match="10 of 100 holdout rows are among the rows the model was fitted on"):
        refuse_overlap(fitted, held)


def test_a_table_that_repeats_itself_by_chance_is_not_refused_for_it() -> None:
    fitted, held = ({"dice": RNG.integers(1, 7, rows), "coin": RNG.integers(0, 2, rows)} for rows in (1000, 200))
    refuse_overlap(fitted, held)


def test_a_leak_beyond_chance_is_seen_among_repeating_rows() -> None:
    fitted = {"n": RNG.integers(0, 3000, 1000)}
    fresh = {"n": RNG.integers(0, 3000, 300)}
    refuse_overlap(fitted, fresh)
    leaked = {"n": np.append(fresh["n"][:100], fitted["n"][:200])}
    with pytest.raises(Invalid, match="of 300 holdout rows"):
        refuse_overlap(fitted, leaked)


# ---------------------------------------------------------------- rows by position


def test_rows_are_picked_from_any_container() -> None:
    import polars as pl
    import pyarrow as pa
    from scipy.sparse import csr_matrix

    index = np.array([2, 0])
    values = [10, 11, 12]
    assert pick(pd.DataFrame({"a": values}, index=[7, 8, 9]), index)["a"].tolist() == [12, 10]
    assert pick(pl.DataFrame({"a": values}), index)["a"].to_list() == [12, 10]
    assert pick(pa.table({"a": values}), index)["a"].to_pylist() == [12, 10]
    assert pick(np.array(values), index).tolist() == [12, 10]
    assert pick(csr_matrix(np.array(values)[:, None]), index).toarray().ravel().tolist() == [12, 10]
    assert pick(values, index) == [12, 10]
    assert pick({"a": np.array(values)}, index)["a"].tolist() == [12, 10]
