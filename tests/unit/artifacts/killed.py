"""A process that stores artifacts until it is killed, started as a module with FOLDER.

Every path is written to `FOLDER/told` once its artifact is stored; the content follows from the path.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from pathlib import Path

from mlspine import migrations
from mlspine.artifacts import Artifacts
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.ids import now_ms


def content_of(path: str) -> bytes:
    """Different for three paths of four, up to 300 kB."""
    number = int(path.rpartition("/")[2])
    return b"common" if number % 4 == 0 else path.encode() * (1 + number % 7 * 2000)


def opened(folder: Path) -> tuple[SqliteDatabase, Artifacts]:
    db = SqliteDatabase(folder / "store.db")
    db.migrate(migrations.scripts())
    return db, Artifacts(db=db, blobs=FileBlobStore(folder / "blobs"), drafts=folder / "drafts", clock=now_ms)


def main(folder: Path) -> None:
    _, artifacts = opened(folder)
    told = os.open(folder / "told", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def put(thread: int) -> None:
        for number in itertools.count():
            path = f"{os.getpid()}/{thread}/{number}"
            artifacts.put(path, content_of(path))
            os.write(told, f"{path}\n".encode())

    threads = [threading.Thread(target=put, args=(thread,)) for thread in range(2)]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
