from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from mlspine.core.columns import to_columns
from mlspine.core.types import Schema
from mlspine.registry.flavors import identify
from mlspine.registry.nulls import with_accepted_nulls
from mlspine.registry.release import predictor

X = pd.DataFrame({"a": np.linspace(-1, 1, 200), "b": np.tile([0.0, 1.0], 100), "n": np.arange(200)})
Y = (X["a"] > 0).astype(int)


def found(model: object) -> Schema:
    columns, schema = to_columns(X)
    return with_accepted_nulls(predictor(model, identify(model, X, Y.to_numpy()), schema, None), columns, schema)


def test_a_model_that_answers_without_a_value_accepts_nulls_in_that_column() -> None:
    schema = found(HistGradientBoostingClassifier(max_iter=5).fit(X, Y))
    assert [field.nullable for field in schema.fields] == [True, True, False]


def test_a_model_that_cannot_goes_on_refusing_them() -> None:
    schema = found(LogisticRegression().fit(X, Y))
    assert not any(field.nullable for field in schema.fields)
