"""A release carries its unseen labelled rows as counts, whatever its task, and estimates follow from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from mlspine.monitoring.cutting import cut
from mlspine.monitoring.estimated import Source, estimate_cuts
from mlspine.monitoring.window import DAY_MS
from mlspine.registry.baseline import read_baseline
from mlspine.registry.prepare import prepare
from mlspine.registry.release import read_release
from mlspine.stats.tally import decode

START = 20_000 * DAY_MS


def truth(task: str, rng: np.random.Generator, X: np.ndarray) -> np.ndarray:
    signal = X[:, 0] + 0.5 * rng.normal(size=len(X))
    return signal if task == "regression" else np.digitize(signal, [-0.7, 0.7])


@pytest.mark.parametrize(
    ("model", "task", "metrics", "method"),
    [
        (LinearRegression(), "regression", {"mae": 0.4, "rmse": 0.5}, "DLE, binned"),
        (LogisticRegression(), "multiclass", {"accuracy": 0.76, "macro_f1": 0.76}, "CBPE, isotonic"),
    ],
)
def test_estimates_begin_with_the_holdout_of_the_release(
    model: Any, task: str, metrics: dict[str, float], method: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    X, H, Z = (rng.normal(size=(1500, 3)) for _ in range(3))
    y = truth(task, rng, X)
    model.fit(X, y)
    holdout = (H, truth(task, rng, H))
    shipped = prepare(model, X, y, name="m", holdout=holdout, owner="ann", releases_dir=tmp_path)
    path = tmp_path / shipped.release_hash
    bins, parts, rows_from = decode(read_baseline(path, read_release(path)).tally)
    assert (bins.task, rows_from, parts[0][2].labelled.sum()) == (task, "holdout", 1500)
    answer = model.predict(Z)
    score = answer if task == "regression" else model.predict_proba(Z).max(axis=1)
    event_time = np.full(1500, START).astype("datetime64[ms]")
    rows = {"event_time": event_time, "prediction": answer, "score": score}
    none = {name: values[:0] for name, values in rows.items()} | {"label": answer[:0]}
    cuts = cut(bins, rows, none, "day", now_ms=START + 1, max_delay_ms=0)
    found = estimate_cuts(Source(bins, parts), cuts, {}, {}, "day", endpoint="m", release_hash="r", as_of_ms=0)
    assert {each.metric: each.interval.value for each in found} == pytest.approx(metrics, abs=0.03)
    assert {(each.status, each.method) for each in found} == {("UNVERIFIED", method)}
