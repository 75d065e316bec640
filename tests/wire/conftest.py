"""Two inference processes for the whole folder: one with several endpoints, one with a single one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from tests.serving_harness import Inference, endpoint, inference, make_release

ROW: dict[str, Any] = {
    "net income": 1.5,
    "age": 30,
    "city": "Bern",
    "member": True,
    "since": "2026-01-31T12:00:00",
    "debt": None,
}


def numbers(X: pd.DataFrame) -> np.ndarray:
    """A little of every column as numbers; dates and nulls are the first to break a careless codec."""
    days = (X["since"] - pd.Timestamp("2026-01-01")) / pd.Timedelta(days=1)
    parts = [X["net income"], X["age"], X["member"].astype(float), days, X["debt"].fillna(0)]
    return np.column_stack([np.asarray(part, dtype=np.float64) for part in parts])


def mixed() -> tuple[Any, pd.DataFrame, np.ndarray]:
    """A binary classifier with text labels on columns of six types, one with a blank in its name."""
    dice = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "net income": dice.normal(size=80),
            "age": dice.integers(18, 80, size=80),
            "city": pd.Categorical(dice.choice(["Bern", "Basel"], size=80)),
            "member": dice.random(80) > 0.5,
            "since": pd.Timestamp("2026-01-01") + pd.to_timedelta(dice.integers(0, 90, size=80), unit="D"),
            "debt": np.where(dice.random(80) > 0.3, dice.normal(size=80), np.nan),
        }
    )
    y = np.where(X["net income"] + X["age"] / 50 > 1, "yes", "no")
    columns = ["net income", "age", "member", "since", "debt"]
    steps = make_column_transformer(
        (FunctionTransformer(numbers), columns), (OneHotEncoder(handle_unknown="ignore"), ["city"])
    )
    return make_pipeline(steps, LogisticRegression(max_iter=1000)).fit(X, y), X, y


def flowers() -> tuple[Any, np.ndarray, np.ndarray]:
    """A classifier of three whole-number classes on a nameless matrix of four columns."""
    dice = np.random.default_rng(1)
    X = dice.normal(size=(90, 4))
    y = np.digitize(X[:, 0] + 0.1 * X[:, 1], [-0.5, 0.5])
    return LogisticRegression().fit(X, y), X, y


def prices() -> tuple[Any, pd.DataFrame, np.ndarray]:
    """A regression on two named numbers: 2 a + b."""
    dice = np.random.default_rng(2)
    X = pd.DataFrame(dice.normal(size=(50, 2)), columns=["a", "b"])
    y = (2 * X["a"] + X["b"]).to_numpy()
    return LinearRegression().fit(X, y), X, y


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    folder: Path = tmp_path_factory.mktemp("several")
    endpoints = [
        endpoint("mixed", make_release(folder, *mixed(), version=3)),
        endpoint("flowers", make_release(folder, *flowers())),
        endpoint("prices", make_release(folder, *prices(), version=2, settings={"time": "at", "key": "who"})),
        endpoint("silent", None, revision=4),
    ]
    with inference(folder, *endpoints) as running:
        yield running


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    folder: Path = tmp_path_factory.mktemp("single")
    with inference(folder, endpoint("prices", make_release(folder, *prices()))) as running:
        yield running
