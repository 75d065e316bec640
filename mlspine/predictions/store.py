"""SQL of the prediction log: spool positions, segments, sub-windows, counters, learned references."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from mlspine.core.types import Struct, SubWindow
from mlspine.ports import Database, Param, Row, Transaction

Kind = Literal["log", "outcomes", "labels", "shadow"]


class Segment(Struct, frozen=True, kw_only=True):
    """One Parquet file. For labels the event times are label times and the release is ""."""

    key: str
    kind: Kind
    endpoint: str
    release_hash: str
    rows: int
    size_bytes: int
    first_event_at_ms: int
    last_event_at_ms: int
    first_received_at_ms: int
    last_received_at_ms: int
    first_id: str | None = None  # the range of ids in it: None unknown, "" none
    last_id: str | None = None
    keyed: int | None = None  # 1: some rows have a key; None: not known
    settled: int = 0  # 1: labels that came before these rows have been counted


class LabelDay(Struct, frozen=True, kw_only=True):
    """What the labels of one release and day of event time come to.

    delays: first labels by how long they took, see `delay_bin`; changed: the number of the change of the endpoint's
    labels that last touched the day.
    """

    release_hash: str
    start_at_ms: int
    labelled_rows: int
    delays: dict[int, int]
    changed: int


class Logged(Struct, frozen=True, kw_only=True):
    """What one endpoint and release ever sent to the log: rows = in segments + expired + forgotten.

    dropped_rows were answered and never written (full disk).
    """

    endpoint: str
    release_hash: str
    rows: int = 0
    expired_rows: int = 0
    forgotten_rows: int = 0
    dropped_rows: int = 0
    last_event_at_ms: int = 0
    last_received_at_ms: int = 0


# ---------------------------------------------------------------- spool positions


def positions(db: Database) -> dict[str, int]:
    """How far each known spool file was read."""
    return {row["name"]: row["next_offset"] for row in db.read("select name, next_offset from spool_position")}


def set_position(tx: Transaction, name: str, next_offset: int, damaged_bytes: int) -> None:
    """Move on in a spool file; damaged bytes add up."""
    tx.execute(
        "insert into spool_position (name, next_offset, damaged_bytes) values (:name, :next_offset, :damaged)"
        " on conflict (name) do update set next_offset = :next_offset,"
        " damaged_bytes = spool_position.damaged_bytes + :damaged",
        name=name,
        next_offset=next_offset,
        damaged=damaged_bytes,
    )


def drop_position(tx: Transaction, name: str) -> None:
    tx.execute("delete from spool_position where name = :name", name=name)


# ---------------------------------------------------------------- subjects forgotten


def add_forgotten(tx: Transaction, key_digest: str, *, now_ms: int) -> None:
    """Rows of this subject received until now are left out from now on, whichever machine has them."""
    tx.execute(
        "insert into forgotten (key_digest, forgotten_at_ms) values (:digest, :at_ms)"
        " on conflict (key_digest) do update set forgotten_at_ms = :at_ms",
        digest=key_digest,
        at_ms=now_ms,
    )


def last_forgotten_at_ms(db: Database) -> int:
    """When somebody was forgotten last, 0 for never."""
    return int(db.read("select max(forgotten_at_ms) as at_ms from forgotten")[0]["at_ms"] or 0)


def forgotten_since(db: Database, at_ms: int) -> dict[str, int]:
    """Digest -> when, of those forgotten at `at_ms` or later."""
    rows = db.read("select * from forgotten where forgotten_at_ms >= :at_ms", at_ms=at_ms)
    return {row["key_digest"]: row["forgotten_at_ms"] for row in rows}


# ---------------------------------------------------------------- segments


def segments(
    db: Database,
    *,
    endpoint: str = "",
    kind: Kind | Literal[""] = "",
    release_hash: str = "",
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> list[Segment]:
    """Segments in the order they were written; from_ms, to_ms: those that may hold event times in between."""
    conditions: list[str] = ["1 = 1"]
    params: dict[str, Param] = {}
    for name, value, condition in (
        ("endpoint", endpoint or None, "endpoint = :endpoint"),
        ("kind", kind or None, "kind = :kind"),
        ("release_hash", release_hash or None, "release_hash = :release_hash"),
        ("from_ms", from_ms, "last_event_at_ms >= :from_ms"),
        ("to_ms", to_ms, "first_event_at_ms < :to_ms"),
    ):
        if value is not None:
            conditions.append(condition)
            params[name] = value
    rows = db.read(f"select * from segment where {' and '.join(conditions)} order by key", **params)
    return [Segment(**row) for row in rows]


def event_spans(db: Database, endpoint: str) -> dict[str, tuple[int, int]]:
    """Event times from (included) to (excluded) of the predictions there are, per release; none of a rule's."""
    rows = db.read(
        "select release_hash, min(first_event_at_ms) as first, max(last_event_at_ms) + 1 as last from segment"
        " where endpoint = :endpoint and kind = 'outcomes' and release_hash <> '' group by release_hash",
        endpoint=endpoint,
    )
    return {row["release_hash"]: (row["first"], row["last"]) for row in rows}


