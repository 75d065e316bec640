"""Who is at the other end of a connection: asked of the kernel about real connections."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlspine.web import neighbour
from mlspine.web.neighbour import is_same_user, owner_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

NOBODY = 65_534
Address = tuple[str, int]
Connection = tuple[Address, Address]


@contextlib.contextmanager
def connection(host: str = "127.0.0.1") -> Iterator[Connection]:
    """Both ends of a connection of this very process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
        server.accept()[0],
    ):
        yield client.getsockname()[:2], server.getsockname()[:2]


@contextlib.contextmanager
def connection_of(uid: int, then: Callable[[socket.socket], None]) -> Iterator[Connection]:
    """Both ends of a connection from a process of another user, which does `then` with its end and lives on."""
    "127.0.0.1".encode("idna")  # loaded now: the other user may not read this installation
    with socket.create_server(("127.0.0.1", 0)) as server:
        ready, told = os.pipe()
        stay, leave = os.pipe()
        child = os.fork()
        if child == 0:
            os.setuid(uid)
            client = socket.create_connection(server.getsockname())
            client.sendall(b"x")
            then(client)
            os.write(told, b"1")
            os.close(leave)
            os.read(stay, 1)
            os._exit(0)
        os.close(stay)
        try:
            accepted, peer = server.accept()
            with accepted:
                os.read(ready, 1)
                accepted.recv(1)
                yield peer[:2], server.getsockname()[:2]
        finally:
            for end in (leave, ready, told):
                os.close(end)
            os.waitpid(child, 0)


as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")


def test_a_process_of_ours_is_of_the_same_user() -> None:
    with connection() as (client, server):
        assert owner_of(client, server) == os.getuid()
        assert is_same_user(client, server)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_it_is_told_over_ipv6_too() -> None:
    try:
        with connection("::1") as (client, server):
            assert owner_of(client, server) == os.getuid()
    except OSError as exc:
        pytest.skip(f"no IPv6 loopback here: {exc}")


@as_root
def test_a_process_of_another_user_is_not_of_the_same(recwarn: pytest.WarningsRecorder) -> None:
    with connection_of(NOBODY, lambda client: None) as (client, server):
        assert owner_of(client, server) == NOBODY
        assert not is_same_user(client, server)


@as_root
def test_who_has_hung_up_is_nobody(recwarn: pytest.WarningsRecorder) -> None:
    """The kernel says 0 of such a connection: a stranger who sent a request and left must not be root."""
    with connection_of(NOBODY, lambda client: client.close()) as (client, server):
        assert owner_of(client, server) is None
        assert not is_same_user(client, server)


@as_root
def test_who_only_sends_no_more_is_still_told(recwarn: pytest.WarningsRecorder) -> None:
    with connection_of(NOBODY, lambda client: client.shutdown(socket.SHUT_WR)) as (client, server):
        assert owner_of(client, server) == NOBODY


def test_nobody_is_told_of_a_connection_that_is_not_there() -> None:
    with connection() as (client, server):
        assert owner_of(client, (server[0], client[1])) is None
        assert owner_of(("127.0.0.2", client[1]), server) is None


@pytest.mark.parametrize("host", ["", "nonsense", "testclient", "/run/socket"])
def test_an_end_that_is_no_address_is_nobody(host: str) -> None:
    assert owner_of((host, 1), ("127.0.0.1", 2)) is None


def test_many_threads_each_hear_of_their_own_connection() -> None:
    with contextlib.ExitStack() as stack:
        ours = [stack.enter_context(connection()) for _ in range(20)]
        absent = [(client, ("127.0.0.1", client[1])) for client, _ in ours]
        with ThreadPoolExecutor(8) as threads:
            told = list(
                threads.map(
                    lambda ends: owner_of(*ends), [each for pair in zip(ours, absent, strict=True) for each in pair]
                )
            )
    assert told == [os.getuid(), None] * 20


def test_after_a_link_that_failed_the_next_question_is_answered() -> None:
    neighbour._open_link().close()
    with connection() as (client, server):
        assert owner_of(client, server) is None
        assert owner_of(client, server) == os.getuid()
