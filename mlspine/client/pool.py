"""HTTP connections to one server that stay open between requests, shared by threads."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mlspine.core.errors import Invalid

IDLE_S = 60.0  # below the 75 s after which the server closes an idle connection
CHUNK_BYTES = 256 * 1024
# What a connection dies of when the server closed it while nobody looked.
STALE = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ConnectionAbortedError)


class Exchanged(NamedTuple):
    """An HTTP answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Pool:
    """At most `size` idle connections; more are opened when more threads ask at once, and closed after use."""

    def __init__(
        self,
        url: str,
        *,
        size: int,
        tls: ssl.SSLContext | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise Invalid(f"{url!r} is no address of a server", hint="e.g. http://127.0.0.1:8080")
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._size = size
        self._timer = timer
        self._idle: deque[tuple[http.client.HTTPConnection, float]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str | bytes], until_s: float
    ) -> Exchanged:
        """One request and its answer by `until_s` on the timer.

        Raises TimeoutError then, OSError or HTTPException when there is no answer. A request that met a connection
        the server had closed meanwhile is sent once more on a new one.
        """
        connection = self._take()
        if connection is not None:
            try:
                return self._ask(connection, method, path, body, headers, until_s)
            except STALE:
                pass
        return self._ask(self._connect(until_s), method, path, body, headers, until_s)

    def close(self) -> None:
        """Close idle connections, and those in use when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for connection, _ in idle:
            connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str | bytes],
        until_s: float,
    ) -> Exchanged:
        try:
            self._limit(connection, until_s)
            connection.request(method, self._prefix + path, body or None, headers)
            self._limit(connection, until_s)
            response = connection.getresponse()
            parts = []
            while part := response.read1(CHUNK_BYTES):
                parts.append(part)
                self._limit(connection, until_s)
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            response.close()  # read1 does not notice the end by itself
        except BaseException:
            connection.close()
            raise
        self._give_back(connection, keep=not response.will_close)
        told = {name.lower(): value for name, value in response.getheaders()}
        return Exchanged(response.status, told, b"".join(parts))

    def _limit(self, connection: http.client.HTTPConnection, until_s: float) -> None:
        left_s = until_s - self._timer()
        if left_s <= 0:
            raise TimeoutError("the deadline passed")
        if connection.sock is not None:  # gone when the answer was the last on it
            connection.sock.settimeout(left_s)

    def _connect(self, until_s: float) -> http.client.HTTPConnection:
        left_s = max(until_s - self._timer(), 0.001)
        if self._tls is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=left_s, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=left_s)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _take(self) -> http.client.HTTPConnection | None:
        old = []
        found = None
        with self._lock:
            while self._idle and found is None:
                connection, since_s = self._idle.pop()
                if self._timer() - since_s < IDLE_S:
                    found = connection
                else:
                    old.append(connection)
        for connection in old:
            connection.close()
        return found

    def _give_back(self, connection: http.client.HTTPConnection, *, keep: bool) -> None:
        with self._lock:
            if keep and not self._closed and len(self._idle) < self._size:
                self._idle.append((connection, self._timer()))
                return
        connection.close()
