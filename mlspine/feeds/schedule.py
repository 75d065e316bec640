"""Batch scoring at fixed times: when the next run is due, and what became of the last. Pure but for its SQL."""

from __future__ import annotations

import datetime as dt
import re

from mlspine.core.errors import Invalid
from mlspine.core.types import Struct
from mlspine.ports import Database, Row, Transaction

LEAST_EVERY_S = 60
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_EVERY = re.compile(r"(\d+)\s*([smhdw])\Z")


class Schedule(Struct, frozen=True, kw_only=True):
    """One recurring batch. `running_due_at_ms` is the due time of the run under way, 0 between runs."""

    id: str
    ref: str
    input: str
    output: str
    every_s: int
    created_at_ms: int
    created_by: str
    next_due_at_ms: int
    running_due_at_ms: int = 0
    started_at_ms: int = 0
    pid: int = 0
    machine: str = ""
    ended_at_ms: int = 0
    result: str = ""
    failed: bool = False

    @property
    def running(self) -> bool:
        return self.running_due_at_ms > 0

    @property
    def model(self) -> str:
        return re.split("[:@]", self.ref)[0]


def parse_every(text: str) -> int:
    """Seconds of "30m", "6h", "1d", "2w".

    >>> parse_every("6h")
    21600
    """
    found = _EVERY.match(text.strip().lower())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if seconds < LEAST_EVERY_S:
        raise Invalid(f"--every {text!r} is no span of a minute or more", hint="write 30m, 6h, 1d or 1w")
    return seconds


def every_text(seconds: int) -> str:
    """The shortest way to write a span.

    >>> every_text(21600), every_text(172800)
    ('6h', '2d')
    """
    unit = next(unit for unit in "wdhms" if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def due_after(schedule: Schedule, now_ms: int) -> int:
    """The first due time after `now_ms`: however many were missed, one run makes up for them.

    >>> at = lambda due: Schedule(id="", ref="", input="", output="", every_s=60, created_at_ms=0, created_by="",
    ...                           next_due_at_ms=due)
    >>> due_after(at(60_000), 60_500), due_after(at(60_000), 400_000)
    (120000, 420000)
    """
    step_ms = schedule.every_s * 1000
    missed = max(0, now_ms - schedule.next_due_at_ms) // step_ms
    return schedule.next_due_at_ms + (missed + 1) * step_ms


def output_at(output: str, due_at_ms: int) -> str:
    """Where a run writes: {date} and {time} stand for its due time, UTC.

    >>> output_at("scores-{date}.parquet", 86_400_000)
    'scores-1970-01-02.parquet'
    """
    due = dt.datetime.fromtimestamp(due_at_ms / 1000, dt.UTC)
    return output.replace("{date}", due.strftime("%Y-%m-%d")).replace("{time}", due.strftime("%H%M"))


# ---------------------------------------------------------------- SQL


def add(tx: Transaction, schedule: Schedule) -> None:
    fields = {name: getattr(schedule, name) for name in Schedule.__struct_fields__}
    fields["failed"] = int(schedule.failed)
    named = ", ".join(fields)
    tx.execute(f"insert into schedule ({named}) values ({', '.join(f':{name}' for name in fields)})", **fields)


def schedules(db: Database, *, ids: str = "") -> list[Schedule]:
    """All schedules, oldest first; with `ids` the one of that id."""
    rows = db.read("select * from schedule where :id = '' or id = :id order by created_at_ms, id", id=ids)
    return [_schedule(row) for row in rows]


def claim(tx: Transaction, schedule: Schedule, *, next_due_at_ms: int, now_ms: int, machine: str) -> bool:
    """Take a due run for oneself; False when somebody else has it already, or the schedule is gone."""
    changed = tx.execute(
        "update schedule set next_due_at_ms = :next, running_due_at_ms = next_due_at_ms, started_at_ms = :now,"
        " pid = 0, machine = :machine where id = :id and next_due_at_ms = :due and running_due_at_ms = 0",
        id=schedule.id,
        due=schedule.next_due_at_ms,
        next=next_due_at_ms,
        now=now_ms,
        machine=machine,
    )
    return changed == 1


def set_pid(tx: Transaction, id_: str, pid: int) -> None:
    tx.execute("update schedule set pid = :pid where id = :id", id=id_, pid=pid)


def end(tx: Transaction, id_: str, *, at_ms: int, result: str, failed: bool) -> None:
    tx.execute(
        "update schedule set ended_at_ms = :at_ms, result = :result, failed = :failed, pid = 0, running_due_at_ms = 0"
        " where id = :id",
        id=id_,
        at_ms=at_ms,
        result=result,
        failed=int(failed),
    )


def remove(tx: Transaction, id_: str) -> None:
    tx.execute("delete from schedule where id = :id", id=id_)


def _schedule(row: Row) -> Schedule:
    known = {name: row[name] for name in Schedule.__struct_fields__}
    return Schedule(**{**known, "failed": bool(row["failed"])})
