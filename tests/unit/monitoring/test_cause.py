"""Causes over the real rooms below: a planted change is found, dated, traced to its caller, and its rows shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlspine.core.columns import to_columns
from mlspine.core.errors import NotFound
from mlspine.core.ids import uuid7
from mlspine.core.types import Actor
from mlspine.monitoring.cause_suspects import changed, rank_by_importance
from mlspine.monitoring.store import reports
from mlspine.predictions.spool import Batch, SpoolWriter, encode_column, encode_columns
from mlspine.registry.prepare import Prepared, prepare
from mlspine.workspace import Workspace

ANN, BOT = Actor(name="ann"), Actor(name="bot", kind="client")
HOUR_MS = 3_600_000
START = 20_000 * 24 * HOUR_MS
COEFFICIENTS = np.array([1.2, -0.6, 0.3])
Change = Callable[[pd.DataFrame, np.ndarray], None]


class Shipped(NamedTuple):
    releases: Path
    prepared: Prepared
    model: Any


def frame(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Temperature, wind and distance, standard normal; wind goes with temperature at 0.5."""
    temp = rng.normal(size=rows)
    return pd.DataFrame({"temp": temp, "wind": 0.5 * temp + 0.87 * rng.normal(size=rows), "far": rng.normal(size=rows)})


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    from sklearn.linear_model import LogisticRegression

    releases = tmp_path_factory.mktemp("shipped") / "releases"
    rng = np.random.default_rng(0)
    rows, held = frame(rng, 3000), frame(rng, 1500)
    label, held_label = (
        (each.to_numpy() @ COEFFICIENTS + rng.logistic(size=len(each)) > 0).astype(int) for each in (rows, held)
    )
    model = LogisticRegression().fit(rows, label)
    prepared = prepare(model, rows, label, name="churn", holdout=(held, held_label), owner="ann", releases_dir=releases)
    return Shipped(releases, prepared, model)


class World:
    """A workspace whose endpoint has answered, without any serving process."""

    def __init__(self, folder: Path, shipped: Shipped, *, actor: Actor = ANN) -> None:
        self.now_ms = START
        self.model = shipped.model
        self.rng = np.random.default_rng(1)
        self.workspace = Workspace.open(folder / ".mlspine", clock=lambda: self.now_ms)
        (self.workspace.path / "releases").rmdir() if (self.workspace.path / "releases").exists() else None
        (self.workspace.path / "releases").symlink_to(shipped.releases)
        self.version = self.workspace.registry.register(shipped.prepared, actor=actor)
        spool = self.workspace.path / "run" / "spool"
        spool.mkdir(parents=True, exist_ok=True)
        self.spool = SpoolWriter(spool, "inference-0")

    def answer(self, hours: range, *, rows: int = 600, change: Change | None = None, withheld: str = "") -> None:
        """`rows` rows in each of these hours, a third each of three callers; then everything due is judged."""
        for hour in hours:
            at_ms = START + hour * HOUR_MS
            self.now_ms = at_ms
            served, callers = frame(self.rng, rows), self.rng.choice(["app", "batch", "web"], rows)
            if change is not None:
                change(served, callers)
            score = self.model.predict_proba(served.fillna(0.0))[:, 1]
            for caller in ("app", "batch", "web"):
                self._send(served[callers == caller], score[callers == caller], caller, at_ms, withheld)
        self.now_ms += HOUR_MS
        self.workspace.predictions.ingest()
        self.workspace.monitoring.check("churn", force=True)

    def _send(self, served: pd.DataFrame, score: np.ndarray, caller: str, at_ms: int, withheld: str) -> None:
        columns, _ = to_columns(served.drop(columns=withheld) if withheld else served)
        batch = Batch(
            endpoint="churn",
            release_hash=self.version.release_hash,
            version=1,
            revision=1,
            request_ids=[uuid7(at_ms)],
            row_counts=[len(served)],
            received_at_ms=[at_ms],
            latency_s=[0.001],
            callers=[caller],
            inputs=encode_columns(columns),
            prediction=encode_column("prediction", (score > 0.5).astype(np.int64)),
            score=score.astype("<f8").tobytes(),
            event_at_ms=[at_ms] * len(served),
        )
        self.spool.append([batch])


