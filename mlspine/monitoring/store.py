"""SQL of drift reports, judged hours, performance reports, alerts and silences: JSON documents, keyed columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from mlspine.core.types import Alert, DriftReport, PerformanceReport, Silence, Struct
from mlspine.monitoring.window import HOUR_MS, Span
from mlspine.ports import Database, Transaction

REPORTS_KEPT = 5_000  # per endpoint and release: seven months of hourly windows
ALERTS_KEPT = 5_000  # cleared ones per endpoint

# ---------------------------------------------------------------- drift reports


def add_report(tx: Transaction, report: DriftReport) -> None:
    """Store one judged window; the oldest beyond REPORTS_KEPT go."""
    tx.execute(
        "insert into drift_report (endpoint, release_hash, from_at_ms, to_at_ms, document)"
        " values (:endpoint, :release_hash, :from_at_ms, :to_at_ms, :document)",
        endpoint=report.endpoint,
        release_hash=report.release_hash,
        from_at_ms=report.from_at_ms,
        to_at_ms=report.to_at_ms,
        document=_text(report),
    )
    tx.execute(
        "delete from drift_report where endpoint = :endpoint and release_hash = :release_hash"
        " and to_at_ms <= (select to_at_ms from drift_report"
        " where endpoint = :endpoint and release_hash = :release_hash"
        " order by to_at_ms desc limit 1 offset :kept)",
        endpoint=report.endpoint,
        release_hash=report.release_hash,
        kept=REPORTS_KEPT,
    )


def reports(
    db: Database, endpoint: str, *, release_hash: str = "", from_at_ms: int = 0, limit: int
) -> list[DriftReport]:
    """The newest `limit` reports of an endpoint (and release), oldest of them first."""
    rows = db.read(
        "select document from drift_report where endpoint = :endpoint"
        " and (:release_hash = '' or release_hash = :release_hash) and to_at_ms > :from_at_ms"
        " order by to_at_ms desc limit :limit",
        endpoint=endpoint,
        release_hash=release_hash,
        from_at_ms=from_at_ms,
        limit=limit,
    )
    return [msgspec.json.decode(row["document"], type=DriftReport) for row in reversed(rows)]


def find_report(db: Database, endpoint: str, *, at_ms: int, release_hash: str) -> DriftReport | None:
    """The report of the window that holds a moment, the newest with 0; of releases whose hash begins so."""
    rows = db.read(
        "select document from drift_report where endpoint = :endpoint"
        " and (:at_ms = 0 or (from_at_ms <= :at_ms and to_at_ms > :at_ms))"
        " and substr(release_hash, 1, length(:release_hash)) = :release_hash"
        " order by to_at_ms desc, from_at_ms desc limit 1",
        endpoint=endpoint,
        at_ms=at_ms,
        release_hash=release_hash,
    )
    return msgspec.json.decode(rows[0]["document"], type=DriftReport) if rows else None


def judged_spans(
    db: Database, *, from_at_ms: int, to_at_ms: int, but: Callable[[str], Collection[str]] = lambda endpoint: ()
) -> dict[str, list[Span]]:
    """The windows judged within a stretch of event time, by endpoint, oldest first; but: releases left out."""
    rows = db.read(
        "select endpoint, release_hash, from_at_ms, to_at_ms from drift_report"
        " where to_at_ms > :from_at_ms and to_at_ms <= :to_at_ms order by to_at_ms",
        from_at_ms=from_at_ms,
        to_at_ms=to_at_ms,
    )
    left_out = {endpoint: but(endpoint) for endpoint in {row["endpoint"] for row in rows}}
    spans: dict[str, list[Span]] = {}
    for row in rows:
        if row["release_hash"] not in left_out[row["endpoint"]]:
            spans.setdefault(row["endpoint"], []).append(Span(row["from_at_ms"], row["to_at_ms"]))
    return spans


# ---------------------------------------------------------------- judged hours


def judged_until(db: Database, endpoint: str, release_hash: str) -> int:
    """The event time up to which a release has been judged at an endpoint; 0 before the first window."""
    rows = db.read(
        "select max(start_at_ms) as last from judged_hour where endpoint = :endpoint and release_hash = :release_hash",
        endpoint=endpoint,
        release_hash=release_hash,
    )
    return rows[0]["last"] + HOUR_MS if rows[0]["last"] is not None else 0


def judged_rows(db: Database, endpoint: str, release_hash: str, *, from_at_ms: int) -> dict[int, int]:
    """Rows of each judged hour as it was judged, by the hour's start."""
    rows = db.read(
        "select start_at_ms, rows from judged_hour"
        " where endpoint = :endpoint and release_hash = :release_hash and start_at_ms >= :from_at_ms",
        endpoint=endpoint,
        release_hash=release_hash,
        from_at_ms=from_at_ms,
    )
    return {row["start_at_ms"]: row["rows"] for row in rows}


