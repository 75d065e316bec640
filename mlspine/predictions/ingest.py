"""From spool to log: rows become segments and profiles, committed with the position up to which they were
read.

The order makes every kill harmless. Files are written first and count for nothing; one transaction then makes
segments, profiles, counters and the spool position true together. A kill before it leaves files without a row
in the store (swept at the next start) and the same spool to read again; a kill after it leaves at worst a
spool file that is read to its end and only waits to be deleted.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlspine.core.errors import MlspineError
from mlspine.core.ids import digest_bytes
from mlspine.core.types import Columns, Struct, SubWindow
from mlspine.ports import Database, Transaction
from mlspine.predictions import store
from mlspine.predictions.archive import Archive, add_rows, first_outputs
from mlspine.predictions.known import KnownRows, UInts, digests_of
from mlspine.predictions.segment import Array, Rows, rows_of
from mlspine.predictions.spool import Batch, read_frames, spool_files
from mlspine.predictions.store import Logged, Segment
from mlspine.predictions.windows import LEARNING_ROWS, ReleaseReferences, hourly, merged
from mlspine.stats.baseline import outputs_reference
from mlspine.stats.profile import Reference, decode_reference, encode_reference

log = logging.getLogger(__name__)

MAX_ROWS = 50_000  # per transaction; the last frame may go beyond
_REFERENCES_KEPT = 32


class Ingested(Struct, frozen=True, kw_only=True):
    """What one call of `ingest` brought in: answers, and what shadows would have answered.

    damaged_bytes: spool that could not be read any more.
    """

    rows: int = 0
    segments: int = 0
    damaged_bytes: int = 0
    shadow_rows: int = 0


class Recorded(Struct, frozen=True, kw_only=True):
    """What one call of `record` brought in. duplicates: rows that were in the log already, by their ids."""

    rows: int = 0
    duplicates: int = 0


class Foreign(NamedTuple):
    """Rows that somebody else's server answered. by_id: their ids are the sender's own and tell a row sent again."""

    batch: Batch
    by_id: bool


class _Known(NamedTuple):
    """Ids of one endpoint's rows that are to be remembered with them."""

    endpoint: str
    ids: UInts
    event_at_ms: Array
    timed: Array


class _Chunk(NamedTuple):
    """What one transaction takes: batches, and per spool file where reading goes on and what was damaged."""

    batches: list[Batch]
    positions: dict[str, int]
    damaged: dict[str, int]


class _Outputs(NamedTuple):
    """What the answers of a release are counted on, and how many rows of this chunk were used to learn it."""

    reference: Reference | None
    learning_rows: int = 0
    learned_from: int = 0  # rows it was learned from, when that happened just now


class _Change(NamedTuple):
    """Everything one transaction writes for the rows of one release."""

    segments: list[Segment]
    windows: list[SubWindow]
    counted: Logged
    outputs: _Outputs
    inputs: Reference | None


