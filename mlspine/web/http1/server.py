"""The server of our own HTTP/1.1: its connections, their limits, and the way it ends."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable

from mlspine.web.departing import depart
from mlspine.web.exchange import Marks, Refused, Reply, Scope
from mlspine.web.http1.connection import Connection
from mlspine.web.http1.head import KnownHeads
from mlspine.web.http1.limits import Limits
from mlspine.web.http1.reply import encode_reply, http_date
from mlspine.web.inference_api import Done, InferenceApi, Page, Predict, told
from mlspine.web.wires.rows import RowsWire

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
_NO_MARKS = Marks(())


class Http1Server:
    """Connections answered with an `InferenceApi`, without a framework in between; others accept them."""

    def __init__(
        self,
        api: InferenceApi,
        *,
        limits: Limits | None = None,
        drain_s: float = 10.0,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.api = api
        self._drain_s = drain_s
        self.limits = limits or Limits()
        self.timer = timer
        self.heads = KnownHeads()
        self.date = http_date(time.time())
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        """Clients that are connected."""
        return len(self._connections)

    @property
    def factory(self) -> Callable[[], Connection]:
        """Makes the protocol of a new connection."""
        return functools.partial(Connection, self)

    async def start(self) -> None:
        """Begin to look after the connections."""
        self._looking = asyncio.get_running_loop().create_task(self._look_regularly())

    async def depart(self) -> None:
        """Every answer from now on is the last of its connection; returns when all are gone or idle."""
        await depart(lambda: self._connections, lambda connection: connection.leave())

    async def stop(self) -> None:
        """Finish the requests under way within `drain_s`, and close."""
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            self._empty.clear()
            try:
                async with asyncio.timeout(self._drain_s):
                    await self._empty.wait()
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()
        if self._looking is not None:
            self._looking.cancel()

    # ------------------------------------------------------------ what connections call

    def arrived(self, connection: Connection) -> None:
        """A client connected; beyond the bound it is told to come back."""
        self._connections.add(connection)
        if len(self._connections) > self.limits.max_connections:
            busy = Refused(
                503,
                f"{self.limits.max_connections:,} clients are connected already",
                hint="send again in a second",
                headers=((b"retry-after", b"1"),),
            )
            connection.refuse(busy)

    def left(self, connection: Connection) -> None:
        """A client is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def read(self, route: Page | Predict | None, scope: Scope, body: bytes, done: Done) -> None:
        """Answer anything but a prediction, in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._read(route, scope, body, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, route: Page | Predict | None, scope: Scope, body: bytes, done: Done) -> None:
        done(await self.api.read(route, scope, body), _NO_MARKS, "")

    def refusal(self, exc: Refused, path: str) -> bytes:
        """The last words to a client."""
        reply: Reply = told(exc, RowsWire, {"path": path})
        return encode_reply(reply, b"", "", self.date, keep_alive=False)

    async def _look_regularly(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.date = http_date(time.time())
            now_s = self.timer()
            for connection in list(self._connections):
                connection.look(now_s)
