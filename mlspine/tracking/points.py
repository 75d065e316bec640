"""SQL of metrics: every point once, and the latest of each key.

The latest is the one with the greatest (step, timestamp, value), whenever it was written; NaN loses to any number
at the same step and time. NaN is stored as 0 with `is_nan` 1, since SQLite has no NaN; an infinity as the greatest
number of its sign, which is what MLflow's clients get of its own store, and pages of a search can begin behind it.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Sequence

from mlspine.ports import Database, Param, Row, Transaction
from mlspine.tracking.run import Point
from mlspine.tracking.store import in_parts, named

ORDER = "timestamp_ms, step, is_nan, value"
AT_ONCE = 100  # points stored by one statement

_NEWER = (
    "(excluded.step, excluded.timestamp_ms, 1 - excluded.is_nan, excluded.value)"
    " > (run_metric.step, run_metric.timestamp_ms, 1 - run_metric.is_nan, run_metric.value)"
)
_LATEST = (
    "insert into run_metric (run_no, key, experiment_id, is_nan, value, step, timestamp_ms, points)"
    " values (:no, :key, :experiment, :nan, :value, :step, :at, :points)"
    " on conflict (run_no, key) do update set points = run_metric.points + excluded.points, "
    + ", ".join(
        f"{column} = case when {_NEWER} then excluded.{column} else run_metric.{column} end"
        for column in ("is_nan", "value", "step", "timestamp_ms")
    )
)


def add_points(tx: Transaction, no: int, experiment_id: int, points: Sequence[Point]) -> int:
    """Store points, each once; returns how many were not there before."""
    added: dict[str, list[Row]] = defaultdict(list)
    for start in range(0, len(points), AT_ONCE):
        for row in _add(tx, no, points[start : start + AT_ONCE]):
            added[row["key"]].append(row)
    for key, rows in added.items():
        latest = max(rows, key=lambda row: (row["step"], row["timestamp_ms"], -row["is_nan"], row["value"]))
        tx.execute(
            _LATEST,
            no=no,
            key=key,
            experiment=experiment_id,
            nan=latest["is_nan"],
            value=latest["value"],
            step=latest["step"],
            at=latest["timestamp_ms"],
            points=len(rows),
        )
    return sum(map(len, added.values()))


def _add(tx: Transaction, no: int, points: Sequence[Point]) -> list[Row]:
    params: dict[str, Param] = {"no": no}
    lines = []
    for place, point in enumerate(points):
        lines.append(f"(:no, :k{place}, :s{place}, :t{place}, :n{place}, :v{place})")
        params[f"k{place}"] = point.key
        params[f"s{place}"] = point.step
        params[f"t{place}"] = point.timestamp_ms
        params[f"n{place}"] = int(math.isnan(point.value))
        params[f"v{place}"] = stored_value(point.value)
    return tx.read(
        f"insert into metric_point (run_no, key, step, timestamp_ms, is_nan, value) values {', '.join(lines)}"
        " on conflict (run_no, key, step, timestamp_ms, is_nan, value) do nothing"
        " returning key, step, timestamp_ms, is_nan, value",
        **params,
    )


def stored_value(value: float) -> float:
    """What the column `value` holds for a value.

    >>> stored_value(math.nan), stored_value(-math.inf)
    (0.0, -1.7976931348623157e+308)
    """
    return 0.0 if math.isnan(value) else max(-sys.float_info.max, min(sys.float_info.max, float(value)))


def latest_of(db: Database, nos: Sequence[int]) -> dict[int, tuple[Point, ...]]:
    """The latest points of some runs, by run and key."""
    found: dict[int, list[Point]] = defaultdict(list)
    for part in in_parts(nos):
        names, params = named(part)
        rows = db.read(
            "select run_no, key, is_nan, value, step, timestamp_ms from run_metric"
            f" where run_no in ({names}) order by run_no, key",
            **params,
        )
        for row in rows:
            found[row["run_no"]].append(to_point(row))
    return {no: tuple(points) for no, points in found.items()}


def history(
    db: Database, no: int, key: str, *, limit: int, after: tuple[int, int, int, float] | None = None
) -> list[Row]:
    """Points by (time, step, value), at most `limit`, those after the given place."""
    place: dict[str, Param] = {}
    behind = ""
    if after is not None:
        place = {"at": after[0], "step": after[1], "nan": after[2], "value": after[3]}
        behind = f" and ({ORDER}) > (:at, :step, :nan, :value)"
    return db.read(
        "select key, step, timestamp_ms, is_nan, value from metric_point"
        f" where run_no = :no and key = :key{behind} order by {ORDER} limit :limit",
        no=no,
        key=key,
        limit=limit,
        **place,
    )


def count(db: Database, no: int, key: str) -> int:
    rows = db.read("select points from run_metric where run_no = :no and key = :key", no=no, key=key)
    return int(rows[0]["points"]) if rows else 0


def steps(db: Database, no: int, key: str) -> list[int]:
    """The steps at which there are points, ascending."""
    rows = db.read(
        "select distinct step from metric_point where run_no = :no and key = :key order by step", no=no, key=key
    )
    return [row["step"] for row in rows]


def at_steps(db: Database, no: int, key: str, wanted: Sequence[int]) -> list[Row]:
    """All points at some steps, by (step, time)."""
    found: list[Row] = []
    for part in in_parts(wanted):
        names, params = named(part)
        found += db.read(
            "select key, step, timestamp_ms, is_nan, value from metric_point"
            f" where run_no = :no and key = :key and step in ({names}) order by step, timestamp_ms, is_nan, value",
            no=no,
            key=key,
            **params,
        )
    return found


def at_ranks(
    db: Database, no: int, key: str, amount: int, *, start: int | None = None, end: int | None = None
) -> list[Row]:
    """Points by (step, time) evenly by rank, as `sampling.ranks` has it, counted by the database: for histories
    with many points at one step."""
    inside, places = "", {"start": start, "end": end}
    if start is not None and end is not None:
        inside = " and step between :start and :end"
    else:
        places = {}
    order = "step, timestamp_ms, value, is_nan"
    return db.read(
        "select key, step, timestamp_ms, is_nan, value from (select p.*, lag(part) over w as before,"
        " lead(part) over w as after from (select key, step, timestamp_ms, is_nan, value,"
        f" ntile(:amount) over (order by {order}) as part, count(*) over () as points from metric_point"
        f" where run_no = :no and key = :key{inside}) p window w as (order by {order})) q"
        # The first of each group, but of the last group its last point.
        " where (points <= :amount or part < :amount) and (before is null or before <> part)"
        f" or points > :amount and after is null order by {order}",
        no=no,
        key=key,
        amount=amount,
        **places,
    )


def to_point(row: Row) -> Point:
    return Point(
        key=row["key"],
        value=math.nan if row["is_nan"] else row["value"],
        timestamp_ms=row["timestamp_ms"],
        step=row["step"],
    )
