"""What is kept of reports, hours, measurements and alerts, and how it is found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Conflict
from mlspine.core.types import Alert, DriftReport, Interval, Metric, PerformanceReport
from mlspine.monitoring import store
from mlspine.monitoring.window import HOUR_MS, Span


@pytest.fixture
def db(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "store.db")
    database.migrate(migrations.scripts())
    yield database
    database.close()


def report(from_h: int, to_h: int, *, endpoint: str = "churn", release_hash: str = "r1") -> DriftReport:
    return DriftReport(
        endpoint=endpoint,
        release_hash=release_hash,
        version=1,
        reference_id="ref",
        from_at_ms=from_h * HOUR_MS,
        to_at_ms=to_h * HOUR_MS,
        rows=500,
        status="JUDGED",
        severity="OK",
        alpha=0.01,
        false_alarm_nominal=0.01,
        false_alarm_measured=Interval(value=0.01, lo=0.0, hi=0.02),
        seasonality="",
        features=(),
    )


def measured(window: int, as_of_ms: int, **more: Any) -> PerformanceReport:
    known: dict[str, Any] = {
        "endpoint": "churn",
        "release_hash": "r1",
        "from_at_ms": window,
        "to_at_ms": window + 1,
        "as_of_ms": as_of_ms,
        "predicted_rows": 10,
        "labelled_rows": 5,
        "coverage": 0.5,
        "status": "PROVISIONAL",
        "metrics": (Metric(name="auc", status="ESTIMATED", interval=Interval(value=0.7, lo=0.6, hi=0.8)),),
    }
    return PerformanceReport(**{**known, **more})


def alert(id_: str, **more: Any) -> Alert:
    known: dict[str, Any] = {
        "id": id_,
        "endpoint": "churn",
        "cause": "errors",
        "severity": "WARNING",
        "title": "t",
        "why": "w",
        "action": "a",
        "opened_at_ms": 1,
        "updated_at_ms": 1,
    }
    return Alert(**{**known, **more})


def save(db: SqliteDatabase, *alerts: Alert) -> None:
    with db.write() as tx:
        for each in alerts:
            store.save_alert(tx, each)


# ---------------------------------------------------------------- drift reports


def test_reports_come_back_whole_newest_last(db: SqliteDatabase) -> None:
    stored = [report(n, n + 1) for n in range(5)]
    with db.write() as tx:
        for each in reversed(stored):
            store.add_report(tx, each)
    assert store.reports(db, "churn", limit=10) == stored
    assert store.reports(db, "churn", limit=2) == stored[-2:]
    assert store.reports(db, "churn", from_at_ms=3 * HOUR_MS, limit=10) == stored[3:]
    assert store.reports(db, "churn", release_hash="r2", limit=10) == []
    assert store.reports(db, "other", limit=10) == []


def test_a_window_is_stored_once(db: SqliteDatabase) -> None:
    with db.write() as tx:
        store.add_report(tx, report(0, 1))
    with pytest.raises(Conflict), db.write() as tx:
        store.add_report(tx, report(0, 1))


def test_the_oldest_reports_of_a_release_go_beyond_the_bound(
    db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "REPORTS_KEPT", 3)
    with db.write() as tx:
        store.add_report(tx, report(0, 1, release_hash="r0"))
        for n in range(1, 6):
            store.add_report(tx, report(n, n + 1))
    kept = [each.from_at_ms // HOUR_MS for each in store.reports(db, "churn", limit=10)]
    assert kept == [0, 3, 4, 5]


def test_spans_are_gathered_by_endpoint_over_releases(db: SqliteDatabase) -> None:
    with db.write() as tx:
        store.add_report(tx, report(0, 1))
        store.add_report(tx, report(1, 2, release_hash="r2"))
        store.add_report(tx, report(2, 3))
        store.add_report(tx, report(1, 3, endpoint="other"))
    assert store.judged_spans(db, from_at_ms=HOUR_MS, to_at_ms=3 * HOUR_MS) == {
        "churn": [Span(HOUR_MS, 2 * HOUR_MS), Span(2 * HOUR_MS, 3 * HOUR_MS)],
        "other": [Span(HOUR_MS, 3 * HOUR_MS)],
    }


# ---------------------------------------------------------------- judged hours


def test_the_mark_is_the_end_of_the_newest_judged_hour_of_a_release(db: SqliteDatabase) -> None:
    assert store.judged_until(db, "churn", "r1") == 0
    with db.write() as tx:
        for n in (3, 1):
            store.mark_judged(tx, "churn", "r1", start_at_ms=n * HOUR_MS, rows=100 + n)
    assert store.judged_until(db, "churn", "r1") == 4 * HOUR_MS
    assert store.judged_until(db, "churn", "r2") == 0
    assert store.judged_rows(db, "churn", "r1", from_at_ms=2 * HOUR_MS) == {3 * HOUR_MS: 103}


def test_late_rows_are_a_total_per_hour(db: SqliteDatabase) -> None:
    with db.write() as tx:
        store.mark_judged(tx, "churn", "r1", start_at_ms=HOUR_MS, rows=100)
        store.mark_late(tx, "churn", "r1", start_at_ms=HOUR_MS, late_rows=2)
        store.mark_late(tx, "churn", "r1", start_at_ms=HOUR_MS, late_rows=5)
        store.mark_late(tx, "churn", "r1", start_at_ms=0, late_rows=1)
    assert store.late_rows(db, "churn", "r1") == 6
    assert store.late_rows(db, "churn", "r2") == 0
    assert store.judged_rows(db, "churn", "r1", from_at_ms=0) == {0: 0, HOUR_MS: 100}


# ---------------------------------------------------------------- performance


def test_what_was_known_at_a_moment_can_be_read_again(db: SqliteDatabase) -> None:
    with db.write() as tx:
        for as_of_ms in (10, 20):
            for window in (1, 2):
                store.add_performance(tx, measured(window, as_of_ms, labelled_rows=as_of_ms), period="week")
        store.add_performance(tx, measured(1, 15), period="day")

    def known(as_of_ms: int) -> list[tuple[int, int]]:
        found = store.performance(db, "churn", period="week", as_of_ms=as_of_ms)
        return [(each.from_at_ms, each.labelled_rows) for each in found]

    assert known(9) == []
    assert known(10) == known(19) == [(1, 10), (2, 10)]
    assert known(20) == [(1, 20), (2, 20)]


def test_releases_are_measured_apart(db: SqliteDatabase) -> None:
    stored = [measured(1, 10), measured(1, 12, release_hash="r2")]
    with db.write() as tx:
        for each in stored:
            store.add_performance(tx, each, period="all")
    assert store.performance(db, "churn", period="all", as_of_ms=99) == stored


# ---------------------------------------------------------------- alerts


def test_an_alert_keeps_its_id_through_its_life(db: SqliteDatabase) -> None:
    first = alert("a")
    save(db, first)
    assert store.open_alerts(db, "churn") == [first]
    worse = msgspec.structs.replace(first, severity="CRITICAL", delivered={"log": "ok"})
    save(db, worse)
    assert store.find_open(db, "churn", "errors") == worse
    over = msgspec.structs.replace(worse, cleared_at_ms=9)
    save(db, over)
    assert store.open_alerts(db) == []
    assert store.find_open(db, "churn", "errors") is None
    assert store.alerts(db, None, limit=10) == [over]


def test_two_open_alerts_of_one_cause_cannot_be_stored(db: SqliteDatabase) -> None:
    save(db, alert("a"), alert("b", endpoint="other"), alert("c", cause="log"))
    with pytest.raises(Conflict):
        save(db, alert("d"))
    save(db, alert("a", cleared_at_ms=5), alert("d"))
    assert [each.id for each in store.open_alerts(db, "churn")] == ["c", "d"]


def test_alerts_of_one_endpoint_or_of_all_newest_last(db: SqliteDatabase) -> None:
    save(db, *(alert(f"a{n}", cause=f"c{n}", opened_at_ms=n, endpoint="ab"[n % 2]) for n in range(4)))
    assert [each.id for each in store.alerts(db, None, limit=3)] == ["a1", "a2", "a3"]
    assert [each.id for each in store.alerts(db, "a", limit=9)] == ["a0", "a2"]
    assert [each.id for each in store.open_alerts(db, "b")] == ["a1", "a3"]


def test_old_cleared_alerts_go_beyond_the_bound_and_open_ones_stay(
    db: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ALERTS_KEPT", 2)
    save(db, alert("open", cause="log", opened_at_ms=0))
    for n in range(1, 6):
        save(db, alert(f"a{n}", opened_at_ms=n, cleared_at_ms=n))
    assert [each.id for each in store.alerts(db, None, limit=9)] == ["open", "a4", "a5"]
