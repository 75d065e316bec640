"""How much each column moves a model's output. Label-free, so it exists for every model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mlspine.core.columns import row_count, take
from mlspine.core.types import Columns, Task
from mlspine.registry.flavors import Outputs, Predictor

SAMPLE_ROWS = 500
BUDGET_S = 5.0


def influence(
    predict: Predictor,
    columns: Columns,
    task: Task,
    *,
    seed: int = 0,
    budget_s: float = BUDGET_S,
    timer: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Each column's share of the change in output when its values are shuffled among rows; sums to 1.

    The change is the mean absolute change of probabilities, or of the value for regression, or the share of
    predictions that differ. On at most SAMPLE_ROWS rows. Empty when the output never moves, and when the
    model is too slow for the budget: a column left out would be taken for one that does not matter.
    Idea: permutation importance (Breiman 2001, Random Forests, section 10), without labels.
    """
    rows = row_count(columns)
    sample = take(columns, np.unique(np.linspace(0, rows - 1, min(rows, SAMPLE_ROWS)).astype(np.int64)))
    order = np.random.default_rng(seed).permutation(row_count(sample))
    deadline = timer() + budget_s
    plain = predict(sample)
    changes: dict[str, float] = {}
    for name, values in sample.items():
        if timer() > deadline:
            return {}
        changes[name] = _change(plain, predict(sample | {name: values[order]}), task)
    total = sum(changes.values())
    return {name: change / total for name, change in changes.items()} if total > 0 else {}


def _change(before: Outputs, after: Outputs, task: Task) -> float:
    if before.probabilities is not None and after.probabilities is not None:
        return _mean(np.abs(before.probabilities - after.probabilities))
    if task == "regression" or before.prediction.dtype.kind == "f":
        return _mean(np.abs(before.prediction.astype(np.float64) - after.prediction.astype(np.float64)))
    return _mean(np.asarray(before.prediction != after.prediction, dtype=np.float64))


def _mean(values: np.ndarray[Any, Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else 0.0
