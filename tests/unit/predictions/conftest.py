"""A prediction log on real files, and a writer that answers like an inference process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mlspine import migrations
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.config import LogConfig
from mlspine.core.ids import uuid7
from mlspine.core.types import Actor, Columns
from mlspine.governance.service import Governance
from mlspine.predictions.service import Predictions
from mlspine.predictions.spool import Batch, SpoolWriter, encode_column, encode_columns
from mlspine.stats.baseline import outputs_reference
from mlspine.stats.profile import Reference, build_reference

HOUR_MS = 3_600_000
BASE_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS
RELEASE = "a" * 64
ME = Actor(name="tester")


class References(NamedTuple):
    inputs: Reference
    outputs: Reference | None


def sample(rows: int, seed: int = 0) -> Columns:
    """Inputs of a small model, one column of each kind that is profiled."""
    rng = np.random.default_rng(seed)
    city = np.array(["Oslo", "Rome", "Lima"], dtype=object)[rng.integers(0, 3, rows)]
    city[rng.random(rows) < 0.05] = None
    amount = rng.gamma(2.0, 50.0, rows)
    amount[rng.random(rows) < 0.05] = np.nan
    return {"amount due": amount, "city": city, "repeat": rng.random(rows) < 0.5}


KINDS: Any = {"amount due": "numeric", "city": "categorical", "repeat": "boolean"}


def references(*, learning: bool = False) -> References:
    scores = np.random.default_rng(1).random(2_000)
    outputs = outputs_reference({"score": scores, "prediction": (scores > 0.5).astype(np.int64)})
    return References(build_reference(sample(2_000), KINDS), None if learning else outputs)


class Log:
    """One workspace's log. `answer` is what inference does; `reopen` is control starting again."""

    def __init__(self, folder: Path, *, learning: bool = False, config: LogConfig | None = None) -> None:
        self.folder = folder
        self.spool_dir = folder / "run" / "spool"
        self.spool_dir.mkdir(parents=True, exist_ok=True)
        self.config = config or LogConfig()
        self.now_ms = BASE_MS + 10 * HOUR_MS
        self.references = references(learning=learning)
        self.writer = SpoolWriter(self.spool_dir, "inference-0")
        self.reopen()

    def reopen(self) -> Predictions:
        self.db = SqliteDatabase(self.folder / "store.db")
        self.db.migrate(migrations.scripts())
        self.blobs = FileBlobStore(self.folder / "blobs")
        self.governance = Governance(db=self.db, clock=lambda: self.now_ms)
        self.predictions = Predictions(
            db=self.db,
            blobs=self.blobs,
            references_of=lambda _: self.references,
            governance=self.governance,
            spool_dir=self.spool_dir,
            clock=lambda: self.now_ms,
            config=self.config,
        )
        return self.predictions

    def answer(
        self,
        inputs: Columns,
        *,
        endpoint: str = "shop",
        release: str = RELEASE,
        at_ms: int | Sequence[int] = BASE_MS,
        received_at_ms: int | None = None,
        keys: Sequence[str | None] = (),
        prediction: np.ndarray[Any, Any] | None = None,
        score: np.ndarray[Any, Any] | None = None,
        request_id: str = "",
        dropped_rows: int = 0,
        path: str = "live",
        version: int = 1,
    ) -> str:
        """Write one request of n rows to the spool; returns its id."""
        rows = len(next(iter(inputs.values())))
        request_id = request_id or uuid7()
        if score is None:
            score = np.linspace(0.0, 1.0, rows)
        if prediction is None:
            prediction = (score > 0.5).astype(np.int64)
        events = [at_ms] * rows if isinstance(at_ms, int) else list(at_ms)
        batch = Batch(
            endpoint=endpoint,
            release_hash=release,
            version=version,
            revision=1,
            request_ids=[request_id],
            row_counts=[rows],
            received_at_ms=[received_at_ms or max(events, default=BASE_MS) + 5],
            latency_s=[0.002],
            inputs=encode_columns(inputs),
            prediction=encode_column("prediction", prediction),
            score=score.astype("<f8").tobytes(),
            event_at_ms=events,
            keys=list(keys),
            dropped_rows=dropped_rows,
            path=path,
        )
        self.writer.append([batch])
        return request_id

    def ask(self, sql: str, endpoint: str = "shop") -> list[list[Any]]:
        return self.predictions.query(endpoint, sql).rows

    def profile_rows(self, endpoint: str = "shop") -> int:
        return sum(window.rows for window in self.predictions.sub_windows(endpoint))

    def close(self) -> None:
        self.writer.close()
        self.db.close()


@pytest.fixture
def log(tmp_path: Path) -> Any:
    made = Log(tmp_path)
    yield made
    made.close()
