"""Labels and the predictions they are of: storing new ones, and reading both together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.late import duckdb
from mlspine.core.types import Columns, LabelReceipt
from mlspine.ports import Database
from mlspine.predictions import labels, segment, store
from mlspine.predictions.archive import Archive
from mlspine.predictions.store import Segment

SHOWN_UNMATCHED = 5
_SHOWN_PROBLEMS = 5
_ORDER = "order by _event_time, _id, _row"


class Labelling:
    """Joins over the segments of one endpoint. `add` within the log's turn only; reading at any time."""

    def __init__(self, *, db: Database, archive: Archive) -> None:
        self._db = db
        self._archive = archive
        self._counts: dict[str, tuple[object, tuple[int, int]]] = {}

    # ------------------------------------------------------------ adding

    def add(self, endpoint: str, columns: Columns) -> LabelReceipt:
        """Store those of the labels that say something new; Invalid for labels that cannot be right."""
        read = len(columns["label"])
        if read == 0:
            return LabelReceipt(endpoint=endpoint, read=0, matched=0, parked=0, duplicates=0)
        connection = self._archive.connection
        try:
            _stage(connection, "incoming_labels", columns)
            self._refuse_impossible(endpoint)
            return self._add(endpoint, read)
        finally:
            for table in ("incoming_labels", "fresh_labels"):
                connection.execute(f"drop table if exists {table}")

    def _add(self, endpoint: str, read: int) -> LabelReceipt:
        connection = self._archive.connection
        connection.execute(
            "create or replace temp table fresh_labels as "
            + labels.new_labels("incoming_labels", self._scan(endpoint, "labels"))
        )
        fresh = segment.to_columns(connection.execute("select * from fresh_labels order by seq"))
        n = len(fresh["label"])
        if n:
            self._commit(endpoint, fresh)
        waiting, examples = self._unmatched(connection, endpoint, "fresh_labels")
        return LabelReceipt(
            endpoint=endpoint,
            read=read,
            matched=n - waiting,
            parked=waiting,
            duplicates=read - n,
            examples_unmatched=examples,
        )

    # ------------------------------------------------------------ reading

    def labelled(
        self, endpoint: str, *, from_at_ms: int, to_at_ms: int | None, release_hash: str, as_of_ms: int | None
    ) -> Columns:
        """Predictions of a time that have a label; see `Predictions.labelled`."""
        # Later predictions tell which is the latest before a label by key; earlier ones tell nothing.
        outcomes = self._scan(endpoint, "outcomes", from_at_ms=from_at_ms)
        known = self._scan(endpoint, "labels")
        if as_of_ms is not None:
            known = f"(select * from {known} where label_time <= epoch_ms({as_of_ms}))"
        columns = self._read(
            "select _event_time as event_time, _prediction as prediction, _score as score, label,"
            f" label_number, label_time from ({segment.newest_labels(outcomes, known)})"
            f" where {_within(from_at_ms, to_at_ms, release_hash)} {_ORDER}"
        )
        numbers = columns.pop("label_number").astype(np.float64)
        columns["label"] = labels.to_predictions_type(columns["label"], numbers, columns["prediction"])
        return columns

    def predicted(self, endpoint: str, *, from_at_ms: int, to_at_ms: int | None, release_hash: str) -> Columns:
        """All predictions of a time; see `Predictions.predicted`."""
        outcomes = self._scan(endpoint, "outcomes", from_at_ms=from_at_ms, to_at_ms=to_at_ms, release_hash=release_hash)
        return self._read(
            "select _event_time as event_time, _prediction as prediction, _score as score"
            f" from {outcomes} where {_within(from_at_ms, to_at_ms, release_hash)} {_ORDER}"
        )

    def counts(self, endpoint: str, held: Sequence[Segment]) -> tuple[int, int]:
        """Labelled rows, and labels that wait for their prediction.

        held: the endpoint's segments; joined anew only when they changed in a way that matters.
        """
        known = [each for each in held if each.kind == "labels"]
        if not known:
            return 0, 0
        state: object = tuple(each.key for each in known)
        outcomes = tuple(each.key for each in held if each.kind == "outcomes")
        cached = self._counts.get(endpoint)
        if cached is not None and cached[0] in (state, (state, outcomes)):
            return cached[1]
        with segment.connect() as connection:
            answers, given = self._scan(endpoint, "outcomes"), self._scan(endpoint, "labels")
            matched = segment.matched_labels(answers, given)
            found = connection.execute(f"select count(distinct (_id, _row)) from ({matched})").fetchone()
            waiting, _ = self._unmatched(connection, endpoint, given)
        counted = (int(found[0]) if found else 0, waiting)
        # While labels wait, every new prediction may be theirs.
        self._counts[endpoint] = ((state, outcomes) if waiting else state, counted)
        return counted

    # ------------------------------------------------------------ inside

    def _scan(
        self,
        endpoint: str,
        kind: store.Kind,
        *,
        from_at_ms: int | None = None,
        to_at_ms: int | None = None,
        release_hash: str = "",
    ) -> str:
        found = store.segments(
            self._db,
            endpoint=endpoint,
            kind=kind,
            release_hash=release_hash,
            from_ms=from_at_ms,
            to_ms=to_at_ms,
        )
        return self._archive.scan(found, kind)

    def _read(self, select: str) -> Columns:
        with segment.connect() as connection:
            columns = segment.to_columns(connection.execute(select))
        columns["score"] = columns["score"].astype(np.float64)
        return columns

    def _commit(self, endpoint: str, fresh: Columns) -> None:
        added = self._archive.add(
            "labels",
            endpoint,
            "",
            fresh,
            event_at_ms=_milliseconds(fresh["label_time"]),
            received_at_ms=_milliseconds(fresh["received_at"]),
        )
        with self._db.write() as tx:
            store.add_segment(tx, added)

    def _refuse_impossible(self, endpoint: str) -> None:
        """A bare id of a request with several rows, and words where the model answers numbers."""
        connection, outcomes = self._archive.connection, self._scan(endpoint, "outcomes")
        ambiguous = connection.execute(
            f"select l._id, max(o._row) + 1 from incoming_labels l join {outcomes} o on l._id = o._id"
            f" where l._row is null group by l._id having max(o._row) > 0 limit {_SHOWN_PROBLEMS}"
        ).fetchall()
        problems = [f'id "{id_}" has {rows} rows: write "{id_}:0" and so on' for id_, rows in ambiguous]
        described = connection.execute(f"describe select _prediction, _id from {outcomes}").fetchall()
        answered = connection.execute(f"select 1 from {outcomes} limit 1").fetchall()
        if answered and described[0][1] in ("BIGINT", "DOUBLE", "BOOLEAN"):
            wrong = connection.execute(
                "select seq + 1, label from incoming_labels"
                f" where label_number is null or isnan(label_number) limit {_SHOWN_PROBLEMS}"
            ).fetchall()
            problems += [f"row {row}: label {label!r}, but the model answers numbers" for row, label in wrong]
        if problems:
            raise Invalid(
                f"these labels do not fit the predictions of {endpoint!r}; none was stored",
                details=problems,
                hint=f'see: mlspine log {endpoint} "select _id, _row, _prediction from outcomes limit 5"',
            )

    def _unmatched(
        self, connection: duckdb.DuckDBPyConnection, endpoint: str, given: str
    ) -> tuple[int, tuple[str, ...]]:
        """How many of the labels have no prediction, with a few of their ids or keys."""
        waiting = unmatched_labels(self._scan(endpoint, "outcomes"), given)
        total = connection.execute(f"select count(*) from ({waiting})").fetchone()
        shown = connection.execute(f"select target from ({waiting}) order by seq limit {SHOWN_UNMATCHED}")
        return int(total[0]) if total else 0, tuple(str(row[0]) for row in shown.fetchall())


