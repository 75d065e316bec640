"""What answering costs: CPU time divided among releases, and money at a declared rate. Pure.

The serving process counts its own CPU time, and the seconds it spent inside each model's calls. What came
between two looks is divided: a release has the time inside its calls (the CPU time of its worker, where it has
one), and all else the process did (HTTP, parsing, the log) is shared by requests. What the process also uses
while nothing is asked is known from looks without a request, and is kept apart as idle. So the shares add up to
the CPU time of the processes exactly; only the line between releases is an estimate: a call is timed by the wall,
so on a machine with more to do than CPUs it includes waiting, and is scaled down to the CPU time there was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlspine.core.plan import ProcessState, Spent
from mlspine.core.types import Struct

METHOD = (
    "CPU time of the serving processes: time inside model calls per release, the rest shared by requests;"
    " idle is what the machine offered and nobody used"
)
HOUR_S = 3600.0
MONTH_S = 730 * HOUR_S


class Mark(Struct, frozen=True, kw_only=True):
    """The counters of one process as last added up. idle_per_s: CPU seconds a second takes when nothing is asked."""

    started_at_ms: int
    at_ms: int
    cpu_s: float = 0.0
    worker_cpu_s: dict[str, float] = {}
    workers: dict[str, int] = {}
    spent: tuple[Spent, ...] = ()
    idle_per_s: float = 0.0


class Share(Struct, frozen=True, kw_only=True):
    """What one release at one endpoint took. calls_s: the part of `cpu_s` inside its model's calls."""

    endpoint: str
    release_hash: str
    requests: int
    rows: int
    cpu_s: float
    calls_s: float


class Divided(Struct, frozen=True, kw_only=True):
    """The CPU time between two looks at a process; shares and idle add up to all of it."""

    shares: tuple[Share, ...]
    idle_cpu_s: float
    up_s: float
    mark: Mark


def divide(before: Mark | None, state: ProcessState, at_ms: int) -> Divided:
    """What the process did since `before`; since its start where it was not looked at yet."""
    if before is None or before.started_at_ms != state.started_at_ms:
        idle = before.idle_per_s if before else 0.0
        before = Mark(started_at_ms=state.started_at_ms, at_ms=state.started_at_ms, idle_per_s=idle)
    up_s = max(0.0, (at_ms - before.at_ms) / 1000)
    worked = _worked(before, state)
    own_s = max(0.0, state.cpu_s - before.cpu_s)
    in_calls = sum(each.calls_s for each in worked)
    scale = min(1.0, own_s / in_calls) if in_calls else 1.0
    requests = sum(each.requests for each in worked)
    rest = own_s - in_calls * scale
    idle = min(rest, before.idle_per_s * up_s) if requests else rest
    per_request = (rest - idle) / requests if requests else 0.0
    by_worker = _worker_seconds(before, state)
    shares = tuple(
        _share(each, each.calls_s * scale + _part_of(by_worker, each, worked), per_request) for each in worked
    )
    unasked = sum(seconds for release, seconds in by_worker.items() if not _rows_of(release, worked))
    mark = Mark(
        started_at_ms=state.started_at_ms,
        at_ms=at_ms,
        cpu_s=state.cpu_s,
        worker_cpu_s=state.worker_cpu_s,
        workers=state.workers,
        spent=state.spent,
        idle_per_s=before.idle_per_s if requests or up_s < 1.0 else idle / up_s,
    )
    return Divided(shares=shares, idle_cpu_s=idle + unasked, up_s=up_s, mark=mark)


def _worked(before: Mark, state: ProcessState) -> list[Spent]:
    """The counters' growth, of what was asked at all."""
    known = {(each.endpoint, each.release_hash): each for each in before.spent}
    grown = []
    for each in state.spent:
        old = known.get((each.endpoint, each.release_hash))
        if each.requests > (old.requests if old else 0):
            grown.append(_less(each, old) if old else each)
    return grown


def _less(now: Spent, old: Spent) -> Spent:
    return Spent(
        endpoint=now.endpoint,
        release_hash=now.release_hash,
        requests=now.requests - old.requests,
        rows=now.rows - old.rows,
        calls_s=now.calls_s - old.calls_s,
    )


def _worker_seconds(before: Mark, state: ProcessState) -> dict[str, float]:
    """CPU time of each release's worker since `before`; one that was started again counts from its start."""
    return {
        release: max(0.0, now - (before.worker_cpu_s.get(release, 0.0) if _same(before, state, release) else 0.0))
        for release, now in state.worker_cpu_s.items()
    }


def _same(before: Mark, state: ProcessState, release: str) -> bool:
    return before.workers.get(release) == state.workers.get(release)


def _part_of(by_worker: dict[str, float], spent: Spent, worked: Sequence[Spent]) -> float:
    rows = _rows_of(spent.release_hash, worked)
    return by_worker.get(spent.release_hash, 0.0) * spent.rows / rows if rows else 0.0


