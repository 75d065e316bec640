"""SQL of dataset versions."""

from __future__ import annotations

import msgspec

from mlspine.core.types import DatasetVersion
from mlspine.data.schema import ColumnSummary
from mlspine.ports import Database, Row, Transaction


def add(tx: Transaction, version: DatasetVersion, summary: tuple[ColumnSummary, ...]) -> None:
    """Nothing happens when the digest is known: equal content is one version."""
    tx.execute(
        'insert into dataset_version (digest, "rows", "columns", source, summary, created_at_ms)'
        " values (:digest, :rows, :columns, :source, :summary, :created_at_ms)"
        " on conflict (digest) do nothing",
        **msgspec.structs.asdict(version),
        summary=msgspec.json.encode(summary).decode(),
    )


def find(db: Database, digest: str) -> Row | None:
    rows = db.read("select * from dataset_version where digest = :digest", digest=digest)
    return rows[0] if rows else None


def versions(db: Database) -> list[DatasetVersion]:
    """All dataset versions, newest first."""
    rows = db.read("select * from dataset_version order by created_at_ms desc, digest")
    return [to_version(row) for row in rows]


def to_version(row: Row) -> DatasetVersion:
    return DatasetVersion(
        digest=row["digest"],
        rows=row["rows"],
        columns=row["columns"],
        source=row["source"],
        created_at_ms=row["created_at_ms"],
    )


def to_summary(row: Row) -> tuple[ColumnSummary, ...]:
    return msgspec.json.decode(row["summary"], type=tuple[ColumnSummary, ...])
