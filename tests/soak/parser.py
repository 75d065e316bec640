"""Our own HTTP/1.1 without a network: bytes in, bytes out, and what must hold of them however they are cut.

The same bytes must give the same answers whether they come at once or in pieces, whether the server has met these
heads before, and whether replies are ready at once or late and in another order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from mlspine.web.exchange import JSON, Marks, Reply, encode
from mlspine.web.http1.reply import CONTINUE
from mlspine.web.http1.server import Http1Server

NO_MARKS = Marks(())


class Echo(Http1Server):
    """Answers every request with what was understood of it; with `late`, only when asked to, the last one first."""

    def __init__(self, *, late: bool = False) -> None:
        super().__init__(Nothing())  # type: ignore[arg-type]
        self.date = b"now"
        self.late: list[Any] | None = [] if late else None

    def read(self, route: Any, scope: Any, body: bytes, done: Any) -> None:
        understood = [scope["method"], scope["path"], body.hex()]
        reply = Reply(200, encode(understood), [JSON])
        if self.late is None:
            done(reply, NO_MARKS, "")
        else:
            self.late.append(lambda: done(reply, NO_MARKS, ""))

    def answer_all(self) -> None:
        while self.late:
            self.late.pop()()


class Nothing:
    """An application without routes."""

    routes: dict[str, Any] = {}


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def make_protocol(server: Http1Server) -> asyncio.Protocol:
    """The protocol object of one connection."""
    return server.factory()


def answered(pieces: Sequence[bytes], server: Echo) -> tuple[bytes, bool]:
    """What a connection says to these pieces, without "100 Continue", and whether it is closed then."""
    protocol, pipe = make_protocol(server), Pipe()
    protocol.connection_made(pipe)
    for piece in pieces:
        if not pipe.closed and piece:
            protocol.data_received(piece)
    server.answer_all()
    protocol.connection_lost(None)
    return pipe.written.replace(CONTINUE, b""), pipe.closed


WARM = Echo()


def check(raw: bytes, pieces: Sequence[bytes]) -> bytes:
    """What is answered to `raw`; raises AssertionError when the way it comes makes a difference."""
    whole = answered([raw], Echo())
    for name, other in (
        ("in pieces", answered(pieces, Echo())),
        ("by a server that has met others", answered([raw], WARM)),
        ("late", answered(pieces, Echo(late=True))),
    ):
        assert other == whole, f"{name}: {raw!r} as {[len(piece) for piece in pieces]}: {other!r}, at once {whole!r}"
    assert b"HTTP/1.1 5" not in whole[0], (raw, whole)
    return whole[0]
