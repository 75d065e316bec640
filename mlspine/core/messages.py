"""Messages between the processes of one machine: length-prefixed msgpack over a local stream socket.

A message is four bytes of length, big endian, then that many bytes of msgpack. A command is
`{"op": name, **arguments}`; its reply `{"result": value}`, or the error family as
`{"error": code, "message", "hint", "details"}`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import stat
import struct
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from mlspine.core.errors import FAMILY, MlspineError, Unavailable

MAX_MESSAGE_BYTES = 1 << 30
# sockaddr_un holds 104 bytes on macOS and 108 on Linux, the final zero included.
MAX_SOCKET_PATH_BYTES = 100
_LENGTH = struct.Struct(">I")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


class NoAnswer(Unavailable):
    """The other process is not there, died meanwhile, or took too long: it has not said anything."""


def socket_path(run: Path, process: str) -> Path:
    """Where a process of the workspace with this run directory listens for commands.

    Beside its pid file, or, when that path is too long for a socket, under a private temporary folder by the
    digest of the path, so that both sides arrive at the same place.

    >>> socket_path(Path("/srv/flights/.mlspine/run"), "inference-0").name
    'inference-0.sock'
    """
    path = run.absolute() / f"{process}.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"mlspine-{os.getuid()}" / f"{name}.sock"


def bind_socket(path: Path) -> socket.socket:
    """A listening socket at `path` that only this user can reach, replacing one left by a dead process.

    Raises Unavailable when the folder belongs to somebody else.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = path.parent.stat()
    if owner.st_uid != os.getuid() or owner.st_mode & stat.S_IWOTH:
        raise Unavailable(
            f"{path.parent} can be written by others, so no command socket is made there",
            hint=f"remove it, or make it yours: chmod 700 {path.parent}",
        )
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(mask)
    listener.listen(16)
    return listener


def encode(message: Any) -> bytes:
    """One message as it stands on the wire."""
    body = _encoder.encode(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(body)} bytes is larger than {MAX_MESSAGE_BYTES}")
    return _LENGTH.pack(len(body)) + body


def send(peer: socket.socket, message: Any) -> None:
    """Write one message, blocking."""
    peer.sendall(encode(message))


def receive(peer: socket.socket) -> Any:
    """Read one message, blocking; raises EOFError when the other side has closed."""
    return _decoder.decode(_read_exactly(peer, _length(_read_exactly(peer, _LENGTH.size))))


async def read(reader: asyncio.StreamReader) -> Any:
    """Read one message; raises EOFError when the other side has closed."""
    try:
        size = _length(await reader.readexactly(_LENGTH.size))
        return _decoder.decode(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError) as exc:
        raise EOFError("the other side closed the connection") from exc


def call(path: Path, op: str, *, timeout_s: float, **arguments: Any) -> Any:
    """Send one command to the process listening at `path` and wait for its answer.

    Raises whatever of the error family the process answered with, and NoAnswer when nobody listens, the
    process dies meanwhile, or `timeout_s` passes.
    """
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.settimeout(timeout_s)
        peer.connect(os.fspath(path))
        send(peer, {"op": op, **arguments})
        reply = receive(peer)
    except TimeoutError as exc:
        raise NoAnswer(f"no answer to {op!r} within {timeout_s:g} s", hint="see what serves: mlspine status") from exc
    except (OSError, EOFError, msgspec.DecodeError) as exc:
        raise NoAnswer(
            f"the serving process does not answer to {op!r} ({exc})", hint="see what serves: mlspine status"
        ) from exc
    finally:
        peer.close()
    return unwrap(reply)


def unwrap(reply: dict[str, Any]) -> Any:
    """The result of a reply, or the error it carries, raised."""
    if "error" not in reply:
        return reply.get("result")
    kind = FAMILY.get(reply["error"], MlspineError)
    raise kind(reply["message"], hint=reply.get("hint", ""), details=reply.get("details", ()))


def failure(exc: MlspineError) -> dict[str, Any]:
    """An error as the reply that carries it to the other side."""
    return {"error": exc.code, "message": exc.message, "hint": exc.hint, "details": list(exc.details)}


def _length(prefix: bytes | bytearray) -> int:
    size = int(_LENGTH.unpack(prefix)[0])
    if size > MAX_MESSAGE_BYTES:
        raise EOFError(f"a message of {size} bytes was announced; this is no peer of ours")
    return size


def _read_exactly(peer: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = peer.recv_into(view)
        if count == 0:
            raise EOFError("the other side closed the connection")
        view = view[count:]
    return data
