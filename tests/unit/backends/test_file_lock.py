from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlspine.backends.file_lock import FileLock

HOLD = """
import sys
from pathlib import Path
from mlspine.backends.file_lock import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def waits_for(lock: FileLock) -> tuple[threading.Thread, threading.Event]:
    entered = threading.Event()

    def enter() -> None:
        with lock:
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    return thread, entered


@pytest.mark.parametrize("same", [True, False])
def test_threads_take_turns_with_one_turn_or_two_of_the_same_file(tmp_path: Path, same: bool) -> None:
    lock = FileLock(tmp_path / "lock")
    other = lock if same else FileLock(tmp_path / "lock")
    with lock:
        with lock:
            thread, entered = waits_for(other)
        assert not entered.wait(0.05)  # the inner one did not let go of the outer
    thread.join(10)
    assert entered.is_set()


def test_another_process_waits_and_a_dead_one_lets_go(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        thread, entered = waits_for(FileLock(tmp_path / "lock"))
        assert not entered.wait(0.05)
        child.kill()
        thread.join(10)
        assert entered.is_set()


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "folder" / "lock")
    with pytest.raises(RuntimeError), lock:
        raise RuntimeError
    thread, entered = waits_for(lock)
    thread.join(10)
    assert entered.is_set()
