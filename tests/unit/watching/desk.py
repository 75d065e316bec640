"""A workspace with one watched endpoint, and logs as somebody else's server writes them."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlspine.core.plan import LogSettings
from mlspine.core.types import Actor
from mlspine.folder import RELEASES
from mlspine.registry.prepare import Prepared
from mlspine.watching.names import Names
from mlspine.watching.reading import Reading
from mlspine.watching.reference import Told, prepare_watched
from mlspine.watching.service import Watched
from mlspine.workspace import Workspace

ME = Actor(name="ada")
NOW_MS = int(dt.datetime(2026, 6, 1, tzinfo=dt.UTC).timestamp() * 1000)


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


def answered(
    n: int, *, seed: int = 0, start: str = "2026-05-01", shift: float = 0.0, seconds: int = 60
) -> pd.DataFrame:
    """Rows a fraud model answered, one every so many seconds."""
    rng = np.random.default_rng(seed)
    amount = rng.normal(100 + shift, 20, n)
    age = rng.integers(18, 80, n)
    score = 1 / (1 + np.exp(-(0.05 * (amount - 100) + 0.03 * (age - 50))))
    return pd.DataFrame(
        {
            "amount": amount,
            "age": age,
            "country": rng.choice(["de", "fr", "us"], n),
            "ts": pd.date_range(start, periods=n, freq=f"{seconds}s"),
            "score": score,
            "prediction": (score > 0.5).astype(int),
            "label": (rng.random(n) < score).astype(int),
        }
    )


class Desk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.workspace = Workspace.open(folder / ".mlspine", clock=self.clock)

    def watch(self, name: str = "fraud", rows: pd.DataFrame | None = None, **told: Any) -> Watched:
        log = told.pop("log", None)
        prepared = _usual(self.workspace.path / RELEASES) if rows is None and not told and name == "fraud" else None
        if prepared is None:
            (answered(4000) if rows is None else rows).to_parquet(self.folder / "train.parquet")
            prepared = prepare_watched(
                "train.parquet",
                Told(**told),
                name=name,
                root=self.folder,
                releases_dir=self.workspace.path / RELEASES,
            )
        return self.workspace.watching.watch(prepared, log=log, actor=ME)

    def read_from(self, source: str, name: str = "fraud", *, every: str = "", **names: str) -> Reading:
        self.workspace.watching.read_from(name, source=source, names=Names(**names), every=every, actor=ME)
        return self.workspace.watching.read(name)

    def logged(self, sql: str = "select count(*) from log", name: str = "fraud") -> Any:
        rows = self.workspace.predictions.query(name, sql=sql).rows
        return rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else rows

    def counted(self, name: str = "fraud") -> int:
        """Rows the profiles have counted."""
        return sum(each.rows for each in self.workspace.predictions.sub_windows(name))


def _usual(releases: Path) -> Prepared:
    """The usual reference, prepared once for all tests."""
    prepared, release = _prepared()
    for name, content in release.items():
        file = releases / prepared.release_hash / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return prepared


@functools.cache
def _prepared() -> tuple[Prepared, dict[str, bytes]]:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        answered(4000).to_parquet(folder / "train.parquet")
        made = prepare_watched("train.parquet", Told(), name="fraud", root=folder, releases_dir=folder)
        release = folder / made.release_hash
        files = (each for each in release.rglob("*") if each.is_file())
        return made, {each.relative_to(release).as_posix(): each.read_bytes() for each in files}


@contextlib.contextmanager
def desk_in(folder: Path) -> Iterator[Desk]:
    desk = Desk(folder)
    try:
        yield desk
    finally:
        desk.workspace.close()


__all__ = ["ME", "NOW_MS", "Clock", "Desk", "LogSettings", "answered", "desk_in"]
