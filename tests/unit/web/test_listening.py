"""Listening sockets that change hands with callers waiting in them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from mlspine.web.inference import listen
from mlspine.web.listening import Port, give
from tests.desk import free_port

CALLERS = 20


def in_loop(test: Callable[[Path], Awaitable[None]]) -> Callable[[Path], None]:
    """The test on an event loop of its own."""

    @functools.wraps(test)
    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))  # type: ignore[arg-type]

    return run


class Greets(asyncio.Protocol):
    """Says who accepted, and closes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.name.encode())
        transport.close()


@contextlib.asynccontextmanager
async def opened(run: Path, name: str, number: int, *others: str) -> AsyncIterator[Port]:
    port = Port(run, name, listen("127.0.0.1", number), lambda: others)
    await port.open(lambda: Greets(name))
    try:
        yield port
    finally:
        await port.close()


async def call(number: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    said = await reader.read()
    writer.close()
    return said.decode()


@in_loop
async def test_those_who_wait_in_a_socket_are_answered_by_whoever_takes_it(tmp_path: Path) -> None:
    number = free_port()
    left = listen("127.0.0.1", number)
    left.listen(64)
    waiting = [socket.create_connection(("127.0.0.1", number), timeout=10) for _ in range(CALLERS)]
    async with opened(tmp_path, "one", number):
        assert await asyncio.to_thread(give, tmp_path / "one-port.sock", [left])
        left.close()
        assert [await asyncio.to_thread(caller.recv, 10) for caller in waiting] == [b"one"] * CALLERS
        assert {await call(number) for _ in range(CALLERS)} == {"one"}
    for caller in waiting:
        caller.close()


@in_loop
async def test_a_new_process_takes_the_socket_that_another_left(tmp_path: Path) -> None:
    number = free_port()
    async with opened(tmp_path, "one", number) as one:
        async with opened(tmp_path, "two", number, "one") as two:
            assert {await call(number) for _ in range(4 * CALLERS)} == {"one", "two"}
            assert await two.hand_over()
            assert (one.sockets, two.sockets) == (2, 0)
            assert {await call(number) for _ in range(4 * CALLERS)} == {"one"}
        async with opened(tmp_path, "three", number, "one") as three:
            async with asyncio.timeout(30):
                while one.sockets > 1:  # it lets go once it has heard that the other accepts
                    await asyncio.sleep(0.01)
            assert three.sockets == 1
            assert {await call(number) for _ in range(4 * CALLERS)} == {"one", "three"}


@in_loop
async def test_nothing_is_left_to_one_that_is_leaving_itself(tmp_path: Path) -> None:
    number = free_port()
    async with opened(tmp_path, "one", number, "two") as one, opened(tmp_path, "two", number, "one") as two:
        assert await one.hand_over()
        assert not await two.hand_over()
        assert two.sockets == 2


@in_loop
async def test_the_last_process_has_nobody_to_leave_its_socket_to(tmp_path: Path) -> None:
    async with opened(tmp_path, "one", free_port()) as one:
        assert not await one.hand_over()
    assert not (tmp_path / "one-port.sock").exists()


@in_loop
async def test_a_socket_of_another_address_is_not_taken(tmp_path: Path) -> None:
    here, elsewhere = free_port(), free_port()
    async with opened(tmp_path, "one", elsewhere) as one:
        with listen("127.0.0.1", elsewhere) as spare:
            assert await asyncio.to_thread(give, tmp_path / "one-port.sock", [spare])
        async with opened(tmp_path, "two", here, "one") as two:
            assert (one.sockets, two.sockets) == (2, 1)
            assert await call(here) == "two"