def mark_judged(tx: Transaction, endpoint: str, release_hash: str, *, start_at_ms: int, rows: int) -> None:
    tx.execute(
        "insert into judged_hour (endpoint, release_hash, start_at_ms, rows, late_rows)"
        " values (:endpoint, :release_hash, :start_at_ms, :rows, 0)",
        endpoint=endpoint,
        release_hash=release_hash,
        start_at_ms=start_at_ms,
        rows=rows,
    )


def mark_late(tx: Transaction, endpoint: str, release_hash: str, *, start_at_ms: int, late_rows: int) -> None:
    """Count rows that came for a judged hour afterwards; `late_rows` is the hour's total, not an addition."""
    tx.execute(
        "insert into judged_hour (endpoint, release_hash, start_at_ms, rows, late_rows)"
        " values (:endpoint, :release_hash, :start_at_ms, 0, :late_rows)"
        " on conflict (endpoint, release_hash, start_at_ms) do update set late_rows = excluded.late_rows",
        endpoint=endpoint,
        release_hash=release_hash,
        start_at_ms=start_at_ms,
        late_rows=late_rows,
    )


def late_rows(db: Database, endpoint: str, release_hash: str) -> int:
    """Rows that arrived too late to be judged, in all."""
    rows = db.read(
        "select coalesce(sum(late_rows), 0) as n from judged_hour"
        " where endpoint = :endpoint and release_hash = :release_hash",
        endpoint=endpoint,
        release_hash=release_hash,
    )
    return int(rows[0]["n"])


# ---------------------------------------------------------------- performance reports


def add_performance(tx: Transaction, report: PerformanceReport, *, period: str) -> None:
    """Store what is known of a window now, beside what was known before."""
    tx.execute(
        "insert into performance_report"
        " (endpoint, release_hash, period, from_at_ms, to_at_ms, as_of_ms, document)"
        " values (:endpoint, :release_hash, :period, :from_at_ms, :to_at_ms, :as_of_ms, :document)"
        " on conflict (endpoint, release_hash, period, from_at_ms, as_of_ms)"
        " do update set document = excluded.document",
        endpoint=report.endpoint,
        release_hash=report.release_hash,
        period=period,
        from_at_ms=report.from_at_ms,
        to_at_ms=report.to_at_ms,
        as_of_ms=report.as_of_ms,
        document=_text(report),
    )


def performance(db: Database, endpoint: str, *, period: str, as_of_ms: int) -> list[PerformanceReport]:
    """What was known at `as_of_ms`: each release's and window's newest report up to then, by window."""
    rows = db.read(
        "select p.document from performance_report p join ("
        "select release_hash, from_at_ms, max(as_of_ms) as as_of_ms from performance_report"
        " where endpoint = :endpoint and period = :period and as_of_ms <= :as_of_ms"
        " group by release_hash, from_at_ms) newest"
        " on p.release_hash = newest.release_hash and p.from_at_ms = newest.from_at_ms"
        " and p.as_of_ms = newest.as_of_ms"
        " where p.endpoint = :endpoint and p.period = :period order by p.from_at_ms, p.as_of_ms",
        endpoint=endpoint,
        period=period,
        as_of_ms=as_of_ms,
    )
    return [msgspec.json.decode(row["document"], type=PerformanceReport) for row in rows]


class Measured(Struct, frozen=True, kw_only=True):
    """A window and all that decides whether it is to be measured again: any difference says it is.

    changed: the newest change of labels in it; phase: 0 it goes on, 1 it is over, 2 its labels' time is over too.
    """

    release_hash: str
    from_at_ms: int
    to_at_ms: int
    changed: int
    predicted_rows: int
    labelled_rows: int
    phase: int


def measured(db: Database, endpoint: str, period: str) -> list[Measured]:
    """Every window as it was when its quality was last measured."""
    rows = db.read(
        f"select {', '.join(Measured.__struct_fields__)} from measured_window"
        " where endpoint = :endpoint and period = :period",
        endpoint=endpoint,
        period=period,
    )
    return [Measured(**row) for row in rows]


