"""No kill, wherever it strikes, loses an artifact that was acknowledged or leaves half of one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from .killed import content_of, opened

ROUNDS = 5
REPOSITORY = Path(__file__).parents[3]


def kill_one(folder: Path, *, after_s: float) -> None:
    before = size_of(folder / "told")
    child = subprocess.Popen([sys.executable, "-m", "tests.unit.artifacts.killed", str(folder)], cwd=REPOSITORY)
    deadline = time.monotonic() + 60
    while size_of(folder / "told") == before:
        assert child.poll() is None, "the process ended by itself"
        assert time.monotonic() < deadline, "the process stored nothing"
        time.sleep(0.005)
    time.sleep(after_s)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_a_process_killed_at_random_moments_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        kill_one(tmp_path, after_s=dice.uniform(0.0, 0.3))
    told = (tmp_path / "told").read_text().split()
    db, artifacts = opened(tmp_path)
    stored = {each.path for each in artifacts.walk()}
    assert set(told) <= stored, f"seed {seed}"
    assert len(told) > 20
    for path in stored:
        with artifacts.open(path) as file:
            assert file.read() == content_of(path), f"seed {seed}"
    # At most what each thread of each process was storing when it died is left behind, and is known to be.
    drafts = list((tmp_path / "drafts").iterdir())
    assert len(drafts) <= 2 * ROUNDS
    assert len(artifacts.unreferenced()) <= 2 * ROUNDS
    for draft in drafts:
        os.utime(draft, (0, 0))
    opened(tmp_path)[0].close()
    assert list((tmp_path / "drafts").iterdir()) == []
    db.close()
