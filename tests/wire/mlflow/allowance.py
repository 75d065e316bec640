"""One difference that is meant, with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from tests.wire.mlflow.compare import Difference

BAD = "400 INVALID_PARAMETER_VALUE"
NOT_THERE = "404 RESOURCE_DOES_NOT_EXIST"
NO_ROUTE = "404 ENDPOINT_NOT_FOUND"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
ANY = object()


class Allowed(NamedTuple):
    """Patterns, as a shell's, of a difference's flow, step and place, and why it may stand.

    theirs, ours: what the difference must be, where that is part of the reason; by default anything.
    """

    flow: str
    step: str
    where: str
    reason: str
    theirs: Any = ANY
    ours: Any = ANY

    def covers(self, difference: Difference) -> bool:
        patterns = (difference.flow, self.flow), (difference.step, self.step), (difference.where, self.where)
        values = (difference.theirs, self.theirs), (difference.ours, self.ours)
        return all(fnmatchcase(*each) for each in patterns) and all(want in (ANY, is_) for is_, want in values)


def each(flow: str, steps: Iterable[str], where: str, reason: str, theirs: Any = ANY, ours: Any = ANY) -> list[Allowed]:
    return [Allowed(flow, step, where, reason, theirs, ours) for step in steps]
