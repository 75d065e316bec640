"""One writer of the prediction log at a time, across threads and processes."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from types import TracebackType
from typing import IO


class Turn:
    """A lock on a file, entered with `with`; the thread that holds it may enter again.

    The system releases it when the process dies, so a kill never leaves it taken.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._depth = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            if self._depth == 0:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab")
                fcntl.flock(self._file, fcntl.LOCK_EX)
        except BaseException:
            self._release()
            raise
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        self._release()

    def _release(self) -> None:
        if self._depth == 0 and self._file is not None:
            self._file.close()
            self._file = None
        self._threads.release()
