"""Waiting for something to become true."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 60.0


def until(true: Callable[[], bool], what: str) -> None:
    """Look again until it is true; fails after a minute, naming what did not happen."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WAIT_S:.0f} s: {what}"
        time.sleep(0.1)
