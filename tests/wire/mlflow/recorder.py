"""A proxy that writes down what passes: method, path, query, request body, status, answer, by the step of the flow.

Answers go back to the client as they came. A request to `/-step` is for the recorder itself: it names the step that
the following requests belong to.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MARK = "/-step"
UNREMARKED = {"/health/live"}  # our plugin, where it is installed, asks whether a server is ours
UPSTREAM_TIMEOUT_S = 120.0
SHORT_TEXT_BYTES = 200
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
COMPARED_HEADERS = ("content-type",)
COMPARED_OF_FILES = (*COMPARED_HEADERS, "content-disposition", "x-content-type-options", "accept-ranges")
FILES = re.compile(r".*/mlflow-artifacts/artifacts/|/get-artifact|.*/model-versions/get-artifact")


class Recorder(ThreadingHTTPServer):
    """Listens on a free port of loopback and passes everything on to `upstream`, e.g. `http://127.0.0.1:5000`."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.upstream = urllib.parse.urlsplit(upstream).netloc
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.step = ("", "")
        self.exchanges: list[dict[str, Any]] = []
        self._numbers = itertools.count()

    def open_exchange(self, method: str, target: str, body: bytes, mime: str) -> dict[str, Any]:
        """Note a request when it arrives, so that exchanges stand in the order of asking."""
        path, _, query = target.partition("?")
        exchange: dict[str, Any] = {
            "number": next(self._numbers),
            "flow": self.step[0],
            "step": self.step[1],
            "method": method,
            "path": urllib.parse.unquote(path),
            "query": urllib.parse.parse_qs(query, keep_blank_values=True),
            "request": _readable(body, mime),
        }
        if path not in UNREMARKED:
            self.exchanges.append(exchange)
        return exchange


class _Relay(BaseHTTPRequestHandler):
    server: Recorder
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together

    def _relay(self) -> None:
        body = self._read()
        if self.path == MARK:
            said = json.loads(body)
            self.server.step = (said["flow"], said["step"])
            self._answer(200, {}, b"")
            return
        exchange = self.server.open_exchange(self.command, self.path, body, self.headers.get("Content-Type", ""))
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=UPSTREAM_TIMEOUT_S)
        with contextlib.closing(upstream):
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP | {"host"}}
            upstream.request(self.command, self.path, body=body or None, headers=headers)
            response = upstream.getresponse()
            answer, kept = response.read(), {name.lower(): value for name, value in response.getheaders()}
        compared = COMPARED_OF_FILES if _is_file(self, response.status) else COMPARED_HEADERS
        exchange |= {
            "status": response.status,
            "headers": {name: kept[name].partition(";")[0] for name in compared if name in kept},
            "answer": _readable(answer, "" if _is_file(self, response.status) else kept.get("content-type", "")),
        }
        self._answer(response.status, kept, answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _relay  # noqa: N815

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header(
            "Content-Length", headers.get("content-length", "0") if self.command == "HEAD" else str(len(body))
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the exchanges are the log."""


def _is_file(asked: BaseHTTPRequestHandler, status: int) -> bool:
    return asked.command == "GET" and status < 300 and FILES.match(asked.path) is not None


def _readable(body: bytes, mime: str) -> Any:
    """JSON as what it means, short text as text, pages and files by their mere presence."""
    if not body:
        return None
    if "json" in mime:
        with contextlib.suppress(ValueError):
            return json.loads(body)
    if "html" in mime:
        return "<html>"
    with contextlib.suppress(UnicodeDecodeError):
        return body.decode() if len(body) <= SHORT_TEXT_BYTES else "<file>"
    return "<file>"


@contextlib.contextmanager
def recording(upstream: str) -> Iterator[Recorder]:
    with Recorder(upstream) as recorder:
        thread = threading.Thread(target=recorder.serve_forever, daemon=True)
        thread.start()
        try:
            yield recorder
        finally:
            recorder.shutdown()
            thread.join()