def _rows_of(release: str, worked: Sequence[Spent]) -> int:
    return sum(each.rows for each in worked if each.release_hash == release)


def _share(spent: Spent, calls_s: float, per_request: float) -> Share:
    return Share(
        endpoint=spent.endpoint,
        release_hash=spent.release_hash,
        requests=spent.requests,
        rows=spent.rows,
        cpu_s=calls_s + per_request * spent.requests,
        calls_s=calls_s,
    )


# ---------------------------------------------------------------- the report


class ReleaseCost(Struct, frozen=True, kw_only=True):
    """What one release has cost so far. version: 0 where it is no longer known. Money needs a declared rate."""

    endpoint: str
    version: int
    release_hash: str
    requests: int
    rows: int
    cpu_s: float
    calls_s: float
    cpu_s_per_million: float  # predictions
    money: float | None = None
    money_per_million: float | None = None


class Job(Struct, frozen=True, kw_only=True):
    """Work beside answering that took time: how often, how long in all."""

    what: str  # "evaluation at ship", "retraining", "batch scoring"
    times: int
    seconds: float


class Cost(Struct, frozen=True, kw_only=True):
    """The costs of a workspace, or of one endpoint of it, between two UTC days."""

    from_day: str
    to_day: str
    releases: tuple[ReleaseCost, ...]
    up_s: float
    cpu_s_offered: float  # up time times CPUs
    cpu_s_used: float
    cpu_s_background: float  # used while nothing was asked
    jobs: tuple[Job, ...]
    currency: str
    per_cpu_hour: float | None
    money: float | None = None  # of what was used
    idle_money: float | None = None  # of what was offered and not used
    break_even: str = ""
    method: str = METHOD


def money(cpu_s: float, per_cpu_hour: float | None) -> float | None:
    """CPU time at a rate.

    >>> money(7200, 0.05), money(7200, None)
    (0.1, None)
    """
    return None if per_cpu_hour is None else cpu_s / HOUR_S * per_cpu_hour


def per_million(amount: float | None, rows: int) -> float | None:
    """An amount for `rows` predictions as one for a million.

    >>> per_million(0.5, 250_000)
    2.0
    """
    return None if amount is None or not rows else amount * 1e6 / rows


def costs_of(share: Share, version: int, per_cpu_hour: float | None) -> ReleaseCost:
    amount = money(share.cpu_s, per_cpu_hour)
    return ReleaseCost(
        endpoint=share.endpoint,
        version=version,
        release_hash=share.release_hash,
        requests=share.requests,
        rows=share.rows,
        cpu_s=share.cpu_s,
        calls_s=share.calls_s,
        cpu_s_per_million=per_million(share.cpu_s, share.rows) or 0.0,
        money=amount,
        money_per_million=per_million(amount, share.rows),
    )


class Managed(Struct, frozen=True, kw_only=True):
    """What a managed endpoint would cost; None where no price was declared."""

    per_hour: float | None = None
    per_million: float | None = None


def break_even(managed: Managed, *, own_per_month: float, endpoints: int, rows_per_month: float, currency: str) -> str:
    """Own machine or managed endpoints, at own traffic, in a sentence; "" without a price to compare with.

    >>> break_even(Managed(per_million=40.0), own_per_month=60.0, endpoints=1, rows_per_month=2e6, currency="USD")
    'own machine 60.00 USD/month, managed 80.00 (2.0 million predictions/month); even at 1.5 million predictions/month'
    """
    if managed.per_hour is None and managed.per_million is None:
        return ""
    fixed = (managed.per_hour or 0.0) * MONTH_S / HOUR_S * endpoints
    theirs = fixed + (managed.per_million or 0.0) * rows_per_month / 1e6
    text = (
        f"own machine {own_per_month:.2f} {currency}/month, managed {theirs:.2f}"
        f" ({rows_per_month / 1e6:.1f} million predictions/month)"
    )
    if managed.per_million is None:
        return text
    if fixed >= own_per_month:
        return f"{text}; managed is dearer at any traffic"
    return f"{text}; even at {(own_per_month - fixed) / managed.per_million:.1f} million predictions/month"


def summed(shares: Iterable[Share]) -> list[Share]:
    """One share per endpoint and release, in order of appearance."""
    found: dict[tuple[str, str], list[Share]] = {}
    for each in shares:
        found.setdefault((each.endpoint, each.release_hash), []).append(each)
    return [
        Share(
            endpoint=endpoint,
            release_hash=release,
            requests=sum(each.requests for each in group),
            rows=sum(each.rows for each in group),
            cpu_s=sum(each.cpu_s for each in group),
            calls_s=sum(each.calls_s for each in group),
        )
        for (endpoint, release), group in found.items()
    ]
