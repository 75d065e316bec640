"""A workspace with one small real model, and files that stand for its world."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from mlspine import api
from mlspine.core.plan import LogSettings
from mlspine.core.types import Actor, Alert, ModelVersion
from mlspine.data.source import Source
from mlspine.serving.batch import Batch, Scored, score
from mlspine.workspace import Workspace

ME = Actor(name="me")
DAY_MS = 86_400_000
NOON = 1_750_000_000_000


def bikes(n: int, seed: int, *, from_ms: int = NOON - 30 * DAY_MS, over_ms: int = 28 * DAY_MS) -> pd.DataFrame:
    """Rentals by temperature and weather, with their time and the number of the hire."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(from_ms, from_ms + over_ms, n))
    return pd.DataFrame(
        {
            "temp": rng.normal(15, 6, n),
            "wind": rng.gamma(2.0, 4.0, n),
            "station": rng.integers(0, 3, n),
            "hired at": pd.to_datetime(at, unit="ms"),
            "hire": [f"{seed}-{i:05}" for i in range(n)],
        }
    )


def ship(folder: Path) -> None:
    """The model `bikes`, in a workspace under `folder`."""
    X = bikes(3000, 0)
    y = pd.Series(3 * X["temp"] - X["wind"] + 5 * X["station"], name="hires")
    model = LinearRegression().fit(X[["temp", "wind", "station"]], y)
    api.ship(model, X, y, name="bikes", time="hired at", key="hire", workspace=folder / ".mlspine", quiet=True)


class FeedDesk:
    """A workspace whose clock is set by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ms = NOON
        self.workspace = self.open()

    def open(self) -> Workspace:
        return Workspace.open(self.folder / ".mlspine", clock=self.clock)

    def clock(self) -> int:
        return self.now_ms

    @property
    def version(self) -> ModelVersion:
        return self.workspace.registry.resolve("bikes")

    def put(self, name: str, frame: pd.DataFrame) -> None:
        """Write a CSV file, changed now by the desk's clock."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        frame.to_csv(path, index=False)
        os.utime(path, ns=(self.now_ms * 1_000_000, self.now_ms * 1_000_000))

    def score(self, name: str, output: str = "out.csv", *, log: LogSettings | None = None) -> Scored:
        return score(self.batch(name, output, log=log), clock=self.clock)

    def batch(self, name: str, output: str = "out.csv", *, log: LogSettings | None = None) -> Batch:
        return Batch(
            endpoint="bikes",
            version=self.version,
            revision=1,
            log=log or LogSettings(),
            source=Source(kind="path", text=name),
            root=str(self.folder),
            output=str(self.folder / output),
            workspace=str(self.workspace.path),
        )

    def alerts(self) -> list[Alert]:
        return self.workspace.monitoring.alerts("bikes")

    def causes(self) -> list[str]:
        return [alert.cause for alert in self.alerts()]


def desks(template: Path) -> Callable[[Path], FeedDesk]:
    """Desks that share one shipped model."""
    ship(template)

    def desk(folder: Path) -> FeedDesk:
        shutil.copytree(template / ".mlspine", folder / ".mlspine")
        return FeedDesk(folder)

    return desk
