"""A reply as bytes: head and body in one piece, so that they leave in one packet."""

from __future__ import annotations

import http
from email.utils import formatdate

from mlspine.web.exchange import JSON, Reply

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
_OK_JSON = _LINES[200] + b"content-type: application/json\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def http_date(at_s: float) -> bytes:
    """The Date header's value.

    >>> http_date(0)
    b'Thu, 01 Jan 1970 00:00:00 GMT'
    """
    return formatdate(at_s, usegmt=True).encode()


def encode_reply(
    reply: Reply, marks: bytes, request_id: str, date: bytes, *, keep_alive: bool = True, head_only: bool = False
) -> bytes:
    """The whole reply. marks: further header lines, each with its line end.

    >>> encode_reply(Reply(200, b"{}", [JSON]), b"mlspine-version: 3\\r\\n", "id", b"now")[:34]
    b'HTTP/1.1 200 OK\\r\\ncontent-type: app'
    """
    status, body, headers = reply
    start = _OK_JSON if status == 200 and headers == [JSON] else _start(status, headers)
    if keep_alive and request_id and not head_only:
        return b"%bcontent-length: %d\r\ndate: %b\r\nmlspine-request-id: %b\r\n%b\r\n%b" % (
            start,
            len(body),
            date,
            request_id.encode(),
            marks,
            body,
        )
    return b"".join(
        (
            start,
            b"content-length: %d\r\ndate: %b\r\n" % (len(body), date),
            b"mlspine-request-id: %b\r\n" % request_id.encode() if request_id else b"",
            marks,
            b"" if keep_alive else b"connection: close\r\n",
            b"\r\n",
            b"" if head_only else body,
        )
    )


def header_lines(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Headers as they are sent, each with its line end."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
    line = _LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return line + header_lines(tuple(each for each in headers if each[0] != b"connection"))
