"""What several inference processes say of one endpoint, as one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlspine.core.plan import ProcessState
from mlspine.core.types import Struct


class Counted(Struct, frozen=True, kw_only=True):
    """Answers since the processes started. Quantiles do not add up: those are of the slowest process."""

    requests: int = 0
    failures: int = 0
    p50_s: float = 0.0
    p95_s: float = 0.0
    p99_s: float = 0.0


def counted(states: Iterable[ProcessState], endpoint: str, *, min_requests: int = 1) -> Counted | None:
    """The counters of an endpoint over all processes, None when no process knows it.

    min_requests: a process that has answered fewer has no say in the quantiles.

    >>> one, other = (ProcessState(process=f"inference-{n}", pid=n, started_at_ms=0, plan=1, ready=True,
    ...     endpoints={"churn": {"requests": 10 * n, "failures": n, "p50_s": 0.1 * n}}) for n in (1, 2))
    >>> both = counted((one, other), "churn"); both.requests, both.failures, both.p50_s
    (30, 3, 0.2)
    """
    told: list[dict[str, Any]] = [state.endpoints[endpoint] for state in states if endpoint in state.endpoints]
    if not told:
        return None
    heard = [each for each in told if each.get("requests", 0) >= min_requests]
    slowest = {name: max((each.get(name, 0.0) for each in heard), default=0.0) for name in ("p50_s", "p95_s", "p99_s")}
    return Counted(
        requests=sum(each.get("requests", 0) for each in told),
        failures=sum(each.get("failures", 0) for each in told),
        **slowest,
    )


def since_ms(states: Iterable[ProcessState]) -> int:
    """Since when a process that lives now has answered, 0 when none does."""
    return min((state.started_at_ms for state in states), default=0)
