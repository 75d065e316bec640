"""The model as the rivals hold it: called with a matrix (n, features), it gives n scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Score = Callable[[Any], Any]


def names(folder: str) -> list[str]:
    """The features in the model's order."""
    return (Path(folder) / "features.txt").read_text().split()


def load(folder: str, runtime: str) -> Score:
    """The model in "lightgbm" (its own native call, one thread) or "onnx" (one thread, no spinning)."""
    if runtime == "lightgbm":
        import lightgbm

        booster = lightgbm.Booster(model_file=str(Path(folder) / "model.txt"))
        return lambda matrix: booster.predict(np.asarray(matrix, dtype=np.float64), num_threads=1)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"), options, ["CPUExecutionProvider"])
    run, given = session.run, session.get_inputs()[0].name
    wanted = [session.get_outputs()[1].name]  # the probabilities alone
    return lambda matrix: run(wanted, {given: np.asarray(matrix, dtype=np.float32)})[0][:, 1]
