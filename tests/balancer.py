"""A plain TCP balancer: each new connection goes to the next backend that accepts it. It knows no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import itertools


class Balancer:
    """`broken` counts, per backend port, the connections that ended while a request was under way on them."""

    def __init__(self, ports: list[int]) -> None:
        self.broken = dict.fromkeys(ports, 0)
        self._turns = itertools.count()
        self._ports = ports

    async def start(self) -> int:
        """Listen on a free port of this machine; returns it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request: what the client sends goes there, what comes back goes here."""
        try:
            port, up, down = await self._connect()
            request = asyncio.ensure_future(_pump(reader, down))
            if not await _pump(up, writer):
                self.broken[port] += 1
            request.cancel()
            down.close()
        finally:
            writer.close()

    async def _connect(self) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
        turn = next(self._turns) % len(self._ports)
        for port in (*self._ports[turn:], *self._ports[:turn]):
            with contextlib.suppress(OSError):
                return port, *await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionError("no backend accepts connections")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Copy until the end; False when nothing came or it broke off."""
    copied = 0
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            copied += len(data)
            writer.write(data)
            await writer.drain()
        return copied > 0
    return False
