"""What labels come to, kept up to date: labelled rows per day, how long labels took, and how many wait.

Everything here is SQL over relations of outcomes and labels, small ones where few labels came: the rows that the
new labels can be of, and the labels those rows can have. What changes is the difference of before and after.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mlspine.core.late import duckdb
from mlspine.predictions import segment
from mlspine.predictions.store import LabelDay

DELAY_UNIT_MS = 1_000.0
BINS_PER_DOUBLING = 8
LAST_BIN = 255  # about 125 years

Day = tuple[str, int]  # release, start of the day in ms


class Change(NamedTuple):
    """What labels, or predictions they waited for, changed.

    delays: per day, rows that became labelled by the bin of their delay; lost: rows no longer labelled (a label by
    key may pass to a later prediction); touched: every day whose labels may read otherwise than before.
    """

    delays: Mapping[Day, Counter[int]]
    lost: Mapping[Day, int]
    touched: frozenset[Day]


def delay_bin(delay_ms: float) -> int:
    """The bin of a delay: eight per doubling from one second on, so each is known within 9%.

    >>> delay_bin(0), delay_bin(1_000), delay_bin(86_400_000)
    (0, 0, 131)
    """
    return max(
        0, min(LAST_BIN, math.floor(math.log2(max(delay_ms, DELAY_UNIT_MS) / DELAY_UNIT_MS) * BINS_PER_DOUBLING))
    )


def bin_end_ms(number: int) -> float:
    """The delay at which a bin ends.

    >>> round(bin_end_ms(131) / 3_600_000, 1)
    25.7
    """
    return float(DELAY_UNIT_MS * 2 ** ((number + 1) / BINS_PER_DOUBLING))


def labelled_rows(outcomes: str, labels: str) -> str:
    """SQL of the labelled rows: id, row, release, day of event time in ms, and the bin of the first label's delay.

    A label with a time of its own took from event to that time; one without took from answer to receipt, by the
    clock, since event times may be of a replayed past.
    """
    took = (
        "case when timed then epoch_ms(label_time) - epoch_ms(_event_time)"
        " else epoch_ms(label_received_at) - epoch_ms(_received_at) end"
    )
    binned = (
        f"greatest(0, least({LAST_BIN}, cast(floor(log2(greatest(min({took}), {DELAY_UNIT_MS}) / {DELAY_UNIT_MS})"
        f" * {BINS_PER_DOUBLING}) as integer)))"
    )
    day = f"cast(floor(epoch_ms(min(_event_time)) / {segment.DAY_MS}) as bigint) * {segment.DAY_MS}"
    return (
        f"select _id, _row, min(_release) as release, {day} as day, {binned} as bin"
        f" from ({segment.matched_labels(outcomes, labels)}) group by _id, _row"
    )


def change(
    connection: duckdb.DuckDBPyConnection, *, before: tuple[str, str], after: tuple[str, str], touching: str
) -> Change:
    """The difference between two states, each a relation of outcomes and one of labels.

    touching: the labels whose rows count as touched, labelled before or not.
    """
    connection.execute(f"create or replace temp table labelled_after as {labelled_rows(*after)}")
    connection.execute(f"create or replace temp table labelled_before as {labelled_rows(*before)}")
    try:
        gained = connection.execute(
            "select release, day, bin, count(*) from labelled_after anti join labelled_before using (_id, _row)"
            " group by all"
        ).fetchall()
        lost = connection.execute(
            "select release, day, count(*) from labelled_before anti join labelled_after using (_id, _row) group by all"
        ).fetchall()
        touched = connection.execute(
            f"select distinct release, day from ({labelled_rows(after[0], touching)})"
        ).fetchall()
    finally:
        for name in ("labelled_after", "labelled_before"):
            connection.execute(f"drop table if exists {name}")
    delays: dict[Day, Counter[int]] = {}
    for release, day, number, count in gained:
        delays.setdefault((release, day), Counter())[number] += count
    lost_rows = {(release, day): count for release, day, count in lost}
    return Change(delays, lost_rows, frozenset(touched) | delays.keys() | lost_rows.keys())


def everything(connection: duckdb.DuckDBPyConnection, outcomes: str, labels: str) -> Change:
    """The whole count, for an endpoint whose labels have not been counted yet."""
    delays: dict[Day, Counter[int]] = {}
    query = f"select release, day, bin, count(*) from ({labelled_rows(outcomes, labels)}) group by all"
    for release, day, number, count in connection.execute(query).fetchall():
        delays.setdefault((release, day), Counter())[number] += count
    return Change(delays, {}, frozenset(delays))


def applied(days: Iterable[LabelDay], found: Change, *, changed: int) -> list[LabelDay]:
    """The touched days as they are after a change, numbered `changed`."""
    known = {(each.release_hash, each.start_at_ms): each for each in days}
    after = []
    for release, start_at_ms in sorted(found.touched):
        old = known.get((release, start_at_ms))
        gained = found.delays.get((release, start_at_ms), Counter[int]())
        rows = gained.total() - found.lost.get((release, start_at_ms), 0)
        after.append(
            LabelDay(
                release_hash=release,
                start_at_ms=start_at_ms,
                labelled_rows=(old.labelled_rows if old else 0) + rows,
                delays=dict(Counter(old.delays if old else {}) + gained),
                changed=changed,
            )
        )
    return after