def from_the_app(served: pd.DataFrame, callers: np.ndarray) -> None:
    served.loc[callers == "app", "temp"] = served["temp"] * 1.8 + 1.5


def colder(served: pd.DataFrame, callers: np.ndarray) -> None:
    served["far"] -= 1.0


def test_a_wrong_unit_from_one_caller_is_found_dated_and_traced(tmp_path: Path, shipped: Shipped) -> None:
    world = World(tmp_path, shipped)
    world.answer(range(16))
    world.answer(range(16, 18), change=from_the_app)
    found = world.workspace.monitoring.causes("churn")
    first = found.suspects[0]
    assert (first.name, found.method, found.output) == ("temp", "the model itself", "score")
    assert first.onset_lo_ms <= START + 16 * HOUR_MS < first.onset_hi_ms
    app = found.segments[0]
    assert (app.column, app.level) == ("_caller", "app")
    assert "temp changed in these rows, not in the others" in app.why
    assert found.says.startswith("temp is the likeliest cause")
    assert found.now > found.before
    listed = ", ".join(f"'{each}'" for each in found.row_ids)
    sql = f"select _caller from log where _id || ':' || _row in ({listed})"
    callers = [row[0] for row in world.workspace.predictions.query("churn", sql).rows]
    assert len(callers) == 10
    assert callers.count("app") >= 6


def test_an_unchanged_window_names_nothing_and_says_so(tmp_path: Path, shipped: Shipped) -> None:
    world = World(tmp_path, shipped, actor=BOT)
    world.answer(range(3), rows=1500)
    found = world.workspace.monitoring.causes("churn")
    assert "no column changed beyond chance" in found.says
    assert (found.segments, found.row_ids, found.interaction, found.skew) == ((), (), "", ())
    assert {each.onset_at_ms for each in found.suspects} == {0}


def test_a_model_nobody_vouched_for_is_not_run_and_a_stand_in_ranks(tmp_path: Path, shipped: Shipped) -> None:
    world = World(tmp_path, shipped, actor=BOT)
    world.answer(range(3), change=colder)
    found = world.workspace.monitoring.causes("churn")
    assert found.suspects[0].name == "far"
    assert found.method.startswith("a stand-in fitted on logged answers, ")
    assert found.method.endswith("the model was not asked: nobody has vouched for it: mlspine trust churn:1")


def test_a_column_withheld_from_the_log_leaves_importance(tmp_path: Path, shipped: Shipped) -> None:
    world = World(tmp_path, shipped, actor=BOT)
    world.answer(range(2), rows=90)
    world.answer(range(2, 8), rows=110, change=colder, withheld="temp")
    found = world.workspace.monitoring.causes("churn")
    assert found.suspects[0].name == "far"
    assert "the model itself" not in found.method


def test_an_alert_is_preferred_and_a_moment_names_its_window(tmp_path: Path, shipped: Shipped) -> None:
    world = World(tmp_path, shipped, actor=BOT)
    world.answer(range(2))
    world.answer(range(2, 3), change=colder)
    world.answer(range(3, 5))
    monitoring = world.workspace.monitoring
    assert monitoring.causes("churn").from_at_ms == START + 2 * HOUR_MS
    assert monitoring.causes("churn", at_ms=START + 4 * HOUR_MS).from_at_ms == START + 4 * HOUR_MS
    with pytest.raises(NotFound, match="no judged window of churn holds that moment"):
        monitoring.causes("churn", at_ms=START + 99 * HOUR_MS)
    with pytest.raises(NotFound, match="no window of nothing has been judged yet"):
        monitoring.causes("nothing")
    assert msgspec.json.decode(msgspec.json.encode(monitoring.causes("churn")))["suspects"][0]["name"] == "far"


def test_ranking_by_importance_needs_nothing_but_the_report(tmp_path: Path, shipped: Shipped) -> None:
    world = World(tmp_path, shipped, actor=BOT)
    world.answer(range(1), rows=1200, change=colder)
    (report,) = reports(world.workspace.db, "churn", limit=1)
    suspects, beyond = changed(report)
    ranked = rank_by_importance(report)
    assert beyond
    assert ranked.credits[0].name == suspects[0].name == "far"
    assert sum(each.share for each in ranked.credits) == pytest.approx(1.0)
