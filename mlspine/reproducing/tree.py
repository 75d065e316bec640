"""A work tree as a run had it: the commit, the uncommitted difference, and files that git does not hold."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mlspine.core.errors import Invalid, Unavailable
from mlspine.tracking.capture import Captured
from mlspine.tracking.code import git, repository_of

COPIED_FILE_BYTES = 64_000_000  # larger ones are linked
COPIED_BYTES = 2_000_000_000  # and so is what comes after so much
GIT_TIMEOUT_S = 600.0
_LEFT = frozenset(
    (".git", ".mlspine", ".venv", "__pycache__", "node_modules", "mlruns", "mlartifacts", ".ipynb_checkpoints")
)


class Tree(NamedTuple):
    """A rebuilt work tree. linked: files outside git that are the user's own rather than copies."""

    top: Path
    source: str
    copied: int
    linked: tuple[str, ...]


def rebuild(
    captured: Captured,
    patch: bytes,
    into: Path,
    *,
    snapshot: bytes = b"",
    repository: str = "",
    here: Path | None = None,
) -> Tree:
    """The commit with its patch, and the files that git does not hold from the repository here, as they are now.

    repository: a folder or URL to clone; by default the repository of `here` (default: this folder) when it has
    the commit, else the snapshot the run kept, else where the run was cloned from. Raises Invalid when the commit
    is nowhere to be found.
    """
    own = repository_of(here or Path.cwd())
    if own is not None and not git(own, "cat-file", "-t", f"{captured.code.commit}^{{commit}}"):
        own = None
    source = repository or (str(own) if own else "" if snapshot else captured.code.repository)
    if source:
        _git(into.parent, "clone", "--quiet", "--no-checkout", source, str(into))
        _git(into, "checkout", "--quiet", "--detach", captured.code.commit)
    elif snapshot:
        with tarfile.open(fileobj=io.BytesIO(snapshot)) as packed:
            packed.extractall(into, filter="data")
        _git(into, "init", "--quiet")  # a repository of its own, whatever lies around it
    else:
        raise Invalid(
            f"commit {captured.code.commit[:10]} is not in the repository here, and the run names no other",
            hint="type it inside the repository, or name it: --repository FOLDER_OR_URL",
        )
    if patch:
        _git(into, "apply", "--binary", "--whitespace=nowarn", "-", fed=patch)
    copied, linked = _bring(own, into) if own else (0, ())
    return Tree(into, source or "the run's own snapshot", copied, linked)


def _git(folder: Path, *words: str, fed: bytes = b"") -> None:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            input=fed,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Unavailable(f"git {words[0]} did not work: {exc}", hint="is git installed?") from exc
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Invalid(
            f"the code of the run could not be rebuilt: git {words[0]} said {said[-1] if said else 'nothing'!r}",
            hint="was the commit pushed? Name a repository that has it: --repository FOLDER_OR_URL",
        )


def _bring(own: Path, into: Path) -> tuple[int, tuple[str, ...]]:
    """Data is seldom in git: copy it, so that a repetition cannot change it; link what is large."""
    copied, spent, linked = 0, 0, []
    for file in _outside_git(own):
        target = into / file.relative_to(own)
        if target.exists() or target.is_symlink():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        size = file.stat().st_size
        if size > COPIED_FILE_BYTES or spent + size > COPIED_BYTES:
            target.symlink_to(file.resolve())
            linked.append(file.relative_to(own).as_posix())
        else:
            shutil.copy2(file, target)
            copied, spent = copied + 1, spent + size
    return copied, tuple(linked)


def _outside_git(own: Path) -> Iterator[Path]:
    """Files git does not track, ignored ones too, without environments, caches and stores."""
    names = git(own, "ls-files", "--others", "-z", *(f"--exclude={name}" for name in sorted(_LEFT))).split("\0")
    for name in filter(None, names):
        file = own / name
        inside = [own.joinpath(*file.relative_to(own).parts[:depth]) for depth in range(1, len(Path(name).parts))]
        if file.is_file() and not any((each / "pyvenv.cfg").exists() or _is_workspace(each) for each in inside):
            yield file


def _is_workspace(folder: Path) -> bool:
    return (folder / "run").is_dir() and (folder / "releases").is_dir()
