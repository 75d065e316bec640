"""The applied plan on disk, and the mark that tells which model was running when the process died."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from mlspine.core.errors import Corrupt
from mlspine.core.plan import Plan
from mlspine.registry.flavors import Outputs

T = TypeVar("T")

MARK_BYTES = 64
_NOTHING = bytes(MARK_BYTES)


class PlanFile:
    """`run/plan.json`, read again only when it changed."""

    def __init__(self, run: Path) -> None:
        self.path = run / "plan.json"
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> Plan:
        """The plan as it is now; raises Corrupt when it cannot be read."""
        try:
            self._seen = self._stamp()
            return msgspec.json.decode(self.path.read_bytes(), type=Plan)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Corrupt(f"the plan {self.path} cannot be read: {exc}", hint="write it anew with: mlspine up") from exc

    def changed(self) -> Plan | None:
        """The plan if the file is another than at the last look, else None."""
        try:
            stamp = self._stamp()
        except OSError:
            return None
        return None if stamp == self._seen else self.read()

    def _stamp(self) -> tuple[int, int, int]:
        stat = self.path.stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


class InLoopMark:
    """Names on disk, for as long as it lasts, the release whose model call holds the event loop.

    A memory map, so that marking costs no system call and the mark outlives the process.
    """

    def __init__(self, run: Path, process: str) -> None:
        path = run / f"{process}.inloop"
        with path.open("w+b") as file:
            file.write(_NOTHING)
            file.flush()
            self._map = mmap.mmap(file.fileno(), MARK_BYTES)
        os.chmod(path, 0o600)

    def around(self, predict: Callable[[T], Outputs], release_hash: str) -> Callable[[T], Outputs]:
        """The same prediction with the mark set while it runs."""
        mark, running = self._map, release_hash.encode().ljust(MARK_BYTES, b"\0")[:MARK_BYTES]

        def marked(rows: T) -> Outputs:
            mark[:] = running
            try:
                return predict(rows)
            finally:
                mark[:] = _NOTHING

        return marked

    def close(self) -> None:
        self._map.close()
