"""Which requests go to the candidate: by the hash of their unit, so that a unit stays where it is. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from mlspine.core.plan import PlannedTraffic

_WHOLE = 2**64


def place(salt: str, unit: str) -> float:
    """Where a unit lies in 0..1, the same in every process and at every share, and another one with another salt.

    >>> place("a", "customer-1") == place("a", "customer-1"), place("a", "customer-1") == place("b", "customer-1")
    (True, False)
    """
    digest = hashlib.blake2b(f"{salt}\0{unit}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) / _WHOLE


def goes_to_candidate(traffic: PlannedTraffic, *, unit: str, value: Callable[[str], Any]) -> bool:
    """Whether the candidate answers this request.

    unit: what stays together where the traffic names no column: the request's key or, without one, its id.
    value: the request's value of a column (of several rows the first); None where there is none.
    """
    if traffic.candidate is None:
        return False
    if traffic.cohort is not None and not _belongs(value(traffic.cohort.field), traffic.cohort.values):
        return False
    if traffic.share >= 1.0:
        return True
    if traffic.unit:
        named = value(traffic.unit)
        unit = unit if named is None else _text(named)
    return place(traffic.salt, unit) < traffic.share


def _belongs(found: Any, values: tuple[Any, ...]) -> bool:
    # True is 1 to Python, and not the same answer to a question.
    return any(found == each and isinstance(found, bool) == isinstance(each, bool) for each in values)


def _text(value: Any) -> str:
    """A unit as text: 7 and 7.0 are one customer, whichever way JSON spelt it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
