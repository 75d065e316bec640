"""Head and body of an answer in one packet.

uvicorn writes them separately, which costs a system call more per request and, with some clients, a delayed
acknowledgement. Here everything written in one turn of the loop goes out together at its end.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Outbox:
    """The connections with something to send at the end of this turn, one callback for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[CoalescingTransport] = []

    def add(self, transport: CoalescingTransport) -> None:
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(transport)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            transport.flush()


class CoalescingTransport:
    """A transport that holds what is written until its outbox is emptied; everything else is passed on."""

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._held:
            self._outbox.add(self)
        self._held.append(data)

    def flush(self) -> None:
        """Hand over what is held."""
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CoalescingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol on a coalescing transport."""

    _outboxes: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox]] = WeakKeyDictionary()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        outbox = self._outboxes.get(self.loop)
        if outbox is None:
            outbox = self._outboxes[self.loop] = Outbox(self.loop)
        wrapped = CoalescingTransport(cast(asyncio.Transport, transport), outbox)
        super().connection_made(cast(asyncio.Transport, wrapped))
