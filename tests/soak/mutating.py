"""Requests that were in order and are not any more: the same seed makes the same ones."""

from __future__ import annotations

import random

from tests.http_cases import CLIENT_FAULTS, GOOD, SMUGGLED
from tests.raw_http import get

MOST_BYTES = 100_000
SEEDS: tuple[bytes, ...] = tuple(
    raw
    for raw in (
        *GOOD.values(),
        *SMUGGLED.values(),
        *(raw for raw, _ in CLIENT_FAULTS.values()),
        *(get(path) for path in ("/", "/docs", "/openapi.json", "/metrics", "/v2", "/v1/models", "/endpoints")),
        get("/health/live", method="HEAD"),
    )
    if len(raw) < 5_000
)
PIECES = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"0\r\n\r\n", b"%", b"/", b"\xff"),
    *(b"Content-Length: 0\r\n", b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\nConnection: Upgrade\r\n"),
    *(
        b"Host: a\r\n",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"POST ",
        b"GET ",
        b"HEAD ",
        b"ffffffffffffffff\r\n",
        b"5\r\nabcde\r\n",
    ),
    *(b"Content-Encoding: gzip\r\n", b"Inference-Header-Content-Length: 9\r\n", b"Mlspine-Event-Time: x\r\n"),
    *(b'{"rows": [', b"null", b"NaN", b"1e999", b'"\\ud800"', b"[" * 200, b"-0", b"\xed\xa0\x80"),
)


def mutated(dice: random.Random) -> bytes:
    """One to three requests in a row, with some of their bytes changed.

    >>> mutated(random.Random(1)) == mutated(random.Random(1)) != mutated(random.Random(2))
    True
    """
    raw = bytearray(b"".join(dice.choice(SEEDS) for _ in range(dice.choice((1, 1, 2, 3)))))
    for _ in range(dice.choice((0, 1, 1, 2, 4, 16))):
        at = dice.randrange(len(raw) + 1)
        match dice.randrange(6):
            case 0:
                raw[at:at] = dice.choice(PIECES)
            case 1:
                del raw[at : at + dice.choice((1, 1, 2, 8, 64))]
            case 2 if at < len(raw):
                raw[at] = dice.randrange(256)
            case 3:
                raw[at:at] = raw[at : at + dice.randrange(200)]
            case 4:
                raw[at:at] = dice.randbytes(dice.choice((1, 4, 60)))
            case _:
                raw[at:at] = dice.choice(SEEDS)[: dice.randrange(300)]
    return bytes(raw[:MOST_BYTES])


def parts(raw: bytes, dice: random.Random) -> list[bytes]:
    """The same bytes in one to five pieces."""
    cuts = sorted(dice.randrange(len(raw) + 1) for _ in range(dice.choice((0, 0, 1, 2, 4))))
    return [raw[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
