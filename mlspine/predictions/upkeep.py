"""What happens to the log over time: merging small files, letting old rows go, forgetting a person."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mlspine.core.config import LogConfig
from mlspine.core.types import Struct
from mlspine.ports import Database, Transaction
from mlspine.predictions import segment, store
from mlspine.predictions.archive import Archive
from mlspine.predictions.segment import DAY_MS, literal
from mlspine.predictions.store import Kind, Logged, Segment

log = logging.getLogger(__name__)

PROFILE_DAYS = 400  # sub-windows are kept this long before the newest: the same season a year ago


class Tidied(Struct, frozen=True, kw_only=True):
    """What housekeeping did."""

    swept_files: int = 0
    expired_rows: int = 0
    expired_files: int = 0
    merged_files: int = 0
    dropped_hours: int = 0


class Removed(Struct, frozen=True, kw_only=True):
    """What was taken out for one subject: files changed and rows of each kind."""

    log_rows: int = 0
    outcome_rows: int = 0
    label_rows: int = 0
    shadow_rows: int = 0
    old: tuple[Segment, ...] = ()
    new: tuple[Segment, ...] = ()


def merge_small(db: Database, archive: Archive) -> int:
    """Merge small files lying side by side; returns how many went into larger ones.

    The old files stay until the next sweep: a query may be reading them.
    """
    merged = 0
    for group in segment.due_for_merge(store.segments(db)):
        whole = archive.rewrite(group)
        with db.write() as tx:
            _replace(tx, group, [whole] if whole else [])
        merged += len(group)
    return merged


def drop_expired(db: Database, config: LogConfig, *, now_ms: int) -> tuple[int, int]:
    """Let rows past their time go; returns (rows of the log, files). The files go at the next sweep."""
    gone = segment.expired(
        store.segments(db),
        now_ms=now_ms,
        log_days=config.retention_days,
        log_bytes=config.retention_bytes,
        outcome_days=max(config.retention_days, config.label_delay_days),
    )
    if not gone:
        return 0, 0
    with db.write() as tx:
        _replace(tx, gone, [])
        _count_anew(tx, gone)
        for each in gone:
            if each.kind == "log":
                more = Logged(endpoint=each.endpoint, release_hash=each.release_hash, expired_rows=each.rows)
                store.count(tx, more)
    rows = sum(each.rows for each in gone if each.kind == "log")
    log.info("log rows expired", extra={"rows": rows, "files": len(gone)})
    return rows, len(gone)


def drop_old_profiles(db: Database) -> int:
    """Let sub-windows go that begin more than PROFILE_DAYS before the endpoint's newest event."""
    newest: dict[str, int] = {}
    for each in store.logged(db):
        newest[each.endpoint] = max(newest.get(each.endpoint, 0), each.last_event_at_ms)
    with db.write() as tx:
        return sum(
            store.drop_sub_windows_before(tx, endpoint, last - PROFILE_DAYS * DAY_MS)
            for endpoint, last in newest.items()
        )


def rewrite_without(db: Database, archive: Archive, endpoint: str, key: str) -> Removed:
    """New files without the rows of a subject, for the caller to commit: its requests, outcomes and labels, and what
    a shadow made of them.

    A label given by id goes with the prediction it is of; so does a shadow's answer.
    """
    held = {kind: store.segments(db, endpoint=endpoint, kind=kind) for kind in segment.COLUMNS_OF}
    connection = archive.connection
    subject = literal(key)
    connection.execute("create or replace temp table forgotten (_id varchar, _row bigint)")
    for kind in ("log", "outcomes"):
        scan = archive.scan(held[kind], kind)
        connection.execute(f"insert into forgotten select _id, _row from {scan} where _key = {subject}")
    mine = f"coalesce(_key = {subject}, false)"
    of_mine = "coalesce((_id, coalesce(_row, 0)) in (select (_id, _row) from forgotten), false)"
    either = f"({mine} or {of_mine})"
    conditions: dict[Kind, str] = {"log": mine, "outcomes": mine, "labels": either, "shadow": either}
    rows: dict[Kind, int] = {}
    old: list[Segment] = []
    new: list[Segment] = []
    for kind, condition in conditions.items():
        rows[kind] = 0
        for each in held[kind]:
            found = connection.execute(
                f"select count(*) from {archive.scan([each], kind)} where {condition}"
            ).fetchone()
            if not found or not found[0]:
                continue
            rows[kind] += found[0]
            rest = archive.rewrite([each], where=f"not {condition}")
            old.append(each)
            new += [rest] if rest else []
    connection.execute("drop table forgotten")
    return Removed(
        log_rows=rows["log"],
        outcome_rows=rows["outcomes"],
        label_rows=rows["labels"],
        shadow_rows=rows["shadow"],
        old=tuple(old),
        new=tuple(new),
    )


def commit_removed(tx: Transaction, removed: Removed) -> None:
    """Make a removal true, with its rows counted as forgotten per release."""
    _replace(tx, removed.old, removed.new)
    _count_anew(tx, removed.old)
    signed = [(each, each.rows) for each in removed.old] + [(each, -each.rows) for each in removed.new]
    by_release: dict[tuple[str, str], int] = {}
    for each, rows in signed:
        if each.kind == "log":
            at = (each.endpoint, each.release_hash)
            by_release[at] = by_release.get(at, 0) + rows
    for (endpoint, release_hash), rows in by_release.items():
        store.count(tx, Logged(endpoint=endpoint, release_hash=release_hash, forgotten_rows=rows))


def _count_anew(tx: Transaction, gone: Sequence[Segment]) -> None:
    """What labels come to is not known any more where predictions or labels went away."""
    for endpoint in sorted({each.endpoint for each in gone if each.kind in ("outcomes", "labels")}):
        store.drop_label_state(tx, endpoint)


def _replace(tx: Transaction, old: Sequence[Segment], new: Sequence[Segment]) -> None:
    store.drop_segments(tx, (each.key for each in old))
    for each in new:
        store.add_segment(tx, each)
