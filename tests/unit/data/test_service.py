"""Dataset versions in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import NotFound
from mlspine.core.types import DatasetVersion
from mlspine.data.schema import ColumnSummary
from mlspine.data.service import Data

AGE = ColumnSummary(name="age", type="float", dtype="float64", nullable=False, missing_share=0.0, low=1.0, high=2.0)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    db = SqliteDatabase(tmp_path / "store.db")
    db.migrate(migrations.scripts())
    ticks = iter(range(1000, 2000))
    return Data(db=db, clock=lambda: next(ticks))


def test_a_version_is_kept_with_its_summary(data: Data) -> None:
    kept = data.record(DatasetVersion(digest="ab" * 32, rows=3, columns=1, source="train.parquet"), (AGE,))
    assert kept.created_at_ms == 1000
    assert data.get("ab" * 32) == kept
    assert data.summary("ab" * 32) == (AGE,)


def test_equal_content_stays_the_version_it_was(data: Data) -> None:
    version = DatasetVersion(digest="ab" * 32, rows=3, columns=1)
    assert data.record(version, (AGE,)) == data.record(version, ())
    assert len(data.versions()) == 1


def test_an_unknown_digest_is_named(data: Data) -> None:
    with pytest.raises(NotFound, match="no dataset version 'ffffffffffff'"):
        data.get("ff" * 32)
    with pytest.raises(NotFound, match="ffffffffffff"):
        data.summary("ff" * 32)
