from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import Desk

# By itself a larger machine gets more inference processes; tests of several ask for them.
os.environ.setdefault("MLSPINE_SERVING__PROCESSES", "1")
# Conversion takes seconds per release, and has tests of its own.
os.environ.setdefault("MLSPINE_SERVING__RUNTIME", "native")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.mlspine("down", check=False)
