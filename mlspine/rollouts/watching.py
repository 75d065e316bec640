"""Whether a release that has just been put live does worse than the one before it. Pure.

Here nothing is dealt: one release answered until the switch and the other since. So its failures and slow answers are
held against the record of the release before, by intervals valid at every look, and count only beyond half a margin:
the hour moves figures too. Minutes in which the release before, asked along at the same moment, fails or is slow as
well are an outage's or a busy machine's, and left out. Disagreement is that on the requests which both answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mlspine.core.types import Struct
from mlspine.rollouts.counts import UNCOMPARED, Compared, Counts, Minute, summed
from mlspine.rollouts.deciding import LEVEL, SLOW_MARGIN, Evidence, disagreement
from mlspine.rollouts.guards import crashing, slow_for_long
from mlspine.stats.interval import wilson
from mlspine.stats.sequential import share, share_difference

RECORD_REQUESTS = 100  # of the release before, for its own record to count
MARGIN = 0.01
_SAYS = {"failures": "failed", "slow": "were slow", "rules": "broke an output rule"}
_WHOLE = {"failures": "failures", "slow": "slow", "rules": "broken"}


class Watched(Struct, frozen=True, kw_only=True):
    """What a look says: all is well so far, or what is not."""

    breach: bool
    why: str
    metric: str = ""
    evidence: tuple[Evidence, ...] = ()


def look(
    minutes: Sequence[Minute],
    record: Counts,
    *,
    allowed: float = MARGIN,
    compared: Compared = UNCOMPARED,
    bound: float = 1.0,
    others: Sequence[Evidence] = (),
    crashes: int = 0,
) -> Watched:
    """What the requests since a switch say.

    minutes: the new release as `candidate`, the one before as `live` as far as it was asked along. record: what that
    did in the hour before the switch.
    allowed: the share of failures held against where that record has too few requests.

    >>> found = look([Minute(0, 0, 1.0, Counts(), Counts(200, 12))], Counts(5000, 10))
    >>> found.breach, found.why
    (True, '6.0% of 200 answers since the switch failed, 0.2% of 5,000 before it')
    """
    since = summed([each.candidate for each in minutes])
    own = summed([each.candidate for each in minutes if not is_outage(each)])
    calm = [each for each in minutes if not is_busy(each)]
    # One stall makes many: the worst minute alone is no evidence.
    worst = max(calm, key=lambda each: each.candidate.slow, default=None)
    slow = summed([each.candidate for each in calm if each is not worst])
    found = (
        _held("failures", own, since, record, margin=MARGIN, allowed=allowed),
        _held("slow", slow, since, record, margin=SLOW_MARGIN, allowed=SLOW_MARGIN),
        _held("rules", since, since, record, margin=MARGIN, allowed=allowed),
        disagreement(compared, bound),
        *others,
    )
    slowly = slow_for_long([each._replace(live=record) for each in minutes]) if len(calm) == len(minutes) else ""
    for why, metric in (
        (crashing(crashes), "failures"),
        (slowly, "slow"),
        *((each.says, each.metric) for each in found if each.against),
    ):
        if why:
            return Watched(breach=True, why=why, metric=metric, evidence=found)
    return Watched(breach=False, why=_well(since, compared), evidence=found)


def is_outage(minute: Minute) -> bool:
    """Whether the release before fails as well: at least half as often, on what it was asked along.

    >>> [is_outage(Minute(0, 0, 1.0, Counts(10, failed), Counts(60, 30))) for failed in (0, 2, 4)]
    [False, False, True]
    """
    before, now = minute.live, minute.candidate
    return before.failures > 0 and before.failures * 2 * now.requests >= now.failures * before.requests


def is_busy(minute: Minute) -> bool:
    """Whether the release before is slow as well: at least half as often, on what it was asked along.

    >>> [is_busy(Minute(0, 0, 1.0, Counts(10, slow=slow), Counts(60, slow=30))) for slow in (0, 2, 4)]
    [False, False, True]
    """
    before, now = minute.live, minute.candidate
    return before.slow > 0 and before.slow * 2 * now.requests >= now.slow * before.requests


def _held(
    metric: Literal["failures", "slow", "rules"],
    now: Counts,
    shown: Counts,
    record: Counts,
    *,
    margin: float,
    allowed: float,
) -> Evidence:
    """One share against that of the record. now: what is judged; shown: what is told."""
    name = _WHOLE[metric]
    again = {"failures": now.failed_again, "slow": now.slow_again}.get(metric, 0)
    n, bad = now.requests - again, getattr(now, name) - again
    before = getattr(record, name) / record.requests if record.requests else 0.0
    least = 0.0
    if n > 0 and record.requests >= RECORD_REQUESTS:
        least = share_difference((bad, n), wilson(getattr(record, name), record.requests), level=LEVEL).lo
    elif n > 0:
        least = share(bad, n, level=LEVEL).lo - allowed
    here = getattr(shown, name) / shown.requests if shown.requests else 0.0
    return Evidence(
        metric=metric,
        older=before,
        newer=here,
        against=least >= margin / 2,
        says=f"{here:.1%} of {shown.requests:,} answers since the switch {_SAYS[metric]},"
        + (
            f" {before:.1%} of {record.requests:,} before it"
            if record.requests >= RECORD_REQUESTS
            else f" {allowed:.0%} is taken"
        ),
    )


def _well(since: Counts, compared: Compared) -> str:
    differ = f", {compared.rows:,} rows compared: {compared.mean:.3f} apart" if compared.rows else ""
    return f"{since.failures:,} of {since.requests:,} answers failed and {since.slow:,} were slow{differ}"
