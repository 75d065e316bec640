"""A batch's output and its rows of the log: both become visible when it is complete, or neither does.

Everything is written aside first. One rename then says "complete"; what follows it are moves that can be
repeated. Killed before the rename a batch has never been; killed after it, the next batch finishes the moves.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

import msgspec

from mlspine.core.errors import Invalid
from mlspine.core.ids import uuid7
from mlspine.predictions.spool import SUFFIX, SpoolWriter

_BEGUN, _COMPLETE, _LOCK = "begun.json", "complete.json", "lock"


class _Places(msgspec.Struct, frozen=True):
    draft: str
    output: str


class Publication:
    """What one batch writes, under `aside` until `publish`. Use as a context: without `publish` nothing remains."""

    def __init__(self, *, aside: Path, spool_dir: Path, output: Path) -> None:
        name = uuid7()
        self.folder = aside / name
        self.folder.mkdir(parents=True)
        self._lock = _locked(self.folder / _LOCK)
        self._spool_dir = spool_dir
        # Beside the output, for a rename does not cross file systems.
        self.draft = output.with_name(f".{output.name}.{name[-12:]}")
        _write(self.folder / _BEGUN, _Places(str(self.draft), str(output)))
        self.spool = SpoolWriter(self.folder, "batch")
        self._published = False

    def publish(self) -> None:
        """Make the output and the rows of the log visible."""
        self.spool.close()
        with self.draft.open("rb") as file:
            os.fsync(file.fileno())
        (self.folder / _BEGUN).replace(self.folder / _COMPLETE)
        self._published = True
        _finish(self.folder, self._spool_dir)

    def __enter__(self) -> Publication:
        return self

    def __exit__(self, *_: object) -> None:
        self.spool.close()
        if not self._published:
            self.draft.unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def recover(*, aside: Path, spool_dir: Path) -> None:
    """Finish what was complete when its process died, and remove what was not. Living batches are let alone."""
    for folder in sorted(aside.glob("*")):
        lock = _locked(folder / _LOCK)
        if lock is None:
            continue
        with lock:
            if (folder / _COMPLETE).exists():
                _finish(folder, spool_dir)
            else:
                with contextlib.suppress(OSError, msgspec.DecodeError):
                    Path(_read(folder / _BEGUN).draft).unlink(missing_ok=True)
                shutil.rmtree(folder, ignore_errors=True)


def check_output(output: Path) -> None:
    """Raises Invalid where nothing could be written, before any work is done."""
    if output.is_dir():
        raise Invalid(f"{output} is a folder", hint="give a file: scores.parquet or scores.csv")
    if not output.parent.is_dir():
        raise Invalid(f"there is no folder {output.parent} to write {output.name} to", hint=f"mkdir -p {output.parent}")
    if not os.access(output.parent, os.W_OK):
        raise Invalid(f"nothing can be written to {output.parent}", hint="choose another place for -o")


def _finish(folder: Path, spool_dir: Path) -> None:
    places = _read(folder / _COMPLETE)
    with contextlib.suppress(FileNotFoundError):  # moved before
        Path(places.draft).replace(places.output)
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        file.replace(spool_dir / file.name)
    shutil.rmtree(folder)


def _locked(path: Path) -> IO[bytes] | None:
    """The lock of a batch's folder, held until closed; None while its process lives."""
    with contextlib.suppress(OSError):
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
        else:
            return file
    return None


def _write(path: Path, places: _Places) -> None:
    path.write_bytes(msgspec.json.encode(places))


def _read(path: Path) -> _Places:
    return msgspec.json.decode(path.read_bytes(), type=_Places)
