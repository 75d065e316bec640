"""A lock on a file: one holder at a time, across threads and processes of one machine."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from types import TracebackType
from typing import IO


class FileLock:
    """Entered with `with`; the thread that holds it may enter again.

    The system releases it when the process dies, so a kill never leaves it taken.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._depth = 0
        self._owner = 0
        self._file: IO[bytes] | None = None

    @property
    def held(self) -> bool:
        """Whether this thread holds it."""
        return self._owner == threading.get_ident()

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
        self._owner = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        self._release()

    def _release(self) -> None:
        if self._depth == 0:
            self._owner = 0
            if self._file is not None:
                self._file.close()
                self._file = None
        self._threads.release()
