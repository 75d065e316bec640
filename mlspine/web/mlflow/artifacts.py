"""The artifact proxy of the MLflow protocol: files by path, streamed both ways."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mlspine.artifacts import Artifact, Artifacts, Upload
from mlspine.artifacts.paths import check_path
from mlspine.core.errors import Denied, Invalid, NotFound, Unavailable
from mlspine.core.public import Permission
from mlspine.registry.catalogue import RELEASES
from mlspine.web.mlflow.ranges import matches, wanted_range

PIECE_BYTES = 1 << 20
IDLE_S = 120.0  # a sender who is silent for so long is gone; MLflow's own client gives up at the same time
# Clients before 3.18 fall back by how this message begins, not by the status.
_NO_MULTIPART = "Multipart upload is not supported for the current artifact repository"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._- ")


Handler = Callable[[Request, str], Awaitable[Response]]


class ArtifactProxy:
    """What clients ask below `mlflow-artifacts/`. Handlers take the rest of the URL and raise the error family.

    max_bytes: a larger file is not taken. authorise: raises for whoever may not do what a request is about.
    """

    def __init__(
        self, artifacts: Artifacts, *, max_bytes: int, authorise: Callable[[Request, Permission], None]
    ) -> None:
        self._artifacts = artifacts
        self._max_bytes = max_bytes
        self._authorise = authorise

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Who answers, by method and the beginning of the path below /api/; the first that fits does."""
        root = "2.0/mlflow-artifacts"
        return {
            ("PUT", f"{root}/artifacts/"): self.put,
            ("GET", f"{root}/artifacts/"): self.get,
            ("HEAD", f"{root}/artifacts/"): self.get,
            ("DELETE", f"{root}/artifacts/"): self.delete,
            ("GET", f"{root}/artifacts"): self.list,
            ("POST", f"{root}/mpu/"): self.multipart,
        }

    async def put(self, request: Request, path: str) -> Response:
        """PUT artifacts/{path}: the body becomes the file, whole or not at all."""
        self._authorise(request, "ship")
        _refuse_released(check_path(path))  # before gigabytes come
        declared = request.headers.get("content-length", "")
        expected_bytes = int(declared) if declared.isdecimal() and len(declared) < 19 else 0
        self._refuse_size(expected_bytes)
        upload = await run_in_threadpool(self._artifacts.begin, expected_bytes=expected_bytes)
        try:
            await self._receive(request, upload)
        except ClientDisconnect:
            upload.abort()
            return Response(status_code=400)  # nobody hears it
        except BaseException:
            upload.abort()
            raise
        await run_in_threadpool(self._artifacts.finish, path, upload)
        return _json({})

    async def get(self, request: Request, path: str) -> Response:
        """GET and HEAD artifacts/{path}."""
        self._authorise(request, "read")
        return await send_file(self._artifacts, path, request)

    async def list(self, request: Request, rest: str) -> Response:
        """GET artifacts?path=: what lies in a directory, by names relative to it."""
        self._authorise(request, "read")
        if rest:
            raise NotFound(f"nothing is served at artifacts{rest}", hint="artifacts/PATH, or artifacts?path=DIRECTORY")
        directory = request.query_params.get("path", "").rstrip("/")
        entries = await run_in_threadpool(self._artifacts.list, directory)
        files = [
            {"path": entry.name, "is_dir": entry.is_dir} | ({"file_size": entry.size_bytes} if entry.size_bytes else {})
            for entry in entries
        ]
        return _json({"files": files} if files else {})

    async def delete(self, request: Request, path: str) -> Response:
        """DELETE artifacts/{path}: a file, or everything below a directory; what is absent is gone already."""
        self._authorise(request, "ship")
        _refuse_released(path)
        await run_in_threadpool(self._artifacts.delete, path)
        return _json({})

    async def multipart(self, _: Request, __: str) -> Response:
        """POST mpu/...: not done here, which sends clients back to one PUT; that is streamed whatever its size."""
        return _json({"error_code": "NOT_IMPLEMENTED", "message": f"{_NO_MULTIPART}: send the file in one PUT"}, 501)

    # ------------------------------------------------------------ inside

    async def _receive(self, request: Request, upload: Upload) -> None:
        """Everything that comes, written and digested in pieces by a thread; memory holds two of them."""
        piece = bytearray()
        async with aclosing(request.stream()) as stream:
            while True:
                try:
                    async with asyncio.timeout(IDLE_S):
                        chunk = await anext(stream, None)
                except TimeoutError as exc:
                    raise Unavailable(f"nothing came for {IDLE_S:g} s", hint="send the file again") from exc
                if chunk is None:
                    break
                piece += chunk
                if len(piece) >= PIECE_BYTES:
                    self._refuse_size(upload.size_bytes + len(piece))
                    await run_in_threadpool(upload.write, piece)
                    piece = bytearray()
        self._refuse_size(upload.size_bytes + len(piece))
        if piece:
            await run_in_threadpool(upload.write, piece)

    def _refuse_size(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise Invalid(
                f"the file is larger than {self._max_bytes:,} bytes",
                hint="raise control.max_release_bytes in mlspine.toml, or store it elsewhere and log where it is",
            )


def _refuse_released(path: str) -> None:
    if path.split("/", 1)[0] == RELEASES:
        raise Denied("the files of releases are never changed", hint="ship the model again: it becomes a new version")


async def send_file(artifacts: Artifacts, path: str, request: Request) -> Response:
    """The answer to a GET or HEAD of one file: all of it, one range, or that the caller has it; raises NotFound."""
    artifact = await run_in_threadpool(artifacts.get, path)
    etag = f'"{artifact.digest}"'
    headers = _headers(artifact, etag)
    if matches(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers={"ETag": etag})
    size = artifact.size_bytes
    wanted = wanted_range(request.headers.get("range", ""), size)
    if request.headers.get("if-range", etag) != etag:
        wanted = None  # part of another content would not fit what the caller has
    if wanted == "unsatisfiable":
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}", "ETag": etag})
    status = 200
    if wanted is not None:
        status, headers["Content-Range"] = 206, f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
    part = range(size) if wanted is None else wanted
    headers["Content-Length"] = str(len(part))
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    if len(part) <= PIECE_BYTES:
        data = await run_in_threadpool(_read, artifacts, artifact, part)
        return Response(data, status_code=status, headers=headers)
    file = await run_in_threadpool(artifacts.content, artifact)
    return _Streamed(file, part, status_code=status, headers=headers)


