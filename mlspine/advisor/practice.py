"""How the people around a model work, as their repository shows it: authors, containers, CI, tests."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
from pathlib import Path

from mlspine.advisor.facts import DAY_MS, Practice, command

AUTHORS_DAYS = 90
GIT_TIMEOUT_S = 10.0
_CONTAINERS = re.compile(r"(^|/)(Dockerfile(\.[^/]+)?|Containerfile|(docker-)?compose[^/]*\.ya?ml)\Z")
_CI = re.compile(
    r"\.github/workflows/[^/]+\.ya?ml|\.gitlab-ci\.ya?ml|\.circleci/config\.ya?ml|\.buildkite/.+|azure-pipelines\.ya?ml"
    r"|bitbucket-pipelines\.ya?ml|Jenkinsfile|\.travis\.ya?ml|\.woodpecker\.ya?ml"
)
_TESTS = re.compile(r"(^|/)(test_[^/]+|[^/]+_test)\.(py|R|r|jl)\Z")


def read_practice(folder: Path, *, now_ms: int) -> Practice:
    """What the git repository around `folder` shows; nothing where there is none."""
    root = _git(folder, "rev-parse", "--show-toplevel").strip()
    if not root:
        return Practice()
    since = dt.datetime.fromtimestamp((now_ms - AUTHORS_DAYS * DAY_MS) / 1000, dt.UTC).isoformat()
    log = ("log", f"--since={since}", "--format=%ae")
    authors = {line.strip().lower() for line in _git(Path(root), *log).splitlines() if line.strip()}
    files = [name for name in _git(Path(root), "ls-files", "-z").split("\0") if name]
    return Practice(
        root=root,
        authors=len(authors),
        containers=tuple(name for name in files if _CONTAINERS.search(name)),
        ci=tuple(name for name in files if _CI.fullmatch(name)),
        tests=sum(bool(_TESTS.search(name)) for name in files),
        read=command(f"{len(authors)} authors in {AUTHORS_DAYS} days", "git", "-C", root, *log),
    )


def _git(folder: Path, *words: str) -> str:
    program = shutil.which("git")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "-C", str(folder), *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
