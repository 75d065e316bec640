"""SQL of roll-outs: what was asked for and how far it came, and the counts of both releases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from mlspine.core.types import Struct
from mlspine.ports import Database, Transaction
from mlspine.rollouts.counts import NOTHING, UNCOMPARED, Compared, Counts, Minute
from mlspine.rollouts.deciding import CanaryPlan

Kind = Literal["canary", "watch"]
# promoted: answers everything. passed: a watch without a breach. returned: the older release answers.
# aborted, ended: by a person, here or by another change. inconclusive, invalid: no verdict, so the older one answers.
State = Literal["open", "promoted", "passed", "returned", "aborted", "ended", "inconclusive", "invalid"]
Arm = Literal["older", "newer"]


class Record(Struct, frozen=True, kw_only=True):
    """What a watch holds the newer release against: what the older one did in the hour before."""

    requests: int = 0
    failures: int = 0
    failed_again: int = 0
    slow: int = 0
    slow_again: int = 0
    broken: int = 0

    @property
    def counts(self) -> Counts:
        return Counts(*msgspec.structs.astuple(self))


class Rollout(Struct, frozen=True, kw_only=True):
    """A canary or a watched switch as the store holds it.

    revision: of the endpoint, that made the step or the switch so; 0: it has not been made yet. bound: the mean
    disagreement that is taken, -1: not measured. agreement: rank correlation of both on recorded rows.
    """

    id: str
    endpoint: str
    kind: Kind
    version: int
    release_hash: str
    against: int
    against_hash: str
    plan: CanaryPlan = CanaryPlan()
    record: Record = Record()
    state: State = "open"
    step: int = 0
    step_at_ms: int
    revision: int = 0
    started_at_ms: int
    started_by: str
    ends_at_ms: int
    closed_at_ms: int = 0
    why: str = ""
    bound: float = -1.0
    agreement: float = 1.0
    crashes: int = 0

    @property
    def share(self) -> float:
        """What the newer release answers of the requests in this step."""
        return self.plan.steps[self.step] / 100 if self.kind == "canary" else 1.0


def add(tx: Transaction, rollout: Rollout) -> None:
    values = msgspec.structs.asdict(rollout)
    record = values.pop("record")
    values["plan"] = msgspec.json.encode(rollout.plan if rollout.kind == "canary" else record).decode()
    names = ", ".join(values)
    tx.execute(f"insert into rollout ({names}) values ({', '.join(f':{name}' for name in values)})", **values)


def remove(tx: Transaction, rollout_id: str) -> None:
    tx.execute("delete from rollout where id = :id", id=rollout_id)


def change(tx: Transaction, rollout: Rollout) -> None:
    """Keep how far it came."""
    tx.execute(
        "update rollout set state = :state, step = :step, step_at_ms = :step_at_ms, revision = :revision,"
        " closed_at_ms = :closed_at_ms, why = :why, bound = :bound, agreement = :agreement where id = :id",
        id=rollout.id,
        state=rollout.state,
        step=rollout.step,
        step_at_ms=rollout.step_at_ms,
        revision=rollout.revision,
        closed_at_ms=rollout.closed_at_ms,
        why=rollout.why,
        bound=rollout.bound,
        agreement=rollout.agreement,
    )


def add_crash(tx: Transaction, release_hash: str) -> None:
    tx.execute(
        "update rollout set crashes = crashes + 1 where release_hash = :hash and state = 'open'", hash=release_hash
    )


def open_ones(db: Database, endpoint: str = "") -> list[Rollout]:
    """What is under way, oldest first; "": at all endpoints."""
    where = "and endpoint = :endpoint" if endpoint else ""
    values = {"endpoint": endpoint} if endpoint else {}
    rows = db.read(f"select * from rollout where state = 'open' {where} order by started_at_ms, id", **values)
    return [_rollout(row) for row in rows]


def newest(db: Database, endpoint: str, limit: int) -> list[Rollout]:
    """The newest of an endpoint ("": of all), newest first."""
    where = "where endpoint = :endpoint" if endpoint else ""
    values: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    rows = db.read(
        f"select * from rollout {where} order by started_at_ms desc, id desc limit :limit", **values, limit=limit
    )
    return [_rollout(row) for row in rows]


def watches(db: Database, endpoint: str, revision: int) -> bool:
    """Whether the switch of that revision is, or was, watched."""
    return bool(
        db.read(
            "select id from rollout where endpoint = :endpoint and kind = 'watch' and revision = :revision",
            endpoint=endpoint,
            revision=revision,
        )
    )


# ---------------------------------------------------------------- counts


def minutes(db: Database, rollout: Rollout) -> list[Minute]:
    """Both arms minute by minute, in order of time."""
    rows = db.read("select * from rollout_minute where rollout = :id order by step, at_ms", id=rollout.id)
    found: dict[tuple[int, int], dict[str, Counts]] = {}
    for row in rows:
        found.setdefault((row["step"], row["at_ms"]), {})[row["arm"]] = Counts(*(row[name] for name in Counts._fields))
    return [
        Minute(
            step,
            at_ms,
            rollout.plan.steps[step] / 100 if rollout.kind == "canary" else 1.0,
            arms.get("older", NOTHING),
            arms.get("newer", NOTHING),
        )
        for (step, at_ms), arms in found.items()
    ]


def compared(db: Database, rollout: Rollout) -> Compared:
    rows = db.read("select * from rollout_compared where rollout = :id", id=rollout.id)
    return Compared(*(rows[0][name] for name in Compared._fields)) if rows else UNCOMPARED


def marks(db: Database | Transaction, rollout_id: str) -> dict[str, list[float]]:
    """What of each process's counts is in the tables already."""
    rows = db.read("select source, counts from rollout_mark where rollout = :id", id=rollout_id)
    return {row["source"]: msgspec.json.decode(row["counts"]) for row in rows}


def put_mark(tx: Transaction, rollout_id: str, source: str, counts: Sequence[float]) -> None:
    tx.execute(
        "insert into rollout_mark (rollout, source, counts) values (:id, :source, :counts)"
        " on conflict (rollout, source) do update set counts = excluded.counts",
        id=rollout_id,
        source=source,
        counts=msgspec.json.encode(list(counts)).decode(),
    )


def add_counts(tx: Transaction, rollout: Rollout, arm: Arm, at_ms: int, counts: Counts) -> None:
    names = Counts._fields
    tx.execute(
        f"insert into rollout_minute (rollout, step, at_ms, arm, {', '.join(names)})"
        f" values (:id, :step, :at_ms, :arm, {', '.join(f':{name}' for name in names)})"
        " on conflict (rollout, step, at_ms, arm) do update set "
        + ", ".join(f"{name} = rollout_minute.{name} + excluded.{name}" for name in names),
        id=rollout.id,
        step=rollout.step,
        at_ms=at_ms,
        arm=arm,
        **counts._asdict(),
    )


def add_compared(tx: Transaction, rollout_id: str, more: Compared) -> None:
    names = Compared._fields
    tx.execute(
        f"insert into rollout_compared (rollout, {', '.join(names)})"
        f" values (:id, {', '.join(f':{name}' for name in names)}) on conflict (rollout) do update set "
        + ", ".join(f"{name} = rollout_compared.{name} + excluded.{name}" for name in names),
        id=rollout_id,
        **more._asdict(),
    )


def _rollout(row: dict[str, Any]) -> Rollout:
    kind = CanaryPlan if row["kind"] == "canary" else Record
    document = msgspec.json.decode(row["plan"], type=kind)
    return Rollout(**{**row, "plan": CanaryPlan(), "plan" if row["kind"] == "canary" else "record": document})
