"""From what processes have counted since they started to what each minute of a roll-out brought, once each.

Every machine does this for its own processes. The difference and the mark up to which it is counted are one
transaction: killed anywhere, nothing is counted twice. What a process counted after its last look and before its death
is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mlspine.core.plan import ArmTally, Endpoint, ProcessState
from mlspine.ports import Database
from mlspine.rollouts import store
from mlspine.rollouts.counts import HOUR_MS, MINUTE_MS, NOTHING, Compared, Counts
from mlspine.rollouts.store import Arm, Record, Rollout


class _Part(NamedTuple):
    """One arm of one process: where it counts, and what it has counted."""

    source: str
    arm: Arm | None  # None: a shadow, which is compared
    counts: tuple[float, ...]


class Counting:
    """Counts the arms of what is under way, and remembers for an hour what live releases did."""

    def __init__(self, *, db: Database, clock: Callable[[], int], machine: str = "") -> None:
        self._db = db
        self._clock = clock
        self._machine = machine
        self._seen: dict[str, Counts] = {}
        self._live: dict[tuple[str, str], deque[tuple[int, Counts]]] = {}
        self._workers: dict[tuple[str, str], int] = {}

    def count(
        self, states: Sequence[ProcessState], rollouts: Sequence[Rollout], endpoints: Sequence[Endpoint]
    ) -> list[str]:
        """Add what is new; returns the releases whose worker has died since the look before."""
        current = {each.name: each.current.number for each in endpoints}
        for rollout in rollouts:
            if current.get(rollout.endpoint) is not None:
                self._add(rollout, list(self._parts(states, rollout, current[rollout.endpoint])))
        for state in states:
            self._remember(state)
        return [release for state in states for release in self._died(state)]

    def record(self, endpoint: str, release_hash: str) -> Record:
        """What a release did as the live one within the last hour, as far as this process has seen it."""
        kept = self._live.get((endpoint, release_hash), ())
        total = NOTHING
        for at_ms, counts in kept:
            if at_ms > self._clock() - HOUR_MS:
                total = total.plus(counts)
        return Record(**total._asdict())

    # ------------------------------------------------------------ inside

    def _parts(self, states: Sequence[ProcessState], rollout: Rollout, revision: int) -> Iterable[_Part]:
        for state in states:
            for tally in state.arms:
                if tally.endpoint != rollout.endpoint or tally.revision != revision or not rollout.revision:
                    continue
                if rollout.kind == "canary" and tally.revision != rollout.revision:
                    continue  # of a step whose row is not there yet: counted as soon as it is
                source = f"{self._source(state)}/{tally.revision}/{tally.role}/{tally.release_hash}"
                if tally.role == "shadow" and tally.release_hash in (rollout.release_hash, rollout.against_hash):
                    yield _Part(f"{source}/compared", None, _compared(tally))
                arm = _arm(tally, rollout)
                if arm is not None:
                    yield _Part(source, arm, _counts(tally))

    def _add(self, rollout: Rollout, parts: list[_Part]) -> None:
        marks = store.marks(self._db, rollout.id) if parts else {}
        if all(list(part.counts) == marks.get(part.source, [0] * len(part.counts)) for part in parts):
            return  # nothing new: no transaction for nothing
        at_ms = self._clock() // MINUTE_MS * MINUTE_MS
        with self._db.write() as tx:
            marks = store.marks(tx, rollout.id)
            for part in parts:
                before = marks.get(part.source, [0] * len(part.counts))
                new = [now - then for now, then in zip(part.counts, before, strict=True)]
                if not any(new):
                    continue
                if part.arm is None:
                    store.add_compared(tx, rollout.id, _as_compared(new))
                else:
                    store.add_counts(tx, rollout, part.arm, at_ms, Counts(*map(int, new)))
                store.put_mark(tx, rollout.id, part.source, part.counts)

    def _remember(self, state: ProcessState) -> None:
        at_ms = self._clock()
        for tally in state.arms:
            if tally.role != "live":
                continue
            source = f"{self._source(state)}/{tally.endpoint}/{tally.revision}/{tally.release_hash}"
            now, before = Counts(*_counts(tally)), self._seen.get(source, NOTHING)
            self._seen[source] = now
            new = Counts(*(a - b for a, b in zip(now, before, strict=True)))
            if not new.requests:
                continue
            kept = self._live.setdefault((tally.endpoint, tally.release_hash), deque())
            minute = at_ms // MINUTE_MS * MINUTE_MS
            if kept and kept[-1][0] == minute:
                kept[-1] = minute, kept[-1][1].plus(new)
            else:
                kept.append((minute, new))
            while kept and kept[0][0] <= at_ms - HOUR_MS:
                kept.popleft()

    def _died(self, state: ProcessState) -> list[str]:
        """Releases whose worker has another pid than at the look before."""
        found = []
        for release, pid in state.workers.items():
            known = self._workers.get((self._source(state), release))
            self._workers[self._source(state), release] = pid
            if known is not None and known != pid:
                found.append(release)
        return found

    def _source(self, state: ProcessState) -> str:
        return f"{self._machine}/{state.process}@{state.started_at_ms}"


def _arm(tally: ArmTally, rollout: Rollout) -> Arm | None:
    if rollout.kind == "watch":
        if tally.role == "shadow" and tally.release_hash == rollout.against_hash:
            return "older"  # asked along
        return "newer" if tally.role == "live" and tally.release_hash == rollout.release_hash else None
    if tally.role == "live" and tally.release_hash == rollout.against_hash:
        return "older"
    return "newer" if tally.role == "candidate" and tally.release_hash == rollout.release_hash else None


def _counts(tally: ArmTally) -> tuple[int, ...]:
    return tuple(getattr(tally, name) for name in Counts._fields)


def _compared(tally: ArmTally) -> tuple[float, ...]:
    return (
        tally.requests,
        tally.compared,
        tally.flips,
        tally.difference,
        tally.difference_squared,
        tally.dropped,
    )


def _as_compared(new: Sequence[float]) -> Compared:
    requests, rows, flips, difference, squared, dropped = new
    return Compared(int(requests), int(rows), int(flips), difference, squared, int(dropped))
