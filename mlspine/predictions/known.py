"""Rows known by an id somebody else gave them, so that reading or sending them again adds nothing.

Of every id 64 bits of its BLAKE3 digest are kept: eight bytes a row. Two ids with the same 64 bits would be taken
for one; among a hundred million rows the chance that this happens even once is 0.03%. A row sent again carries the
same event time, so it is looked for within that hour only; one without an event time among all rows without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from mlspine.ports import Database, Transaction

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
UNTIMED_BUCKETS = 64  # after the 24 of the hours

UInts = np.ndarray[Any, np.dtype[np.uint64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


def digests_of(ids: Sequence[str]) -> UInts:
    """64 bits per id, shape (n,).

    >>> bool(digests_of(["a", "b", "a"])[0] == digests_of(["a"])[0])
    True
    """
    whole = b"".join(blake3(each.encode("utf-8", "replace")).digest(8) for each in ids)
    return np.frombuffer(whole, dtype="<u8")


class KnownRows:
    """The ids of one endpoint's rows that are in the log, as one transaction or one look sees them."""

    def __init__(self, db: Database | Transaction, endpoint: str) -> None:
        self._db = db
        self._endpoint = endpoint

    def unknown(self, ids: UInts, *, event_at_ms: Ints, timed: Flags) -> Flags:
        """Which of these rows are in the log not yet, and no second time among themselves; shape (n,)."""
        fresh = np.zeros(len(ids), dtype=bool)
        for (day, bucket), at in _by_place(ids, event_at_ms, timed).items():
            _, first = np.unique(ids[at], return_index=True)
            at = at[np.sort(first)]
            fresh[at] = ~np.isin(ids[at], self._held(day, bucket))
        return fresh

    def add(self, tx: Transaction, ids: UInts, *, event_at_ms: Ints, timed: Flags, now_ms: int) -> None:
        """Take note of rows that are in the log now."""
        for (day, bucket), at in _by_place(ids, event_at_ms, timed).items():
            own_day = now_ms // DAY_MS if day is None else day
            held = _read(tx, self._endpoint, own_day, bucket)
            tx.execute(
                "insert into known_row (endpoint, day, bucket, received_day, digests)"
                " values (:endpoint, :day, :bucket, :received, :digests)"
                " on conflict (endpoint, day, bucket) do update set digests = :digests, received_day = :received",
                endpoint=self._endpoint,
                day=own_day,
                bucket=bucket,
                received=now_ms // DAY_MS,
                digests=np.concatenate([held, ids[at]]).astype("<u8").tobytes(),
            )

    def _held(self, day: int | None, bucket: int) -> UInts:
        return _read(self._db, self._endpoint, day, bucket)


def drop_known_before(tx: Transaction, day: int) -> int:
    """Forget ids none of which came on this day (days since 1970) or later; returns how many places went."""
    return tx.execute("delete from known_row where received_day < :day", day=day)


# ---------------------------------------------------------------- rows of the past, being read in


def set_filling(tx: Transaction, endpoint: str, until_ms: int) -> None:
    """Until then the hours of the endpoint are not over, whatever their time; 0: they are again."""
    tx.execute(
        "insert into filling (endpoint, until_ms) values (:endpoint, :until)"
        " on conflict (endpoint) do update set until_ms = :until",
        endpoint=endpoint,
        until=until_ms,
    )


def filling_until(db: Database, endpoint: str) -> int:
    """When the hours of the endpoint may be judged again, ms UTC; 0 for at once."""
    rows = db.read("select until_ms from filling where endpoint = :endpoint", endpoint=endpoint)
    return int(rows[0]["until_ms"]) if rows else 0


# ---------------------------------------------------------------- inside


def _by_place(ids: UInts, event_at_ms: Ints, timed: Flags) -> dict[tuple[int | None, int], Ints]:
    """Positions of the rows by where their ids are kept: day and hour, or for those without a time None and the
    bucket the id itself falls into."""
    if not len(ids):
        return {}
    hours = event_at_ms // HOUR_MS
    places = np.where(timed, hours, -1 - (ids % np.uint64(UNTIMED_BUCKETS)).astype(np.int64))
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(places[order]) != 0])
    found: dict[tuple[int | None, int], Ints] = {}
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(ids)], strict=True):
        place = int(places[order[begin]])
        key = (place // 24, place % 24) if timed[order[begin]] else (None, 24 + (-1 - place))
        found[key] = order[begin:end]
    return found


def _read(db: Database | Transaction, endpoint: str, day: int | None, bucket: int) -> UInts:
    where = "" if day is None else " and day = :day"
    params: dict[str, Any] = {"endpoint": endpoint, "bucket": bucket} | ({} if day is None else {"day": day})
    rows = db.read(f"select digests from known_row where endpoint = :endpoint and bucket = :bucket{where}", **params)
    parts = [np.frombuffer(bytes(row["digests"]), dtype="<u8") for row in rows]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)
