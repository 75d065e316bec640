"""The head of a request: read once, recognised from then on.

A client on a kept connection sends the same head again and again, so the bytes of a head that was read in full before
stand for what was read. Only heads whose meaning cannot depend on anything else are remembered.
"""

from __future__ import annotations

from typing import Any

from mlspine.web.exchange import Header

MAX_KNOWN = 2048
MAX_KNOWN_BYTES = 2048  # of one head


class Head:
    """A request's head as routing and wires need it. length: bytes of the body, -1 where it is chunked."""

    __slots__ = ("expects", "hosts", "keep_alive", "length", "method", "path", "scope", "version")

    def __init__(self, method: str, path: str, headers: list[Header], *, version: str, keep_alive: bool) -> None:
        self.method = method
        self.path = path
        self.version = version
        self.keep_alive = keep_alive
        self.length = 0
        self.expects = b""
        self.hosts = 0
        for name, value in headers:
            if name == b"content-length":
                self.length = int(value)
            elif name == b"transfer-encoding":
                self.length = -1
            elif name == b"expect":
                self.expects = value.lower()
            elif name == b"host":
                self.hosts += 1
        # Nothing in the head is for the prediction itself: no id, time, key or encoding.
        plain = not any(name[:8] == b"mlspine-" or name == b"content-encoding" for name, _ in headers)
        self.scope: dict[str, Any] = {"method": method, "path": path, "headers": headers, "plain": plain}


class KnownHeads:
    """Heads by their bytes, up to the empty line that ends them; forgotten all at once beyond MAX_KNOWN.

    >>> heads = KnownHeads()
    >>> head = Head("POST", "/p", [(b"host", b"x"), (b"content-length", b"2")], version="1.1", keep_alive=True)
    >>> heads.learn(b"POST /p HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 2", head); len(heads)
    1
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.find = self._known.get

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, raw: bytes, head: Head) -> None:
        """Remember what these bytes mean, where they can mean nothing else."""
        if not self._is_plain(raw, head):
            return
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[raw] = head

    @staticmethod
    def _is_plain(raw: bytes, head: Head) -> bool:
        """Whether the head says all by itself: its length is given, nothing is asked for, and its lines end alike."""
        lines = raw.count(b"\n")
        return (
            head.method == "POST"
            and head.version == "1.1"
            and head.keep_alive
            and head.length > 0
            and not head.expects
            and len(raw) <= MAX_KNOWN_BYTES
            and raw.count(b"\r\n") == lines == raw.count(b"\r")
            and raw[:4] == b"POST"
            and not any(name in (b"mlspine-request-id", b"upgrade") for name, _ in head.scope["headers"])
        )
