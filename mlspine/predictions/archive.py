"""The segment files in the blob store: writing them whole, reading them, removing what no longer counts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from mlspine.core.ids import uuid7
from mlspine.core.late import duckdb
from mlspine.core.types import Columns
from mlspine.ports import BlobStore, Database
from mlspine.predictions import segment, store
from mlspine.predictions.reach import joined, keyed, reach
from mlspine.predictions.store import Kind, Segment

DRAFT_SUFFIX = ".draft"
KINDS: tuple[Kind, ...] = ("log", "outcomes", "labels", "shadow")


class Archive:
    """Files count once their `Segment` is committed; before that, and after its removal, they are left-overs.

    Writing happens within the log's turn only; reading at any time.
    """

    def __init__(self, *, db: Database, blobs: BlobStore, drafts_dir: Path) -> None:
        self._db = db
        self._blobs = blobs
        self._drafts_dir = drafts_dir
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The writer's own DuckDB; for use within the turn."""
        if self._connection is None:
            self._connection = segment.connect()
        return self._connection

    def add(
        self,
        kind: Kind,
        endpoint: str,
        release_hash: str,
        columns: Columns,
        *,
        event_at_ms: segment.Array,
        received_at_ms: segment.Array,
    ) -> Segment:
        """Write rows (at least one) as a new file; the caller commits the returned segment."""
        key = segment.new_key(kind, endpoint)
        types = segment.COLUMNS_OF[kind]
        size = self._put(key, lambda path: segment.write(self.connection, path, columns, types))
        ids = reach(columns["_id"].tolist())
        return Segment(
            key=key,
            kind=kind,
            endpoint=endpoint,
            release_hash=release_hash,
            rows=len(event_at_ms),
            size_bytes=size,
            first_event_at_ms=int(event_at_ms.min()),
            last_event_at_ms=int(event_at_ms.max()),
            first_received_at_ms=int(received_at_ms.min()),
            last_received_at_ms=int(received_at_ms.max()),
            first_id=ids.first,
            last_id=ids.last,
            keyed=int(any(name is not None for name in columns["_key"].tolist())),
        )

    def rewrite(self, group: Sequence[Segment], *, where: str = "true") -> Segment | None:
        """The rows of some files of one kind, endpoint and release that satisfy `where`, in one new file.

        None when no row is left. The caller commits the change and removes the old files.
        """
        select = f"select * from {self.scan(group, group[0].kind)} where {where}"
        counted = self.connection.execute(f"select count(*) from ({select})").fetchone()
        rows = int(counted[0]) if counted else 0
        if rows == 0:
            return None
        ids = joined(group)
        key = segment.new_key(group[0].kind, group[0].endpoint)
        size = self._put(key, lambda path: segment.copy(self.connection, select, path))
        return msgspec.structs.replace(
            group[0],
            key=key,
            rows=rows,
            size_bytes=size,
            first_event_at_ms=min(each.first_event_at_ms for each in group),
            last_event_at_ms=max(each.last_event_at_ms for each in group),
            first_received_at_ms=min(each.first_received_at_ms for each in group),
            last_received_at_ms=max(each.last_received_at_ms for each in group),
            settled=min(each.settled for each in group),
            first_id=ids.first if ids else None,
            last_id=ids.last if ids else None,
            keyed=keyed(group),
        )

    def scan(self, segments: Iterable[Segment], kind: Kind) -> str:
        """SQL of all rows of these segments."""
        return segment.scan([self._blobs.locate(each.key) for each in segments], kind)

    def discard(self, segments: Iterable[Segment]) -> None:
        """Delete files that do not count; what cannot be deleted is swept later."""
        for each in segments:
            with contextlib.suppress(OSError):
                self._blobs.delete(each.key)

    def sweep(self) -> int:
        """Delete files without a committed segment, and drafts; returns how many. Within the turn only."""
        found = [key for kind in KINDS for key in self._blobs.list(f"{kind}/")]
        # Asked after listing, and inside a transaction: it fails when the log's turn was lost meanwhile, and with
        # it the certainty that nobody else is about to commit one of these files.
        with self._db.write():
            known = {each.key for each in store.segments(self._db)}
        orphans = [key for key in found if key not in known]
        for key in orphans:
            self._blobs.delete(key)
        drafts = list(self._drafts_dir.glob(f"*{DRAFT_SUFFIX}"))
        for draft in drafts:
            draft.unlink(missing_ok=True)
        return len(orphans) + len(drafts)

    def _put(self, key: str, write: Callable[[Path], int]) -> int:
        self._drafts_dir.mkdir(parents=True, exist_ok=True)
        draft = self._drafts_dir / f"{uuid7()}{DRAFT_SUFFIX}"
        try:
            size = write(draft)
            self._blobs.put(key, draft)
        finally:
            draft.unlink(missing_ok=True)
        return size


def add_rows(archive: Archive, rows: segment.Rows) -> list[Segment]:
    """Both files of some answered rows, wide and narrow; of a shadow's the one of its own kind."""
    answered: dict[Kind, Columns] = {"log": rows.log(), "outcomes": rows.outcomes()}
    tables: dict[Kind, Columns] = {"shadow": rows.outcomes()} if rows.role == "shadow" else answered
    return [
        archive.add(
            kind,
            rows.endpoint,
            rows.release_hash,
            columns,
            event_at_ms=rows.event_at_ms,
            received_at_ms=rows.received_at_ms,
        )
        for kind, columns in tables.items()
    ]


def first_outputs(archive: Archive, segments: Sequence[Segment], limit: int) -> Columns:
    """Prediction and score of the first rows of some outcome segments, in the order they were written."""
    scan = archive.scan(segments, "outcomes")
    result = archive.connection.execute(f"select _prediction, _score from {scan} limit {limit}")
    columns = segment.to_columns(result)
    outputs = {"prediction": columns["_prediction"]}
    score = columns["_score"].astype(np.float64)
    return outputs | ({} if np.isnan(score).all() else {"score": score})
