"""Which release is asked along after a switch, so that the two can be compared while the switch is fresh. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mlspine.core.plan import Revision
from mlspine.deployment.endpoint import live_since

FORWARD = ("serve", "promote")


def before_switch(revisions: Sequence[Revision], *, now_ms: int, watch_s: float) -> Revision | None:
    """The revision whose release answered before the newest switch, while that is less than `watch_s` seconds old.

    None where nothing answered before, and after a rollback: what was left on purpose is no yardstick.
    revisions: all of one endpoint, oldest first.

    >>> from mlspine.core.plan import LogSettings
    >>> def step(number: int, version: int, cause: str, at_ms: int) -> Revision:
    ...     return Revision(endpoint="a", number=number, version=version, release_hash=f"h{version}", cause=cause,
    ...         log=LogSettings(), created_at_ms=at_ms, actor="")
    >>> history = [step(1, 1, "serve", 0), step(2, 2, "promote", 1_000), step(3, 2, "guards", 2_000)]
    >>> found = [before_switch(history, now_ms=at, watch_s=60) for at in (5_000, 61_000)]
    >>> [before.version if before else 0 for before in found]
    [1, 0]
    """
    switch = live_since(revisions)
    if switch is None or not switch.version or switch.cause not in FORWARD:
        return None
    if now_ms >= switch.created_at_ms + int(watch_s * 1000):
        return None
    earlier = [each for each in revisions if each.number < switch.number and each.cause != "watch"]
    return earlier[-1] if earlier and earlier[-1].version not in (0, switch.version) else None
