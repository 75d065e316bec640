"""What needs no statistics: a release that crashes, fails most of what it is asked, or is slow for minutes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mlspine.rollouts.counts import MINUTE_MS, Counts, Minute

CRASHES = 2
AT_ONCE = 5  # failures of a minute in which most fail, and none of the older release
SLOW_SHARE, SLOW_MINUTES, SLOW_AT_LEAST = 0.05, 3, 5
TIMES_SLOWER = 3.0


def crashing(crashes: int) -> str:
    """Why a release that took its process down so often cannot stay, "" when it can."""
    return f"its process died {crashes} times" if crashes >= CRASHES else ""


def failing(minutes: Sequence[Minute]) -> str:
    """Why the newest minutes leave no doubt; of a customer's failures only the first counts.

    >>> failing([Minute(0, 0, 0.05, Counts(90), Counts(6, 6))])
    '6 of 6 answers of the newer release failed within a minute, none of 90 of the older one'
    >>> failing([Minute(0, 0, 0.05, Counts(90), Counts(6, 6, failed_again=5))])
    ''
    """
    for each in minutes[-2:]:
        newer, older = each.candidate, each.live
        if (
            newer.failed_first >= AT_ONCE
            and newer.failures * 2 >= newer.requests
            and not older.failures
            and older.requests >= AT_ONCE
        ):
            return (
                f"{newer.failures:,} of {newer.requests:,} answers of the newer release failed within a minute, none of"
                f" {older.requests:,} of the older one"
            )
    return ""


def slow_for_long(minutes: Sequence[Minute]) -> str:
    """Why the last whole minutes leave no doubt that it is slow, "" when they do.

    >>> slow_for_long([Minute(0, at * 60_000, 0.5, Counts(50), Counts(50, slow=50)) for at in range(4)])
    '100% of its answers took longer than the target in each of 3 minutes, at most 0% of the older release'
    """
    recent = minutes[-SLOW_MINUTES - 1 : -1]  # the newest minute is not over
    if len(recent) < SLOW_MINUTES or recent[-1].at_ms - recent[0].at_ms != (SLOW_MINUTES - 1) * MINUTE_MS:
        return ""
    if not all(map(_is_slow, recent)):
        return ""
    least = min(_slow_share(each.candidate) for each in recent)
    return (
        f"{least:.0%} of its answers took longer than the target in each of {SLOW_MINUTES} minutes, at most"
        f" {max(_slow_share(each.live) for each in recent):.0%} of the older release"
    )


def _is_slow(minute: Minute) -> bool:
    share = _slow_share(minute.candidate)
    enough = minute.candidate.slow_first >= SLOW_AT_LEAST
    return enough and share > SLOW_SHARE and share > TIMES_SLOWER * _slow_share(minute.live)


def _slow_share(counts: Counts) -> float:
    return counts.slow / counts.requests if counts.requests else 0.0
