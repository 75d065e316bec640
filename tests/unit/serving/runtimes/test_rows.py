from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlspine.core.columns import take, to_columns
from mlspine.core.errors import Invalid
from mlspine.registry.flavors import identify
from mlspine.registry.release import predictor
from mlspine.serving import runtime
from mlspine.serving.reproducing import compare
from mlspine.serving.runtimes.lightgbm_rows import lightgbm_predictor
from mlspine.serving.runtimes.xgboost_rows import xgboost_predictor
from tests.serving_harness import make_release
from tests.unit.serving import fitted
from tests.unit.serving.fitted import Fitted

LIGHTGBM = {
    "binary": fitted.lightgbm_classifier,
    "three classes": lambda: fitted.lightgbm_classifier(3, labels=("high", "low", "mid")),
    "booster": fitted.lightgbm_booster,
    "regressor": fitted.lightgbm_regressor,
}
XGBOOST = {
    "binary": fitted.xgboost_classifier,
    "three classes": lambda: fitted.xgboost_classifier(3),
    "booster": fitted.xgboost_booster,
    "regressor": fitted.xgboost_regressor,
    "another null": lambda: fitted.xgboost_classifier(missing=0.5),
}
ALL = [("lightgbm", name) for name in LIGHTGBM] + [("xgboost", name) for name in XGBOOST]


@pytest.mark.parametrize(("library", "kind"), ALL)
def test_it_answers_exactly_as_the_library_does_for_one_row_and_for_many(library: str, kind: str) -> None:
    made = (LIGHTGBM if library == "lightgbm" else XGBOOST)[kind]()
    columns, schema = to_columns(made.X)
    flavor = identify(made.model, made.X, np.asarray(made.y))
    expected = predictor(made.model, flavor, schema)(columns)
    fast = (lightgbm_predictor if library == "lightgbm" else xgboost_predictor)(made.model, flavor, schema)
    assert compare(fast(columns), expected).all
    for row in (0, 7, 5):
        alone = take(columns, slice(row, row + 1))
        assert compare(fast(alone), predictor(made.model, flavor, schema)(alone)).all


@pytest.mark.parametrize(
    ("make", "form"), [(fitted.lightgbm_classifier, "lightgbm"), (fitted.xgboost_classifier, "xgboost")]
)
def test_a_release_of_it_runs_so_in_the_loop(make: Callable[[], Fitted], form: str, tmp_path: Path) -> None:
    made = make()
    _, proof = runtime.load(make_release(tmp_path, made.model, made.X, made.y, placement="auto"))
    assert (proof.form, proof.placement, proof.reproduced_rows) == (form, "loop", 100)


def test_early_stopping_uses_the_best_round_only() -> None:
    made = _stopped_early()
    columns, schema = to_columns(made.X)
    flavor = identify(made.model, made.X, made.y)
    assert made.model.best_iteration < 199
    expected = predictor(made.model, flavor, schema)(columns)
    assert compare(xgboost_predictor(made.model, flavor, schema)(columns), expected).all


def test_another_number_of_columns_is_refused_before_it_reads_beyond_the_rows() -> None:
    made = fitted.lightgbm_classifier()
    flavor = identify(made.model, made.X, made.y)
    _, narrow = to_columns(made.X[["a", "b"]])
    with pytest.raises(Invalid, match="takes 6 columns, the release has 2"):
        lightgbm_predictor(made.model, flavor, narrow)
    other = fitted.xgboost_classifier()
    flavor = identify(other.model, other.X, other.y)
    with pytest.raises(Invalid, match="takes 6 columns, the release has 2"):
        xgboost_predictor(other.model, flavor, narrow)
    _, schema = to_columns(made.X)
    fast = lightgbm_predictor(made.model, identify(made.model, made.X, made.y), schema)
    with pytest.raises(ValueError, match="contiguous matrix of 6 columns"):
        fast.from_matrix(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="contiguous matrix of 6 columns"):
        fast.from_matrix(np.asfortranarray(np.zeros((4, 6))))


def test_answers_of_one_call_are_not_written_over_by_the_next() -> None:
    for make, fast_of in (
        (fitted.lightgbm_classifier, lightgbm_predictor),
        (fitted.xgboost_classifier, xgboost_predictor),
    ):
        made = make()
        columns, schema = to_columns(made.X)
        fast = fast_of(made.model, identify(made.model, made.X, made.y), schema)
        first = fast(take(columns, slice(0, 1)))
        kept = first.probabilities.copy()
        for row in range(1, 20):
            fast(take(columns, slice(row, row + 1)))
        assert np.array_equal(first.probabilities, kept)


def test_the_predictor_outlives_the_estimator_it_was_made_of() -> None:
    made = fitted.lightgbm_classifier()
    columns, schema = to_columns(made.X)
    flavor = identify(made.model, made.X, made.y)
    expected = predictor(made.model, flavor, schema)(columns)
    fast = lightgbm_predictor(made.model, flavor, schema)
    del made
    gc.collect()
    assert compare(fast(columns), expected).all


def _stopped_early() -> Fitted:
    import xgboost

    X, y = fitted.table()
    model = xgboost.XGBClassifier(n_estimators=200, early_stopping_rounds=3, n_jobs=1)
    return Fitted(model.fit(X[:100], y[:100], eval_set=[(X[100:], y[100:])], verbose=False), X, y)
