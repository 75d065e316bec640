"""Copies of blobs on this machine: bounded, shared by its processes, and never taken away from a reader."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlspine.core.ids import uuid7

_BLOBS, _DRAFTS, _PINS = "blobs", ".drafts", ".pins"
_LEFT_BEHIND_S = 6 * 3600.0  # drafts and pins older than this are those of a killed process


class BlobCache:
    """One file per blob below a folder. Beyond `max_bytes` those used longest ago go.

    A reader's paths are hard links of its own, so that neither another thread nor another process can remove
    what it is about to open. All of it may be deleted at any time when nothing runs.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._pins = threading.local()
        self._room = threading.Lock()  # what comes in and what goes is counted by one thread at a time
        self._size_bytes: int | None = None  # what this process believes; counted anew before anything goes
        for name in (_BLOBS, _DRAFTS, _PINS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        _sweep(folder / _DRAFTS)
        _sweep(folder / _PINS)

    def keep(self, name: str, source: BinaryIO) -> Path:
        """Take a copy in, in place of an older one, and let others go for it; returns where it can be read."""
        draft, target = self._folder / _DRAFTS / uuid7(), self._folder / _BLOBS / name
        try:
            with draft.open("xb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            size = draft.stat().st_size
            # Pinned before it is in its place: once there, another thread may let it go.
            pinned = self._pin(draft, suffix=target.suffix)
            with self._room:
                _into_place(draft, target)
                self._make_room(size)
        finally:
            draft.unlink(missing_ok=True)
        return target if pinned is None or pinned == draft else pinned

    def path(self, name: str) -> Path | None:
        """Where a copy can be read, None when there is none."""
        target = self._folder / _BLOBS / name
        if not target.is_file():
            return None
        with contextlib.suppress(FileNotFoundError):
            os.utime(target)  # used now
        return self._pin(target, suffix=target.suffix)

    def drop(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (self._folder / _BLOBS / name).unlink()

    def retain(self, folder: str, names: set[str]) -> None:
        """Let go of copies below `folder` that are not among `names`."""
        for path in self._files(folder):
            if path.relative_to(self._folder / _BLOBS).as_posix() not in names:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """Paths given to this thread inside stay readable until its end."""
        if getattr(self._pins, "folder", None) is not None:
            yield
            return
        self._pins.folder = self._folder / _PINS / uuid7()
        try:
            yield
        finally:
            folder, self._pins.folder = self._pins.folder, None
            shutil.rmtree(folder, ignore_errors=True)

    # ------------------------------------------------------------ inside

    def _pin(self, target: Path, *, suffix: str) -> Path | None:
        """A hard link in this thread's folder of pins, the file itself outside `pinned`; None when it is gone."""
        folder: Path | None = getattr(self._pins, "folder", None)
        if folder is None:
            return target
        folder.mkdir(exist_ok=True)
        link = folder / f"{uuid7()}{suffix}"
        try:
            link.hardlink_to(target)
        except FileNotFoundError:
            return None
        except OSError:  # a file system without hard links
            shutil.copyfile(target, link)
        return link

    def _make_room(self, added: int) -> None:
        self._size_bytes = None if self._size_bytes is None else self._size_bytes + added
        if self._size_bytes is not None and self._size_bytes <= self._max_bytes:
            return
        found = []
        for path in self._files(""):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        self._size_bytes = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if self._size_bytes <= self._max_bytes:
                break
            path.unlink(missing_ok=True)
            self._size_bytes -= size

    def _files(self, folder: str) -> Iterator[Path]:
        return (path for path in (self._folder / _BLOBS / folder).rglob("*") if path.is_file())


def _into_place(draft: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft.replace(target)


def _sweep(folder: Path) -> None:
    oldest = time.time() - _LEFT_BEHIND_S
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
