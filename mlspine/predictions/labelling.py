"""Labels and the predictions they are of: storing new ones, and reading both together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mlspine.core.errors import Invalid, NotFound
from mlspine.core.late import duckdb
from mlspine.core.types import Columns, LabelReceipt
from mlspine.ports import Database, Transaction
from mlspine.predictions import counting, labels, segment, store
from mlspine.predictions.archive import Archive
from mlspine.predictions.reach import may_hold, overlapping
from mlspine.predictions.store import Kind, LabelDay, Segment

SHOWN_UNMATCHED = 5
_SHOWN_PROBLEMS = 5
_OUTCOMES_AND_LABELS: tuple[Kind, Kind] = ("outcomes", "labels")
_NARROW = "_id, _row, _key, _event_time, _received_at, _release"
_ORDER = "order by _event_time, _id, _row"


class Labelling:
    """Joins over the segments of one endpoint. `add` and `settle` within the log's turn only; reading at any time.

    Labels read only the files that can hold their ids and keys, and what they come to (rows per day, delays, how many
    wait) is kept in the store in the same transaction: the work grows with the labels and the files they touch.
    """

    def __init__(self, *, db: Database, archive: Archive) -> None:
        self._db = db
        self._archive = archive

    # ------------------------------------------------------------ adding

    def add(self, endpoint: str, columns: Columns) -> LabelReceipt:
        """Store those of the labels that say something new; Invalid for labels that cannot be right."""
        read = len(columns["label"])
        if read == 0:
            return LabelReceipt(endpoint=endpoint, read=0, matched=0, parked=0, duplicates=0)
        self.settle()
        connection = self._archive.connection
        try:
            _stage(connection, "incoming_labels", columns)
            self._find_candidates(endpoint, _names(columns["_id"]), _names(columns["_key"]))
            self._refuse_impossible(endpoint)
            return self._add(endpoint, read)
        finally:
            for table in ("incoming_labels", "candidates", "known_labels", "fresh_labels"):
                connection.execute(f"drop table if exists {table}")

    def _add(self, endpoint: str, read: int) -> LabelReceipt:
        connection = self._archive.connection
        connection.execute(
            "create or replace temp table fresh_labels as " + labels.new_labels("incoming_labels", "known_labels")
        )
        fresh = segment.to_columns(connection.execute("select * from fresh_labels order by seq"))
        n = len(fresh["label"])
        waiting, examples = _unmatched(connection, "candidates", "fresh_labels")
        if n:
            both = "(select * from known_labels union all by name select * from fresh_labels)"
            found = counting.change(
                connection, before=("candidates", "known_labels"), after=("candidates", both), touching="fresh_labels"
            )
            self._commit(endpoint, fresh, found, waiting)
        return LabelReceipt(
            endpoint=endpoint,
            read=read,
            matched=n - waiting,
            parked=waiting,
            duplicates=read - n,
            examples_unmatched=examples,
        )

    def _find_candidates(self, endpoint: str, ids: list[str], keys: list[str]) -> None:
        """Two tables: the outcomes that the incoming labels can be of, and the labels that those can have.

        Labels by key need every outcome of the key: a later one takes the label. So do known labels by key of
        outcomes that are named by id here.
        """
        connection = self._archive.connection
        outcomes, given = (store.segments(self._db, endpoint=endpoint, kind=kind) for kind in _OUTCOMES_AND_LABELS)
        of_ids = may_hold(outcomes, ids=ids, keys=())
        named = "select _id, _row from incoming_labels where _id is not null"
        bare = bool(
            connection.execute(
                "select 1 from incoming_labels where _id is not null and _row is null limit 1"
            ).fetchall()
        )
        wanted = f"_id in (select _id from ({named}))" if bare else f"(_id, _row) in ({named})"
        connection.execute(
            f"create or replace temp table candidates as select {_NARROW} from {self._archive.scan(of_ids, 'outcomes')}"
            f" where {wanted} and {_between('_id', ids)}"
        )
        by_key = any(each.keyed != 0 for each in given)
        if by_key and ids:
            found = connection.execute("select distinct _key from candidates where _key is not null").fetchall()
            keys = sorted({*keys, *(str(row[0]) for row in found)})
        if keys:
            _keep_names(connection, "label_keys", keys)
            of_keys = may_hold(outcomes, ids=(), keys=keys)
            connection.execute(
                f"insert into candidates select {_NARROW} from {self._archive.scan(of_keys, 'outcomes')} o"
                f" where _key in (select name from label_keys) and {_between('_key', keys)}"
                " and not exists (select 1 from candidates c where c._id = o._id and c._row = o._row)"
            )
        self._find_known(given, ids, keys)

    def _find_known(self, given: Sequence[Segment], ids: list[str], keys: list[str]) -> None:
        connection = self._archive.connection
        if keys:
            of_keys = connection.execute("select distinct _id from candidates").fetchall()
            ids = sorted({*ids, *(str(row[0]) for row in of_keys)})
        _keep_names(connection, "label_ids", ids)
        _keep_names(connection, "label_keys", keys)
        known = self._archive.scan(may_hold(given, ids=ids, keys=keys), "labels")
        conditions = [f"(_id in (select name from label_ids) and {_between('_id', ids)})"]
        conditions += ["(_id is null and _key in (select name from label_keys))"] if keys else []
        connection.execute(
            f"create or replace temp table known_labels as select * from {known} where {' or '.join(conditions)}"
        )
        for table in ("label_ids", "label_keys"):
            connection.execute(f"drop table if exists {table}")

    # ------------------------------------------------------------ keeping count

    def settle(self) -> None:
        """Count what labels come to for the predictions written since; cheap when no label was there before them."""
        for endpoint in store.uncounted(self._db):
            self.recount(endpoint)
        new = store.unsettled(self._db)
        for endpoint in sorted({each.endpoint for each in new}):
            self._settle(endpoint, [each for each in new if each.endpoint == endpoint])

    def recount(self, endpoint: str) -> None:
        """Count everything anew, after rows or labels went away."""
        held = store.segments(self._db, endpoint=endpoint)
        outcomes, given = ([each for each in held if each.kind == kind] for kind in _OUTCOMES_AND_LABELS)
        connection = self._archive.connection
        scans = self._archive.scan(outcomes, "outcomes"), self._archive.scan(given, "labels")
        found = counting.everything(connection, *scans)
        waiting, _ = _unmatched(connection, *scans)
        changes = max([0, *(day.changed for day in store.label_days(self._db, endpoint))]) + 1
        with self._db.write() as tx:
            store.drop_label_days(tx, endpoint)
            self._keep(tx, endpoint, counting.applied((), found, changed=changes), waiting, changes)
            store.settle(tx, (each.key for each in outcomes))

    def _settle(self, endpoint: str, new: Sequence[Segment]) -> None:
        given = store.segments(self._db, endpoint=endpoint, kind="labels")
        near = overlapping(given, new)
        if near:
            self._settle_late(endpoint, new, near)
        with self._db.write() as tx:
            store.settle(tx, (each.key for each in new))

    def _settle_late(self, endpoint: str, new: Sequence[Segment], near: Sequence[Segment]) -> None:
        """Predictions that came after their labels, or between those of their key."""
        connection = self._archive.connection
        fresh, given = self._archive.scan(new, "outcomes"), self._archive.scan(near, "labels")
        try:
            connection.execute(
                "create or replace temp table known_labels as"
                f" select * from {given} where _id in (select _id from {fresh})"
                f" or (_id is null and _key in (select _key from {fresh} where _key is not null))"
            )
            named = connection.execute("select _id, _key from known_labels").fetchall()
            if named:
                self._count_late(endpoint, new, [row[0] for row in named], [row[1] for row in named])
        finally:
            for table in ("known_labels", "candidates", "new_rows"):
                connection.execute(f"drop table if exists {table}")

    def _count_late(self, endpoint: str, new: Sequence[Segment], ids: list[str], keys: list[str]) -> None:
        connection = self._archive.connection
        held = store.segments(self._db, endpoint=endpoint, kind="outcomes")
        reached = may_hold(held, ids=_names(ids), keys=_names(keys))
        connection.execute(
            f"create or replace temp table candidates as select {_NARROW}"
            f" from {self._archive.scan(reached, 'outcomes')}"
            " where _id in (select _id from known_labels where _id is not null)"
            " or _key in (select _key from known_labels where _id is null)"
        )
        fresh = self._archive.scan(new, "outcomes")
        connection.execute(
            "create or replace temp table new_rows as"
            f" select _id, _row from {fresh} where (_id, _row) in (select (_id, _row) from candidates)"
        )
        earlier = "(select * from candidates c anti join new_rows using (_id, _row))"
        found = counting.change(
            connection,
            before=(earlier, "known_labels"),
            after=("candidates", "known_labels"),
            touching="known_labels",
        )
        waited, _ = _unmatched(connection, earlier, "known_labels")
        waiting, _ = _unmatched(connection, "candidates", "known_labels")
        parked, changes = store.label_state(self._db, endpoint) or (0, 0)
        with self._db.write() as tx:
            days = counting.applied(store.label_days(tx, endpoint), found, changed=changes + 1)
            self._keep(tx, endpoint, days, parked + waiting - waited, changes + 1)
            store.settle(tx, (each.key for each in new))

    def _keep(self, tx: Transaction, endpoint: str, days: Sequence[LabelDay], parked: int, changes: int) -> None:
        for day in days:
            store.put_label_day(tx, endpoint, day)
        store.put_label_state(tx, endpoint, parked_labels=parked, changes=changes)

    # ------------------------------------------------------------ reading

    def labelled(
        self,
        endpoint: str,
        *,
        from_at_ms: int,
        to_at_ms: int | None,
        release_hash: str,
        as_of_ms: int | None,
        with_key: bool = False,
    ) -> Columns:
        """Predictions of a time that have a label; see `Predictions.labelled`."""
        given = store.segments(self._db, endpoint=endpoint, kind="labels")
        # Later predictions tell which is the latest before a label by key; earlier ones tell nothing.
        by_key = any(each.keyed != 0 for each in given)
        window = self._segments(endpoint, from_at_ms=from_at_ms, to_at_ms=to_at_ms)
        rows = self._segments(endpoint, from_at_ms=from_at_ms) if by_key else window
        outcomes = self._archive.scan(rows, "outcomes")
        known = self._archive.scan(overlapping(given, window), "labels")
        if as_of_ms is not None:
            known = f"(select * from {known} where label_time <= epoch_ms({as_of_ms}))"
        if not by_key:
            outcomes = f"(select * from {outcomes} where {_within(from_at_ms, to_at_ms, release_hash)})"
        key = ", _key as key" if with_key else ""
        columns = self._read(
            f"select _event_time as event_time{key}, _prediction as prediction, _score as score, label, label_number,"
            f" label_time from ({segment.newest_labels(outcomes, known)})"
            f" where {_within(from_at_ms, to_at_ms, release_hash)} {_ORDER}"
        )
        numbers = columns.pop("label_number").astype(np.float64)
        columns["label"] = labels.to_predictions_type(columns["label"], numbers, columns["prediction"])
        return columns

    def sliced(self, endpoint: str, column: str, *, release_hash: str) -> Columns:
        """Labelled predictions with the value of a logged column, as `value`; see `Predictions.sliced`."""
        given = store.segments(self._db, endpoint=endpoint, kind="labels")
        outcomes = self._segments(endpoint, release_hash=release_hash)
        if not any(each.keyed != 0 for each in given):
            outcomes = overlapping(outcomes, given)  # labels by id are of these files only
        wide = store.segments(self._db, endpoint=endpoint, kind="log", release_hash=release_hash)
        with segment.connect() as connection:
            log = self._archive.scan(overlapping(wide, outcomes), "log")
            names = [str(row[0]) for row in connection.execute(f"describe select * from {log}").fetchall()]
            if column not in names:
                raise NotFound(
                    f"the log of {endpoint!r} has no column {column!r}",
                    hint="columns: " + ", ".join(name for name in names if not name.startswith("_")),
                )
            newest = segment.newest_labels(
                self._archive.scan(outcomes, "outcomes"), self._archive.scan(given, "labels")
            )
            columns = segment.to_columns(
                connection.execute(
                    "select l._prediction as prediction, l._score as score, l.label, l.label_number,"
                    f" w.{segment.quote(column)} as value from ({newest}) l join {log} w using (_id, _row)"
                    " order by l._event_time, _id, _row"
                )
            )
        columns["score"] = columns["score"].astype(np.float64)
        numbers = columns.pop("label_number").astype(np.float64)
        columns["label"] = labels.to_predictions_type(columns["label"], numbers, columns["prediction"])
        return columns

    def predicted(
        self, endpoint: str, *, from_at_ms: int, to_at_ms: int | None, release_hash: str, one_in: int = 1
    ) -> Columns:
        """All predictions of a time, or one of so many; see `Predictions.predicted`."""
        found = self._segments(endpoint, from_at_ms=from_at_ms, to_at_ms=to_at_ms, release_hash=release_hash)
        thinned = f" and hash(_id, _row) % {int(one_in)} = 0" if one_in > 1 else ""
        return self._read(
            "select _event_time as event_time, _prediction as prediction, _score as score"
            f" from {self._archive.scan(found, 'outcomes')}"
            f" where {_within(from_at_ms, to_at_ms, release_hash)}{thinned} {_ORDER}"
        )

    def counts(self, endpoint: str) -> tuple[int, int]:
        """Labelled rows, and labels that wait for their prediction."""
        state = store.label_state(self._db, endpoint)
        if state is not None:
            return store.labelled_total(self._db, endpoint), state[0]
        held = store.segments(self._db, endpoint=endpoint)
        outcomes, given = ([each for each in held if each.kind == kind] for kind in _OUTCOMES_AND_LABELS)
        if not given:
            return 0, 0
        scans = self._archive.scan(outcomes, "outcomes"), self._archive.scan(given, "labels")
        with segment.connect() as connection:
            found = counting.everything(connection, *scans)
            waiting, _ = _unmatched(connection, *scans)
        return sum(delays.total() for delays in found.delays.values()), waiting

    # ------------------------------------------------------------ inside

    def _segments(
        self,
        endpoint: str,
        *,
        from_at_ms: int | None = None,
        to_at_ms: int | None = None,
        release_hash: str = "",
    ) -> list[Segment]:
        return store.segments(
            self._db,
            endpoint=endpoint,
            kind="outcomes",
            release_hash=release_hash,
            from_ms=from_at_ms,
            to_ms=to_at_ms,
        )

    def _read(self, select: str) -> Columns:
        with segment.connect() as connection:
            columns = segment.to_columns(connection.execute(select))
        columns["score"] = columns["score"].astype(np.float64)
        return columns

    def _commit(self, endpoint: str, fresh: Columns, found: counting.Change, waiting: int) -> None:
        added = self._archive.add(
            "labels",
            endpoint,
            "",
            fresh,
            event_at_ms=_milliseconds(fresh["label_time"]),
            received_at_ms=_milliseconds(fresh["received_at"]),
        )
        parked, changes = store.label_state(self._db, endpoint) or (0, 0)
        with self._db.write() as tx:
            store.add_segment(tx, added)
            days = counting.applied(store.label_days(tx, endpoint), found, changed=changes + 1)
            self._keep(tx, endpoint, days, parked + waiting, changes + 1)

    def _refuse_impossible(self, endpoint: str) -> None:
        """A bare id of a request with several rows, and words where the model answers numbers."""
        connection = self._archive.connection
        ambiguous = connection.execute(
            "select l._id, max(o._row) + 1 from incoming_labels l join candidates o on l._id = o._id"
            f" where l._row is null group by l._id having max(o._row) > 0 limit {_SHOWN_PROBLEMS}"
        ).fetchall()
        problems = [f'id "{id_}" has {rows} rows: write "{id_}:0" and so on' for id_, rows in ambiguous]
        if self._answers_numbers(endpoint):
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

    def _answers_numbers(self, endpoint: str) -> bool:
        """Whether every file's answers are numbers: a word among them makes all of them text."""
        newest: dict[str, Segment] = {}
        for each in self._segments(endpoint):
            newest[each.release_hash] = each
        if not newest:
            return False
        scan = self._archive.scan(newest.values(), "outcomes")
        described = self._archive.connection.execute(f"describe select _prediction from {scan}").fetchall()
        return described[0][1] in ("BIGINT", "DOUBLE", "BOOLEAN")


def _unmatched(connection: duckdb.DuckDBPyConnection, outcomes: str, given: str) -> tuple[int, tuple[str, ...]]:
    """How many of the labels have no prediction, with a few of their ids or keys."""
    waiting = unmatched_labels(outcomes, given)
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


def _names(values: Iterable[object]) -> list[str]:
    """The names that are there, each once, sorted."""
    return sorted({str(value) for value in values if value is not None})


def _keep_names(connection: duckdb.DuckDBPyConnection, table: str, names: Sequence[str]) -> None:
    column = np.empty(len(names), dtype=object)
    column[:] = names
    connection.register("given", {"name": column})
    try:
        connection.execute(f"create or replace temp table {table} as select cast(name as varchar) as name from given")
    finally:
        connection.unregister("given")


def _between(column: str, names: Sequence[str]) -> str:
    """A condition that lets DuckDB pass over the parts of a file that none of these sorted names is in."""
    if not names:
        return "false"
    return f"{column} >= {segment.literal(names[0])} and {column} <= {segment.literal(names[-1])}"


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
