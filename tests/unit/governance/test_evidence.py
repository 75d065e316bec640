from __future__ import annotations

from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Invalid
from mlspine.core.types import Actor
from mlspine.governance.service import Governance


@pytest.fixture
def governance(tmp_path: Path) -> Governance:
    db = SqliteDatabase(tmp_path / "store.db")
    db.migrate(migrations.scripts())
    ticks = iter(range(1_700_000_000_000, 1_700_000_001_000))
    return Governance(db=db, clock=lambda: next(ticks))


def test_evidence_is_read_back_newest_first_by_subject_and_kind(governance: Governance) -> None:
    ann = Actor(name="ann")
    governance.record_evidence("drill:rollback", "endpoint:churn", ann, passed=True, document={"took_s": 0.5})
    governance.record_evidence("drill:deploy", "endpoint:churn", ann, passed=False)
    governance.record_evidence("gate", "model:churn", Actor(name="ci", kind="client"), passed=True)
    drills = governance.evidence("endpoint:churn", kind="drill")
    assert [(each.kind, each.passed) for each in drills] == [("drill:deploy", False), ("drill:rollback", True)]
    assert drills[1].document == {"took_s": 0.5}
    assert [each.actor for each in governance.evidence()] == ["client:ci", "ann", "ann"]
    assert governance.evidence("endpoint:churn", kind="dri") == []


def test_a_limit_out_of_range_is_refused(governance: Governance) -> None:
    with pytest.raises(Invalid, match="limit 0"):
        governance.evidence(limit=0)
