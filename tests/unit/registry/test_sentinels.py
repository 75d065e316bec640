from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Invalid, NotFound
from mlspine.core.types import Actor
from mlspine.data.service import Data
from mlspine.governance.service import Governance
from mlspine.registry.prepare import prepare
from mlspine.registry.sentinels import Sentinel, Sentinels, compare
from mlspine.registry.service import Registry

ADA = Actor(name="ada")


@pytest.fixture
def sentinels(tmp_path: Path) -> Sentinels:
    db = SqliteDatabase(tmp_path / "store.db")
    db.migrate(migrations.scripts())
    governance = Governance(db=db)
    releases = tmp_path / "releases"
    releases.mkdir()
    registry = Registry(db=db, data=Data(db=db), governance=governance, releases_dir=releases)
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 2)), columns=["age", "income"])
    model = LogisticRegression().fit(X, (X["age"] > 0).astype(int))
    registry.register(prepare(model, X, name="churn", owner="ada", releases_dir=releases), actor=ADA)
    return Sentinels(db=db, registry=registry, governance=governance)


def test_cases_are_kept_until_somebody_takes_them_away(sentinels: Sentinels) -> None:
    row = {"age": 1.0, "income": 0.0}
    first, second = sentinels.add("churn", [row | {"expected": 1}, row | {"expected_score": 0.9}], actor=ADA)
    assert sentinels.cases("churn") == [first, second]
    sentinels.remove("churn", first.id[-12:], actor=ADA)
    assert sentinels.cases("churn") == [second]
    with pytest.raises(NotFound, match="no sentinel of churn"):
        sentinels.remove("churn", first.id, actor=ADA)


def test_all_that_is_wrong_is_said_and_nothing_is_added(sentinels: Sentinels) -> None:
    rows = [
        {"age": 1.0, "income": 0.0, "expected": [1]},
        {"age": 1.0, "incom": 0.0, "expected": 1},
        {"age": 1.0, "income": 0.0},
        {"age": 1.0, "income": 0.0, "expected": 1, "tolerance": -1},
    ]
    with pytest.raises(Invalid) as caught:
        sentinels.add("churn", rows, actor=ADA)
    assert list(caught.value.details) == [
        "row 1: expected is [1], not a class or a number",
        "row 2: the model takes no 'incom', did you mean 'income'?",
        "row 2: income is missing",
        "row 3: neither expected nor expected_score",
        "row 4: tolerance is -1, below 0",
    ]
    assert sentinels.cases("churn") == []
    with pytest.raises(NotFound):
        sentinels.add("chrun", [], actor=ADA)


@pytest.mark.parametrize(
    ("expected", "got", "agrees"),
    [
        (1, 1, True),
        (1, "1", True),
        (1, 0, False),
        ("yes", "yes", True),
        (2.5, 2.5000001, True),
        (2.5, 2.6, False),
        (True, 1, True),
    ],
)
def test_classes_agree_by_value_and_numbers_within_their_tolerance(expected: object, got: object, agrees: bool) -> None:
    case = Sentinel(id="1", model="m", inputs={}, expected=expected)  # type: ignore[arg-type]
    assert (compare([case], [{"prediction": got, "score": None}]) == []) is agrees
