"""Models of several kinds, asked and understood."""

from __future__ import annotations

import warnings
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from mlspine.core.columns import from_columns, to_columns
from mlspine.core.errors import Invalid
from mlspine.registry.flavors import Outputs, ask, ask_matrix, identify, score_of, single_threaded

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(300, 4)), columns=["a", "b c", "d", "e"])
BINARY = (X["a"] + RNG.normal(size=300) > 0).map({True: "yes", False: "no"}).to_numpy()
THREE = RNG.integers(0, 3, 300)
VALUE = X["a"] * 3 + RNG.normal(size=300)


class OnlyPredict:
    """The least a model can be."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def predict(self, rows: Any) -> Any:
        return self._values[: len(rows)]


class OnlyShares(OnlyPredict):
    """Probabilities and nothing else."""

    def __init__(self, values: Any) -> None:
        self._values = values

    predict = None  # type: ignore[assignment]

    def predict_proba(self, rows: Any) -> Any:
        return self._values[: len(rows)]


CASES = [
    (LogisticRegression().fit(X, BINARY), "sklearn", "binary", ("no", "yes"), "proba"),
    (
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, BINARY == "yes"),
        "sklearn",
        "binary",
        (False, True),
        "proba",
    ),
    (RandomForestClassifier(5).fit(X, THREE), "sklearn", "multiclass", (0, 1, 2), "proba"),
    (LinearSVC(dual="auto").fit(X, BINARY), "sklearn", "binary", ("no", "yes"), "predict"),
    (RandomForestRegressor(5).fit(X, VALUE), "sklearn", "regression", (), "predict"),
    (KMeans(2, n_init=1).fit(X), "sklearn", "other", (), "predict"),
    (
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2).fit(X, BINARY),
        "sklearn",
        "binary",
        ("no", "yes"),
        "proba",
    ),
    (
        lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, BINARY),
        "lightgbm",
        "binary",
        ("no", "yes"),
        "proba",
    ),
    (lgb.LGBMRegressor(n_estimators=3, verbose=-1).fit(X, VALUE), "lightgbm", "regression", (), "predict"),
]


@pytest.mark.parametrize(("model", "name", "task", "classes", "method"), CASES, ids=lambda each: type(each).__name__)
def test_a_model_is_recognised_and_answers_as_it_does_itself(
    model: Any, name: str, task: str, classes: tuple[Any, ...], method: str
) -> None:
    flavor = identify(model, X, None)
    assert (flavor.name, flavor.task, flavor.classes, flavor.method) == (name, task, classes, method)
    assert all(type(each) in (str, int, float, bool) for each in flavor.classes)
    outputs = ask(model, flavor)(X)
    np.testing.assert_array_equal(outputs.prediction, model.predict(X))
    if method == "proba":
        assert outputs.probabilities is not None
        np.testing.assert_array_equal(outputs.probabilities, model.predict_proba(X))


def test_a_model_whose_predictions_are_not_its_likeliest_classes_is_asked_twice() -> None:
    class Careful(LogisticRegression):  # type: ignore[misc]
        """Says yes only when it is nearly sure."""

        def predict(self, rows: Any) -> Any:
            return self.classes_[(self.predict_proba(rows)[:, 1] > 0.9).astype(int)]

    model = Careful().fit(X, BINARY)
    flavor = identify(model, X, None)
    assert flavor.method == "both"
    np.testing.assert_array_equal(ask(model, flavor)(X).prediction, model.predict(X))


@pytest.mark.parametrize(
    ("objective", "labels", "task", "classes"),
    [
        ("binary", (BINARY == "yes").astype(int), "binary", (0, 1)),
        ("multiclass", THREE, "multiclass", (0, 1, 2)),
        ("regression", VALUE, "regression", ()),
        ("poisson", THREE, "regression", ()),
    ],
)
def test_a_native_booster_tells_its_task(objective: str, labels: Any, task: str, classes: tuple[int, ...]) -> None:
    extra = {"num_class": 3} if objective == "multiclass" else {}
    booster = lgb.train({"objective": objective, "verbose": -1, **extra}, lgb.Dataset(X, labels), 3)
    flavor = identify(booster, X, labels)
    assert (flavor.task, flavor.classes, flavor.method) == (task, classes, "booster")
    outputs = ask(booster, flavor)(X)
    raw = booster.predict(X)
    if task == "regression":
        np.testing.assert_array_equal(outputs.prediction, raw)
    elif task == "binary":
        np.testing.assert_array_equal(outputs.probabilities[:, 1], raw)  # type: ignore[index]
        np.testing.assert_array_equal(outputs.prediction, (raw > 0.5).astype(int))
    else:
        np.testing.assert_array_equal(outputs.prediction, raw.argmax(axis=1))


@pytest.mark.parametrize(
    ("model", "labels", "task", "classes"),
    [
        (OnlyPredict(np.array(["a", "b", "a"])), None, "binary", ("a", "b")),
        (OnlyPredict(np.array([1, 2, 1])), None, "other", ()),
        (OnlyPredict(np.array([1, 2, 1])), np.array([1, 2, 3]), "multiclass", (1, 2, 3)),
        (OnlyPredict(np.array([1.5, 2, 1])), np.array([1, 2, 3]), "regression", ()),
        (OnlyPredict(np.array([1, 2, 1])), np.arange(1000), "regression", ()),
        (OnlyPredict([True, False, True]), None, "binary", (False, True)),
        (OnlyShares(np.array([[0.1, 0.9]] * 3)), None, "binary", (0, 1)),
        (OnlyShares(np.array([0.1, 0.9, 0.2])), np.array(["n", "y"], dtype=object), "binary", ("n", "y")),
    ],
)
def test_an_object_that_says_nothing_of_itself_is_judged_by_labels_and_answers(
    model: Any, labels: Any, task: str, classes: tuple[Any, ...]
) -> None:
    flavor = identify(model, [[0], [0], [0]], labels)
    assert (flavor.name, flavor.task, flavor.classes) == ("python", task, classes)
    assert len(ask(model, flavor)([[0], [0], [0]]).prediction) == 3


REFUSED = [
    (LogisticRegression(), "the LogisticRegression is not fitted"),
    (make_pipeline(StandardScaler(), LogisticRegression()), "the Pipeline is not fitted"),
    (GridSearchCV(LogisticRegression(), {}), "is not fitted"),
    (lgb.LGBMClassifier(), "the LGBMClassifier is not fitted"),
    (LogisticRegression, "is a class, not a fitted model"),
    (object(), "neither predict nor predict_proba"),
    (LinearRegression().fit(X, np.column_stack([VALUE, VALUE])), "2 outputs per row"),
    (RandomForestClassifier(2).fit(X, np.column_stack([THREE, THREE])), "outputs per row"),
    (LogisticRegression().fit(X[["a"]], BINARY), "cannot predict these rows: ValueError"),
]


@pytest.mark.parametrize(("model", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_answer_is_refused_with_the_way_out(model: Any, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        identify(model, X, None)
    assert said in caught.value.message
    assert caught.value.hint


# ---------------------------------------------------------------- the score


def test_the_score_is_one_number_per_row() -> None:
    two = Outputs(np.array([0, 1]), np.array([[0.8, 0.2], [0.3, 0.7]]))
    assert score_of(two, "binary").tolist() == [0.2, 0.7]  # type: ignore[union-attr]
    assert score_of(two, "multiclass").tolist() == [0.8, 0.7]  # type: ignore[union-attr]
    assert score_of(Outputs(np.array([1, 2]), None), "regression").dtype == np.float64  # type: ignore[union-attr]
    assert score_of(Outputs(np.array(["a"], dtype=object), None), "binary") is None
    assert score_of(Outputs(np.array([1]), None), "other") is None


# ---------------------------------------------------------------- matrices


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, BINARY),
        GradientBoostingClassifier(n_estimators=3).fit(X, THREE),
        RandomForestRegressor(5).fit(X, VALUE),
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=2).fit(X, BINARY),
        lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, BINARY),
        lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, THREE),
        lgb.LGBMRegressor(n_estimators=3, verbose=-1).fit(X, VALUE),
        lgb.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, BINARY == "yes").booster_,
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_matrix_gives_the_same_answers_without_a_warning(model: Any) -> None:
    flavor = identify(model, X, None)
    by_frame = ask(model, flavor)(X)
    columns, schema = to_columns(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_matrix = ask_matrix(model, flavor, schema)(columns)
    np.testing.assert_array_equal(by_matrix.prediction, by_frame.prediction)
    if by_frame.probabilities is not None:
        np.testing.assert_allclose(by_matrix.probabilities, by_frame.probabilities, rtol=1e-12)  # type: ignore[arg-type]


def test_a_matrix_rounds_as_the_frame_would() -> None:
    narrow = X.astype("float32")
    model = LinearRegression().fit(narrow, VALUE)
    columns, schema = to_columns(narrow)
    wide = {name: values + 1e-9 for name, values in columns.items()}
    flavor = identify(model, narrow, None)
    by_frame = ask(model, flavor)(from_columns(wide, schema)).prediction
    np.testing.assert_allclose(ask_matrix(model, flavor, schema)(wide).prediction, by_frame, rtol=1e-6)


def test_a_matrix_is_refused_where_names_or_types_matter() -> None:
    from sklearn.compose import make_column_transformer

    by_name = make_pipeline(make_column_transformer((StandardScaler(), ["a"])), LogisticRegression()).fit(X, BINARY)
    frames = make_pipeline(StandardScaler().set_output(transform="pandas"), LogisticRegression()).fit(X, BINARY)
    columns, schema = to_columns(X)
    for model in (by_name, frames):
        with pytest.raises(Invalid, match="by name"):
            ask_matrix(model, identify(model, X, None), schema)
    with pytest.raises(Invalid, match="its own container"):
        ask_matrix(OnlyPredict(VALUE), identify(OnlyPredict(VALUE), X, VALUE.to_numpy()), schema)
    _, texts = to_columns(pd.DataFrame({"t": ["a"]}))
    with pytest.raises(Invalid, match="column 't' is not numeric"):
        ask_matrix(by_name, identify(by_name, X, None), texts)
    assert columns


def test_one_thread_per_call_for_every_nested_estimator() -> None:
    model = make_pipeline(StandardScaler(), RandomForestClassifier(3, n_jobs=2, random_state=0)).fit(X, BINARY)
    before = model.predict_proba(X)
    single_threaded(model)
    assert model[-1].n_jobs == 1
    np.testing.assert_allclose(model.predict_proba(X), before)
