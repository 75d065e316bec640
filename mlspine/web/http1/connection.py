"""One client's connection: bytes in, requests handed on as they are complete, replies out in the order asked.

No task, future or timer belongs to a request. A head that is known is recognised by its bytes; everything else goes
through llhttp (by httptools), which is strict about what a message is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from mlspine.web.exchange import Header, Marks, Refused, Reply
from mlspine.web.http1.head import Head
from mlspine.web.http1.reply import CONTINUE, encode_reply
from mlspine.web.inference_api import Predict

if TYPE_CHECKING:
    from mlspine.web.http1.server import Http1Server

log = logging.getLogger(__name__)

_END = b"\r\n\r\n"
KEPT = b"connection: keep-alive\r\n"


class Slot:
    """The place of one request's reply in the order of its connection."""

    __slots__ = ("connection", "head_only", "keep_alive", "reply", "says_so")

    def __init__(self, connection: Connection, *, keep_alive: bool, head_only: bool, says_so: bool = False) -> None:
        self.connection = connection
        self.keep_alive = keep_alive
        self.head_only = head_only
        self.says_so = says_so  # a client of HTTP/1.0 has to be told that the connection is kept
        self.reply: bytes | None = None

    def done(self, reply: Reply, marks: Marks, request_id: str) -> None:
        """Take the reply; it is sent when those before it are."""
        connection = self.connection
        if connection.last:
            self.keep_alive = False
        self.reply = encode_reply(
            reply,
            marks.lines + KEPT if self.says_so and self.keep_alive else marks.lines,
            request_id,
            connection.server.date,
            keep_alive=self.keep_alive,
            head_only=self.head_only,
        )
        connection.ready(self)


