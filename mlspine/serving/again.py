"""Whether a unit has failed at a release already: failures of one customer are one piece of evidence, not many."""

from __future__ import annotations

MOST = 100_000


class Again:
    """The units of one arm, from one revision to the next. Asked only where something failed: the ordinary request
    costs nothing. Beyond `MOST` units each further one is taken for a new one.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def __call__(self, unit: str) -> bool:
        """Note the unit; True when it was noted before. "" is nobody's: never seen before.

        >>> again = Again(); again("ann"), again("ann"), again("bob"), again(""), again("")
        (False, True, False, False, False)
        """
        if not unit:
            return False
        mark = hash(unit)
        if mark in self._seen:
            return True
        if len(self._seen) < MOST:
            self._seen.add(mark)
        return False
