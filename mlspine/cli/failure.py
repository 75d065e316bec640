"""What a failed command prints: cause, details, fix. The account of a bug goes to a file, never to the terminal."""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path

import click

from mlspine.core.errors import MlspineError, NotFound


def describe(exc: Exception) -> tuple[str, int]:
    """The text for the terminal and the exit code."""
    if isinstance(exc, MlspineError):
        return known(exc) + (_where_looked() if _of_a_workspace(exc) else ""), exc.exit_code
    if isinstance(exc, OSError) and exc.strerror:
        where = f" ({exc.filename})" if exc.filename else ""
        return f"{_word('error')} {exc.strerror}{where}\n  {_word('fix', 'cyan')}   {_os_hint(exc)}", 1
    file = _keep_account()
    return (
        f"{_word('error')} an unexpected {type(exc).__name__} happened inside mlspine: {exc}\n"
        f"  {_word('fix', 'cyan')}   this is a bug; please report it with the account in {file}",
        70,
    )


def known(exc: MlspineError) -> str:
    """One of the family, as text."""
    lines = [f"{_word('error')} {exc.message}", *(f"        - {detail}" for detail in exc.details)]
    if exc.hint:
        lines.append(f"  {_word('fix', 'cyan')}   {exc.hint}")
    return "\n".join(lines)


def _of_a_workspace(exc: MlspineError) -> bool:
    """Whether something was looked for by name in the store, so that another folder may have it."""
    return isinstance(exc, NotFound) and exc.message.startswith(("no model", "no endpoint"))


def _where_looked() -> str:
    from mlspine import login
    from mlspine.folder import locate, recent

    server = login.server()
    if server:
        return f"\n        looked at {server.url}"
    here = str(locate())
    others = [path for path in recent() if path != here]
    elsewhere = f"\n        also used lately: {', '.join(others)}" if others else ""
    return f"\n        looked in {here}{elsewhere}"


def _word(word: str, colour: str = "red") -> str:
    return click.style(word, fg=colour, bold=True)


def _os_hint(exc: OSError) -> str:
    import errno

    full = "free disk space (df -h .), then repeat the command; nothing acknowledged was lost"
    return {
        errno.ENOSPC: full,
        errno.EDQUOT: full,
        errno.EFBIG: full,
        errno.EACCES: "check the permissions of that path, or choose another workspace with MLSPINE_WORKSPACE",
        errno.EROFS: "the disk is read-only; choose another workspace with MLSPINE_WORKSPACE",
    }.get(exc.errno or 0, "check the path and repeat the command")


def _keep_account() -> Path:
    handle, name = tempfile.mkstemp(prefix="mlspine-", suffix=".txt")
    with os.fdopen(handle, "w") as file:
        traceback.print_exc(file=file)
    return Path(name)