class Connection(asyncio.Protocol):
    """The protocol object of one connection."""

    def __init__(self, server: Http1Server) -> None:
        self.server = server
        self.closing = False  # no request after those under way
        self.last = False  # the next reply closes
        self.waiting_since_s = 0.0  # for what the client has to do next
        self._find_head = server.heads.find
        self._api = server.api
        self._timer = server.timer
        self._transport: asyncio.Transport
        self._slots: deque[Slot] = deque()
        self._parser: Any = None
        self._in_message = False
        self._in_body = False
        self._raw_head = b""
        self._head: Head | None = None
        self._url = b""
        self._headers: list[Header] = []
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._refused = False
        self._owed_bytes = 0
        self._taken = 0  # requests so far
        self._began_s = 0.0
        self._phase_since_s = 0.0  # since the head or the body has been arriving
        self._unread_replies = False
        self._gone = False

    # ------------------------------------------------------------ asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.waiting_since_s = self._timer()
        self.server.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._slots.clear()
        self.server.left(self)

    def data_received(self, data: bytes) -> None:
        self._began_s = self.waiting_since_s = self._timer()
        if not self._in_message:
            end = data.find(_END)
            while end > 0:
                head = self._find_head(data[:end])
                if head is None:
                    break
                stop = end + 4 + head.length
                if len(data) < stop:
                    break
                if self.closing:
                    return
                self._take(head, data[end + 4 : stop])
                if len(data) == stop:
                    return
                data = data[stop:]
                end = data.find(_END)
            self._raw_head = data[:end] if end > 0 else b""
        self._feed(data)

    def eof_received(self) -> bool:
        """A client that has said all may still be reading."""
        self.closing = True
        return bool(self._slots)

    def pause_writing(self) -> None:
        self._unread_replies = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._unread_replies = False
        self.waiting_since_s = self._timer()
        self._go_on_reading()

    # ------------------------------------------------------------ the server's side

    def leave(self) -> None:
        """The next reply is the last one here; a client that asks for nothing more is left alone."""
        self.last = True

    def drain(self) -> None:
        """No further request: close now, or after the replies that are under way."""
        self.closing = self.last = True
        if not self._slots:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def look(self, now_s: float) -> None:
        """Close a connection whose client keeps everybody waiting."""
        waited_s, limits = now_s - self.waiting_since_s, self.server.limits
        if self._unread_replies:
            if waited_s > limits.stalled_s:
                self.abort()
        elif self._in_message and not self._refused:
            limit_s = limits.body_s if self._in_body else limits.head_s
            if now_s - self._phase_since_s > limit_s:
                what = "body" if self._in_body else "head"
                self.refuse(Refused(408, f"the {what} did not arrive within {limit_s:g} s", hint="send it at once"))
        elif not self._slots and waited_s > limits.idle_s:
            self._transport.close()

    # ------------------------------------------------------------ requests

    def _take(self, head: Head, body: bytes) -> None:
        """A request is complete."""
        slot = Slot(
            self,
            keep_alive=head.keep_alive,
            head_only=head.method == "HEAD",
            says_so=head.version != "1.1",
        )
        self._slots.append(slot)
        if not head.keep_alive:
            self.closing = True
        if len(self._slots) >= self.server.limits.max_pipelined:
            self._transport.pause_reading()
        route = self._api.routes.get(head.path)
        if type(route) is Predict and head.method == "POST":
            self._api.predict(route, head.scope, body, self._began_s, slot.done)
        else:
            self.server.read(route, head.scope, body, slot.done)

    def ready(self, slot: Slot) -> None:
        """A reply is there: send it and those after it that waited for it."""
        slots = self._slots
        if self._gone:
            return
        was_full = len(slots) >= self.server.limits.max_pipelined
        while slots and slots[0].reply is not None:
            first = slots.popleft()
            self._transport.write(cast(bytes, first.reply))
            if not first.keep_alive:
                self._transport.close()
                return
        if self.closing and not slots:
            self._transport.close()
        elif was_full:
            self._go_on_reading()

    def _go_on_reading(self) -> None:
        if not self._gone and not self._unread_replies and len(self._slots) < self.server.limits.max_pipelined:
            self._transport.resume_reading()

    def refuse(self, exc: Refused) -> None:
        """Answer what is no request, or one too large or too slow, and close: what follows cannot be told apart."""
        if self._refused or self._gone:
            return
        self._refused = self.closing = True
        slot = Slot(self, keep_alive=False, head_only=False)
        self._slots.append(slot)
        slot.reply = self.server.refusal(exc, self._head.path if self._head else "")
        self.ready(slot)

    # ------------------------------------------------------------ llhttp's side

    def _feed(self, data: bytes) -> None:
        if self._refused or (self.closing and not self._in_message):
            return
        if self._owed_bytes:
            self._read_after_offer(data)
            return
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        taken, offered_at = self._taken, -1
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            offered_at = exc.args[0]  # declined below: what fails there has nothing to do with this exception
        except httptools.HttpParserError as exc:
            self._not_parsed(exc)
        else:
            if self._in_message and not self._in_body and taken == self._taken:
                self._head_bytes += len(data)
                if self._head_bytes > self.server.limits.max_head_bytes:
                    self.refuse(_head_too_large(self.server.limits.max_head_bytes))
        if offered_at >= 0:
            self._decline_offer(data[offered_at:])

    def _decline_offer(self, rest: bytes) -> None:
        """The client offered another protocol (h2c, a web socket): the request is answered as if it had not.

        llhttp takes the message for ended there, so its body is counted here.
        """
        self._parser = None
        head = self._head
        if head is None or self._refused:
            return
        if head.length < 0 or head.method == "CONNECT":
            self.refuse(Refused(400, "only HTTP/1.1 is spoken here", hint="leave out Connection: Upgrade"))
            return
        self._in_message = self._in_body = True
        self._owed_bytes = head.length + 1  # 0 means that nothing is owed
        self._read_after_offer(rest)

    def _read_after_offer(self, data: bytes) -> None:
        owed = self._owed_bytes - 1
        self._body.append(data[:owed])
        self._owed_bytes -= len(data[:owed])
        if self._owed_bytes > 1:
            return
        self._owed_bytes = 0
        self._complete()
        if data[owed:]:
            self.data_received(data[owed:])

    def _not_parsed(self, exc: Exception) -> None:
        cause = exc.__context__
        if isinstance(cause, _Stop):
            return  # told already
        if cause is not None and not isinstance(cause, httptools.HttpParserError):
            log.error("a request could not be taken", exc_info=cause)
            if self._slots and self._slots[-1].reply is None:
                self._slots.pop()  # its own, which nobody will fill
            self.refuse(Refused(500, "an unexpected error happened inside mlspine", hint="its log has the account"))
            return
        self.refuse(Refused(400, f"this is no HTTP request: {exc}", hint="speak HTTP/1.1"))

    def on_message_begin(self) -> None:
        self._in_message, self._in_body = True, False
        self._phase_since_s = self._began_s
        self._head, self._url, self._headers = None, b"", []
        self._head_bytes = 0
        self._body, self._body_bytes = [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer
        self._headers.append((name.lower(), value))
        if len(self._headers) > self.server.limits.max_headers:
            self._stop(_too_many_headers(self.server.limits.max_headers))

    def on_headers_complete(self) -> None:
        parser = self._parser
        self._in_body = True
        self._phase_since_s = self._began_s
        head = self._head = Head(
            parser.get_method().decode("ascii", "replace"),
            self._path(),
            self._headers,
            version=parser.get_http_version(),
            keep_alive=parser.should_keep_alive(),
        )
        limit = self.server.limits.max_body_bytes
        if head.version not in ("1.0", "1.1"):
            self._stop(Refused(400, f"HTTP/{head.version} is not spoken here", hint="speak HTTP/1.1"))
        if head.hosts > 1 or (not head.hosts and head.version == "1.1"):
            self._stop(Refused(400, "a request names its host once", hint="send one Host header"))
        if head.length > limit:
            self._stop(too_large(limit))
        if head.expects == b"100-continue":
            if not self._slots:
                self._transport.write(CONTINUE)
        elif head.expects:
            shown = head.expects[:40].decode("latin-1")
            self._stop(Refused(417, f"nothing is known of Expect: {shown}", hint="leave it out"))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self.server.limits.max_body_bytes:
            self._stop(too_large(self.server.limits.max_body_bytes))

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            return  # what llhttp takes for the end: see _decline_offer
        self._complete()

    def _complete(self) -> None:
        self._in_message = self._in_body = False
        self._taken += 1
        head = self._head
        if head is None or self._refused or self.closing:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        if self._raw_head:
            self.server.heads.learn(self._raw_head, head)
            self._raw_head = b""
        self._take(head, body)

    def _path(self) -> str:
        try:
            path = httptools.parse_url(self._url).path or b"/"
        except httptools.HttpParserError:
            path = self._url
        text = path.decode("latin-1")
        if "%" in text:
            import urllib.parse

            text = urllib.parse.unquote(text)
        return text

    def _stop(self, exc: Refused) -> None:
        self.refuse(exc)
        raise _Stop


class _Stop(Exception):
    """Ends llhttp's walk through bytes nobody wants."""


def too_large(limit: int) -> Refused:
    """What a body beyond the limit is told."""
    return Refused(
        413,
        f"the body is larger than {limit:,} bytes",
        hint="send fewer rows at once, or raise serving.max_body_bytes in mlspine.toml",
    )


def _head_too_large(limit: int) -> Refused:
    return Refused(431, f"the head of the request is larger than {limit:,} bytes", hint="send fewer headers")


def _too_many_headers(limit: int) -> Refused:
    return Refused(431, f"the request has more than {limit} headers", hint="send fewer headers")
