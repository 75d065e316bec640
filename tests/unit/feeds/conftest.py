from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.feeds.desk import FeedDesk, desks


@pytest.fixture(scope="session")
def feed_desks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], FeedDesk]:
    return desks(tmp_path_factory.mktemp("bikes"))


@pytest.fixture
def feed_desk(feed_desks: Callable[[Path], FeedDesk], tmp_path: Path) -> Iterator[FeedDesk]:
    made = feed_desks(tmp_path)
    yield made
    made.workspace.close()