class _Streamed(StreamingResponse):
    """Part of a file, read piece by piece while it is sent; closed whether or not the caller stays."""

    def __init__(self, file: BinaryIO, part: range, *, status_code: int, headers: dict[str, str]) -> None:
        super().__init__(_pieces(file, part), status_code=status_code, headers=headers)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


async def _pieces(file: BinaryIO, part: range) -> AsyncIterator[bytes]:
    file.seek(part.start)
    left = len(part)
    while left:
        piece = await run_in_threadpool(file.read, min(left, PIECE_BYTES))
        if not piece:
            raise EOFError(f"{left} bytes of a stored file are missing")  # the connection ends short
        left -= len(piece)
        yield piece


def _read(artifacts: Artifacts, artifact: Artifact, part: range) -> bytes:
    with artifacts.content(artifact) as file:
        file.seek(part.start)
        return file.read(len(part))


def _headers(artifact: Artifact, etag: str) -> dict[str, str]:
    name = artifact.path.rpartition("/")[2]
    plain = "".join(sign if sign in _PLAIN else "_" for sign in name)
    return {
        # Anybody who may log a run chooses these bytes: no browser is to run them as a page of this server.
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Type": mimetypes.guess_type(name)[0] or "application/octet-stream",
        "X-Content-Type-Options": "nosniff",
        "ETag": etag,
        "Accept-Ranges": "bytes",
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")
