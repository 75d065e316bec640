"""A client of bytes: what is sent is what arrives, and answers are read one by one off the connection."""

from __future__ import annotations

import json
import socket
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """One connection to 127.0.0.1."""

    def __init__(self, port: int, *, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Each part in a send of its own."""
        for part in parts:
            self.socket.sendall(part)

    def answer(self, *, head_only: bool = False) -> Answer:
        """The next final response; raises EOFError when the connection ends before one."""
        while True:
            start, _, rest = self._until(b"\r\n\r\n").partition(b"\r\n")
            version, status, *_ = start.split(b" ")
            assert version in (b"HTTP/1.1", b"HTTP/1.0"), start
            lines = [line.partition(b":") for line in rest.split(b"\r\n") if line]
            headers = {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, _, value in lines}
            if int(status) >= 200:
                break
        body = b"" if head_only else self._take(int(headers["content-length"]))
        return Answer(int(status), headers, body)

    def interim(self) -> int:
        """The status of the next response, of which only the head is taken."""
        return int(self._until(b"\r\n\r\n").split(b" ")[1])

    def closed(self) -> bool:
        """Whether the server ends the connection without another byte; waits for it."""
        if self._received:
            return False
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._more()
        taken, _, self._received = self._received.partition(mark)
        return taken

    def _take(self, length: int) -> bytes:
        while len(self._received) < length:
            self._more()
        taken, self._received = self._received[:length], self._received[length:]
        return taken

    def _more(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError as exc:
            raise EOFError(f"reset after {self._received[:200]!r}") from exc
        if not data:
            raise EOFError(f"closed after {self._received[:200]!r}")
        self._received += data


def post(path: str, body: bytes, *headers: str, version: str = "HTTP/1.1") -> bytes:
    """A whole request with its length."""
    lines = [f"POST {path} {version}", "Host: t", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def get(path: str, *headers: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    """A whole request without a body."""
    return "\r\n".join([f"{method} {path} {version}", "Host: t", *headers]).encode("latin-1") + b"\r\n\r\n"


def chunked(*parts: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """A chunked body."""
    made = [b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts]
    return b"".join(made) + b"0\r\n" + trailer + b"\r\n"
