"""Releases on their way in: parts by digest, in pieces, continued after any interruption, registered by another call.

    POST /uploads                      the manifest; answers the hash and how many bytes of each part are held
    PUT  /uploads/HASH/DIGEST?at=N     bytes N and further of one part
    POST /uploads/HASH                 all parts are there: the release is put in its place, whole or not at all

Parts lie under `run/uploads/<hash>/<digest>`, both hexadecimal digests that were checked: no name a client chose
becomes a path. A finished release is not a version of any model yet: `registry.register` makes it one.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlspine.core.errors import Conflict, Invalid, NotFound, Unavailable
from mlspine.core.ids import SHORT_HASH, digest_file
from mlspine.registry import parcel
from mlspine.registry.parcel import Manifest
from mlspine.registry.release import read_release
from mlspine.remote import Held

MAX_PIECE_BYTES = 64 * 1024 * 1024
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
MAX_UNFINISHED = 8  # beyond it the one that was left alone longest goes
RESERVE_BYTES = 100_000_000  # left for the log
ABANDONED_MS = 7 * 86_400_000
_MANIFEST = "manifest.json"


class Uploads:
    """Unfinished uploads of one workspace. One writer at a time: pieces are short."""

    def __init__(self, *, folder: Path, releases_dir: Path, max_bytes: int, clock: Callable[[], int]) -> None:
        self._folder = folder
        self._releases_dir = releases_dir
        self._max_bytes = max_bytes
        self._clock = clock
        self._turn = threading.Lock()

    def begin(self, manifest: Manifest) -> Held:
        """Begin an upload, or say how far it is."""
        release_hash = parcel.check(manifest, max_bytes=self._max_bytes)
        with self._turn:
            if self._is_in_place(release_hash):
                return Held(hash=release_hash, complete=True, bytes=manifest.sizes)
            self._tidy(keep=release_hash)
            folder = self._folder / release_hash
            folder.mkdir(parents=True, exist_ok=True)
            _write_whole(folder / _MANIFEST, msgspec.json.encode(manifest))
            held = {digest: _held(folder / digest, size) for digest, size in manifest.sizes.items()}
            self._check_room(sum(manifest.sizes.values()) - sum(held.values()))
            return Held(hash=release_hash, complete=False, bytes=held)

    def append(self, release_hash: str, digest: str, at: int, data: bytes) -> int:
        """Take bytes `at` and further of one part; returns how many of it are held now.

        Raises Conflict when other bytes are expected next, Invalid when the part is not what its digest says,
        which begins it anew.
        """
        with self._turn:
            folder, manifest = self._unfinished(release_hash)
            if digest not in manifest.sizes:
                raise NotFound(f"release {release_hash[:SHORT_HASH]} has no part {digest[:SHORT_HASH]}")
            part, size = folder / digest, manifest.sizes[digest]
            held = _size(part)
            if at != held:
                raise Conflict(f"part {digest[:SHORT_HASH]} continues at byte {held}, not {at}", hint="ship again")
            if held + len(data) > size:
                raise Invalid(f"part {digest[:SHORT_HASH]} has {size} bytes, not more", hint="ship again")
            with _storing(), part.open("ab") as file:
                file.write(data)
            if held + len(data) == size and digest_file(part) != digest:
                part.unlink()
                raise Invalid(
                    f"part {digest[:SHORT_HASH]} came damaged and was thrown away", hint="ship again: it is sent anew"
                )
            return held + len(data)

    def finish(self, release_hash: str) -> Held:
        """Put the release in its place; Conflict while bytes are missing."""
        with self._turn:
            if self._is_in_place(release_hash):
                return Held(hash=release_hash, complete=True, bytes={})
            folder, manifest = self._unfinished(release_hash)
            missing = [digest for digest, size in manifest.sizes.items() if _size(folder / digest) != size]
            if missing:
                raise Conflict(f"{len(missing)} parts are not complete", hint="ship again: it continues")
            try:
                with _storing():
                    parcel.unpack(manifest, lambda digest: (folder / digest).read_bytes(), self._releases_dir)
            except Invalid:
                shutil.rmtree(folder)  # sent again it is sent whole
                raise
            shutil.rmtree(folder)
            return Held(hash=release_hash, complete=True, bytes=manifest.sizes)

    # ------------------------------------------------------------ inside

    def _is_in_place(self, release_hash: str) -> bool:
        try:
            read_release(self._releases_dir / release_hash)
        except NotFound:
            return False
        return True

    def _check_room(self, wanted_bytes: int) -> None:
        free = shutil.disk_usage(self._folder).free
        # Parts and the release made of them lie side by side for a moment.
        if 2 * wanted_bytes + RESERVE_BYTES > free:
            raise Unavailable(
                f"the release needs {wanted_bytes / 1e6:,.0f} MB and the server's disk has {free / 1e6:,.0f} MB left",
                hint="free disk space there, then ship again",
            )

    def _unfinished(self, release_hash: str) -> tuple[Path, Manifest]:
        folder = self._folder / release_hash
        try:
            return folder, msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
        except FileNotFoundError as exc:
            raise NotFound(f"no upload of release {release_hash[:SHORT_HASH]} has begun", hint="ship again") from exc

    def _tidy(self, *, keep: str) -> None:
        """Let go of uploads that nobody continues."""
        folders = [each for each in self._folder.glob("*") if each.name != keep] if self._folder.exists() else []
        by_age = sorted(folders, key=_touched_ms)
        oldest = self._clock() - ABANDONED_MS
        surplus = by_age[: max(0, len(by_age) - MAX_UNFINISHED + 1)]
        for folder in {*surplus, *(each for each in by_age if _touched_ms(each) < oldest)}:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    """A full or failing disk is told as such: what arrived so far stays, and the upload can go on later."""
    try:
        yield
    except OSError as exc:
        raise Unavailable(
            f"the server cannot store the release: {exc.strerror or exc}",
            hint="free disk space there, then ship again: it continues",
        ) from exc


def upload_routes(uploads: Uploads, *, authorise: Callable[[Request], None]) -> list[Route]:
    """The three routes. authorise: raises for whoever may not ship."""

    async def begin(request: Request) -> Response:
        authorise(request)
        body = await _bounded(request, MAX_MANIFEST_BYTES)
        try:
            manifest = msgspec.json.decode(body, type=Manifest)
        except msgspec.MsgspecError as exc:
            raise Invalid(f"the manifest cannot be read: {exc}", hint="both sides need the same mlspine") from exc
        return _json(await run_in_threadpool(uploads.begin, manifest))

    async def append(request: Request) -> Response:
        authorise(request)
        at = request.query_params.get("at", "")
        if not at.isdecimal() or len(at) > 15:
            raise Invalid(f"at={at!r} is no position", hint="?at=BYTES ALREADY HELD")
        data = await _bounded(request, MAX_PIECE_BYTES)
        path = request.path_params
        held = await run_in_threadpool(uploads.append, _digest(path["hash"]), _digest(path["digest"]), int(at), data)
        return _json({"bytes": held})

    async def finish(request: Request) -> Response:
        authorise(request)
        return _json(await run_in_threadpool(uploads.finish, _digest(request.path_params["hash"])))

    return [
        Route("/uploads", begin, methods=["POST"]),
        Route("/uploads/{hash}/{digest}", append, methods=["PUT"]),
        Route("/uploads/{hash}", finish, methods=["POST"]),
    ]


def _digest(text: str) -> str:
    if not parcel.is_digest(text):
        raise NotFound(f"{text[:80]!r} is no digest", hint="64 hexadecimal digits")
    return text


async def _bounded(request: Request, limit: int) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise Invalid(f"more than {limit:,} bytes in one piece", hint="send smaller pieces")
    return bytes(data)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _held(part: Path, size: int) -> int:
    """Bytes held of a part; one that is longer than it should be is begun anew."""
    if _size(part) > size:
        part.unlink()
    return _size(part)


def _touched_ms(folder: Path) -> int:
    return max((each.stat().st_mtime_ns // 1_000_000 for each in (folder, *folder.glob("*"))), default=0)


def _write_whole(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_bytes(data)
    draft.replace(path)
