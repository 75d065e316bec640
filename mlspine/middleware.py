"""ASGI middleware: what a FastAPI, Starlette or any other ASGI app answers, on its way to be monitored.

    from mlspine.middleware import Monitor
    app.add_middleware(Monitor, endpoint="fraud", path="/predict")

Requests are only looked at: their bytes are kept, everything else happens in a thread. Nothing raises into the app;
what cannot be read or written is counted and logged once. Rows reach the spool of the workspace on this machine within
a quarter of a second, and wait there while nothing runs; with `url` they are sent to a workspace elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlspine.core.errors import Invalid, Unavailable
from mlspine.core.ids import now_ms
from mlspine.watching.line import CLOSE_WITHIN_S, Answered, Counters, Exchange, Line, Reader, Rows, Sink
from mlspine.watching.spec import Spec, read_spec

log = logging.getLogger(__name__)

SPEC_EVERY_S = 1.0
SEND_TIMEOUT_S = 30.0
MAX_BODY_BYTES = 1024 * 1024
MAX_WAITING_BYTES = 32 * 1024 * 1024


class Monitor:
    """Middleware that records rows and answers of one watched endpoint.

    endpoint: as in `mlspine watch NAME`. path: the paths that predict; by default every POST answered with JSON.
    workspace: its folder; by default found from here. url, token: instead, the control address of a server.
    rows: request JSON -> the rows; answers: response JSON -> one answer per row, a number, a label or
    {"prediction", "score"}. By default {"rows" | "instances" | "inputs": [...]}, a list or one row, and {"predictions":
    [...]}, a list or one answer. max_body_bytes: larger exchanges are left out; max_waiting_bytes: bound of what waits.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        endpoint: str,
        path: str | Sequence[str] = (),
        workspace: str | Path | None = None,
        url: str = "",
        token: str = "",
        rows: Rows | None = None,
        answers: Rows | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        if url and workspace is not None:
            raise Invalid("Monitor was given both a workspace and a url", hint="leave one out")
        if url and not token:
            raise Invalid(
                "Monitor sends with a token", hint="on the server: mlspine tokens create NAME --role operator"
            )
        self._app = app
        self._paths = frozenset([path] if isinstance(path, str) else path) - {""}
        self._max_body_bytes = max_body_bytes
        read = Reader(endpoint, rows or rows_in, answers or answers_in)
        sink: Sink = HttpSink(endpoint, url, token) if url else SpoolSink(endpoint, workspace)
        self._line = Line(read, sink, max_waiting_bytes=max_waiting_bytes)

    @property
    def counters(self) -> Counters:
        """What became of answers so far in this process."""
        return self._line.counters

    def flush(self, timeout_s: float = CLOSE_WITHIN_S) -> bool:
        """Hand on what waits; whether all of it went."""
        return self._line.flush(timeout_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, self._flushing(receive), send)
            return
        if scope["type"] != "http" or scope["method"] != "POST" or (self._paths and scope["path"] not in self._paths):
            await self._app(scope, receive, send)
            return
        seen = _Seen(self._max_body_bytes)

        async def receive_and_look() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                seen.take_request(message.get("body", b""))
            return message

        async def send_and_look(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                seen.begin(message)
            elif message["type"] == "http.response.body":
                seen.take_response(message.get("body", b""))

        await self._app(scope, receive_and_look, send_and_look)
        exchange = seen.exchange()
        if exchange is not None:
            self._line.add(exchange)

    def _flushing(self, receive: Receive) -> Receive:
        """Before the app shuts down what waits is handed on: servers may end by a signal, which asks nobody else."""

        async def receive_and_flush() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await asyncio.to_thread(self.flush)
            return message

        return receive_and_flush


def rows_in(body: Any) -> Sequence[Any]:
    """The rows of a request as most servers take them.

    >>> rows_in({"instances": [{"age": 41}]}), rows_in({"age": 41})
    ([{'age': 41}], [{'age': 41}])
    """
    for name in ("rows", "instances", "inputs", "data"):
        if isinstance(body, dict) and isinstance(body.get(name), list):
            return list(body[name])
    return body if isinstance(body, list) else [body]


def answers_in(body: Any) -> Sequence[Any]:
    """The answers of a response as most servers give them.

    >>> answers_in({"predictions": [0.2, 0.8]}), answers_in({"prediction": 1, "score": 0.8})
    ([0.2, 0.8], [{'prediction': 1, 'score': 0.8}])
    """
    for name in ("predictions", "outputs", "results"):
        if isinstance(body, dict) and isinstance(body.get(name), list):
            return list(body[name])
    return body if isinstance(body, list) else [body]


# ---------------------------------------------------------------- on the answering path


class _Seen:
    """What passes by of one exchange, as long as it is small enough."""

    __slots__ = ("_began_s", "_json", "_left", "_received_at_ms", "_request", "_response", "_took_s")

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._request: list[bytes] = []
        self._response: list[bytes] = []
        self._json = False
        self._received_at_ms = now_ms()
        self._began_s = time.perf_counter()
        self._took_s = 0.0

    def take_request(self, body: bytes) -> None:
        self._left -= len(body)
        if self._left >= 0:
            self._request.append(body)

    def begin(self, message: Message) -> None:
        headers = {bytes(name).lower(): bytes(value) for name, value in message.get("headers", ())}
        plain = headers.get(b"content-encoding", b"identity") == b"identity"
        self._json = message["status"] == 200 and plain and b"json" in headers.get(b"content-type", b"")
        self._took_s = time.perf_counter() - self._began_s

    def take_response(self, body: bytes) -> None:
        self._left -= len(body)
        if self._left >= 0 and self._json:
            self._response.append(body)

    def exchange(self) -> Exchange | None:
        """What was seen, None for anything but a whole answer in JSON."""
        if not self._json or self._left < 0:
            return None
        return Exchange(b"".join(self._request), b"".join(self._response), self._received_at_ms, self._took_s)


# ---------------------------------------------------------------- off it


class SpoolSink:
    """The spool of a workspace on this machine, as inference processes write it."""

    def __init__(self, endpoint: str, workspace: str | Path | None) -> None:
        from mlspine.folder import locate
        from mlspine.predictions.spool import SpoolWriter

        self._endpoint = endpoint
        self._workspace = Path(workspace).expanduser().resolve() if workspace is not None else locate()
        self._writer = SpoolWriter
        self._open: tuple[int, Any] = (0, None)
        self._spec: Spec | None = None
        self._spec_at_s = -SPEC_EVERY_S

    def spec(self) -> Spec | None:
        if time.monotonic() - self._spec_at_s >= SPEC_EVERY_S:
            self._spec, self._spec_at_s = read_spec(self._workspace, self._endpoint), time.monotonic()
        return self._spec

    def put(self, given: list[Answered], *, dropped_rows: int) -> None:
        from mlspine.watching.answers import given_rows, take_answers

        spec = self._spec
        if spec is None:
            raise Unavailable(
                f"nothing is watched as {self._endpoint} in {self._workspace}",
                hint=f"mlspine watch {self._endpoint} --reference FILE",
            )
        if not spec.log.enabled:
            return
        why: dict[int, str] = {}
        told = given_rows([row for each in given for row in each.rows], spec, request_id="", refused=why)
        told = told._replace(
            request_ids=[each.request_id for each in given for _ in each.rows],
            row_numbers=[number for each in given for number in range(len(each.rows))],
            received_at_ms=[each.received_at_ms for each in given for _ in each.rows],
            latency_s=[each.latency_s for each in given for _ in each.rows],
        )
        taken = take_answers(spec, told, now_ms=now_ms(), refused=why)
        batches = [batch for batch, _ in taken.batches]
        if batches:
            batches[0] = msgspec.structs.replace(batches[0], dropped_rows=dropped_rows)
            self._spool().append(batches)
        if taken.refused:
            first = next(iter(taken.refused.values()))
            log.warning("%d of %d rows are not monitored, e.g. %s", len(taken.refused), told.size, first)

    def _spool(self) -> Any:
        pid, writer = self._open
        if pid != os.getpid():
            writer = self._writer(self._workspace / "run" / "spool", f"app-{os.getpid()}")
            self._open = (os.getpid(), writer)
        return writer


class HttpSink:
    """A workspace elsewhere, by its control address. Every row has an id, so sending twice adds nothing."""

    def __init__(self, endpoint: str, url: str, token: str) -> None:
        from mlspine.remote import ApiClient

        self._endpoint = endpoint
        self._client = ApiClient(url, token)

    def spec(self) -> Spec | None:
        return None

    def put(self, given: list[Answered], *, dropped_rows: int) -> None:
        rows = [
            {"event_time": each.received_at_ms, **row, "id": f"{each.request_id}:{number}"}
            for each in given
            for number, row in enumerate(each.rows)
        ]
        reply = self._client.post(f"/endpoints/{self._endpoint}/predictions", {"rows": rows}, timeout_s=SEND_TIMEOUT_S)
        receipt = msgspec.json.decode(reply)
        if receipt["refused_rows"]:
            first = receipt["refused"][0]["why"]
            log.warning("%d of %d rows are not monitored, e.g. %s", receipt["refused_rows"], len(rows), first)


__all__ = ["Counters", "Monitor", "answers_in", "rows_in"]
