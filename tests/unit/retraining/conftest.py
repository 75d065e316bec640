"""A workspace without processes, and rows of a world that changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlspine.core.types import Actor, ModelVersion
from mlspine.registry.prepare import prepare
from mlspine.workspace import Workspace

ANN = Actor(name="ann")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder a person works in: no repository around it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-gitconfig"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def workspace(here: Path) -> Iterator[Workspace]:
    opened = Workspace.open(here / ".mlspine")
    yield opened
    opened.close()


def rows(count: int, *, seed: int = 0, drift: float = 0.0) -> pd.DataFrame:
    """Customers of one hour after another, the newest `seed` hours later; with `drift` tenure matters less."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "day": pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(count) + 10_000 * seed, unit="h"),
            "charge": np.round(rng.normal(60, 20, count), 3),
            "tenure": rng.integers(0, 72, count),
            "contract": rng.choice(["month", "year", "two years"], count),
        }
    )
    risk = 0.04 * (frame["charge"] - 60) - (0.05 - drift) * frame["tenure"] + 1.5 * (frame["contract"] == "month")
    frame["churned"] = (rng.random(count) < 1 / (1 + np.exp(-risk))).astype(int)
    return frame


def pipeline(**parameters: Any) -> Pipeline:
    columns = make_column_transformer(
        (StandardScaler(), ["charge", "tenure"]), (OneHotEncoder(handle_unknown="ignore"), ["contract"])
    )
    return make_pipeline(columns, LogisticRegression(**parameters))


def ship(workspace: Workspace, frame: pd.DataFrame, *, model: Any = None, **more: Any) -> ModelVersion:
    """Fit on all of the frame and ship, dated by its days."""
    X, y = frame.drop(columns="churned"), frame["churned"]
    fitted = (model or pipeline()).fit(X, y)
    prepared = prepare(
        fitted, X, y, **{"name": "churn", "releases_dir": workspace.path / "releases", "time": "day", **more}
    )
    return workspace.registry.register(prepared, actor=ANN)
