"""One HTTP request and its answer over plain ASGI: headers, body with its limits, reply."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import msgspec

from mlspine.core.columns import parse_array
from mlspine.core.errors import Invalid
from mlspine.core.types import Field

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
BODY_TIMEOUT_S = 30.0
_TIME = Field(name="Mlspine-Event-Time", type="datetime", dtype="")
_encoder = msgspec.json.Encoder(enc_hook=str)


class Reply(NamedTuple):
    """What goes back to the caller."""

    status: int
    body: bytes
    headers: list[Header]


class Marks:
    """The headers by which an answer says where it comes from; `lines` are they as they are sent."""

    __slots__ = ("headers", "lines")

    def __init__(self, headers: tuple[Header, ...]) -> None:
        self.headers = headers
        self.lines = b"".join([b"%b: %b\r\n" % header for header in headers])


class Refused(Exception):
    """A request that HTTP itself turns away: wrong method, too large, unknown encoding."""

    def __init__(self, status: int, message: str, *, hint: str = "", headers: tuple[Header, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint
        self.headers = headers


class HungUp(Exception):
    """The caller is gone; there is nobody to answer."""


def encode(value: Any) -> bytes:
    """JSON bytes; NaN and infinities, which JSON lacks, become null."""
    return _encoder.encode(value)


def json_reply(value: Any, status: int = 200, *headers: Header) -> Reply:
    """A reply with a JSON body."""
    return Reply(status, encode(value), [JSON, *headers])


def text_reply(text: str, status: int = 200, content_type: bytes = b"text/plain; charset=utf-8") -> Reply:
    """A reply with a text body."""
    return Reply(status, text.encode(), [(b"content-type", content_type)])


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of that (lower-case) name, b"" without."""
    return next((value for key, value in scope["headers"] if key == name), b"")


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The request body as it was sent; `decoded` undoes its encoding.

    Raises Refused 413 beyond `limit` bytes, 408 for a caller who stops sending; HungUp when the caller is gone.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise HungUp
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = await _read_rest(scope, receive, body, limit)
    elif len(body) > limit:
        raise _too_large(limit)
    return body


def decoded(scope: Scope, body: bytes, limit: int) -> bytes:
    """A body without its content encoding.

    Raises Refused 413 for more than `limit` bytes in plain, 415 for an encoding not spoken here; Invalid for a body
    that is not what its encoding says.
    """
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            return _decompressed(body, value.strip().lower(), limit)
    return body


async def send_reply(send: Send, reply: Reply) -> None:
    """Send head and body."""
    status, body, headers = reply
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def read_event_time(value: bytes) -> int:
    """An `Mlspine-Event-Time` header as milliseconds since 1970 UTC; raises Invalid.

    >>> read_event_time(b"1970-01-01T00:00:01Z"), read_event_time(b"1000")
    (1000, 1000)
    """
    text = value.decode("latin-1").strip()
    given: str | int = int(text) if text.lstrip("-").isdecimal() and len(text) < 20 else text
    try:
        stamp = parse_array([given], _TIME)
    except Invalid as exc:
        raise Invalid(
            f"Mlspine-Event-Time {text[:60]!r} is no time",
            hint="send ISO 8601, e.g. 2026-01-31T12:00:00Z, or milliseconds since 1970 UTC",
        ) from exc
    return int(stamp.astype("datetime64[ms]").astype("int64")[0])


async def _read_rest(scope: Scope, receive: Receive, body: bytes, limit: int) -> bytes:
    declared = header(scope, b"content-length")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts, size = [body], len(body)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise HungUp
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise _too_large(limit)
                more = message.get("more_body", False)
    except TimeoutError as exc:
        raise Refused(
            408,
            f"the body did not arrive within {BODY_TIMEOUT_S:g} s",
            hint="send it at once",
            headers=((b"connection", b"close"),),
        ) from exc
    return b"".join(parts)


def _decompressed(body: bytes, encoding: bytes, limit: int) -> bytes:
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        raise Refused(
            415,
            f"content-encoding {encoding.decode('latin-1')[:40]!r} is not spoken here",
            hint="send gzip, deflate or plain bytes",
            headers=((b"accept-encoding", b"gzip, deflate"),),
        )
    # "deflate" means zlib by the standard and a raw stream to some clients.
    kinds = (31,) if encoding != b"deflate" else (zlib.MAX_WBITS, -zlib.MAX_WBITS)
    for at, bits in enumerate(kinds):
        try:
            stream = zlib.decompressobj(bits)
            plain = stream.decompress(body, limit + 1)
        except zlib.error as exc:
            if at + 1 < len(kinds):
                continue
            raise Invalid(f"the body is not {encoding.decode()}: {exc}", hint="compress it again") from exc
        if len(plain) > limit or stream.unconsumed_tail:
            raise _too_large(limit)
        if not stream.eof:
            raise Invalid(f"the {encoding.decode()} body ends too early", hint="send all of it")
        return plain
    raise AssertionError("one of the kinds returned or raised")


def _too_large(limit: int) -> Refused:
    return Refused(
        413,
        f"the body is larger than {limit:,} bytes",
        hint="send fewer rows at once, or raise serving.max_body_bytes in mlspine.toml",
        headers=((b"connection", b"close"),),
    )
