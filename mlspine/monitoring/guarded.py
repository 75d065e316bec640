"""How often guards acted at an endpoint: what stood in for the release, what was refused, what a rule caught. Pure.

Counts are those of the serving processes since each began (`ProcessState.endpoints`, see serving/meter.py); for an
alert they are taken over a sliding window, so that an old incident is not told for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mlspine.core.plan import ProcessState
from mlspine.core.types import Struct

WINDOW_S = 300.0
LEAST_REQUESTS = 20
LEAST_STOOD_IN = 3  # answers by somebody else in the window: one alone may be a hiccup
RULES_SHARE = 0.05  # of the rows, caught by output rules
SHED_SHARE = 0.01  # of the requests

STOOD_IN = ("fallback", "rule", "cannot-answer")


class Acted(Struct, frozen=True, kw_only=True):
    """Counts of one endpoint over its serving processes.

    paths: requests by who answered. rules: rows caught, by kind of rule. open: paths whose release is left alone by
    its circuit breaker in some process. shed: requests refused because too many waited.
    """

    requests: int = 0
    rows: int = 0
    paths: dict[str, int] = {}
    rules: dict[str, int] = {}
    shed: int = 0
    open: tuple[str, ...] = ()

    @property
    def stood_in(self) -> int:
        """Requests that the live release or the candidate did not answer."""
        return sum(self.paths.get(path, 0) for path in STOOD_IN)

    @property
    def caught(self) -> int:
        """Rows that some rule caught."""
        return sum(self.rules.values())


def acted(processes: Iterable[ProcessState], endpoint: str) -> Acted:
    """The counts of one endpoint, of all processes together."""
    return total(read(state.endpoints[endpoint]) for state in processes if endpoint in state.endpoints)


def read(counters: Mapping[str, Any]) -> Acted:
    """The counts of one process.

    >>> read({"requests": 9, "rows": 9, "paths": {"live": 8, "fallback": 1}}).stood_in
    1
    """
    return Acted(
        requests=int(counters.get("requests", 0)),
        rows=int(counters.get("rows", 0)),
        paths=dict(counters.get("paths", {})),
        rules=dict(counters.get("rules", {})),
        shed=int(counters.get("shed", 0)),
        open=tuple(path for path, state in counters.get("breakers", {}).items() if state != "closed"),
    )


def total(each: Iterable[Acted]) -> Acted:
    """Counts added up; a path is open where it is in any."""
    parts = list(each)
    return Acted(
        requests=sum(part.requests for part in parts),
        rows=sum(part.rows for part in parts),
        paths=_added(part.paths for part in parts),
        rules=_added(part.rules for part in parts),
        shed=sum(part.shed for part in parts),
        open=tuple(sorted({path for part in parts for path in part.open})),
    )


class Told(NamedTuple):
    """A reason for an alert. cause: its name, one alert each."""

    cause: str
    title: str
    why: str
    action: str


CAUSES = ("guards:fallback", "guards:rules", "guards:shed")


class GuardWatch:
    """Remembers the counts of each serving process for WINDOW_S, and says how they grew."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], deque[tuple[float, Acted]]] = {}

    def add(self, endpoint: str, process: str, counts: Acted, now_s: float) -> Acted:
        """What a process did at the endpoint within the last WINDOW_S, as far back as it was watched."""
        seen = self._seen.setdefault((endpoint, process), deque())
        if not seen:
            seen.append((now_s, counts))  # it may have run for long: what was before is told by nobody now
        elif counts.requests < seen[-1][1].requests:
            seen.clear()
            seen.append((now_s, Acted()))  # another process by the same name: it began with nothing
        seen.append((now_s, counts))
        while len(seen) > 2 and seen[1][0] <= now_s - WINDOW_S:
            seen.popleft()
        return since(counts, seen[0][1])


def since(now: Acted, then: Acted) -> Acted:
    """What was added between two readings."""
    return Acted(
        requests=now.requests - then.requests,
        rows=now.rows - then.rows,
        paths={path: count - then.paths.get(path, 0) for path, count in now.paths.items()},
        rules={kind: count - then.rules.get(kind, 0) for kind, count in now.rules.items()},
        shed=now.shed - then.shed,
        open=now.open,
    )


def reasons(endpoint: str, recent: Acted) -> list[Told]:
    """What a person should know of the last minutes; empty when guards had little to do."""
    told = []
    if recent.stood_in >= LEAST_STOOD_IN:
        by = ", ".join(f"{recent.paths[path]} {path}" for path in STOOD_IN if recent.paths.get(path))
        told.append(
            Told(
                "guards:fallback",
                f"{endpoint}: {recent.stood_in} requests were not answered by the live release",
                f"{by}, of {recent.requests} requests in the last 5 minutes"
                + (f"; left alone for now: {', '.join(recent.open)}" if recent.open else ""),
                f"mlspine status {endpoint}, then: mlspine rollback {endpoint}",
            )
        )
    if recent.rows >= LEAST_REQUESTS and recent.caught > RULES_SHARE * recent.rows:
        by = ", ".join(f"{count} {kind}" for kind, count in recent.rules.items() if count)
        told.append(
            Told(
                "guards:rules",
                f"{endpoint}: output rules catch {recent.caught / recent.rows:.1%} of the answers",
                f"{by}, of {recent.rows} rows in the last 5 minutes (limit {RULES_SHARE:.0%})",
                f"mlspine causes {endpoint}; the rules: mlspine guards {endpoint}",
            )
        )
    if recent.requests >= LEAST_REQUESTS and recent.shed > SHED_SHARE * recent.requests:
        told.append(
            Told(
                "guards:shed",
                f"{endpoint}: more requests arrive than can be answered",
                f"{recent.shed} of {recent.requests} requests in the last 5 minutes were refused at once (503)",
                f"mlspine status {endpoint} --explain; more processes: mlspine up --processes N",
            )
        )
    return told


def _added(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    added: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            added[name] = added.get(name, 0) + count
    return added
