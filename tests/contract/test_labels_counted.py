"""What labels come to, and what was measured of which window, alike in SQLite and in Postgres."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mlspine import migrations
from mlspine.monitoring import store as monitoring
from mlspine.predictions import store
from mlspine.predictions.store import LabelDay, Segment
from tests.contract.test_found_report import postgres, sqlite


def segment(kind: str, key: str, first: int, last: int) -> Segment:
    return Segment(
        key=key,
        kind=kind,  # type: ignore[arg-type]
        endpoint="churn",
        release_hash="r1",
        rows=5,
        size_bytes=9,
        first_event_at_ms=first,
        last_event_at_ms=last,
        first_received_at_ms=first,
        last_received_at_ms=last,
        first_id="a",
        last_id="b",
        keyed=0,
    )


@pytest.mark.parametrize("opened", [sqlite, postgres], ids=lambda each: each.__name__)
def test_days_states_and_windows_come_back_as_they_went_in(opened, tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        db.migrate(migrations.scripts())
        day = LabelDay(release_hash="r1", start_at_ms=0, labelled_rows=3, delays={7: 2, 131: 1}, changed=1)
        window = monitoring.Measured(
            release_hash="r1", from_at_ms=0, to_at_ms=9, changed=1, predicted_rows=5, labelled_rows=3, phase=1
        )
        with db.write() as tx:
            store.add_segment(tx, segment("outcomes", "k1", 10, 20))
            store.add_segment(tx, segment("outcomes", "k2", 15, 40))
            store.add_segment(tx, segment("labels", "k3", 10, 20))
        assert store.uncounted(db) == ["churn"]
        assert [each.key for each in store.unsettled(db)] == ["k1", "k2"]
        assert store.event_spans(db, "churn") == {"r1": (10, 41)}
        with db.write() as tx:
            store.settle(tx, ["k1"])
            store.put_label_day(tx, "churn", msgspec.structs.replace(day, labelled_rows=1, delays={}))
            store.put_label_day(tx, "churn", day)
            store.put_label_state(tx, "churn", parked_labels=1, changes=1)
            store.put_label_state(tx, "churn", parked_labels=2, changes=2)
            monitoring.put_measured(tx, "churn", "day", msgspec.structs.replace(window, changed=0))
            monitoring.put_measured(tx, "churn", "day", window)
        assert [each.key for each in store.unsettled(db)] == ["k2"]
        assert store.label_days(db, "churn") == [day]
        assert (store.labelled_total(db, "churn"), store.label_state(db, "churn")) == (3, (2, 2))
        assert store.uncounted(db) == []
        assert monitoring.measured(db, "churn", "day") == [window]
        assert monitoring.measured(db, "churn", "week") == []
        assert store.segments(db, endpoint="churn", kind="labels") == [segment("labels", "k3", 10, 20)]
        with db.write() as tx:
            store.drop_label_state(tx, "churn")
            store.drop_label_days(tx, "churn")
        assert (store.label_days(db, "churn"), store.label_state(db, "churn")) == ([], None)
