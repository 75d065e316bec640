"""SQL of estimates of quality without labels: JSON documents, keyed columns, every version kept."""

from __future__ import annotations

import msgspec

from mlspine.core.types import Estimate
from mlspine.ports import Database, Transaction


def add(tx: Transaction, estimate: Estimate, *, period: str) -> None:
    """Store what is estimated of a window now, beside what was estimated before."""
    tx.execute(
        "insert into quality_estimate"
        " (endpoint, release_hash, period, from_at_ms, metric, as_of_ms, document)"
        " values (:endpoint, :release_hash, :period, :from_at_ms, :metric, :as_of_ms, :document)"
        " on conflict (endpoint, release_hash, period, from_at_ms, metric, as_of_ms)"
        " do update set document = excluded.document",
        endpoint=estimate.endpoint,
        release_hash=estimate.release_hash,
        period=period,
        from_at_ms=estimate.from_at_ms,
        metric=estimate.metric,
        as_of_ms=estimate.as_of_ms,
        document=msgspec.json.encode(estimate).decode(),
    )


def newest(db: Database, endpoint: str, *, period: str, as_of_ms: int) -> list[Estimate]:
    """What was estimated at `as_of_ms`: the newest version of each release, window and metric, by window."""
    rows = db.read(
        "select e.document from quality_estimate e join ("
        "select release_hash, from_at_ms, metric, max(as_of_ms) as as_of_ms from quality_estimate"
        " where endpoint = :endpoint and period = :period and as_of_ms <= :as_of_ms"
        " group by release_hash, from_at_ms, metric) last"
        " on e.release_hash = last.release_hash and e.from_at_ms = last.from_at_ms"
        " and e.metric = last.metric and e.as_of_ms = last.as_of_ms"
        " where e.endpoint = :endpoint and e.period = :period order by e.from_at_ms, e.release_hash, e.metric",
        endpoint=endpoint,
        period=period,
        as_of_ms=as_of_ms,
    )
    return [msgspec.json.decode(row["document"], type=Estimate) for row in rows]


def versions(db: Database, endpoint: str, *, period: str, from_at_ms: int, metric: str) -> list[Estimate]:
    """Everything ever estimated of one window, oldest version first."""
    rows = db.read(
        "select document from quality_estimate where endpoint = :endpoint and period = :period"
        " and from_at_ms = :from_at_ms and metric = :metric order by as_of_ms",
        endpoint=endpoint,
        period=period,
        from_at_ms=from_at_ms,
        metric=metric,
    )
    return [msgspec.json.decode(row["document"], type=Estimate) for row in rows]