class Ingest:
    """Turns the spool into the log. Call `run` within the log's turn only."""

    def __init__(
        self,
        *,
        db: Database,
        archive: Archive,
        references_of: Callable[[str], ReleaseReferences],
        clock: Callable[[], int],
        spool_dir: Path,
        machine: str = "",
    ) -> None:
        self._machine = machine
        self._db = db
        self._archive = archive
        self._clock = clock
        self._spool_dir = spool_dir
        self._references_of = lru_cache(maxsize=_REFERENCES_KEPT)(references_of)

    def settle(self) -> bool:
        """True when nothing is left to read; files read to their end are then cleared away. No turn is needed."""
        known = self._positions()
        if any(_size(path) > known.get(path.name, 0) for path in spool_files(self._spool_dir)):
            return False
        self._remove_finished()
        return True

    def run(self) -> Ingested:
        """Read every spool file to its end; returns what came in. Cheap when there is nothing."""
        rows = shadow_rows = segments = damaged = 0
        while (chunk := self._collect()) is not None:
            segments += self._take(chunk)
            shadow_rows += sum(batch.rows for batch in chunk.batches if batch.path == "shadow")
            rows += sum(batch.rows for batch in chunk.batches if batch.path != "shadow")
            damaged += sum(chunk.damaged.values())
        self._remove_finished()
        return Ingested(rows=rows, segments=segments, damaged_bytes=damaged, shadow_rows=shadow_rows)

    def record(self, foreign: Sequence[Foreign], *, also: Callable[[Transaction], None]) -> Recorded:
        """Bring rows in that come by no spool; those known by their ids are left out. also: is written with them,
        whole or not at all."""
        changes: list[_Change] = []
        known: list[_Known] = []
        given = 0
        for each in foreign:
            given += each.batch.rows
            for rows in rows_of([each.batch]):
                if each.by_id:
                    rows, ids = self._unknown(rows, timed=bool(each.batch.event_at_ms), before=known)
                    known.append(ids)
                if rows.size:
                    changes.append(self._change(self._without_forgotten(rows), changes))
        self._commit(_Chunk([], {}, {}), changes, known=known, also=also)
        taken = sum(len(each.ids) for each in known) + sum(each.batch.rows for each in foreign if not each.by_id)
        return Recorded(rows=taken, duplicates=given - taken)

    def _unknown(self, rows: Rows, *, timed: bool, before: list[_Known]) -> tuple[Rows, _Known]:
        """The rows that are not in the log, nor among those about to be."""
        told = zip(rows.meta["_id"].tolist(), rows.meta["_row"].tolist(), strict=True)
        ids = digests_of([f"{id_}:{row}" for id_, row in told])
        flags = np.full(rows.size, timed)
        fresh = KnownRows(self._db, rows.endpoint).unknown(ids, event_at_ms=rows.event_at_ms, timed=flags)
        for each in before:
            fresh &= ~np.isin(ids, each.ids) if each.endpoint == rows.endpoint else True
        return rows.where(fresh), _Known(rows.endpoint, ids[fresh], rows.event_at_ms[fresh], flags[fresh])

    # ------------------------------------------------------------ reading

    def _collect(self) -> _Chunk | None:
        chunk = _Chunk([], {}, {})
        known = self._positions()
        rows = 0
        for path in spool_files(self._spool_dir):
            offset = known.get(path.name, 0)
            if _size(path) <= offset:
                continue
            for frame in read_frames(path, offset):
                chunk.batches.extend(frame.batches)
                chunk.positions[path.name] = frame.next_offset
                if frame.skipped_bytes:
                    chunk.damaged[path.name] = chunk.damaged.get(path.name, 0) + frame.skipped_bytes
                rows += sum(batch.rows for batch in frame.batches)
                if rows >= MAX_ROWS:
                    return chunk
        return chunk if chunk.positions else None

    def _remove_finished(self) -> None:
        """Delete the files that are read to their end and whose writer has moved on or died."""
        known = self._positions()
        paths = spool_files(self._spool_dir)
        done = [path.name for path in paths if _remove_if_finished(path, known.get(path.name, 0))]
        gone = known.keys() - {path.name for path in paths}
        if done or gone:
            with self._db.write() as tx:
                for name in (*done, *gone):
                    store.drop_position(tx, position_name(self._machine, name))

    def _positions(self) -> dict[str, int]:
        """How far each spool file of this machine was read, by its name."""
        prefix = position_name(self._machine, "")
        known = store.positions(self._db)
        return {name.removeprefix(prefix): offset for name, offset in known.items() if name.startswith(prefix)}

    # ------------------------------------------------------------ one transaction's worth

    def _take(self, chunk: _Chunk) -> int:
        """Write files, then commit; returns the number of segments."""
        for name, skipped in chunk.damaged.items():
            log.error("a spool file is damaged; what was sound was taken", extra={"file": name, "bytes": skipped})
        changes: list[_Change] = []
        for rows in rows_of(chunk.batches):
            changes.append(self._change(self._without_forgotten(rows), changes))
        self._commit(chunk, changes)
        return sum(len(change.segments) for change in changes)

    def _change(self, rows: Rows, earlier: list[_Change]) -> _Change:
        if rows.role == "shadow":
            # Nobody was answered by it, so nothing is counted; rows that got lost are told of with any batch.
            segments = add_rows(self._archive, rows) if rows.size else []
            lost = Logged(endpoint=rows.endpoint, release_hash="", dropped_rows=rows.dropped_rows)
            return _Change(segments, [], lost, _Outputs(None), None)
        references = self._references(rows.release_hash)
        inputs = references.inputs if references else None
        outputs = self._outputs(rows, references, earlier) if references else _Outputs(None)
        segments = add_rows(self._archive, rows) if rows.size else []
        windows = hourly(rows, inputs=inputs, outputs=outputs.reference, learning_rows=outputs.learning_rows)
        counted = Logged(
            endpoint=rows.endpoint,
            release_hash=rows.release_hash,
            rows=rows.size,
            dropped_rows=rows.dropped_rows,
            last_event_at_ms=int(rows.event_at_ms.max()) if rows.size else 0,
            last_received_at_ms=int(rows.received_at_ms.max()) if rows.size else 0,
        )
        return _Change(segments, windows, counted, outputs, inputs)

    def _commit(
        self,
        chunk: _Chunk,
        changes: list[_Change],
        *,
        known: Sequence[_Known] = (),
        also: Callable[[Transaction], None] = lambda tx: None,
    ) -> None:
        now_ms = self._clock()
        with self._db.write() as tx:
            also(tx)
            for each in known:
                seen = KnownRows(tx, each.endpoint)
                seen.add(tx, each.ids, event_at_ms=each.event_at_ms, timed=each.timed, now_ms=now_ms)
            for name, offset in chunk.positions.items():
                store.set_position(tx, position_name(self._machine, name), offset, chunk.damaged.get(name, 0))
            for change in changes:
                for made in change.segments:
                    store.add_segment(tx, made)
                for window in change.windows:
                    at = (window.endpoint, window.release_hash, window.start_at_ms)
                    found = store.find_sub_window(tx, *at)
                    if found is not None:
                        window = merged(found, window, inputs=change.inputs, outputs=change.outputs.reference)
                    store.put_sub_window(tx, window)
                store.count(tx, change.counted)
                if change.outputs.learned_from and change.outputs.reference is not None:
                    store.add_learned_reference(
                        tx,
                        change.counted.endpoint,
                        change.counted.release_hash,
                        reference=encode_reference(change.outputs.reference),
                        rows=change.outputs.learned_from,
                        learned_at_ms=now_ms,
                    )

    def _without_forgotten(self, rows: Rows) -> Rows:
        """The rows without those of subjects who were forgotten after they were answered."""
        if not rows.size:
            return rows
        forgotten = store.forgotten_since(self._db, int(rows.received_at_ms.min()))
        if not forgotten:
            return rows
        kept = [
            key is None or forgotten.get(subject_digest(key), 0) < received_at_ms
            for key, received_at_ms in zip(rows.meta["_key"], rows.received_at_ms.tolist(), strict=True)
        ]
        return rows.where(np.array(kept))

    # ------------------------------------------------------------ references

    def _references(self, release_hash: str) -> ReleaseReferences | None:
        if not release_hash:
            return None  # answered by the declared rule: no model's outputs, and no baseline to count inputs on
        try:
            return self._references_of(release_hash)
        except MlspineError as exc:
            # The rows are still worth keeping: a release may have been removed by hand.
            log.warning("rows cannot be profiled", extra={"release": release_hash, "why": str(exc)})
            return None

    def _outputs(self, rows: Rows, references: ReleaseReferences, earlier: list[_Change]) -> _Outputs:
        """The outputs' reference of a release: shipped, learned before, learned now, or not yet."""
        if references.outputs is not None:
            return _Outputs(references.outputs)
        for change in earlier:
            same = (change.counted.endpoint, change.counted.release_hash) == (
                rows.endpoint,
                rows.release_hash,
            )
            if same and change.outputs.reference is not None:
                return _Outputs(change.outputs.reference)
        known = store.find_learned_reference(self._db, rows.endpoint, rows.release_hash)
        if known is not None:
            return _Outputs(decode_reference(known[0]))
        return self._learn(rows, earlier)

    def _learn(self, rows: Rows, earlier: list[_Change]) -> _Outputs:
        """From the first LEARNING_ROWS answers, once there are so many; they are not judged by themselves."""
        written = [
            *store.segments(self._db, endpoint=rows.endpoint, kind="outcomes", release_hash=rows.release_hash),
            *(
                each
                for change in earlier
                for each in change.segments
                if (each.kind, each.endpoint, each.release_hash) == ("outcomes", rows.endpoint, rows.release_hash)
            ),
        ]
        seen = sum(each.rows for each in written)
        if seen + rows.size < LEARNING_ROWS:
            return _Outputs(None)
        missing = max(0, LEARNING_ROWS - seen)
        first = {name: values[:missing] for name, values in rows.outputs().items()}
        before = first_outputs(self._archive, written, LEARNING_ROWS)
        teaching = _joined(before, first) if seen else first
        return _Outputs(outputs_reference(teaching), learning_rows=missing, learned_from=LEARNING_ROWS)


def position_name(machine: str, file: str) -> str:
    """The name under which the position in a spool file is stored: in a shared store with the machine's id."""
    return f"{machine}/{file}" if machine else file


def subject_digest(key: str) -> str:
    """What is kept of a subject who was forgotten."""
    return digest_bytes(key.encode("utf-8", "replace"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another process of this machine has just read it to its end
        return 0


def _joined(a: Columns, b: Columns) -> Columns:
    return {name: np.concatenate([values, b[name]]) for name, values in a.items() if name in b}


def _remove_if_finished(path: Path, offset: int) -> bool:
    """Delete a spool file that nobody writes any more, once nothing whole is left to read in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = os.fstat(descriptor).st_size
        if size > offset and next(read_frames(path, offset), None) is not None:
            return False
        if size > offset:
            log.warning("the end of a spool file was cut short", extra={"file": path.name, "bytes": size - offset})
        path.unlink()
        return True
    except BlockingIOError:
        return False  # its writer lives
    finally:
        os.close(descriptor)
