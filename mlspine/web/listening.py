"""The listening sockets of the port that inference processes share, handed on so that no caller in one is lost.

Linux deals new connections by hash to all sockets that listen on the port. Closing one resets the connections that
wait in it and those still shaking hands. So a process that leaves gives its sockets to another, which accepts from
them, and a process that starts takes one that was left before it opens one of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from mlspine.core import messages
from mlspine.core.errors import MlspineError

log = logging.getLogger(__name__)

BACKLOG = 2048
TALK_TIMEOUT_S = 5.0
MOST_AT_ONCE = 64
# What the processes say to each other: take these; give me one that was left to you; done; no.
TAKE, GIVE, DONE, NO = b"T", b"G", b"D", b"N"

Factory = Callable[[], asyncio.BaseProtocol]


class Accepting(NamedTuple):
    """A socket and the server that accepts from it."""

    listener: socket.socket
    server: asyncio.Server


class Port:
    """What this process accepts connections from: a socket of its own, and those that others left to it.

    own: bound, not yet listening. others: the names of the other inference processes that live.
    """

    def __init__(self, run: Path, process: str, own: socket.socket, others: Callable[[], Iterable[str]]) -> None:
        self._run = run
        self._process = process
        self._own = own
        self._address = own.getsockname()
        self.opened = asyncio.Event()
        self._others = others
        self._factory: Factory | None = None
        self._accepting: list[Accepting] = []
        self._leaving = False
        self._talk: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def sockets(self) -> int:
        """How many this process accepts from."""
        return len(self._accepting)

    async def open(self, factory: Factory) -> None:
        """Accept from now on, every connection with a protocol of the factory's."""
        self._factory = factory
        if not await self._take_one():
            await self._accept_from(self._own)
        else:
            self._own.close()
        self._talk = messages.bind_socket(self._path(self._process))
        self._talk.setblocking(False)
        self._task = asyncio.get_running_loop().create_task(self._listen_to_others(self._talk))
        self.opened.set()

    async def hand_over(self) -> bool:
        """Leave the sockets to another process and accept no more; False when there is none to take them."""
        self._leaving = True
        listeners = [each.listener for each in self._accepting]
        for other in self._others():
            if await asyncio.to_thread(give, self._path(other), listeners):
                log.info("sockets handed over", extra={"to": other, "sockets": len(listeners)})
                await self._stop_accepting()
                return True
        return False

    async def close(self) -> None:
        """Accept no more."""
        self._leaving = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._talk is not None:
            self._talk.close()
            self._path(self._process).unlink(missing_ok=True)
        await self._stop_accepting()

    # ------------------------------------------------------------ inside

    def _path(self, process: str) -> Path:
        return messages.socket_path(self._run, f"{process}-port")

    async def _accept_from(self, listener: socket.socket) -> None:
        assert self._factory is not None
        server = await asyncio.get_running_loop().create_server(self._factory, sock=listener, backlog=BACKLOG)
        self._accepting.append(Accepting(listener, server))

    async def _stop_accepting(self) -> None:
        await asyncio.sleep(0)  # what waits by now is accepted first
        accepting, self._accepting = self._accepting, []
        for each in accepting:
            each.server.close()

    async def _take_one(self) -> bool:
        """Go on with a socket that a process before this one left."""
        for other in self._others():
            with contextlib.suppress(OSError):
                peer, left = await asyncio.to_thread(_ask_for_one, self._path(other))
                with peer:
                    for listener in left:
                        if listener.getsockname() != self._address:
                            listener.close()
                            continue
                        await self._accept_from(listener)
                        await asyncio.to_thread(peer.sendall, DONE)
                        return True
        return False

    async def _listen_to_others(self, talk: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            peer, _ = await loop.sock_accept(talk)
            with peer, contextlib.suppress(OSError, MlspineError):
                await self._answer(peer)

    async def _answer(self, peer: socket.socket) -> None:
        peer.settimeout(TALK_TIMEOUT_S)
        asked, given = await asyncio.to_thread(_receive, peer)
        if asked == TAKE and not self._leaving:
            for listener in given:
                await self._accept_from(listener)
            await asyncio.to_thread(peer.sendall, DONE)
        elif asked == GIVE and len(self._accepting) > 1:
            spare = self._accepting[-1]
            await asyncio.to_thread(_send, peer, DONE, [spare.listener])
            if await asyncio.to_thread(peer.recv, 1) == DONE and spare in self._accepting:
                self._accepting.remove(spare)
                spare.server.close()
        else:
            for listener in given:
                listener.close()
            await asyncio.to_thread(peer.sendall, NO)


# ---------------------------------------------------------------- between processes, blocking


def give(path: Path, listeners: list[socket.socket]) -> bool:
    """Leave sockets to the process that listens at `path`; False when it does not take them."""
    try:
        with _connected(path) as peer:
            _send(peer, TAKE, listeners)
            return peer.recv(1) == DONE
    except OSError:
        return False


def _ask_for_one(path: Path) -> tuple[socket.socket, list[socket.socket]]:
    """A conversation with another process and what it gave, to be ended with DONE."""
    peer = _connected(path)
    try:
        peer.sendall(GIVE)
        return peer, _receive(peer)[1]
    except OSError:
        peer.close()
        raise


def _connected(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        peer.settimeout(TALK_TIMEOUT_S)
        peer.connect(str(path))
    except OSError:
        peer.close()
        raise
    return peer


def _send(peer: socket.socket, word: bytes, listeners: list[socket.socket]) -> None:
    socket.send_fds(peer, [word], [each.fileno() for each in listeners])


def _receive(peer: socket.socket) -> tuple[bytes, list[socket.socket]]:
    word, descriptors, _, _ = socket.recv_fds(peer, 1, MOST_AT_ONCE)
    return word, [_socket(each) for each in descriptors]


def _socket(descriptor: int) -> socket.socket:
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    return listener
