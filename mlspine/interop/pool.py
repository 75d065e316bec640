"""Many small jobs on a few threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

AHEAD = 8  # jobs handed over before one of them is finished


def all_done(pool: ThreadPoolExecutor, jobs: Iterator[Callable[[], None]]) -> None:
    """Do the jobs, a few at a time; the first error ends it."""
    running: set[Future[None]] = set()
    try:
        for job in jobs:
            running.add(pool.submit(job))
            if len(running) >= AHEAD:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()
        for each in running:
            each.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
