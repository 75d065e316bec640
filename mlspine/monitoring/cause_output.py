"""What of a model's answers is watched for causes, and what it was before. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mlspine.core.types import DriftReport
from mlspine.monitoring.cause_rows import Logged
from mlspine.stats.profile import Floats, LevelPart, Reference


class Output(NamedTuple):
    """What is watched: its name, what it is of logged rows, and its mean before."""

    name: str
    of: Callable[[Logged], Floats]
    before: float | None  # None: only earlier rows of the log can tell


def output_of(report: DriftReport, task: str, outputs: Reference | None, now: Logged) -> Output:
    """The score where there is one, else the predicted number, else the share of the level that changed most."""
    held = outputs.names if outputs is not None else ()
    if "score" in held or (outputs is None and np.isfinite(now.score).any()):
        return Output("score", lambda logged: logged.score, _mean_in(outputs, "score"))
    numeric = outputs is not None and outputs.kinds.get("prediction") == "numeric"
    if numeric or task == "regression":
        return Output("prediction", _number, _mean_in(outputs, "prediction"))
    level = _changed_level(report, outputs)
    return Output(f"share of {level}", lambda logged: _is_level(logged, level), _share_in(outputs, level))


def _mean_in(outputs: Reference | None, name: str) -> float | None:
    if outputs is None or name not in outputs.names:
        return None
    return outputs.profile.parts[outputs.parts_of(name)[0]].mean


def _share_in(outputs: Reference | None, level: str) -> float | None:
    if outputs is None or "prediction" not in outputs.names:
        return None
    position = outputs.parts_of("prediction")[0]
    part, counts = outputs.parts[position], outputs.profile.parts[position].counts
    levels = part.levels if isinstance(part, LevelPart) else ()
    held = sum(int(counts[i]) for i, each in enumerate(levels) if str(each) == level)
    return held / max(1, int(counts.sum()))


def _number(logged: Logged) -> Floats:
    listed = [value if isinstance(value, (int, float)) else math.nan for value in logged.prediction.tolist()]
    return np.array(listed, dtype=np.float64)


def _is_level(logged: Logged, level: str) -> Floats:
    return np.array([str(value) == level for value in logged.prediction.tolist()], dtype=np.float64)


def _changed_level(report: DriftReport, outputs: Reference | None) -> str:
    for each in report.features:
        if each.role == "prediction" and each.bin_labels:
            change = np.abs(np.subtract(each.window_shares, each.reference_shares))
            return each.bin_labels[int(change.argmax())]
    part = outputs.parts[0] if outputs is not None and outputs.parts else None
    return str(part.levels[0]) if isinstance(part, LevelPart) and part.levels else "1"


def mean_of(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else 0.0
