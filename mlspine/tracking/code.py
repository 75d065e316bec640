"""The state of the code something was made with: the commit, the uncommitted difference, the script.

Nothing here names the machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mlspine.core.ids import digest_bytes
from mlspine.core.types import CodeState

DIFF_LIMIT_BYTES = 200_000
UNTRACKED_LIMIT_BYTES = 1_000_000
SNAPSHOT_LIMIT_BYTES = 20_000_000  # before compression
_SOURCES = (".py", ".ipynb", ".sql", ".toml", ".r", ".jl", ".sh")
_GIT_TIMEOUT_S = 10.0
_CREDENTIALS = re.compile(r"(?<=://)[^/@]+@")


class Code(NamedTuple):
    """The state of the code, the uncommitted difference as text while it is small ("" otherwise), the script.

    patch: the whole difference, for `git apply --binary`.
    """

    state: CodeState
    diff: str
    script: str = ""
    patch: bytes = b""


def code_state(folder: Path | None = None) -> Code:
    """The commit `folder` (default: here) stands on, and what was not committed, untracked sources included.

    Empty outside a repository and where git is not installed.
    """
    folder = folder or Path.cwd()
    root = repository_of(folder)
    if root is None:
        return Code(CodeState(), "", script())
    commit = git(root, "rev-parse", "--verify", "HEAD").strip()
    patch = _difference(root, "HEAD" if commit else "--cached")
    state = CodeState(
        repository=_CREDENTIALS.sub("", git(root, "config", "--get", "remote.origin.url").strip()),
        commit=commit,
        dirty_digest=digest_bytes(patch) if patch else "",
    )
    return Code(state, patch.decode("utf-8", "replace") if len(patch) < DIFF_LIMIT_BYTES else "", script(), patch)


def snapshot(folder: Path, commit: str) -> bytes:
    """The files of a commit as tar.gz, b"" when some remote has it already or they are many: who rebuilds the code
    from a work tree that is gone needs one of the two."""
    root = repository_of(folder)
    if root is None or not commit or git(root, "branch", "--remotes", "--contains", commit).strip():
        return b""
    listed = (line.split(None, 4) for line in git(root, "ls-tree", "-r", "-l", commit).splitlines())
    if sum(int(size) for _, _, _, size, _ in listed if size.isdecimal()) > SNAPSHOT_LIMIT_BYTES:
        return b""
    return _git(root, "archive", "--format=tar.gz", commit)


def repository_of(folder: Path) -> Path | None:
    """The top of the work tree a folder is in, None outside any."""
    top = git(folder, "rev-parse", "--show-toplevel").strip()
    return Path(top) if top else None


def script() -> str:
    """The script or notebook this runs in, relative to here where it lies below; "" when unknown."""
    named = main_file()
    if not named:
        return ""
    path = Path(named)
    with contextlib.suppress(ValueError, OSError):
        return path.resolve().relative_to(Path.cwd()).as_posix()
    return path.name


def main_file() -> str:
    """The file of the script or notebook this runs in, as the interpreter knows it; "" when unknown."""
    main = sys.modules.get("__main__")
    if main is None:
        return ""
    known = vars(main)
    return str(known.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME") or known.get("__file__") or "")


def git(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> str:
    """What git answers in a folder, "" when it fails or is not installed."""
    return _git(folder, *words, env=env).decode("utf-8", "replace")


def _git(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> bytes:
    program = shutil.which("git")
    if program is None:
        return b""
    try:
        done = subprocess.run(
            [program, *words],
            cwd=folder,
            env={**os.environ, **env} if env else None,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""


def _difference(root: Path, against: str) -> bytes:
    """What is not in the commit, as one patch: changed files, and source files git does not know yet.

    The notebook at hand is often one of the latter. They are announced to a copy of the index, since git tells
    only of what it knows, and the user's own index stays as it is.
    """
    words = ("diff", "--no-ext-diff", "--no-color", "--no-textconv", "--binary", against)
    new = _untracked_sources(root)
    if not new:
        return _git(root, *words)
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        known = Path(root, git(root, "rev-parse", "--git-path", "index").strip())
        if known.is_file():
            shutil.copyfile(known, index)
        env = {"GIT_INDEX_FILE": str(index)}
        git(root, "add", "--intent-to-add", "--", *new, env=env)
        if against == "--cached":  # before the first commit there is nothing to compare the work tree with
            git(root, "add", "--", *new, env=env)
        return _git(root, *words, env=env)


def _untracked_sources(root: Path) -> list[str]:
    names = git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    return [name for name in names if name.lower().endswith(_SOURCES) and _is_small(root / name)]


def _is_small(file: Path) -> bool:
    with contextlib.suppress(OSError):
        return file.is_file() and file.stat().st_size < UNTRACKED_LIMIT_BYTES
    return False
