"""What part of a file a request asks for: `Range`, `If-None-Match` and `If-Range` of RFC 9110, sections 13 and 14."""

from __future__ import annotations

import re
from typing import Literal

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*\Z")


def wanted_range(text: str, size: int) -> range | Literal["unsatisfiable"] | None:
    """The bytes asked for of a file of `size` bytes; None for all of it.

    Several ranges at once, other units and what cannot be read are answered with the whole file, as the standard
    allows.

    >>> wanted_range("bytes=2-", 10), wanted_range("bytes=-3", 10), wanted_range("bytes=0-99", 10)
    (range(2, 10), range(7, 10), range(0, 10))
    >>> wanted_range("bytes=10-", 10), wanted_range("bytes=0-1,4-5", 10)
    ('unsatisfiable', None)
    """
    match = _ONE_RANGE.match(text)
    if match is None or match[0].strip() == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        found = range(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None
    else:
        found = range(int(first), min(size, int(last) + 1) if last else size)
    return found if found else "unsatisfiable"


def matches(text: str, etag: str) -> bool:
    """Whether an `If-None-Match` names this etag; a weak one counts.

    >>> matches('W/"a", "b"', '"a"'), matches("*", '"a"'), matches("", '"a"')
    (True, True, False)
    """
    named = {each.strip().removeprefix("W/") for each in text.split(",")}
    return etag in named or "*" in named
