"""The door of the prediction log: spool to segments and profiles, labels, SQL, forgetting a person."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from mlspine.core.config import LogConfig
from mlspine.core.errors import Invalid, NotFound
from mlspine.core.ids import check_name, now_ms
from mlspine.core.late import duckdb
from mlspine.core.public import public
from mlspine.core.types import Actor, Columns, LabelReceipt, LogSummary, Scalar, Struct, SubWindow
from mlspine.governance.service import Governance, signature
from mlspine.ports import BlobStore, Database, Transaction
from mlspine.predictions import labels, query, store, upkeep
from mlspine.predictions.archive import Archive
from mlspine.predictions.ingest import Foreign, Ingest, Ingested, Recorded, position_name, subject_digest
from mlspine.predictions.known import DAY_MS, drop_known_before, filling_until, set_filling
from mlspine.predictions.labelling import Labelling
from mlspine.predictions.query import QueryResult
from mlspine.predictions.spool import scrub, spool_files
from mlspine.predictions.staging import Staged, staged
from mlspine.predictions.upkeep import Tidied
from mlspine.predictions.windows import ReleaseReferences
from mlspine.stats.profile import Reference, decode_reference

T = TypeVar("T")

# Readers take no lock: a file may be merged away or expire between being listed and being read.
READ_ATTEMPTS = 3


class Learned(Struct, frozen=True, kw_only=True, eq=False):
    """The score baseline of a release that had none, and the number of its first rows it was taken from."""

    reference: Reference
    rows: int


class ForgetReceipt(Struct, frozen=True, kw_only=True):
    """What was removed about one subject, named by a digest only. rows: logged requests' rows; shadow_rows: what
    shadows would have answered."""

    key_digest: str
    rows: int
    outcomes: int
    labels: int
    endpoints: tuple[str, ...]
    files: int
    shadow_rows: int = 0


class Predictions:
    """The log of what every endpoint answered, and of what turned out to be true.

    Files are written first, then committed by a transaction; one writer at a time, on whichever machine.
    machine: prefix of this machine's spool positions in a store shared with others; "" in one of its own.
    """

    def __init__(
        self,
        *,
        db: Database,
        blobs: BlobStore,
        references_of: Callable[[str], ReleaseReferences],
        governance: Governance,
        spool_dir: Path,
        clock: Callable[[], int] = now_ms,
        config: LogConfig | None = None,
        machine: str = "",
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._governance = governance
        self._spool_dir = spool_dir
        self._clock = clock
        self._config = config or LogConfig()
        self._machine = machine
        self._archive = Archive(db=db, blobs=blobs, drafts_dir=spool_dir)
        self._ingest = Ingest(
            db=db,
            archive=self._archive,
            references_of=references_of,
            clock=clock,
            spool_dir=spool_dir,
            machine=machine,
        )
        self._swept = False
        self._scrubbed_at_ms = 0
        self._labelling = Labelling(db=db, archive=self._archive)

    # ------------------------------------------------------------ from the spool

    def ingest(self) -> Ingested:
        """Turn everything in the spool into the log. Safe to call at any time; cheap when there is nothing.

        Writes segments, sub-windows, counters and the spool position in one transaction per 50,000 rows.
        After a kill at any moment each row is in the log exactly once. Each machine reads its own spool.
        """
        forgotten_at_ms = store.last_forgotten_at_ms(self._db)
        if self._swept and forgotten_at_ms == self._scrubbed_at_ms and self._ingest.settle():
            return Ingested()
        with self._writing():
            if not self._swept or forgotten_at_ms != self._scrubbed_at_ms:
                # A kill may have kept `forget` from doing it, or another machine has forgotten somebody.
                self._archive.sweep()
                self._scrub_spool()
            self._swept = False  # a failure below leaves files behind
            done = self._ingest.run()
            if done.segments:
                self._labelling.settle()
                upkeep.merge_small(self._db, self._archive)
            if forgotten_at_ms != self._scrubbed_at_ms:
                self._scrub_spool()  # what has just been taken in may have been of the one forgotten
                self._scrubbed_at_ms = forgotten_at_ms
            self._swept = True
        return done

    def record(self, foreign: Sequence[Foreign], *, also: Callable[[Transaction], None] = lambda tx: None) -> Recorded:
        """Bring rows into the log that somebody else's server answered, as those of the spool are: in one transaction
        with their profiles, the ids they are known by, and whatever `also` writes.

        Some ten thousand rows at a time. Rows with an id that is in the log already are left out and counted.
        """
        with self._writing():
            swept, self._swept = self._swept, False  # a failure below leaves files behind
            done = self._ingest.record(foreign, also=also)
            self._labelling.settle()
            upkeep.merge_small(self._db, self._archive)
            self._swept = swept
        return done

    def fill_until(self, endpoint: str, until_ms: int) -> None:
        """Until then rows of the past are being read in, and no hour of the endpoint is over; 0: they are all in."""
        with self._db.write() as tx:
            set_filling(tx, endpoint, until_ms)

    def is_filling(self, endpoint: str) -> bool:
        """Whether rows of the past are being read in just now."""
        return filling_until(self._db, endpoint) > self._clock()

    def housekeep(self) -> Tidied:
        """Sweep left-over files, let rows past their retention go, merge small files. Reaches no ledger."""
        with self._writing():
            swept = self._archive.sweep()
            rows, files = upkeep.drop_expired(self._db, self._config, now_ms=self._clock())
            kept_days = max(self._config.retention_days, self._config.label_delay_days)
            self._labelling.settle()
            with self._db.write() as tx:
                drop_known_before(tx, int(self._clock() / DAY_MS - kept_days))
            return Tidied(
                swept_files=swept,
                expired_rows=rows,
                expired_files=files,
                merged_files=upkeep.merge_small(self._db, self._archive),
                dropped_hours=upkeep.drop_old_profiles(self._db),
            )

    # ------------------------------------------------------------ what there is

    @public("read")
    def endpoints(self) -> list[str]:
        """Names of endpoints with rows in the log, now or before."""
        return sorted({each.endpoint for each in store.logged(self._db)})

    @public("read")
    def summary(self, endpoint: str) -> LogSummary:
        """What the log of one endpoint holds; zeros before its first row."""
        held = store.segments(self._db, endpoint=endpoint)
        wide = [each for each in held if each.kind == "log"]
        counters = store.logged(self._db, endpoint)
        labelled, parked = self._reading(partial(self._labelling.counts, endpoint))
        by_release: dict[str, int] = {}
        for each in wide:
            by_release[each.release_hash] = by_release.get(each.release_hash, 0) + each.rows
        return LogSummary(
            endpoint=endpoint,
            rows=sum(each.rows for each in wide),
            first_event_at_ms=min((each.first_event_at_ms for each in wide), default=0),
            last_event_at_ms=max((each.last_event_at_ms for each in counters), default=0),
            last_received_at_ms=max((each.last_received_at_ms for each in counters), default=0),
            segments=len(held),
            size_bytes=sum(each.size_bytes for each in held),
            labelled_rows=labelled,
            parked_labels=parked,
            dropped_rows=sum(each.dropped_rows for each in counters),
            rows_by_release=by_release,
        )

    def counters(self, endpoint: str = "") -> list[store.Logged]:
        """Rows ever logged per endpoint and release, and how many of them expired or were forgotten."""
        return store.logged(self._db, endpoint)

    @public("read")
    def latest_event(self, endpoint: str) -> int:
        """The newest event time logged, ms UTC; 0 before any row."""
        return max((each.last_event_at_ms for each in store.logged(self._db, endpoint)), default=0)

    @public("read")
    def sub_windows(
        self, endpoint: str, *, release_hash: str = "", from_at_ms: int = 0, to_at_ms: int | None = None
    ) -> list[SubWindow]:
        """The hours that begin in [from_at_ms, to_at_ms), oldest first, of one release or all."""
        return store.sub_windows(self._db, endpoint, release_hash=release_hash, from_ms=from_at_ms, to_ms=to_at_ms)

    def learned(self, endpoint: str, release_hash: str) -> Learned | None:
        """The outputs' reference learned from a release's first rows, where it was shipped without one."""
        found = store.find_learned_reference(self._db, endpoint, release_hash)
        return Learned(reference=decode_reference(found[0]), rows=found[1]) if found else None

    @public("read")
    def query(self, endpoint: str, sql: str) -> QueryResult:
        """One SELECT over the views log, outcomes, labels, labelled and shadow of an endpoint; times are UTC.

        Raises Invalid with DuckDB's own words and the columns there are.
        """
        return self._reading(partial(query.run, self._db, self._blobs, endpoint, sql))

    @contextlib.contextmanager
    def staged(self, endpoint: str, select: str, *, order: str) -> Iterator[Staged]:
        """The rows of one SELECT over the views of `query`, to be read a part at a time, in the order of these SQL
        expressions. They are those of the moment this begins."""
        with contextlib.ExitStack() as stack:
            begin = partial(staged, self._db, self._blobs, endpoint, select, order=order)
            yield self._reading(lambda: stack.enter_context(begin()))

    # ------------------------------------------------------------ labels

    @public("label")
    def add_labels(
        self,
        endpoint: str,
        *,
        path: str = "",
        rows: list[dict[str, Scalar | None]] | None = None,
        source: str = "",
        all_matches: bool = False,
        actor: Actor,
    ) -> LabelReceipt:
        """Take labels from a file (.csv, .parquet, .json, .jsonl) or from rows, at any time and in any order.

        Each has `id` ("<request id>:<row>") or `key`, a `label`, and optionally `label_time` (ISO 8601 or ms;
        without an offset UTC; without any: now). A key means the latest prediction with an event time no
        later than the label's, or all of those with `all_matches`. Labels are only ever added: the newest
        label_time wins, repeats change nothing, and those without a prediction wait for it. Nothing reaches
        the ledger; the source and who added it are stored with each label.
        """
        if bool(path) == (rows is not None):
            raise Invalid("labels come from a file or as rows: give one of path and rows")
        table = labels.read_file(Path(path)) if rows is None else labels.from_rows(rows)
        source = f"{source or (Path(path).name if path else 'rows')} by {signature(actor)}"
        return self.add_label_table(endpoint, table, source=source, all_matches=all_matches)

    def add_label_table(
        self,
        endpoint: str,
        table: Mapping[str, Sequence[Any] | np.ndarray[Any, Any]],
        *,
        source: str = "rows",
        all_matches: bool = False,
    ) -> LabelReceipt:
        """As `add_labels`, from columns at hand (lists or arrays of one length)."""
        check_name(endpoint, what="endpoint")
        listed = {name: _listed(values) for name, values in table.items()}
        columns = labels.to_segment(listed, received_at_ms=self._clock(), source=source, all_matches=all_matches)
        with self._writing():
            self.ingest()  # the answers of a moment ago can be labelled
            receipt = self._labelling.add(endpoint, columns)
            upkeep.merge_small(self._db, self._archive)
        return receipt

    def labelled(
        self,
        endpoint: str,
        *,
        from_at_ms: int = 0,
        to_at_ms: int | None = None,
        release_hash: str = "",
        as_of_ms: int | None = None,
        with_key: bool = False,
    ) -> Columns:
        """Predictions with an event time in [from_at_ms, to_at_ms) that have a label, one row each.

        event_time, label_time: datetime64[us]; prediction, score: as answered; label: in the type of the
        prediction where it can be. as_of_ms: only what labels with a label_time until then said. with_key: the
        predictions' keys too, as `key`.
        """
        return self._reading(
            partial(
                self._labelling.labelled,
                endpoint,
                from_at_ms=from_at_ms,
                to_at_ms=to_at_ms,
                release_hash=release_hash,
                as_of_ms=as_of_ms,
                with_key=with_key,
            )
        )

    def sliced(self, endpoint: str, column: str, *, release_hash: str) -> Columns:
        """Predictions of a release that have a label, with the value of a logged column: prediction, score, label,
        value. Rows whose wide log has expired are left out. Raises NotFound for a column that was not logged."""
        return self._reading(partial(self._labelling.sliced, endpoint, column, release_hash=release_hash))

    def predicted(
        self,
        endpoint: str,
        *,
        from_at_ms: int = 0,
        to_at_ms: int | None = None,
        release_hash: str = "",
        one_in: int = 1,
    ) -> Columns:
        """All predictions with an event time in [from_at_ms, to_at_ms): event_time, prediction, score.

        one_in: of so many rows one, chosen by its id, for windows too large to hold.
        """
        return self._reading(
            partial(
                self._labelling.predicted,
                endpoint,
                from_at_ms=from_at_ms,
                to_at_ms=to_at_ms,
                release_hash=release_hash,
                one_in=one_in,
            )
        )

    def label_days(self, endpoint: str) -> list[store.LabelDay]:
        """What labels come to per release and day of event time: rows, delays, the change that last touched it."""
        return store.label_days(self._db, endpoint)

    def event_spans(self, endpoint: str) -> dict[str, tuple[int, int]]:
        """Event times from (included) to (excluded) of the predictions there are, per release."""
        return store.event_spans(self._db, endpoint)

    def hourly_rows(self, endpoint: str) -> list[tuple[str, int, int]]:
        """(release, start of the hour, rows) of every hour with rows, oldest first."""
        return store.hourly_rows(self._db, endpoint)

    # ------------------------------------------------------------ forgetting

    @public("administer")
    def forget(self, key: str, *, actor: Actor) -> ForgetReceipt:
        """Remove all that is logged of the subject `key` (rows, outcomes, labels, what shadows made of them), for good.

        Rewrites the files that hold them, overwrites the spool, and writes the ledger line "forget" with a
        digest of the key and the counts, all but the last deletions in one transaction. Profiles keep their
        counts: they hold no rows. Other machines leave out what they answered before now and have not sent in
        yet, and overwrite their spools, with their next `ingest`.
        """
        if not key:
            raise Invalid("no key given", hint="mlspine forget KEY")
        digest = subject_digest(key)
        with self._writing():
            self.ingest()
            names = sorted({each.endpoint for each in store.segments(self._db)})
            removed = {name: upkeep.rewrite_without(self._db, self._archive, name, key) for name in names}
            receipt = _forget_receipt(digest, removed)
            with self._db.write() as tx:
                for each in removed.values():
                    upkeep.commit_removed(tx, each)
                store.add_forgotten(tx, digest, now_ms=self._clock())
                facts = msgspec.structs.asdict(receipt)
                self._governance.record("forget", f"subject:{digest}", actor, facts=facts)
            self._labelling.settle()
            for each in removed.values():
                self._archive.discard(each.old)
            self._archive.sweep()  # copies merged away earlier may still lie there
            self._scrub_spool()
        return receipt

    # ------------------------------------------------------------ inside

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """The log's turn: nobody else changes its files, and those located inside stay readable."""
        with self._db.lock("log"), self._blobs.reading():
            yield

    def _reading(self, read: Callable[[], T]) -> T:
        with self._blobs.reading():
            for _ in range(READ_ATTEMPTS - 1):
                try:
                    return read()
                except (duckdb.IOException, NotFound):
                    continue
                except Invalid as exc:
                    if not isinstance(exc.__cause__, duckdb.IOException):
                        raise
            return read()

    def _scrub_spool(self) -> None:
        """Overwrite what has been taken from the spool: the files may live on until their writer rotates."""
        taken = store.positions(self._db)
        for path in spool_files(self._spool_dir):
            scrub(path, taken.get(position_name(self._machine, path.name), 0))


def _listed(values: Sequence[Any] | np.ndarray[Any, Any]) -> Sequence[Any]:
    if not isinstance(values, np.ndarray):
        return values
    # In nanoseconds numpy lists bare integers, in microseconds datetimes.
    plain = values.astype("datetime64[us]") if values.dtype.kind == "M" else values
    listed: list[Any] = plain.tolist()
    return listed


def _forget_receipt(digest: str, removed: Mapping[str, upkeep.Removed]) -> ForgetReceipt:
    return ForgetReceipt(
        key_digest=digest,
        rows=sum(each.log_rows for each in removed.values()),
        outcomes=sum(each.outcome_rows for each in removed.values()),
        labels=sum(each.label_rows for each in removed.values()),
        endpoints=tuple(name for name, each in removed.items() if each.old),
        files=sum(len(each.old) for each in removed.values()),
        shadow_rows=sum(each.shadow_rows for each in removed.values()),
    )
