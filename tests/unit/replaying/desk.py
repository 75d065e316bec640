"""A workspace with releases of a small model that differ in a known way, and a log of what they answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlspine import api
from mlspine.core.errors import NotFound
from mlspine.core.ids import uuid7
from mlspine.core.plan import Endpoint, LogSettings, Revision
from mlspine.core.types import Actor, ModelVersion
from mlspine.predictions.spool import Batch, SpoolWriter, encode_column, encode_columns
from mlspine.registry.flavors import score_of
from mlspine.registry.release import load_predictor, read_release
from mlspine.replaying.service import Asked, Replaying
from mlspine.workspace import Workspace

ME = Actor(name="me")
NOON = 1_750_000_000_000
MINUTE_MS = 60_000


class Rule:
    """Says 1 for large amounts, and the opposite of that where a column has a value."""

    classes_ = np.array([0, 1])

    def __init__(self, column: str = "", value: Any = None, *, extra: str = "") -> None:
        self.column, self.value, self.extra = column, value, extra

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray[Any, Any]:
        share = 1 / (1 + np.exp(-(X["amount"].fillna(100).to_numpy() - 100) / 20))
        if self.extra:
            share = share + 0 * X[self.extra].to_numpy()
        if self.column:
            share = np.where(X[self.column].to_numpy() == self.value, 1 - share, share)
        return np.column_stack([1 - share, share])

    def predict(self, X: pd.DataFrame) -> np.ndarray[Any, Any]:
        return (self.predict_proba(X)[:, 1] > 0.5).astype(int)


class Line:
    """A number: the amount times a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def predict(self, X: pd.DataFrame) -> np.ndarray[Any, Any]:
        return self.factor * X["amount"].fillna(100).to_numpy(dtype=np.float64)


def loans(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "amount": rng.normal(100, 25, n),
            "age": rng.integers(18, 80, n),
            "region": pd.Categorical(rng.choice(["north", "south", "east"], n, p=[0.1, 0.5, 0.4])),
        }
    )


class Served:
    """Stands for the deployment of one endpoint: its live version, and what its revisions redacted."""

    def __init__(self, model: str, version: ModelVersion | None, redacted: dict[int, tuple[str, ...]]) -> None:
        self.model, self.version, self.redacted = model, version, redacted

    def get(self, name: str) -> Endpoint:
        if name != self.model or self.version is None:
            raise NotFound(f"no endpoint {name!r}")
        return Endpoint(name=name, model=self.model, current=self.revisions(name)[-1])

    def revisions(self, name: str) -> list[Revision]:
        if name != self.model or self.version is None:
            raise NotFound(f"no endpoint {name!r}")
        return [
            Revision(
                endpoint=name,
                number=number,
                version=self.version.version,
                release_hash=self.version.release_hash,
                cause="serve",
                log=LogSettings(redact=columns),
                created_at_ms=NOON,
                actor="me",
            )
            for number, columns in self.redacted.items()
        ]


class ReplayDesk:
    """A workspace whose log is written as an inference process writes it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".mlspine"
        self.workspace = Workspace.open(self.path)
        self.redacted: dict[int, tuple[str, ...]] = {1: ()}
        self.live = 1
        self._writer: SpoolWriter | None = None

    def ship(self, model: Any, *, labels: Any = None, rows: pd.DataFrame | None = None, name: str = "loans") -> int:
        X = loans(600, 9) if rows is None else rows
        y = (X["amount"] > 100).astype(int) if labels is None else labels
        return api.ship(model, X, pd.Series(y, name="y"), name=name, workspace=self.path, quiet=True).version

    def version(self, number: int, name: str = "loans") -> ModelVersion:
        return self.workspace.registry.get(name, number)

    def answer(
        self,
        number: int,
        frame: pd.DataFrame,
        *,
        revision: int = 1,
        redact: tuple[str, ...] = (),
        off: float = 0.0,
        path: str = "live",
    ) -> list[str]:
        """Log these rows as answered by a version, one request each; off: added to the logged score. Gives the ids."""
        version = self.version(number)
        release = read_release(Path(version.path))
        columns = {name: frame[name].to_numpy() for name in release.signature.inputs.names}
        columns = {name: v.astype(object) if v.dtype.kind not in "if" else v for name, v in columns.items()}
        outputs = load_predictor(Path(version.path), release)(columns)
        score = score_of(outputs, release.signature.task)
        ids = [uuid7() for _ in range(len(frame))]
        at = [NOON + i * MINUTE_MS for i in range(len(frame))]
        if self._writer is None:
            (self.path / "run" / "spool").mkdir(parents=True, exist_ok=True)
            self._writer = SpoolWriter(self.path / "run" / "spool", "inference-0")
        self._writer.append(
            [
                Batch(
                    endpoint="loans",
                    release_hash=version.release_hash,
                    version=number,
                    revision=revision,
                    request_ids=ids,
                    row_counts=[1] * len(ids),
                    received_at_ms=at,
                    latency_s=[0.001] * len(ids),
                    inputs=encode_columns({name: v for name, v in columns.items() if name not in redact}),
                    prediction=encode_column("prediction", outputs.prediction),
                    path=path,
                    score=b"" if score is None else (score + off).astype("<f8").tobytes(),
                )
            ]
        )
        self.workspace.predictions.ingest()
        return ids

    def replay(self, **asked: Any) -> Any:
        live = self.version(self.live) if self.live else None
        replaying = Replaying(
            predictions=self.workspace.predictions,
            registry=self.workspace.registry,
            deployment=Served("loans", live, self.redacted),  # type: ignore[arg-type]
            governance=self.workspace.governance,
        )
        return replaying.replay(Asked(**{"endpoint": "loans", **asked}), actor=ME)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self.workspace.close()
