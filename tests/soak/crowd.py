"""Many clients at once that ask for little: a thousand that dawdle, ten thousand that say nothing."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import statistics
import time
from typing import NamedTuple

from tests.http_cases import LIVE
from tests.raw_http import RawClient

ASKED = 200  # ordinary requests whose times are taken


class Crowd(NamedTuple):
    """What ordinary clients saw beside a crowd. ended: slow clients the server closed; refused: not let in."""

    clients: int
    ended: int
    alone_p99_ms: float
    beside_p99_ms: float
    failed: int


def raise_file_limit(wanted: int) -> int:
    """As many open files as are wanted and may be had; processes started afterwards inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def slowloris(port: int, request: bytes, *, clients: int, seconds: float) -> Crowd:
    """Clients that send one byte of a request a second."""
    alone, _ = _ordinary(port, request)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(_connected(port)) for _ in range(clients)]
        for each in crowd:
            each.setblocking(False)
        until, ended, times, failed = time.monotonic() + seconds, set[int](), list[float](), 0
        letter = 0
        while time.monotonic() < until:
            for place, each in enumerate(crowd):
                if place not in ended and not _still_there(each, request[letter % 60 : letter % 60 + 1]):
                    ended.add(place)
            letter += 1
            taken, missed = _ordinary(port, request)
            times += taken
            failed += missed
            time.sleep(0.5)
    return Crowd(clients, len(ended), _p99_ms(alone), _p99_ms(times), failed)


def idle(port: int, request: bytes, *, clients: int) -> Crowd:
    """Clients that ask once and then stay."""
    alone, _ = _ordinary(port, request)
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        refused = 0
        for at in range(clients):
            client = stack.enter_context(_connected(port))
            client.sendall(LIVE)
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
            if at % 500 == 499:
                refused += _read_all(selector)
        deadline = time.monotonic() + 10
        while selector.get_map() and time.monotonic() < deadline:
            refused += _read_all(selector)
        refused += len(selector.get_map())
        times, failed = _ordinary(port, request)
    return Crowd(clients, refused, _p99_ms(alone), _p99_ms(times), failed)


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def _still_there(client: socket.socket, letter: bytes) -> bool:
    with contextlib.suppress(BlockingIOError):
        try:
            client.send(letter)
            return client.recv(1000) != b""
        except ConnectionError:
            return False
    return True


def _read_all(selector: selectors.BaseSelector) -> int:
    """Take the answers that are there; returns how many clients got none or a bad one."""
    bad = 0
    for key, _ in selector.select(timeout=1.0):
        client = key.fileobj
        assert isinstance(client, socket.socket)
        try:
            bad += not client.recv(1000).startswith(b"HTTP/1.1 200")
        except OSError:
            bad += 1
        selector.unregister(client)
    return bad


def _ordinary(port: int, request: bytes) -> tuple[list[float], int]:
    """Times of ordinary requests on one connection, and how many failed."""
    times, failed = [], 0
    try:
        with RawClient(port) as client:
            for _ in range(ASKED):
                began = time.perf_counter()
                client.send(request)
                failed += client.answer().status != 200
                times.append(time.perf_counter() - began)
    except (OSError, EOFError):
        failed += 1
    return times, failed


def _p99_ms(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98] * 1e3 if len(times) > 1 else float("nan")
