"""The differences that are meant, each with its reason. One that no longer occurs fails the suite."""

from __future__ import annotations

from tests.wire.mlflow.allowance import Allowed
from tests.wire.mlflow.allowed_answers import ANOTHER, FORM
from tests.wire.mlflow.allowed_refusals import REFUSED, TAKEN
from tests.wire.mlflow.compare import Difference

ALLOWED: tuple[Allowed, ...] = (*FORM, *REFUSED, *TAKEN, *ANOTHER)


def not_allowed(differences: list[Difference]) -> list[Difference]:
    return [each for each in differences if not any(entry.covers(each) for entry in ALLOWED)]


def unused(differences: list[Difference]) -> list[Allowed]:
    """The entries that nothing needs any more."""
    return [entry for entry in ALLOWED if not any(entry.covers(each) for each in differences)]
