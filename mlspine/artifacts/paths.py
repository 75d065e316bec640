"""How an artifact may be called: names joined by '/', below one root."""

from __future__ import annotations

import re
from urllib.parse import unquote

from mlspine.core.errors import Invalid

MAX_PATH_BYTES = 4000  # what a file system takes, for it may be laid out as files again
MAX_NAME_BYTES = 255
# Control signs end lines of headers and logs; U+10FFFF is no character, so everything sorts before it.
_UNUSABLE = re.compile("[\\\\\x00-\x1f\x7f\U0010ffff]")


def check_path(path: str) -> str:
    """The path itself; Invalid for one that could leave its root, mean two things or be no file's on a disk.

    >>> check_path("1/0c3f/artifacts/model/MLmodel")
    '1/0c3f/artifacts/model/MLmodel'
    """
    # Whoever decodes it once more, as browsers and proxies do, must not get out either.
    problem = _problem(path) or _problem(unquote(path))
    if problem:
        raise Invalid(
            f"Invalid path: {path[:200]!r} {problem}",
            hint="use names joined by '/', e.g. 1/RUN_ID/artifacts/model/MLmodel",
        )
    return path


def parents(path: str) -> tuple[str, ...]:
    """The directories a path lies in, outermost first.

    >>> parents("a/b/c")
    ('a', 'a/b')
    """
    parts = path.split("/")[:-1]
    return tuple("/".join(parts[: at + 1]) for at in range(len(parts)))


def _problem(path: str) -> str:
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "has an empty, '.' or '..' part"
    if _UNUSABLE.search(path):
        return "has a backslash or a control character"
    if len(parts[0]) == 2 and parts[0][1] == ":":
        return "begins with a drive"
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        return "is not Unicode text"
    if max(sizes) > MAX_NAME_BYTES or sum(sizes) + len(sizes) > MAX_PATH_BYTES:
        return f"is too long: {MAX_NAME_BYTES} bytes a name, {MAX_PATH_BYTES} in all"
    return ""
