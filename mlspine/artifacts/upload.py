"""A file on its way in: written piece by piece, digested on the way, taken whole or thrown away."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from mlspine.core.errors import Unavailable
from mlspine.core.ids import uuid7

RESERVE_BYTES = 100_000_000  # left for everything else on that disk
YOUNG_S = 60.0  # a draft is locked within this time of being made


class Upload:
    """Bytes that are not stored yet. One thread at a time; a killed process leaves a file that `sweep` finds."""

    def __init__(self, folder: Path, *, expected_bytes: int = 0) -> None:
        self.path = folder / uuid7()
        self.size_bytes = 0
        self._hasher = blake3()
        with _mapped_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _check_room(folder, expected_bytes)
            self._file = self.path.open("xb", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX)  # free again when this process is dead

    @property
    def digest(self) -> str:
        """BLAKE3 of what was written so far."""
        return self._hasher.hexdigest()

    def write(self, data: bytes | bytearray) -> None:
        """Add some bytes; Unavailable when the disk is full."""
        self._hasher.update(data)
        self.size_bytes += len(data)
        rest = memoryview(data)
        with _mapped_errors(self.path.parent):
            while rest:
                rest = rest[self._file.write(rest) :]

    def abort(self) -> None:
        """Nothing of it is left, unless it was taken already. Safe to repeat."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def _check_room(folder: Path, expected_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if expected_bytes and expected_bytes + RESERVE_BYTES > free:
        raise Unavailable(
            f"the file has {expected_bytes / 1e6:,.0f} MB and the disk of {folder} has {free / 1e6:,.0f} MB left",
            hint="free disk space there, then send it again",
        )


def sweep(folder: Path) -> int:
    """Remove drafts whose process is dead; returns how many."""
    swept = 0
    oldest = time.time() - YOUNG_S
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # taken meanwhile, or still being written
            if path.stat().st_mtime < oldest:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                    swept += 1
    return swept


@contextlib.contextmanager
def _mapped_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        raise Unavailable(
            f"{'no space left to write' if full else 'cannot write'} {folder}: {os.strerror(exc.errno or 0)}",
            hint=f"see what its disk has left (df -h {folder}) and who may write there; nothing was stored",
        ) from exc