def put_measured(tx: Transaction, endpoint: str, period: str, window: Measured) -> None:
    names = ("endpoint", "period", *Measured.__struct_fields__)
    later = ("to_at_ms", "changed", "predicted_rows", "labelled_rows", "phase")
    tx.execute(
        f"insert into measured_window ({', '.join(names)}) values ({', '.join(f':{name}' for name in names)})"
        " on conflict (endpoint, release_hash, period, from_at_ms)"
        f" do update set {', '.join(f'{name} = :{name}' for name in later)}",
        endpoint=endpoint,
        period=period,
        **msgspec.structs.asdict(window),
    )


# ---------------------------------------------------------------- alerts


def save_alert(tx: Transaction, alert: Alert) -> None:
    """Store an alert as it is now, under its id; the oldest cleared ones beyond ALERTS_KEPT go."""
    tx.execute(
        "insert into alert (id, endpoint, cause, opened_at_ms, cleared_at_ms, document)"
        " values (:id, :endpoint, :cause, :opened_at_ms, :cleared_at_ms, :document)"
        " on conflict (id) do update"
        " set cleared_at_ms = excluded.cleared_at_ms, document = excluded.document",
        id=alert.id,
        endpoint=alert.endpoint,
        cause=alert.cause,
        opened_at_ms=alert.opened_at_ms,
        cleared_at_ms=alert.cleared_at_ms,
        document=_text(alert),
    )
    tx.execute(
        "delete from alert where endpoint = :endpoint and cleared_at_ms > 0 and opened_at_ms <= ("
        "select opened_at_ms from alert where endpoint = :endpoint and cleared_at_ms > 0"
        " order by opened_at_ms desc limit 1 offset :kept)",
        endpoint=alert.endpoint,
        kept=ALERTS_KEPT,
    )


def open_alerts(db: Database | Transaction, endpoint: str | None = None) -> list[Alert]:
    """Alerts not cleared, of one endpoint or of all (None), oldest first."""
    rows = db.read(
        "select document from alert where cleared_at_ms = 0 and (:any = 1 or endpoint = :endpoint)"
        " order by opened_at_ms, id",
        any=int(endpoint is None),
        endpoint=endpoint or "",
    )
    return _alerts([row["document"] for row in rows])


def alerts(db: Database, endpoint: str | None, *, limit: int) -> list[Alert]:
    """The newest `limit` alerts, open and cleared, oldest of them first."""
    rows = db.read(
        "select document from alert where (:any = 1 or endpoint = :endpoint)"
        " order by opened_at_ms desc, id desc limit :limit",
        any=int(endpoint is None),
        endpoint=endpoint or "",
        limit=limit,
    )
    return _alerts([row["document"] for row in reversed(rows)])


def find_open(db: Database | Transaction, endpoint: str, cause: str) -> Alert | None:
    rows = db.read(
        "select document from alert where cleared_at_ms = 0 and endpoint = :endpoint and cause = :cause",
        endpoint=endpoint,
        cause=cause,
    )
    return next(iter(_alerts([row["document"] for row in rows])), None)


# ---------------------------------------------------------------- silences


def add_silence(tx: Transaction, silence: Silence) -> None:
    tx.execute(
        "insert into silence (id, endpoint, cause, from_at_ms, until_at_ms, actor)"
        " values (:id, :endpoint, :cause, :from_at_ms, :until_at_ms, :actor)",
        **msgspec.structs.asdict(silence),
    )


def silences(db: Database | Transaction, *, now_ms: int) -> list[Silence]:
    """Those that hold at a moment, the first to end first."""
    rows = db.read(
        "select id, endpoint, cause, from_at_ms, until_at_ms, actor from silence"
        " where until_at_ms > :now_ms order by until_at_ms, id",
        now_ms=now_ms,
    )
    return [msgspec.convert(row, type=Silence) for row in rows]


def end_silence(tx: Transaction, id_: str, *, now_ms: int) -> None:
    tx.execute("update silence set until_at_ms = :now_ms where id = :id", id=id_, now_ms=now_ms)


# ---------------------------------------------------------------- rows


def _alerts(documents: Sequence[str]) -> list[Alert]:
    return [msgspec.json.decode(document, type=Alert) for document in documents]


def _text(document: msgspec.Struct) -> str:
    return msgspec.json.encode(document).decode()
