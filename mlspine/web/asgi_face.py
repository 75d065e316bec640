"""The ASGI face: uvicorn answers HTTP with the application. For what our own HTTP/1.1 leaves to others."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from mlspine.web.departing import closing, depart
from mlspine.web.protocol import http_protocol

KEEP_ALIVE_S = 75


class AsgiFace:
    """Connections that uvicorn speaks with; it listens nowhere itself."""

    def __init__(self, app: Any, *, drain_s: int) -> None:
        self._config = uvicorn.Config(
            app,
            http=http_protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=drain_s,
        )
        self._config.load()
        self._server = _Server(self._config)
        self._answering: asyncio.Task[None] | None = None

    @property
    def factory(self) -> Callable[[], asyncio.Protocol]:
        """Makes the protocol of a new connection."""
        protocol: Any = self._config.http_protocol_class
        state = self._server.server_state
        return functools.partial(protocol, config=self._config, server_state=state, app_state={})

    async def start(self) -> None:
        """What keeps connections in order begins."""
        self._answering = asyncio.create_task(self._server.serve(sockets=[]))

    async def depart(self) -> None:
        """Every answer from now on is the last of its connection; returns when all are gone or idle."""
        last = closing(self._config.loaded_app)
        await depart(lambda: self._server.server_state.connections, lambda connection: setattr(connection, "app", last))

    async def stop(self) -> None:
        """Finish the requests under way and close."""
        self._server.should_exit = True
        if self._answering is not None:
            await self._answering


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: ours drain the log as well."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
