"""The limit: an asyncio Protocol on uvloop that answers all requests of one loop turn with one model call.

`python bare_protocol_app.py FOLDER PORT lightgbm|onnx`: no checks, no log, no metrics; what speed costs nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httptools
import msgspec
import numpy as np
import uvloop
from booster import load, names

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


class Gathered:
    """The rows of one turn of the loop."""

    def __init__(self, folder: str, runtime: str) -> None:
        columns = names(folder)
        self.score = load(folder, runtime)
        self.decode = msgspec.json.Decoder(msgspec.defstruct("Row", [(name, float) for name in columns])).decode
        self.values = msgspec.structs.astuple
        self.waiting: list[tuple[Any, Any]] = []

    def add(self, body: bytes, write: Any) -> None:
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.answer)
        self.waiting.append((self.values(self.decode(body)), write))

    def answer(self) -> None:
        waiting, self.waiting = self.waiting, []
        scores = self.score(np.array([row for row, _ in waiting])).tolist()
        for (_, write), score in zip(waiting, scores, strict=True):
            body = b'{"prediction":%d,"score":%r}' % (score > 0.5, score)
            write(HEAD % len(body) + body)


class Bare(asyncio.Protocol):
    def __init__(self, gathered: Gathered) -> None:
        self.add = gathered.add

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]
        self.parts: list[bytes] = []
        self.feed = httptools.HttpRequestParser(self).feed_data

    def data_received(self, data: bytes) -> None:
        self.feed(data)

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        body = b"".join(self.parts)
        self.parts.clear()
        self.add(body, self.write)


async def main() -> None:
    gathered = Gathered(sys.argv[1], sys.argv[3])
    server = await asyncio.get_running_loop().create_server(
        lambda: Bare(gathered), "127.0.0.1", int(sys.argv[2]), backlog=2048
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
