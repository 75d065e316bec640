"""Every version of an estimate is kept and found by when it was known, alike in SQLite and in Postgres."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mlspine import migrations
from mlspine.core.types import Estimate, Interval
from mlspine.monitoring import estimate_store
from tests.contract.test_found_report import postgres, sqlite


def estimate(window: int, as_of_ms: int, value: float) -> Estimate:
    return Estimate(
        endpoint="churn",
        release_hash="r1",
        from_at_ms=window,
        to_at_ms=window + 1,
        as_of_ms=as_of_ms,
        metric="auc",
        status="ESTIMATED",
        rows=500,
        interval=Interval(value=value, lo=value - 0.1, hi=value + 0.1, level=0.9),
    )


@pytest.mark.parametrize("opened", [sqlite, postgres], ids=lambda each: each.__name__)
def test_what_was_estimated_when(opened, tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        db.migrate(migrations.scripts())
        first, second, other = estimate(1, 10, 0.7), estimate(1, 20, 0.8), estimate(2, 15, 0.6)
        with db.write() as tx:
            for each in (first, second, other, msgspec.structs.replace(second, metric="f1")):
                estimate_store.add(tx, each, period="day")
            estimate_store.add(tx, estimate(1, 10, 0.1), period="week")

        def known(as_of_ms: int) -> list[tuple[int, str, float]]:
            found = estimate_store.newest(db, "churn", period="day", as_of_ms=as_of_ms)
            return [(each.from_at_ms, each.metric, each.interval.value) for each in found if each.interval]

        assert known(9) == []
        assert known(15) == [(1, "auc", 0.7), (2, "auc", 0.6)]
        assert known(99) == [(1, "auc", 0.8), (1, "f1", 0.8), (2, "auc", 0.6)]
        kept = estimate_store.versions(db, "churn", period="day", from_at_ms=1, metric="auc")
        assert kept == [first, second]
