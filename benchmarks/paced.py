"""Requests at a fixed pace, whatever the server does: an open loop over keep-alive connections, in its own process.

A request is due at its moment; one that finds no free connection waits for one, and its time counts from when it was
due. Every answer is kept: when it was due and sent, how long it took, its status, and which release on which path
answered.

    python -m benchmarks.paced --port 8080 --path /endpoints/churn/predict --body '{"x": 1}' --per-s 500 --seconds 5
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np

CONNECTIONS = 64
TICK_S = 0.001
LAST_ANSWERS_S = 30.0


class Answer(NamedTuple):
    """One request. Times in milliseconds since 1970; status 0: the connection ended without an answer."""

    due_ms: float
    sent_ms: float
    came_ms: float
    status: int
    release: str
    path: str

    @property
    def took_ms(self) -> float:
        return self.came_ms - self.due_ms


class Pace:
    """A load under way in a process of its own."""

    def __init__(self, port: int, path: str, body: bytes, *, per_s: float, seconds: float) -> None:
        self._told = Path(tempfile.mkdtemp()) / "answers"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.paced"),
                *("--port", str(port), "--path", path, "--body", body.decode()),
                *("--per-s", str(per_s), "--seconds", str(seconds), "--out", str(self._told)),
            ],
        )

    def running(self) -> bool:
        return self._process.poll() is None

    def answers(self) -> list[Answer]:
        """All of them, once the load has ended."""
        if self._process.wait() != 0:
            raise RuntimeError("the load generator failed")
        return msgspec.msgpack.decode(self._told.read_bytes(), type=list[Answer])


def load_said() -> str:
    """What else the machine was doing, for the head of a table."""
    return f"load average when it ended: {os.getloadavg()[0]:.1f}"


def quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(np.asarray(values), share)) if values else float("nan")


# ---------------------------------------------------------------- the process


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._asked: tuple[float, float] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._load.is_free(self)

    def ask(self, message: bytes, due_s: float) -> None:
        self._asked = (due_s, time.time())
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if len(self._received) < end + 4 + int(headers.get("content-length", 0)):
            return
        self._received = b""
        self._tell(int(head[0].split()[1]), headers)
        if headers.get("connection", "").lower() == "close":
            self._transport.close()
        else:
            self._load.is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._asked is not None:
            self._tell(0, {})
        self._load.is_gone(self)

    def _tell(self, status: int, headers: dict[str, str]) -> None:
        assert self._asked is not None
        due_s, sent_s = self._asked
        self._asked = None
        release, path = headers.get("mlspine-release", ""), headers.get("mlspine-path", "")
        self._load.told.append(Answer(due_s * 1e3, sent_s * 1e3, time.time() * 1e3, status, release, path))


class Load:
    """The pace, and the connections that keep it."""

    def __init__(self, port: int, message: bytes) -> None:
        self._port, self._message = port, message
        self._free: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._opening: set[asyncio.Task[Any]] = set()
        self.told: list[Answer] = []
        self.asked = 0

    async def run(self, per_s: float, seconds: float) -> None:
        for _ in range(CONNECTIONS):
            self._open()
        await asyncio.gather(*self._opening)
        began_s, count = time.time(), int(per_s * seconds)
        while self.asked < count:
            while self.asked < count and began_s + self.asked / per_s <= time.time():
                self._due.append(began_s + self.asked / per_s)
                self.asked += 1
            self._send()
            await asyncio.sleep(TICK_S)
        until = time.time() + LAST_ANSWERS_S
        while len(self.told) < count and time.time() < until:
            self._send()
            await asyncio.sleep(TICK_S)

    def is_free(self, connection: Connection) -> None:
        self._free.append(connection)
        self._send()

    def is_gone(self, connection: Connection) -> None:
        with contextlib.suppress(ValueError):
            self._free.remove(connection)
        self._open()

    def _send(self) -> None:
        while self._due and self._free:
            self._free.popleft().ask(self._message, self._due.popleft())

    def _open(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_connection(lambda: Connection(self), "127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, kind in (("port", int), ("path", str), ("body", str), ("per-s", float), ("seconds", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    body = given.body.encode()
    headers = ("Host: a", "Content-Type: application/json", f"Content-Length: {len(body)}")
    head = "".join(f"{line}\r\n" for line in (f"POST {given.path} HTTP/1.1", *headers, ""))
    import uvloop

    async def paced() -> list[Answer]:
        load = Load(given.port, head.encode() + body)
        await load.run(given.per_s, given.seconds)
        return load.told

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told = runner.run(paced())
    if given.out:
        given.out.write_bytes(msgspec.msgpack.encode(told))
    else:
        times = [each.took_ms for each in told]
        print(f"{len(told)} answers, P50 {quantile(times, 0.5):.2f} ms, P99 {quantile(times, 0.99):.2f} ms")


if __name__ == "__main__":
    main()
