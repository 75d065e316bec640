"""Models and rows that the registry's tests share, and a registry on a real store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.types import Actor
from mlspine.data.service import Data
from mlspine.governance.service import Governance
from mlspine.registry.prepare import Prepared, prepare
from mlspine.registry.service import Registry

ANN = Actor(name="ann")


class World(NamedTuple):
    """A registry with its ledger, on a store of its own."""

    registry: Registry
    governance: Governance
    data: Data
    releases_dir: Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    db = SqliteDatabase(tmp_path / "store.db")
    db.migrate(migrations.scripts())
    ticks = iter(range(1_000, 10_000))
    clock: Callable[[], int] = lambda: next(ticks)  # noqa: E731
    governance, data = Governance(db=db, clock=clock), Data(db=db, clock=clock)
    releases_dir = tmp_path / "releases"
    registry = Registry(db=db, data=data, governance=governance, releases_dir=releases_dir, clock=clock)
    return World(registry, governance, data, releases_dir)


@pytest.fixture(autouse=True)
def outside_any_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where tests run from: a folder of their own, so that no repository around them leaks in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "no-gitconfig"))
    return folder


def people(rows: int = 400, *, seed: int = 0) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """A frame with spaces in names, nulls, text, categories, dates and whole numbers; and who left."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age in years": np.round(rng.uniform(18, 90, rows), 2),
            "charge": rng.gamma(2.0, 30.0, rows).astype("float32"),
            "visits": rng.integers(0, 1000, rows),
            "city": rng.choice(["Bern", "Köln", "Oslo"], rows),
            "plan": pd.Categorical(rng.choice(["basic", "plus"], rows), categories=["plus", "basic"]),
            "joined": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 500, rows), unit="D"),
        }
    )
    frame.loc[::9, "age in years"] = np.nan
    frame.loc[::11, "city"] = None
    left = (frame["charge"] + rng.normal(0, 20, rows) > 60).map({True: "left", False: "stayed"})
    return frame, left.rename("outcome")


def days(frame: pd.DataFrame) -> pd.DataFrame:
    """Days since 2024 of every column."""
    return (frame - pd.Timestamp("2024-01-01")) / pd.Timedelta(days=1)


def pipeline() -> Pipeline:
    """Unfitted: every column of `people` through its own step."""
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age in years", "charge", "visits"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
        (make_pipeline(FunctionTransformer(days), StandardScaler()), ["joined"]),
    )
    return make_pipeline(columns, LogisticRegression())


def shipped(world: World, model: Any, X: Any, y: Any = None, **more: Any) -> Prepared:
    return prepare(model, X, y, **{"name": "churn", "releases_dir": world.releases_dir, **more})
