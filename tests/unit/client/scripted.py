"""A server that answers by a script, for what a good one never does."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

ANSWER = {
    "id": "01890000-0000-7000-8000-000000000000",
    "endpoint": "e",
    "version": 1,
    "release": "r",
    "path": "live",
    "predictions": [{"prediction": 1}],
}


class Scripted:
    """What was asked, and the steps that answer: each takes the handler; the last one is repeated."""

    def __init__(self, *steps: Callable[[Any], None]) -> None:
        self.steps = list(steps)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.url = ""

    @property
    def ids(self) -> list[str]:
        return [headers["mlspine-request-id"] for _, headers, _ in self.asked]


def answer(body: Any = ANSWER, status: int = 200, **headers: str) -> Callable[[Any], None]:
    """A step that answers."""

    def step(handler: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return step


def reset(handler: Any) -> None:
    """A step that breaks the connection off without a word."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def hang_up(handler: Any) -> None:
    """A step that answers and closes the connection without having said so."""
    answer()(handler)
    handler.close_connection = True


def cut_short(handler: Any) -> None:
    """A step that announces more than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True


@contextlib.contextmanager
def scripted(*steps: Callable[[Any], None]) -> Iterator[Scripted]:
    """The server, listening; stopped at the end."""
    script = Scripted(*steps)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            script.connections += 1
            super().setup()

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):  # a connection that was reset has nothing to flush
                super().finish()

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            step = script.steps.pop(0) if len(script.steps) > 1 else script.steps[0]
            step(self)

        do_GET = do_POST = answer  # noqa: N815 (names the library looks for)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
