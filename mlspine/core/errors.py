"""One family of errors, drawn as a tree.

MlspineError            code, message, hint, details
  NotFound      404     nothing by that name; the hint lists close matches
  Conflict      409     already exists, or changed since you read it
    AlreadyExists 409   the first of the two
  Invalid       422     your input; details lists every problem with its path
  Denied        403     policy or permission; names the missing evidence or right
    Unidentified 401    nobody knows who asks: no token, or one that does not hold
  Unavailable   503     a backend or model is down; safe to retry
  MissingExtra  501     an optional dependency is absent; the hint is the pip line
  Corrupt       500     stored bytes do not match their digest

`message` says what happened with the values at hand, `hint` the command or change that mends it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class MlspineError(Exception):
    """Base of everything mlspine raises on purpose."""

    code = "error"
    http_status = 500
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    def __str__(self) -> str:
        lines = [self.message, *(f"  - {detail}" for detail in self.details)]
        if self.hint:
            lines.append(f"  {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.details)


def _rebuild(kind: type[MlspineError], message: str, hint: str, details: tuple[str, ...]) -> MlspineError:
    return kind(message, hint=hint, details=details)


class NotFound(MlspineError):
    code, http_status, exit_code = "not_found", 404, 4


class Conflict(MlspineError):
    code, http_status, exit_code = "conflict", 409, 5


class AlreadyExists(Conflict):
    code = "already_exists"


class Invalid(MlspineError):
    code, http_status, exit_code = "invalid", 422, 2


class Denied(MlspineError):
    code, http_status, exit_code = "denied", 403, 6


class Unidentified(Denied):
    code, http_status, exit_code = "unidentified", 401, 10


class Unavailable(MlspineError):
    code, http_status, exit_code = "unavailable", 503, 7


class MissingExtra(MlspineError):
    code, http_status, exit_code = "missing_extra", 501, 8


class Corrupt(MlspineError):
    code, http_status, exit_code = "corrupt", 500, 9


FAMILY: dict[str, type[MlspineError]] = {
    kind.code: kind
    for kind in (
        *(NotFound, Conflict, AlreadyExists, Invalid),
        *(Denied, Unidentified, Unavailable, MissingExtra, Corrupt),
    )
}


def closest(word: str, known: Iterable[str]) -> str:
    """The known word most like the one typed, or "" when none is close.

    >>> closest("chrun", ["churn", "flights"])
    'churn'
    """
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")
