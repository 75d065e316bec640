"""Request ids, made for every request and so made fast."""

from __future__ import annotations

import os
import random
import uuid

from mlspine.core.errors import Invalid

_THREE = [f"{value:03x}" for value in range(1 << 12)]
_FOUR = [f"-{0x8000 | value:04x}" for value in range(1 << 14)]


class _Ids:
    """A counter of 26 bits, begun anywhere, beside 48 random bits that change whenever it has run round once.

    Ids must not collide but may be guessed: asking the system for random bits costs more than all the rest.
    """

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(32))
        self._count = self._random.getrandbits(26)
        self._left = 0
        self._tail = ""
        self._at_ms = -1
        self._head = ""

    def next(self, at_ms: int) -> str:
        if at_ms != self._at_ms:
            self._at_ms = at_ms
            self._head = f"{at_ms >> 16:08x}-{at_ms & 0xFFFF:04x}-7"
        if not self._left:
            self._left = 1 << 26
            self._tail = f"-{self._random.getrandbits(48):012x}"
        self._left -= 1
        count = self._count = (self._count + 1) & 0x3FFFFFF
        return f"{self._head}{_THREE[count >> 14]}{_FOUR[count & 0x3FFF]}{self._tail}"


_ids = _Ids()


def new_request_id(at_ms: int) -> str:
    """A UUIDv7 (RFC 9562) of this millisecond in its usual text form.

    >>> import uuid; uuid.UUID(new_request_id(1_700_000_000_000)).version
    7
    """
    return _ids.next(at_ms)


def read_request_id(given: bytes) -> str:
    """The caller's own id in canonical form; raises Invalid when it is no UUID."""
    try:
        text = given.decode("ascii").strip()
        return str(uuid.UUID(text))
    except ValueError as exc:
        shown = given[:60].decode("latin-1")
        raise Invalid(
            f"Mlspine-Request-Id {shown!r} is no UUID",
            hint="send a UUID, or leave the header out to be given one",
        ) from exc
