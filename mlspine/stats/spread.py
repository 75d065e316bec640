"""Columns on all cores: sorting and counting let other threads run, so columns are counted side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Fewer rows are counted before the threads have started, and batches of files are counted by one thread each.
THREADED_ROWS = 150_000
MOST_THREADS = 16


def over_columns(task: Callable[[Item], Result], items: Iterable[Item], *, rows: int) -> list[Result]:
    """`task` of every item, in order; in threads when there are rows enough. What a task raises is raised here.

    >>> over_columns(abs, [-1, 2], rows=10)
    [1, 2]
    """
    threads = min(MOST_THREADS, cores())
    if rows < THREADED_ROWS or threads < 2:
        return [task(item) for item in items]
    with ThreadPoolExecutor(threads, thread_name_prefix="profile") as pool:
        return list(pool.map(task, items))


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
