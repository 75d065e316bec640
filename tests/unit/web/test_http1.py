"""Our own HTTP/1.1 without sockets: bytes in, bytes out, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.web.exchange import JSON, Marks, Reply, Scope
from mlspine.web.http1.connection import Connection
from mlspine.web.http1.head import MAX_KNOWN
from mlspine.web.http1.limits import Limits
from mlspine.web.http1.server import Http1Server
from mlspine.web.inference_api import Done, Predict

MARKS = Marks(((b"mlspine-version", b"3"),))


class Wire:
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = self.aborted = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Api:
    """Answers a prediction with its body, at once or when it is told to."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.routes = {"/p": Predict(cast(Any, None), cast(Any, None), None, {}, MARKS, MARKS)}
        self.at_once = at_once
        self.waiting: list[tuple[bytes, Done]] = []
        self.scopes: list[Scope] = []

    def predict(self, route: Predict, scope: Scope, body: bytes, began_s: float, done: Done) -> None:
        self.scopes.append(scope)
        self.waiting.append((body, done))
        if self.at_once:
            self.answer(0)

    def answer(self, which: int) -> None:
        body, done = self.waiting.pop(which)
        done(Reply(200, body, [JSON]), MARKS, "id")


class Stage:
    """A server with one connection."""

    def __init__(self, *, at_once: bool = True, **limits: Any) -> None:
        self.now_s = 100.0
        self.api = Api(at_once=at_once)
        self.server = Http1Server(cast(Any, self.api), limits=Limits(**limits), timer=lambda: self.now_s)
        self.connection, self.wire = self.connect()

    def connect(self) -> tuple[Connection, Wire]:
        connection, wire = self.server.factory(), Wire()
        connection.connection_made(cast(Any, wire))
        return connection, wire

    def hear(self, *data: bytes) -> list[bytes]:
        """The bodies of all answers so far."""
        for each in data:
            self.connection.data_received(each)
        return bodies(self.wire.sent)

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.connection.look(self.now_s)


def ask(body: bytes, *headers: bytes, method: bytes = b"POST", path: bytes = b"/p") -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method, path), b"Host: x", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def bodies(sent: bytes) -> list[bytes]:
    found = []
    while sent:
        head, _, sent = sent.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
        found.append(sent[:length])
        sent = sent[length:]
    return found


def statuses(sent: bytes) -> list[int]:
    return [int(part[:3]) for part in sent.split(b"HTTP/1.1 ")[1:]]


def test_an_answer_is_one_piece_with_its_marks() -> None:
    stage = Stage()
    assert stage.hear(ask(b"[1]")) == [b"[1]"]
    head = stage.wire.sent.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head[0] == b"HTTP/1.1 200 OK"
    assert {b"mlspine-version: 3", b"mlspine-request-id: id", b"content-length: 3"} <= set(head)
    assert any(line.startswith(b"date: ") and line.endswith(b" GMT") for line in head)


def test_a_head_is_read_once_and_recognised_from_then_on() -> None:
    stage = Stage()
    stage.hear(ask(b"[1]", b"X-Tag: a"), ask(b"[2]", b"X-Tag: a"), ask(b"[33]", b"X-Tag: a"))
    assert stage.api.scopes[0] is stage.api.scopes[1]
    assert stage.api.scopes[1] is not stage.api.scopes[2]  # another length is another head
    assert bodies(stage.wire.sent) == [b"[1]", b"[2]", b"[33]"]
    assert len(stage.server.heads) == 2


@pytest.mark.parametrize(
    "odd",
    [
        ask(b"[1]", b"Mlspine-Request-Id: 01a1ffe9-85a9-7b7b-b57d-e82cae69787a"),
        ask(b"[1]", b"Expect: 100-continue"),
        ask(b"[1]", b"Connection: close"),
        ask(b"", method=b"GET"),
        ask(b"[1]", b"X-Long: " + b"a" * 3000),
        b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n",
        b"\r\n" + ask(b"[1]", b"X: y")[:-3].replace(b"\r\nX: y", b"\nX: y") + b"[1]",
    ],
    ids=["an id", "Expect", "close", "GET", "long", "chunked", "bare line feed"],
)
def test_a_head_that_could_mean_anything_else_is_never_recognised(odd: bytes) -> None:
    async def story() -> int:
        stage = Stage()
        stage.connection.data_received(odd)
        await asyncio.sleep(0)
        return len(stage.server.heads)

    assert asyncio.run(story()) == 0