def unmatched_labels(outcomes: str, given: str) -> str:
    """SQL of the labels without a prediction: how they name it, and their place in their file."""
    return f"""
        select l._id || coalesce(':' || l._row, '') as target, l.seq from {given} l
        where l._id is not null and not exists
            (select 1 from {outcomes} o where o._id = l._id and o._row = coalesce(l._row, 0))
        union all
        select l._key as target, l.seq from {given} l
        left join (select _key, min(_event_time) as first from {outcomes} group by _key) o on l._key = o._key
        where l._id is null and (o.first is null or o.first > l.label_time)"""


def _stage(connection: duckdb.DuckDBPyConnection, table: str, columns: Columns) -> None:
    typed = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in segment.LABEL_COLUMNS.items())
    connection.register("given", columns)
    try:
        connection.execute(f"create or replace temp table {table} as select {typed} from given")
    finally:
        connection.unregister("given")


def _milliseconds(stamps: segment.Array) -> segment.Array:
    at_ms: segment.Array = stamps.astype("datetime64[ms]").astype(np.int64)
    return at_ms


def _within(from_at_ms: int, to_at_ms: int | None, release_hash: str) -> str:
    conditions = [f"_event_time >= epoch_ms({int(from_at_ms)})"]
    if to_at_ms is not None:
        conditions.append(f"_event_time < epoch_ms({int(to_at_ms)})")
    if release_hash:
        conditions.append(f"_release = {segment.literal(release_hash)}")
    return " and ".join(conditions)
