"""BlobStore on a directory: one file per key."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlspine.core.errors import Denied, Invalid, NotFound, Unavailable
from mlspine.core.ids import uuid7

DRAFTS = ".drafts"
DRAFT_LIFE_S = 3600.0


class FileBlobStore:
    """Bytes under keys with '/' in them, as files below `root`.

    A put is written beside, brought to disk and renamed: a reader or a crash sees the old bytes or the new
    ones, never half. Drafts left by a killed process are swept when the store opens.
    """

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)
        self._drafts = self._root / DRAFTS
        with _mapped_errors(self._root):
            self._drafts.mkdir(parents=True, exist_ok=True)
            _sweep(self._drafts)

    def put(self, key: str, data: bytes | Path) -> None:
        """Store bytes, or a copy of a file, under `key`; an earlier blob of that key is replaced."""
        target = self._path(key)
        draft = self._drafts / uuid7()
        with _mapped_errors(target):
            try:
                _write_durably(draft, data)
                _make_folder(target.parent)
                draft.replace(target)
                _sync_folder(target.parent)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise

    def adopt(self, key: str, file: Path) -> None:
        """Make a finished file the blob: renamed where it lies on the same disk, copied from another one."""
        target = self._path(key)
        with _mapped_errors(target):
            _sync_file(file)
            _make_folder(target.parent)
            try:
                file.replace(target)
            except OSError as exc:
                if exc.errno != errno.EXDEV:
                    raise
                self.put(key, file)
                file.unlink()
            else:
                _sync_folder(target.parent)

    def get(self, key: str) -> bytes:
        with self.open(key) as file:
            return file.read()

    def open(self, key: str) -> BinaryIO:
        """The blob as a binary file for reading, seekable; raises NotFound."""
        path = self._path(key)
        try:
            return path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as exc:
            raise self._not_found(key) from exc

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with `prefix`, sorted."""
        folder, _, _ = prefix.rpartition("/")
        top = self._path(folder) if folder else self._root
        keys = (path.relative_to(self._root).as_posix() for path in top.rglob("*") if path.is_file())
        yield from sorted(key for key in keys if key.startswith(prefix) and not key.startswith(DRAFTS + "/"))

    def delete(self, key: str) -> None:
        """Gone afterwards, whether or not it was there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), _mapped_errors(self._root):
            self._path(key).unlink()

    def locate(self, key: str) -> str:
        """The file's own path; raises NotFound."""
        path = self._path(key)
        if not path.is_file():
            raise self._not_found(key)
        return str(path)

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to hold: files are deleted by whoever knows that nothing reads them."""
        return contextlib.nullcontext()

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*check_key(key))

    def _not_found(self, key: str) -> NotFound:
        return NotFound(f"no blob {key!r} in {self._root}", hint="it was deleted or belongs to another workspace")


def check_key(key: str) -> list[str]:
    """The parts of a key; Invalid for one that could leave the store or mean two things."""
    parts = key.split("/")
    wrong = any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts)
    if wrong or parts[0] == DRAFTS or Path(key).is_absolute():
        raise Invalid(
            f"{key!r} cannot be a blob's key",
            hint="use names joined by '/', e.g. \"segments/churn/0001.parquet\"",
        )
    return parts


def _write_durably(path: Path, data: bytes | Path) -> None:
    with path.open("wb") as file:
        if isinstance(data, Path):
            with data.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
        else:
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_file(path: Path) -> None:
    # Windows brings only what is open for writing to disk.
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Bring a new name in `folder` to disk; systems that cannot open a folder do so on their own."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(drafts: Path) -> None:
    oldest = time.time() - DRAFT_LIFE_S
    for draft in drafts.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process sweeps too
            if draft.stat().st_mtime < oldest:
                draft.unlink()


@contextlib.contextmanager
def _mapped_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(
                f"no space left to write {path}",
                hint=f"free space on that disk (df -h {path.parent}) and try again; nothing was stored",
            ) from exc
        if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Denied(
                f"{path} cannot be written: {exc.strerror}",
                hint=f"make its folder writable: chmod u+w {path.parent}",
            ) from exc
        if exc.errno in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST):
            raise Invalid(
                f"{path} cannot be stored: a part of that key is a blob or a folder of blobs already",
                hint="choose a key that is not the beginning of another",
            ) from exc
        raise
