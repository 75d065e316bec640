"""The ceiling: an asyncio Protocol on uvloop that parses HTTP and answers the same bytes.

`python echo_app.py FOLDER PORT`
"""

from __future__ import annotations

import asyncio
import sys

import httptools
import uvloop

BODY = b'{"prediction":1,"score":0.5}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]
        self.parts: list[bytes] = []
        self.feed = httptools.HttpRequestParser(self).feed_data

    def data_received(self, data: bytes) -> None:
        self.feed(data)

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        self.parts.clear()
        self.write(ANSWER)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", int(sys.argv[2]), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