def add_segment(tx: Transaction, segment: Segment) -> None:
    names = Segment.__struct_fields__
    tx.execute(
        f"insert into segment ({', '.join(names)}) values ({', '.join(f':{name}' for name in names)})",
        **{name: getattr(segment, name) for name in names},
    )


def drop_segments(tx: Transaction, keys: Iterable[str]) -> None:
    for key in keys:
        tx.execute("delete from segment where key = :key", key=key)


def unsettled(db: Database) -> list[Segment]:
    """Predictions for which it is not known yet whether labels wait for them."""
    rows = db.read("select * from segment where kind = 'outcomes' and settled = 0 order by key")
    return [Segment(**row) for row in rows]


def settle(tx: Transaction, keys: Iterable[str]) -> None:
    for key in keys:
        tx.execute("update segment set settled = 1 where key = :key", key=key)


# ---------------------------------------------------------------- what labels come to


def label_state(db: Database | Transaction, endpoint: str) -> tuple[int, int] | None:
    """Labels that wait, and the number of changes; None when they have not been counted."""
    rows = db.read("select parked_labels, changes from label_state where endpoint = :endpoint", endpoint=endpoint)
    return (rows[0]["parked_labels"], rows[0]["changes"]) if rows else None


def put_label_state(tx: Transaction, endpoint: str, *, parked_labels: int, changes: int) -> None:
    tx.execute(
        "insert into label_state (endpoint, parked_labels, changes) values (:endpoint, :parked, :changes)"
        " on conflict (endpoint) do update set parked_labels = :parked, changes = :changes",
        endpoint=endpoint,
        parked=parked_labels,
        changes=changes,
    )


def uncounted(db: Database) -> list[str]:
    """Endpoints whose labels are to be counted anew."""
    rows = db.read(
        "select distinct endpoint from segment where kind = 'labels'"
        " and endpoint not in (select endpoint from label_state) order by endpoint"
    )
    return [row["endpoint"] for row in rows]


def drop_label_state(tx: Transaction, endpoint: str) -> None:
    """Labels are to be counted anew; the changes counted so far stay with the days."""
    tx.execute("delete from label_state where endpoint = :endpoint", endpoint=endpoint)


def label_days(db: Database | Transaction, endpoint: str) -> list[LabelDay]:
    """Every day with labels, of every release, oldest first."""
    rows = db.read(
        "select release_hash, start_at_ms, labelled_rows, delays, changed from label_day"
        " where endpoint = :endpoint order by start_at_ms, release_hash",
        endpoint=endpoint,
    )
    return [LabelDay(**{**row, "delays": _delays(row["delays"])}) for row in rows]


def put_label_day(tx: Transaction, endpoint: str, day: LabelDay) -> None:
    tx.execute(
        "insert into label_day (endpoint, release_hash, start_at_ms, labelled_rows, delays, changed)"
        " values (:endpoint, :release_hash, :start_at_ms, :labelled_rows, :delays, :changed)"
        " on conflict (endpoint, release_hash, start_at_ms) do update set labelled_rows = excluded.labelled_rows,"
        " delays = excluded.delays, changed = excluded.changed",
        endpoint=endpoint,
        release_hash=day.release_hash,
        start_at_ms=day.start_at_ms,
        labelled_rows=day.labelled_rows,
        delays=msgspec.json.encode({str(key): count for key, count in sorted(day.delays.items())}).decode(),
        changed=day.changed,
    )


def drop_label_days(tx: Transaction, endpoint: str) -> None:
    tx.execute("delete from label_day where endpoint = :endpoint", endpoint=endpoint)


def labelled_total(db: Database, endpoint: str) -> int:
    rows = db.read(
        "select coalesce(sum(labelled_rows), 0) as n from label_day where endpoint = :endpoint", endpoint=endpoint
    )
    return int(rows[0]["n"])


def _delays(text: str) -> dict[int, int]:
    return {int(key): count for key, count in msgspec.json.decode(text).items()}


# ---------------------------------------------------------------- sub-windows


def hourly_rows(db: Database, endpoint: str) -> list[tuple[str, int, int]]:
    """(release, start of the hour, rows) of every hour with rows, oldest first; without their profiles."""
    rows = db.read(
        "select release_hash, start_at_ms, rows from sub_window where endpoint = :endpoint"
        " order by start_at_ms, release_hash",
        endpoint=endpoint,
    )
    return [(row["release_hash"], row["start_at_ms"], row["rows"]) for row in rows]


