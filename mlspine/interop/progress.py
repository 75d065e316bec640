"""How far an import or export is: counted by every thread, told now and then."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from mlspine.core.types import Struct

TELL_EVERY_S = 0.5
LISTED = 1000  # things not brought that are named; the rest is counted


class Progress(Struct, frozen=True, kw_only=True):
    """Counts so far. here_already: runs brought by an earlier run of the command. seconds: since the start."""

    experiments: int = 0
    runs: int = 0
    runs_total: int = 0
    here_already: int = 0
    points: int = 0
    logged_models: int = 0
    registered_models: int = 0
    versions: int = 0
    files: int = 0
    bytes: int = 0
    not_brought: int = 0
    seconds: float = 0.0

    @property
    def rows_per_s(self) -> float:
        """Runs, points, models and versions per second."""
        rows = self.runs + self.points + self.logged_models + self.registered_models + self.versions
        return rows / self.seconds if self.seconds > 0 else 0.0


class Report(Struct, frozen=True, kw_only=True):
    """What was brought or taken. renamed: what could not keep its name. not_brought: what stays, and why."""

    store: str
    progress: Progress
    renamed: tuple[str, ...] = ()
    not_brought: tuple[str, ...] = ()


class Tally:
    """Counts from any thread; `tell` hears of them at most twice a second."""

    def __init__(self, store: str, tell: Callable[[Progress], None], *, seconds: Callable[[], float]) -> None:
        self._store = store
        self._tell = tell
        self._seconds = seconds
        self._began_s = self._told_s = seconds()
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._renamed: list[str] = []
        self._not_brought: list[str] = []

    def add(self, **counts: int) -> None:
        with self._lock:
            self._counts.update(counts)
            now_s = self._seconds()
            if now_s - self._told_s < TELL_EVERY_S:
                return
            self._told_s = now_s
            told = self._progress()
        self._tell(told)

    def renamed(self, line: str) -> None:
        with self._lock:
            self._renamed.append(line)

    def not_brought(self, line: str) -> None:
        with self._lock:
            self._counts["not_brought"] += 1
            if len(self._not_brought) < LISTED:
                self._not_brought.append(line)

    def report(self) -> Report:
        """Everything counted, told a last time."""
        with self._lock:
            progress = self._progress()
        self._tell(progress)
        return Report(
            store=self._store,
            progress=progress,
            renamed=tuple(self._renamed),
            not_brought=tuple(self._not_brought),
        )

    def _progress(self) -> Progress:
        return Progress(**self._counts, seconds=self._seconds() - self._began_s)
