"""The process that watches over a drill's copy: when the drill ends, however it ends, it stops and removes the copy.

    python -m mlspine.handover.guard FOLDER

It reads its standard input, which closes when the drill is done or dead. What the drill was just typing runs in the
guard's process group and ends with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

DONE = b"done"
PAUSE_S = 0.5
LATE_STARTS = 20  # pauses: a line that was killed may have started a process that is not up yet
STOP_TIMEOUT_S = 120.0


def main(folder: Path) -> None:
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    orderly = sys.stdin.buffer.read() == DONE
    if orderly:
        clear(folder)
        return
    os.killpg(0, signal.SIGTERM)
    for _ in range(LATE_STARTS):
        clear(folder)
        time.sleep(PAUSE_S)


def clear(folder: Path) -> None:
    """Stop what runs from a copy and remove it. Safe to repeat."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while folder.exists():
        _stop(folder)
        # A control process that is still starting cannot be told to stop before it says where it is.
        if not _is_locked(folder / "run" / "control.lock") or time.monotonic() > deadline:
            shutil.rmtree(folder, ignore_errors=True)
            return
        time.sleep(PAUSE_S)


def _stop(folder: Path) -> None:
    with contextlib.suppress(OSError):
        subprocess.run(
            [sys.executable, "-m", "mlspine", "down"],
            env={**os.environ, "MLSPINE_WORKSPACE": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )


def sweep(workspace: Path) -> list[Path]:
    """Clear the copies of a workspace whose guard is gone too; returns them."""
    abandoned = [each for each in workspace.parent.glob(f"{copy_prefix(workspace)}*") if not _is_locked(each)]
    for folder in abandoned:
        clear(folder)
    return abandoned


def copy_prefix(workspace: Path) -> str:
    """How the names of a workspace's copies begin: they lie beside it, so that relative paths mean the same."""
    return f"{workspace.name}-drill-"


def _is_locked(path: Path) -> bool:
    """Whether a process holds a lock on a file or folder; not, when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
