"""The files of runs and logged models: a path names a content, and equal content is stored once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from mlspine.artifacts import store
from mlspine.artifacts.paths import check_path, parents
from mlspine.artifacts.store import Artifact
from mlspine.artifacts.upload import Upload, sweep
from mlspine.core.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from mlspine.core.ids import SHORT_HASH, uuid7
from mlspine.core.types import Struct
from mlspine.ports import BlobStore, Database, Transaction

PREFIX = "artifacts"
# Left-over content is kept this long, see `collect`. It must exceed twice the time that storing one file takes.
GRACE_MS = 24 * 3_600_000
_PIECE_BYTES = 1 << 20


class Entry(Struct, frozen=True, kw_only=True):
    """One line of a directory listing; `size_bytes` is 0 for directories."""

    name: str
    is_dir: bool
    size_bytes: int = 0


class Artifacts:
    """Files under paths with '/' in them, such as `1/<run id>/artifacts/model/MLmodel`; a later put replaces.

    A put is whole or absent: the content is on disk before its row is written, and the row outlives the death
    of the process. After a power cut the last rows may be missing, but none without its content, and none that
    was written before something synced, such as the model version that relies on it.
    """

    def __init__(self, *, db: Database, blobs: BlobStore, drafts: Path, clock: Callable[[], int]) -> None:
        self._db = db
        self._blobs = blobs
        self._drafts = drafts
        self._clock = clock
        sweep(drafts)

    # ------------------------------------------------------------ in

    def begin(self, *, expected_bytes: int = 0) -> Upload:
        """A draft to write a file's bytes to; `finish` stores it, its `abort` forgets it.

        Raises Unavailable when as much as is expected would fill the disk.
        """
        return Upload(self._drafts, expected_bytes=expected_bytes)

    def finish(self, path: str, upload: Upload) -> Artifact:
        """Store what was written under `path`; the draft is gone either way.

        Raises Invalid for a path that cannot be, or that is a directory, or lies in a file.
        """
        try:
            check_path(path)
            self._refuse_clash(self._db, path)
            begun_at_ms = self._clock()
            digest = upload.digest
            self._keep(digest, upload.path)
            return self._record(path, digest, upload.size_bytes, begun_at_ms=begun_at_ms)
        finally:
            upload.abort()

    def put(self, path: str, data: bytes | Path) -> Artifact:
        """Store bytes, or a copy of a file, under `path`."""
        upload = self.begin()
        try:
            if isinstance(data, Path):
                with data.open("rb") as source:
                    while piece := source.read(_PIECE_BYTES):
                        upload.write(piece)
            else:
                upload.write(data)
        except BaseException:
            upload.abort()
            raise
        return self.finish(path, upload)

    # ------------------------------------------------------------ out

    def find(self, path: str) -> Artifact | None:
        """What is known of a file, None when there is none by that path."""
        return store.find(self._db, check_path(path))

    def get(self, path: str) -> Artifact:
        """What is known of a file; raises NotFound."""
        artifact = self.find(path)
        if artifact is None:
            raise NotFound(f"no artifact {path!r}", hint="list its directory: it may be named otherwise")
        return artifact

    def open(self, path: str) -> BinaryIO:
        """A file for reading, seekable; raises NotFound."""
        return self.content(self.get(path))

    def content(self, artifact: Artifact) -> BinaryIO:
        """The bytes that `artifact` names, whatever its path has become since; seekable."""
        with self._blobs.reading():  # an open file stays readable when its copy here goes
            return Path(self._blobs.locate(_key(artifact.digest))).open("rb")

    def list(self, directory: str = "") -> tuple[Entry, ...]:
        """What lies right in a directory, by name; nothing for a file or an absent directory."""
        if directory:
            check_path(directory)
        entries = (
            Entry(name=each, is_dir=True)
            if isinstance(each, str)
            else Entry(name=each.path.rpartition("/")[2], is_dir=False, size_bytes=each.size_bytes)
            for each in store.children(self._db, directory)
        )
        return tuple(sorted(entries, key=lambda entry: entry.name))

    def walk(self, directory: str = "") -> Iterator[Artifact]:
        """Every file below a directory, however deep, by path."""
        return store.below(self._db, check_path(directory) if directory else "")

    def copy_to(self, directory: str, folder: Path) -> None:
        """Lay a directory out as files in `folder`, which is made, whole or not at all.

        Raises NotFound for a directory without files, Conflict when `folder` has files already, Corrupt when
        stored bytes are not those that were put.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = folder.with_name(f".{folder.name}-{uuid7()}")
        try:
            for artifact in self.walk(directory):
                self._copy(artifact, draft / artifact.path.removeprefix(f"{directory}/"))
            if not draft.exists():
                raise NotFound(f"no artifacts below {directory!r}", hint="see what is there: list its parent directory")
            _into_place(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    # ------------------------------------------------------------ away

    def delete(self, path: str) -> int:
        """Remove a file, or everything below a directory; returns how many files went, 0 when there was none."""
        check_path(path)
        with self._db.write(synced=False) as tx:
            return store.delete(tx, path, at_ms=self._clock())

    def weigh(self, directory: str) -> tuple[int, int]:
        """How many files lie below a directory, and their bytes."""
        return store.weigh(self._db, check_path(directory))

    def left_over(self) -> int:
        """How many contents no artifact has any more, as far as that was noted."""
        return len(store.leftovers(self._db, until_at_ms=self._clock()))

    def unreferenced(self) -> tuple[str, ...]:
        """Digests of stored content that no artifact has, sorted; what is being stored right now among them."""
        return tuple(digest for part in self._unreferenced() for digest in part)

    def collect(self, *, dry_run: bool = False) -> tuple[str, ...]:
        """Delete content that no artifact has had for a day, and drafts of killed processes; returns the digests.

        Why not at once: an upload stores its content first and its row afterwards, and finds content that is
        stored already good enough. Content between the two looks left over. So what is found is noted, and
        deleted only by a look a day later. An upload takes the note away before it stores, and gives up when
        storing took half of that day. The note goes, or stays, in a transaction, of which there is one at a
        time: either the upload was first, and what it stores is not due, or this was, and it is stored anew.
        Readers have the same day to finish.
        """
        now_ms = self._clock()
        due_ms = now_ms - GRACE_MS
        if dry_run:
            return tuple(store.leftovers(self._db, until_at_ms=due_ms))
        sweep(self._drafts)
        for digests in self._unreferenced():
            with self._db.write(synced=False) as tx:
                for digest in digests:
                    store.note_leftover(tx, digest, at_ms=now_ms)
        due = store.leftovers(self._db, until_at_ms=due_ms)
        return tuple(digest for digest in due if self._drop(digest, due_ms))

    # ------------------------------------------------------------ inside

    def _refuse_clash(self, db: Database | Transaction, path: str) -> None:
        if store.is_directory(db, path):
            raise Invalid(f"Invalid path: {path!r} is a directory", hint="name a file in it, or delete it first")
        if file := store.first_of(db, parents(path)):
            raise Invalid(f"Invalid path: {path!r} lies in {file!r}, which is a file", hint="delete that file first")

    def _keep(self, digest: str, draft: Path) -> None:
        """Store the content unless it is stored; from now on for half a day nobody collects it."""
        if store.is_leftover(self._db, digest):
            with self._db.write(synced=False) as tx:
                store.wanted(tx, digest)
        if not store.is_content(self._db, digest):
            self._blobs.adopt(_key(digest), draft)

    def _record(self, path: str, digest: str, size_bytes: int, *, begun_at_ms: int) -> Artifact:
        now_ms = self._clock()
        if now_ms - begun_at_ms > GRACE_MS // 2:
            raise Unavailable(f"storing {path!r} took too long", hint="send it again")
        artifact = Artifact(path=path, digest=digest, size_bytes=size_bytes, created_at_ms=now_ms)
        with self._db.write(synced=False) as tx:
            self._refuse_clash(tx, path)
            if store.find(tx, path) is not None:
                store.delete(tx, path, at_ms=now_ms)
            store.put(tx, artifact)
            store.wanted(tx, digest)
        return artifact

    def _copy(self, artifact: Artifact, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        hasher = blake3()
        with self.content(artifact) as source, target.open("wb") as file:
            while piece := source.read(_PIECE_BYTES):
                hasher.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if hasher.hexdigest() != artifact.digest:
            raise Corrupt(
                f"the stored content of {artifact.path!r} is not what was put ({artifact.digest[:SHORT_HASH]})",
                hint="put it again from where it came from",
            )

    def _unreferenced(self) -> Iterator[tuple[str, ...]]:
        """Stored content without an artifact, by the first two digits."""
        # Listed before the rows are read: what an upload stores and names between the two is not among them.
        keys = self._blobs.list(f"{PREFIX}/")
        for digits, part in groupby(keys, key=lambda key: key.removeprefix(f"{PREFIX}/")[:2]):
            stored = {key.rpartition("/")[2] for key in part}
            if found := tuple(sorted(stored - store.contents(self._db, digits))):
                yield found

    def _drop(self, digest: str, due_ms: int) -> bool:
        with self._db.write(synced=False) as tx:
            taken = store.take_leftover(tx, digest, until_at_ms=due_ms)
            if taken:
                self._blobs.delete(_key(digest))
            return taken


def _key(digest: str) -> str:
    return f"{PREFIX}/{digest[:2]}/{digest}"


def _into_place(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError as exc:
        raise Conflict(f"{folder} has files already", hint="name a folder that is absent or empty") from exc
