"""What is new at a source since it was last read; an unchanged file is not opened again."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from mlspine.data.manifest import table_digest
from mlspine.data.source import Opened, Source, file_marks, opened
from mlspine.feeds.store import Memory

CHUNK_ROWS = 100_000
_CONTENT = ""  # the mark of what is no file: the digest of its rows


class News(NamedTuple):
    """Rows that were not there before: of changed files, or of all when there are no files to tell by.

    by_files: whether only changed files were read. marks: what to remember once they are dealt with.
    arrived_at_ms: when they came.
    """

    table: Opened
    by_files: bool
    marks: dict[str, str]
    arrived_at_ms: tuple[int, ...]


@contextlib.contextmanager
def news(source: Source, memory: Memory, *, root: Path, texts: Collection[str], now_ms: int) -> Iterator[News | None]:
    """What is new against what is remembered, None when nothing is. Raises what reading the source raises."""
    if source.kind == "path":
        marks = file_marks(source, root=root)
        changed = [name for name, mark in marks.items() if memory.marks.get(name) != mark]
        if not changed:
            yield None
            return
        times = tuple(sorted({int(marks[name].split()[1]) // 1_000_000 for name in changed}))
        with opened(source, root=root, texts=texts, files=[Path(name) for name in changed]) as table:
            yield News(table, True, marks, tuple(min(at, now_ms) for at in times))
        return
    with opened(source, root=root, texts=texts) as table:
        digest = _digest(table)
        unchanged = memory.marks.get(_CONTENT) == digest
        yield None if unchanged else News(table, False, {_CONTENT: digest}, (now_ms,))


def chunks(table: Opened) -> Iterator[tuple[int, int]]:
    """First and last row (excluded) of each piece of a table."""
    for start in range(0, table.rows, CHUNK_ROWS):
        yield start, min(start + CHUNK_ROWS, table.rows)


def _digest(table: Opened) -> str:
    hasher = blake3()
    for start, stop in chunks(table):
        hasher.update(table_digest(table.chunk(start, stop)).encode())
    return hasher.hexdigest()
