"""Requests to an ASGI app in this process: the whole path of a request but for the socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        told: dict[str, Any] = self.json["error"]
        return told


def ask(
    app: ASGIApp,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str = "",
    host: str = "127.0.0.1:8081",
    peer: str = "127.0.0.1",
    query: str | None = None,
    **headers: str,
) -> Reply:
    """One request; headers by keyword, with underscores for dashes. query: where the path may hold a "?" of its own."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if token:
        given["authorization"] = f"Bearer {token}"
    bare = path
    if query is None:
        bare, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": bare,
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": (peer, 50000),
        "server": ("127.0.0.1", 8081),
    }
    return asyncio.run(_run(app, scope, data))


async def _run(app: ASGIApp, scope: dict[str, Any], data: bytes) -> Reply:
    sent: list[Message] = []

    received = False

    async def receive() -> Message:
        nonlocal received
        if received:
            await asyncio.Event().wait()  # the caller stays until it is answered, and says no more
        received = True
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], headers, b"".join(message.get("body", b"") for message in sent))