def test_what_is_remembered_has_a_bound() -> None:
    stage = Stage()
    for number in range(MAX_KNOWN + 10):
        stage.connection.data_received(ask(b"[1]", b"X-Tag: %d" % number))
    assert 0 < len(stage.server.heads) <= MAX_KNOWN
    assert len(bodies(stage.wire.sent)) == MAX_KNOWN + 10


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.booleans()), min_size=1, max_size=8),
    st.lists(st.integers(1, 60), max_size=30),
)
def test_however_the_bytes_are_cut_every_request_is_answered_in_order(
    asked: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    def told(body: bytes, chunked: bool) -> bytes:
        if not chunked:
            return ask(body)
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk

    data = b"".join(told(*each) for each in asked)
    stage, position = Stage(), 0
    for cut in cuts:
        stage.hear(data[position : position + cut])
        position += cut
    stage.hear(data[position:])
    assert [body for body, _ in asked] == bodies(stage.wire.sent)


def test_replies_keep_the_order_of_their_requests() -> None:
    stage = Stage(at_once=False)
    stage.hear(ask(b"a") + ask(b"b") + ask(b"c"))
    stage.api.answer(2)
    stage.api.answer(1)
    assert stage.wire.sent == b""
    stage.api.answer(0)
    assert bodies(stage.wire.sent) == [b"a", b"b", b"c"]


def test_a_client_that_asks_on_and_on_is_read_no_further_until_it_is_answered() -> None:
    stage = Stage(at_once=False, max_pipelined=2)
    stage.hear(ask(b"a"), ask(b"b"))
    assert not stage.wire.reading
    stage.api.answer(0)
    assert stage.wire.reading


def test_a_client_that_does_not_read_is_not_read_either_and_cut_off_in_the_end() -> None:
    stage = Stage(stalled_s=30)
    stage.connection.pause_writing()
    assert not stage.wire.reading
    stage.later(29)
    stage.connection.resume_writing()
    assert stage.wire.reading
    stage.connection.pause_writing()
    stage.later(31)
    assert stage.wire.aborted


@pytest.mark.parametrize(
    ("begun", "after_s", "status"),
    [(b"POST /p HT", 10, 408), (ask(b"[1, 2]")[:-2], 30, 408), (b"", 75, 0), (ask(b"[1]"), 75, 200)],
    ids=["head", "body", "nothing", "answered"],
)
def test_nobody_keeps_a_connection_by_saying_little(begun: bytes, after_s: float, status: int) -> None:
    stage = Stage()
    stage.hear(begun)
    stage.later(after_s - 1)
    assert not stage.wire.closed
    stage.later(2)
    assert stage.wire.closed
    assert statuses(stage.wire.sent) == ([status] if status else [])


def test_dripping_bytes_does_not_buy_time() -> None:
    stage = Stage(head_s=10)
    for byte in b"POST /p HTTP/1.1\r\n":
        stage.hear(bytes([byte]))
        stage.later(1)
    assert statuses(stage.wire.sent) == [408]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (ask(b"x" * 101), 413),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101, 413),
        (b"GET /" + b"a" * 70_000, 431),
        (ask(b"", *[b"X-%d: y" % i for i in range(200)]), 431),
        (ask(b"", b"Host: y"), 400),
        (b"GET /p HTTP/1.1\r\n\r\n", 400),
        (ask(b"[1]", b"Expect: miracles"), 417),
        (ask(b"[1]", b"Content-Length: 4"), 400),
    ],
)
def test_what_is_refused_is_told_and_the_connection_closed(data: bytes, status: int) -> None:
    stage = Stage(max_body_bytes=100)
    stage.hear(data, ask(b"more"))
    assert statuses(stage.wire.sent) == [status]
    assert stage.wire.closed


def test_answers_owed_come_before_a_refusal() -> None:
    stage = Stage(at_once=False)
    stage.hear(ask(b"a") + b"NONSENSE\r\n\r\n")
    assert stage.wire.sent == b""
    stage.api.answer(0)
    assert statuses(stage.wire.sent) == [200, 400]


def test_an_offer_of_another_protocol_is_passed_over() -> None:
    stage = Stage()
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    whole = ask(b"[1, 2]", *offer) + ask(b"[3]")
    assert stage.hear(*(whole[i : i + 7] for i in range(0, len(whole), 7))) == [b"[1, 2]", b"[3]"]
    assert not stage.wire.closed


def test_draining_answers_what_was_asked_and_takes_no_more() -> None:
    stage = Stage(at_once=False)
    idle, idle_wire = stage.connect()
    stage.hear(ask(b"a"))
    for each in (stage.connection, idle):
        each.drain()
    assert idle_wire.closed
    stage.hear(ask(b"b"))
    stage.api.answer(0)
    assert bodies(stage.wire.sent) == [b"a"]
    assert b"connection: close" in stage.wire.sent
    assert stage.wire.closed


def test_leaving_closes_with_the_next_answer() -> None:
    stage = Stage()
    stage.connection.leave()
    assert not stage.wire.closed
    assert stage.hear(ask(b"a")) == [b"a"]
    assert stage.wire.closed


def test_more_clients_than_agreed_are_told_to_come_back() -> None:
    stage = Stage(max_connections=1)
    _, second = stage.connect()
    assert statuses(second.sent) == [503]
    assert second.closed
    assert stage.hear(ask(b"a")) == [b"a"]


def test_an_answer_for_a_client_that_is_gone_disturbs_nobody() -> None:
    stage = Stage(at_once=False)
    stage.hear(ask(b"a"))
    stage.connection.connection_lost(None)
    stage.api.answer(0)
    assert stage.wire.sent == b""
    assert stage.server.connections == 0


def test_a_failure_nobody_foresaw_is_a_500_and_not_silence(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.server.read = cast(Any, SimpleNamespace())  # not callable
    stage.hear(ask(b"", method=b"GET", path=b"/docs"))
    assert statuses(stage.wire.sent) == [500]
    assert "could not be taken" in caplog.text
