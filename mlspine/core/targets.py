"""How fast an endpoint has agreed to answer, and where nobody agreed on anything, how fast it should."""

from __future__ import annotations

from typing import NamedTuple

from mlspine.core.plan import Proof

TIMES_AT_SHIP = 2.0
# Model calls of a tenth of a millisecond come back in one, over the network in twenty: nobody wants to be woken.
LEAST_S = 0.1


class LatencyTarget(NamedTuple):
    """The P99 an endpoint is held to, and whether somebody declared it."""

    seconds: float
    declared: bool


def latency_target(declared_s: float | None, proof: Proof | None) -> LatencyTarget | None:
    """The declared target, else twice the P99 measured before traffic and 100 ms at least; None without either.

    >>> latency_target(0.05, None), latency_target(None, None)
    (LatencyTarget(seconds=0.05, declared=True), None)
    """
    if declared_s is not None:
        return LatencyTarget(declared_s, declared=True)
    if proof is None or proof.p99_s <= 0:
        return None
    return LatencyTarget(max(LEAST_S, TIMES_AT_SHIP * proof.p99_s), declared=False)
