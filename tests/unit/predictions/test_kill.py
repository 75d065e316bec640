"""No kill, wherever it strikes, loses a row or counts one twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlspine.predictions import archive, service
from mlspine.predictions.spool import spool_files

from .conftest import BASE_MS, HOUR_MS, RELEASE, Log, sample
from .conftest import ME as ACTOR

ROUNDS = 5
REPOSITORY = Path(__file__).parents[3]


def test_a_process_killed_at_random_moments_keeps_every_row_exactly_once(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    for round_ in range(ROUNDS):
        kill_one(tmp_path, round_, after_s=dice.uniform(0.0, 0.5))
    told = [line for path in tmp_path.glob("answered-*") for line in path.read_text().splitlines(True)]
    answered = dict(line.split() for line in told if line.endswith("\n"))
    log = Log(tmp_path)
    log.predictions.ingest()
    logged = dict(log.ask("select _id, count(*) from log group by 1"))
    narrow = dict(log.ask("select _id, count(*) from outcomes group by 1"))
    shadowed = dict(log.ask("select _id, count(*) from shadow group by 1"))
    for held in (logged, shadowed):
        wrong = {id_: (rows, held.get(id_)) for id_, rows in answered.items() if held.get(id_) != int(rows)}
        assert wrong == {}, f"seed {seed}"
    assert narrow == logged
    assert len(answered) > 50
    doubled = log.ask("select count(*) - count(distinct (_id, _row)) from log")
    assert doubled == [[0]], f"seed {seed}"
    assert log.ask("select count(*) - count(distinct (_id, _row)) from shadow") == [[0]], f"seed {seed}"
    assert log.profile_rows() == sum(logged.values()) == log.predictions.summary("shop").rows
    log.writer.close()
    log.predictions.ingest()
    assert spool_files(log.spool_dir) == []
    assert set(log.blobs.list()) >= {row["key"] for row in log.db.read("select key from segment")}
    log.close()


def kill_one(folder: Path, round_: int, *, after_s: float) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.predictions.killed", str(folder), str(round_)], cwd=REPOSITORY
    )
    told = folder / f"answered-{round_}"
    deadline = time.monotonic() + 60
    while not (told.exists() and told.stat().st_size):
        assert child.poll() is None, "the process ended by itself"
        assert time.monotonic() < deadline, "the process answered nothing"
        time.sleep(0.005)
    time.sleep(after_s)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()


class Killed(BaseException):
    """What ends a process here: nothing of ours may catch it."""


class Fuse:
    """Burns down one step before each thing that reaches the disk, and ends the process at zero."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def around(self, call: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            self.burn()
            return call(*args, **kwargs)

        return step

    def around_write(self, write: Any) -> Any:
        @contextmanager
        def transaction() -> Any:
            with write() as tx:
                yield tx
                self.burn()

        return transaction


KEY = "subject-4711"


def on_disk(folder: Path) -> bool:
    return any(KEY.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def light(log: Log, fuse: Fuse, patched: pytest.MonkeyPatch) -> None:
    patched.setattr(log.blobs, "put", fuse.around(log.blobs.put))
    patched.setattr(log.blobs, "delete", fuse.around(log.blobs.delete))
    patched.setattr(log.db, "write", fuse.around_write(log.db.write))
    patched.setattr(service, "scrub", fuse.around(service.scrub))
    patched.setattr(archive.segment, "copy", fuse.around(archive.segment.copy))
    patched.setattr(Path, "unlink", fuse.around(Path.unlink))


def test_a_kill_between_any_two_steps_of_ingesting_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    finished = False
    while not finished:
        steps += 1
        folder = tmp_path / str(steps)
        folder.mkdir()
        log = Log(folder, learning=True)
        log.answer(sample(1_100), at_ms=BASE_MS)
        log.answer(sample(30, 1), at_ms=BASE_MS + HOUR_MS)
        log.writer.close()
        with monkeypatch.context() as patched:
            light(log, Fuse(steps), patched)
            try:
                log.predictions.ingest()
                finished = True
            except Killed:
                pass
        log.db.close()
        log.reopen().ingest()
        assert log.ask("select count(*), count(distinct (_id, _row)) from log") == [[1_130, 1_130]], steps
        assert log.profile_rows() == 1_130, steps
        learned = log.predictions.learned("shop", RELEASE)
        assert learned is not None
        assert learned.rows == 1_000
        assert set(log.blobs.list()) == {row["key"] for row in log.db.read("select key from segment")}, steps
        assert spool_files(log.spool_dir) == [], steps
        log.close()
    assert steps > 8


def test_a_kill_between_any_two_steps_of_forgetting_leaves_all_or_nothing_in_the_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    seen: Counter[tuple[int, int]] = Counter()
    finished = False
    while not finished:
        steps += 1
        folder = tmp_path / str(steps)
        folder.mkdir()
        log = Log(folder)
        log.answer(sample(3), keys=[KEY, "you", KEY])
        log.predictions.add_label_table("shop", {"key": [KEY], "label": [1]})
        assert on_disk(folder)
        with monkeypatch.context() as patched:
            light(log, Fuse(steps), patched)
            try:
                log.predictions.forget(KEY, actor=ACTOR)
                finished = True
            except Killed:
                pass
        log.db.close()
        log.reopen().ingest()
        (rows,) = log.ask("select count(*) from log")[0]
        seen[rows, len(log.governance.entries())] += 1
        assert log.ask("select count(*) from outcomes") == [[rows]]
        assert log.profile_rows() == 3
        assert on_disk(folder) == (rows == 3)  # what was decided is finished by the next start
        assert set(log.blobs.list()) == {row["key"] for row in log.db.read("select key from segment")}
        log.close()
    assert set(seen) == {(3, 0), (1, 1)}
