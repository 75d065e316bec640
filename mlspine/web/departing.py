"""Leaving while others stay: no caller's request fails because this process goes.

The listening sockets go to another process first. Every answer from then on says `connection: close`, so callers
come back by new connections, which others accept; a connection on which nothing was asked for IDLE_S is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

from mlspine.web.exchange import Message, Receive, Scope, Send

IDLE_S = 5.0
LOOK_EVERY_S = 0.05
CLOSE = (b"connection", b"close")

App = Any  # an ASGI application


def closing(app: App) -> App:
    """The same application, each answer being the last on its connection."""

    async def last(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        await app(scope, receive, send_last)

    return last


async def depart(connections: Callable[[], Collection[Any]], announce: Callable[[Any], None]) -> None:
    """Tell every connection that its next answer is the last, and wait until all are gone, at most IDLE_S after the
    last one that came."""
    told: set[int] = set()
    until = time.monotonic() + IDLE_S
    while (living := connections()) and time.monotonic() < until:
        for each in list(living):
            if id(each) not in told:  # accepted a moment before
                told.add(id(each))
                announce(each)
                until = time.monotonic() + IDLE_S
        await asyncio.sleep(LOOK_EVERY_S)
