"""What is known of the circumstances in which a model was fitted: code, seeds, owner, script.

Facts for people who come later. Nothing here names the machine.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.ids import digest_bytes
from mlspine.core.types import CodeState

DIFF_LIMIT_BYTES = 200_000
UNTRACKED_LIMIT_BYTES = 1_000_000
_SOURCES = (".py", ".ipynb", ".sql", ".toml", ".r", ".jl", ".sh")
_GIT_TIMEOUT_S = 10.0
_CREDENTIALS = re.compile(r"(?<=://)[^/@]+@")


class Code(NamedTuple):
    """The state of the code, the uncommitted difference as text while it is small ("" otherwise), the script."""

    state: CodeState
    diff: str
    script: str = ""


def code_state(folder: Path | None = None) -> Code:
    """The commit `folder` (default: here) stands on, and what was not committed, untracked sources included.

    Empty outside a repository and where git is not installed.
    """
    folder = folder or Path.cwd()
    top = _git(folder, "rev-parse", "--show-toplevel").strip()
    if not top:
        return Code(CodeState(), "", script())
    root = Path(top)
    commit = _git(root, "rev-parse", "--verify", "HEAD").strip()
    diff = _git(root, "diff", "--no-ext-diff", "--no-color", "HEAD" if commit else "--cached")
    untracked = _untracked_sources(root)
    state = CodeState(
        repository=_CREDENTIALS.sub("", _git(root, "config", "--get", "remote.origin.url").strip()),
        commit=commit,
        dirty_digest=digest_bytes((diff + untracked).encode()) if diff or untracked else "",
    )
    text = diff + untracked
    return Code(state, text if len(text.encode()) < DIFF_LIMIT_BYTES else "", script())


def git_owner(folder: Path | None = None) -> str:
    """git's `user.email` as set for `folder`, "" where there is none."""
    return _git(folder or Path.cwd(), "config", "--get", "user.email").strip()


def seeds(model: Any) -> dict[str, Any]:
    """Every random_state of the estimator and its parts, and digests of the generators' states now."""
    found: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # get_params of foreign objects may do anything; a seed is a nicety
        parameters = model.get_params(deep=True) if hasattr(model, "get_params") else {}
        found = {
            name: value if isinstance(value, int | None) else repr(value)[:100]
            for name, value in parameters.items()
            if name.endswith(("random_state", "seed"))
        }
    return {
        "parameters": found,
        "python_state": digest_bytes(repr(random.getstate()).encode()),
        "numpy_state": digest_bytes(pickle.dumps(np.random.get_state(legacy=True))),
    }


def script() -> str:
    """The script or notebook this runs in, relative to here where it lies below; "" when unknown."""
    main = sys.modules.get("__main__")
    named = (
        vars(main).get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME") or vars(main).get("__file__")
        if main
        else None
    )
    if not named:
        return ""
    path = Path(str(named))
    with contextlib.suppress(ValueError, OSError):
        return path.resolve().relative_to(Path.cwd()).as_posix()
    return path.name


def platform_facts() -> dict[str, str]:
    """Interpreter and operating system, without the host's name."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
    }


def _untracked_sources(root: Path) -> str:
    """Source files git does not know yet, as text: the notebook at hand is often one of them."""
    parts = []
    for name in _git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0"):
        file = root / name
        if name.lower().endswith(_SOURCES) and file.is_file() and file.stat().st_size < UNTRACKED_LIMIT_BYTES:
            with contextlib.suppress(OSError):
                parts.append(f"\nuntracked: {name}\n{file.read_text(encoding='utf-8', errors='replace')}")
    return "".join(parts)


def _git(folder: Path, *words: str) -> str:
    program = shutil.which("git")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, *words], cwd=folder, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