def sub_windows(
    db: Database, endpoint: str, *, release_hash: str = "", from_ms: int, to_ms: int | None
) -> list[SubWindow]:
    """Hours that begin in [from_ms, to_ms), oldest first; of every release when none is named."""
    rows = db.read(
        "select * from sub_window where endpoint = :endpoint"
        " and (:release_hash = '' or release_hash = :release_hash)"
        " and start_at_ms >= :from_ms and start_at_ms < coalesce(:to_ms, start_at_ms + 1)"
        " order by start_at_ms, release_hash",
        endpoint=endpoint,
        release_hash=release_hash,
        from_ms=from_ms,
        to_ms=to_ms,
    )
    return [_sub_window(row) for row in rows]


def find_sub_window(tx: Transaction, endpoint: str, release_hash: str, start_at_ms: int) -> SubWindow | None:
    rows = tx.read(
        "select * from sub_window where endpoint = :endpoint and release_hash = :release_hash"
        " and start_at_ms = :start_at_ms",
        endpoint=endpoint,
        release_hash=release_hash,
        start_at_ms=start_at_ms,
    )
    return _sub_window(rows[0]) if rows else None


def put_sub_window(tx: Transaction, window: SubWindow) -> None:
    names = SubWindow.__struct_fields__
    tx.execute(
        f"insert into sub_window ({', '.join(names)}) values ({', '.join(f':{name}' for name in names)})"
        " on conflict (endpoint, release_hash, start_at_ms) do update set rows = :rows, inputs = :inputs,"
        " outputs = :outputs, inputs_reference_id = :inputs_reference_id,"
        " outputs_reference_id = :outputs_reference_id",
        **{name: getattr(window, name) for name in names},
    )


def drop_sub_windows_before(tx: Transaction, endpoint: str, start_at_ms: int) -> int:
    return tx.execute(
        "delete from sub_window where endpoint = :endpoint and start_at_ms < :start_at_ms",
        endpoint=endpoint,
        start_at_ms=start_at_ms,
    )


def _sub_window(row: Row) -> SubWindow:
    return SubWindow(**{**row, "inputs": bytes(row["inputs"]), "outputs": bytes(row["outputs"])})


# ---------------------------------------------------------------- counters


def logged(db: Database, endpoint: str = "") -> list[Logged]:
    """The counters of one endpoint, or of all."""
    rows = db.read(
        "select * from logged where :endpoint = '' or endpoint = :endpoint order by endpoint, release_hash",
        endpoint=endpoint,
    )
    return [Logged(**row) for row in rows]


def count(tx: Transaction, more: Logged) -> None:
    """Add to the counters; the two times move forward only."""
    values: dict[str, Param] = {name: getattr(more, name) for name in Logged.__struct_fields__}
    tx.execute(
        f"insert into logged ({', '.join(values)}) values ({', '.join(f':{name}' for name in values)})"
        " on conflict (endpoint, release_hash) do update set rows = logged.rows + :rows,"
        " expired_rows = logged.expired_rows + :expired_rows,"
        " forgotten_rows = logged.forgotten_rows + :forgotten_rows,"
        " dropped_rows = logged.dropped_rows + :dropped_rows,"
        " last_event_at_ms = case when logged.last_event_at_ms > :last_event_at_ms"
        " then logged.last_event_at_ms else :last_event_at_ms end,"
        " last_received_at_ms = case when logged.last_received_at_ms > :last_received_at_ms"
        " then logged.last_received_at_ms else :last_received_at_ms end",
        **values,
    )


# ---------------------------------------------------------------- learned references


def find_learned_reference(db: Database | Transaction, endpoint: str, release_hash: str) -> tuple[bytes, int] | None:
    """The encoded reference and how many rows it was learned from; None while still learning."""
    rows = db.read(
        "select reference, rows from learned_reference where endpoint = :endpoint and release_hash = :release_hash",
        endpoint=endpoint,
        release_hash=release_hash,
    )
    return (bytes(rows[0]["reference"]), rows[0]["rows"]) if rows else None


def add_learned_reference(
    tx: Transaction, endpoint: str, release_hash: str, *, reference: bytes, rows: int, learned_at_ms: int
) -> None:
    tx.execute(
        "insert into learned_reference (endpoint, release_hash, reference, rows, learned_at_ms)"
        " values (:endpoint, :release_hash, :reference, :rows, :learned_at_ms)",
        endpoint=endpoint,
        release_hash=release_hash,
        reference=reference,
        rows=rows,
        learned_at_ms=learned_at_ms,
    )
