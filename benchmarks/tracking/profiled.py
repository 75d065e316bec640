"""Our control process with a profiler in each thread, which counts processor time and not the clock on the wall.

    python -m benchmarks.tracking.profiled OUTPUT WORKSPACE --port P --control-port C

Waiting costs nothing by this clock, and what SQLite does stands beside the call that asked for it. A profiled call
costs more than another, so read shares, and the number of calls.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import threading
import time

from mlspine.web import control


class ThreadProfiler(cProfile.Profile):
    """Counts the processor time of one thread."""

    def __init__(self) -> None:
        super().__init__(time.thread_time)

    def create_stats(self) -> None:
        self.snapshot_stats()  # disabling would end the thread's open calls by the clock of the thread that asks


class Profilers:
    """One profiler for each thread that starts from now on, and this one's."""

    def __init__(self) -> None:
        self._profilers: list[ThreadProfiler] = []
        threading.setprofile(self._begin)
        self._begin()

    def write(self, output: str) -> None:
        """All threads added up, as pstats reads it."""
        threading.setprofile(None)
        statistics = pstats.Stats(*self._profilers)
        statistics.dump_stats(output)

    def _begin(self, *_: object) -> None:
        profiler = ThreadProfiler()
        self._profilers.append(profiler)
        profiler.enable()  # takes the place of this function in the thread that called it


def main() -> int:
    output, workspace, *ports = sys.argv[1:]
    if sys.version_info >= (3, 12):
        raise SystemExit("a profiler for each thread needs Python 3.11: later ones have one for all")
    profilers = Profilers()
    try:
        return control.main(["--workspace", workspace, *ports])
    finally:
        profilers.write(output)


if __name__ == "__main__":
    sys.exit(main())
