"""A load generator: N connections, each sending its next request when the last is answered. Its own process.

`python -m benchmarks.load --port P --path /x --bodies FILE --clients 64 --requests 20000` prints a JSON line.
Bodies are one JSON document per line and are rotated through, since one repeated row flatters tree models.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import cast


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._received = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none by inheritance
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received = data if not self._received else self._received + data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._received.find(b"content-length: ") + 16
        length = int(self._received[start : self._received.find(b"\r", start)])
        if len(self._received) < head + 4 + length:
            return
        self._run.answered(self._received[9:12] == b"200", time.perf_counter() - self._sent_at)
        self._received = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost()

    def _send(self) -> None:
        message = self._run.next_message()
        if message is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(message)


class Run:
    """A bounded count of requests over all connections."""

    def __init__(self, messages: list[bytes], clients: int, requests: int) -> None:
        self._messages = messages
        self._requests = requests
        self._open = clients
        self._sent = 0
        self.failed = 0
        self.latencies: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next_message(self) -> bytes | None:
        if self._sent >= self._requests:
            return None
        self._sent += 1
        return self._messages[self._sent % len(self._messages)]

    def answered(self, ok: bool, seconds: float) -> None:
        self.latencies.append(seconds)
        self.failed += not ok

    def lost(self) -> None:
        self._open -= 1
        if self._open == 0:
            self.done.set_result(None)


async def measure(port: int, messages: list[bytes], clients: int, requests: int) -> dict[str, float]:
    """Requests per second and latency quantiles of one run."""
    loop = asyncio.get_running_loop()
    run = Run(messages, clients, requests)
    began = time.perf_counter()
    await asyncio.gather(*(loop.create_connection(lambda: Client(run), "127.0.0.1", port) for _ in range(clients)))
    await run.done
    seconds = time.perf_counter() - began
    quantiles = statistics.quantiles(run.latencies, n=100)
    return {
        "requests": len(run.latencies),
        "failed": run.failed + requests - len(run.latencies),
        "per_s": len(run.latencies) / seconds,
        "p50_ms": quantiles[49] * 1e3,
        "p99_ms": quantiles[98] * 1e3,
    }


def http_messages(path: str, bodies: list[bytes]) -> list[bytes]:
    """Complete HTTP requests, head and body in one."""
    head = "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return [(head % (path, len(body))).encode() + body for body in bodies]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--bodies", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    messages = http_messages(options.path, options.bodies.read_bytes().splitlines())
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        json.dump(runner.run(measure(options.port, messages, options.clients, options.requests)), sys.stdout)


if __name__ == "__main__":
    main()
