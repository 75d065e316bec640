"""Models with a character, for tests: what they do is in their names."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

CRASH, HANG, FAIL = 666.0, 777.0, -1.0
GROW = 888.0
_held: list[bytes] = []  # what a model that was asked for GROW never lets go of


class Doubler:
    """Predicts twice its first column. Crashes, hangs or fails when asked for certain values."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s

    def predict(self, rows: Any) -> np.ndarray:
        values = np.asarray(rows, dtype=np.float64)[:, 0]
        if (values == CRASH).any():
            os.abort()
        if (values == HANG).any():
            time.sleep(60)
        if (values == GROW).any():
            while True:  # until somebody ends this process
                _held.append(b"x" * 20_000_000)
                time.sleep(0.01)
        if (values < 0).any():
            raise ValueError("negative values are not for me")
        time.sleep(self.pause_s)
        return values * 2


class Crash(Doubler):
    """Crashes once: whoever asks after the marker file was made is answered."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    def predict(self, rows: Any) -> np.ndarray:
        values = np.asarray(rows, dtype=np.float64)[:, 0]
        if (values == CRASH).any() and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            os.abort()
        return values * 2


def rows(count: int = 20) -> np.ndarray:
    return np.arange(count, dtype=np.float64).reshape(-1, 1)
