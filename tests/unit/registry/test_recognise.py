"""Preparation left behind in the notebook is asked about; ordinary tables are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine, make_classification
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from mlspine.core.columns import to_columns
from mlspine.registry.recognise import questions
from tests.unit.registry.conftest import people

RNG = np.random.default_rng(1)
RAW = pd.DataFrame(
    {
        "age": RNG.normal(50, 12, 500),
        "income": RNG.lognormal(10, 1, 500),
        "city": RNG.choice(["Bern", "Köln", "Oslo"], 500),
        "home type": RNG.choice(["own", "rent"], 500),
    }
)


def asked(data: Any) -> tuple[str, ...]:
    return questions(*to_columns(data))


def test_a_scaled_nameless_matrix_is_asked_about() -> None:
    (question,) = asked(StandardScaler().fit_transform(RAW[["age", "income"]]))
    assert "'x0', 'x1' have mean 0 and spread 1 in a matrix without names" in question
    assert "transform=" in question


def test_rows_scaled_together_with_others_are_still_recognised() -> None:
    scaled = StandardScaler().fit_transform(RAW[["age", "income"]])
    assert asked(scaled[: len(scaled) * 4 // 5])


def test_exactly_scaled_columns_of_a_frame_are_asked_about() -> None:
    frame = RAW.copy()
    frame[["age", "income"]] = StandardScaler().fit_transform(frame[["age", "income"]])
    (question,) = asked(frame)
    assert "'age', 'income' have mean 0 and spread 1" in question


def test_columns_squeezed_between_0_and_1_are_asked_about() -> None:
    (question,) = asked(MinMaxScaler().fit_transform(RAW[["age", "income"]]))
    assert "run from exactly 0 to exactly 1" in question


@pytest.mark.parametrize("drop_first", [False, True])
def test_dummy_coded_blocks_are_asked_about_by_their_columns(drop_first: bool) -> None:
    frame = pd.get_dummies(RAW, columns=["city"], drop_first=drop_first).drop(columns="home type")
    found = asked(frame)
    if drop_first:  # two flags of which neither is set in a third of the rows might be anything
        assert found == ()
    else:
        assert "'city_Bern', 'city_Köln', 'city_Oslo' look like one column 'city' in dummy coding" in found[0]


def test_several_blocks_whose_names_hold_underscores_are_told_apart() -> None:
    frame = RAW.rename(columns={"home type": "home_type"})
    first, second = asked(pd.get_dummies(frame, columns=["city", "home_type"], dtype=int))
    assert "one column 'city'" in first
    assert "'home_type_own', 'home_type_rent' look like one column 'home_type'" in second


@pytest.mark.parametrize(("strategy", "said"), [("mean", "their own mean"), ("median", "their own median")])
def test_imputed_columns_are_asked_about(strategy: str, said: str) -> None:
    frame = RAW[["age", "income"]].mask(RNG.random((500, 2)) < 0.1)
    filled = pd.DataFrame(SimpleImputer(strategy=strategy).fit_transform(frame), columns=list(frame))
    (question,) = asked(filled)
    assert f"'age', 'income' repeat exactly {said}" in question


def test_a_value_far_from_everything_else_is_asked_about() -> None:
    frame = RAW[["age"]].mask(RNG.random((500, 1)) < 0.05, -999.0)
    (question,) = asked(frame)
    assert "'age' repeats -999, far from everything else" in question


ORDINARY = {
    "people": people()[0],
    "iris": load_iris(as_frame=True).data,
    "wine": load_wine(as_frame=True).data,
    "cancer": load_breast_cancer(as_frame=True).data,
    "diabetes": load_diabetes(as_frame=True).data,
    "toy classification": make_classification(500, 8, random_state=0)[0],
    "flags": pd.DataFrame({f"has_{name}": RNG.random(500) < 0.4 for name in ("phone", "mail", "fax")}),
    "rare flags": pd.DataFrame({f"err_{i}": RNG.random(500) < 0.002 for i in range(5)}).assign(err_9=True),
    "shares": pd.DataFrame(RNG.dirichlet([1, 2, 3], 500), columns=["a", "b", "c"]),
    "counts": pd.DataFrame({"n": RNG.poisson(3, 500), "m": RNG.poisson(0.2, 500)}),
    "mostly zero": pd.DataFrame({"gain": np.where(RNG.random(500) < 0.8, 0.0, RNG.lognormal(8, 1, 500))}),
    "few rows": pd.DataFrame({"a": [0.0, 1.0], "b": [0.0, 1.0]}),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_tables_raise_no_question(name: str) -> None:
    assert asked(ORDINARY[name]) == ()
