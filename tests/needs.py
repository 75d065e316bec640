"""What a test needs of the world: skipped with a printed reason where it is absent, failed where CI must have it."""

from __future__ import annotations

import os

import pytest


def need(name: str, present: object, reason: str) -> None:
    """Go on when `present`; else skip, or fail when `name` is among MLSPINE_TEST_MUST_NOT_SKIP (comma-separated).

    Names in use: promtool, chromium, postgres, s3, systemd, mlflow, mlflow-skinny.
    """
    if present:
        return
    if name in os.environ.get("MLSPINE_TEST_MUST_NOT_SKIP", "").split(","):
        pytest.fail(f"{name} must not be skipped here: {reason}")
    pytest.skip(f"{name}: {reason}")
