"""Where releases lie: a folder of this machine, and in the blob store as well when machines share one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mlspine.core.errors import Corrupt
from mlspine.core.ids import SHORT_HASH, uuid7
from mlspine.ports import BlobStore
from mlspine.registry.release import read_release, release_hash

PREFIX = "releases"
# Put last and looked for first: with it, everything is there.
SEAL = "mlspine/release.json"


class Shelf:
    """Releases by their hash. blobs: None for a workspace that shares nothing."""

    def __init__(self, folder: Path, blobs: BlobStore | None) -> None:
        self._folder = folder
        self._blobs = blobs

    def share(self, name: str) -> None:
        """Put a release of this machine where the others find it. Safe to repeat."""
        if self._blobs is None:
            return
        held = set(self._blobs.list(_key(name, "")))
        if _key(name, SEAL) in held:
            return
        path = self._folder / name
        files = sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())
        for file in sorted(files, key=lambda file: file == SEAL):
            self._blobs.put(_key(name, file), path / file)

    def here(self, name: str) -> Path:
        """The folder of a release, fetched when this machine lacks it; absent where no machine has shared it.

        Whole or absent: every file is checked against its digest before the folder gets its name. Raises
        Corrupt when what was stored is not that release.
        """
        path = self._folder / name
        if self._blobs is None or path.is_dir():
            return path
        keys = list(self._blobs.list(_key(name, "")))
        if _key(name, SEAL) in keys:
            self._fetch(self._blobs, name, keys)
        return path

    def _fetch(self, blobs: BlobStore, name: str, keys: list[str]) -> None:
        draft = self._folder / f".draft-{uuid7()}"
        try:
            for key in keys:
                _download(blobs, key, draft / key.removeprefix(_key(name, "")))
            if release_hash(read_release(draft)) != name:
                raise Corrupt(
                    f"the shared copy of release {name[:SHORT_HASH]} is another release",
                    hint="ship the model again on the machine that made it",
                )
            _rename(draft, self._folder / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _key(name: str, file: str) -> str:
    return f"{PREFIX}/{name}/{file}"


def _download(blobs: BlobStore, key: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with blobs.open(key) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


def _rename(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        if not target.is_dir():  # else another process has just fetched it too
            raise
