"""Small fitted models of the libraries that serving knows, and releases of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd


class Fitted(NamedTuple):
    """A model with the rows and labels it was fitted on."""

    model: Any
    X: Any
    y: np.ndarray


def table(count: int = 200, *, classes: int = 2, nulls: bool = False) -> tuple[pd.DataFrame, np.ndarray]:
    """Six numeric columns and a label that follows from them."""
    X = pd.DataFrame(np.random.default_rng(1).normal(size=(count, 6)), columns=list("abcdef"))
    signal = X["a"] + 0.5 * X["b"] * X["c"]
    y = pd.qcut(signal, classes, labels=False).to_numpy()
    if nulls:
        X.iloc[::5, 1] = np.nan
    return X, y


def lightgbm_classifier(classes: int = 2, *, labels: Any = None) -> Fitted:
    import lightgbm

    X, y = table(classes=classes, nulls=True)
    named = y if labels is None else np.array(labels, dtype=object)[y]
    return Fitted(lightgbm.LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1).fit(X, named), X, named)


def lightgbm_booster() -> Fitted:
    import lightgbm

    X, y = table()
    given = {"objective": "binary", "verbose": -1, "num_threads": 1}
    return Fitted(lightgbm.train(given, lightgbm.Dataset(X, y), num_boost_round=10), X, y)


def lightgbm_regressor() -> Fitted:
    import lightgbm

    X, _ = table()
    y = X["a"].to_numpy() * 100
    return Fitted(lightgbm.LGBMRegressor(n_estimators=10, verbose=-1, n_jobs=1).fit(X, y), X, y)


def xgboost_classifier(classes: int = 2, **settings: Any) -> Fitted:
    import xgboost

    X, y = table(classes=classes, nulls=True)
    return Fitted(xgboost.XGBClassifier(n_estimators=10, n_jobs=1, **settings).fit(X, y), X, y)


def xgboost_booster() -> Fitted:
    import xgboost

    X, y = table()
    given = {"objective": "binary:logistic", "nthread": 1}
    return Fitted(xgboost.train(given, xgboost.DMatrix(X, y), num_boost_round=10), X, y)


def xgboost_regressor() -> Fitted:
    import xgboost

    X, _ = table()
    y = X["a"].to_numpy() * 100
    return Fitted(xgboost.XGBRegressor(n_estimators=10, n_jobs=1).fit(X, y), X, y)


def logistic() -> Fitted:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = table()
    return Fitted(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y), X, y)


def forest() -> Fitted:
    from sklearn.ensemble import RandomForestClassifier

    X, y = table()
    return Fitted(RandomForestClassifier(10, random_state=0).fit(X, y), X, y)


def mixed() -> Fitted:
    """Numbers, whole numbers, flags and text, prepared by a ColumnTransformer."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X, y = table()
    X = X.assign(**{"home town": np.array(["x", "y", "z"])[np.arange(len(X)) % 3], "n": np.arange(len(X)) % 7})
    steps = make_column_transformer(
        (StandardScaler(), ["a", "b", "c", "n"]), (OneHotEncoder(handle_unknown="ignore"), ["home town"])
    )
    return Fitted(make_pipeline(steps, LogisticRegression()).fit(X, y), X, y)
