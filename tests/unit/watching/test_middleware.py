"""The middleware: answers pass untouched, rows reach the spool, and nothing that goes wrong reaches the app."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mlspine.core.errors import Invalid, Unavailable
from mlspine.core.ids import now_ms
from mlspine.middleware import Monitor, answers_in, rows_in
from mlspine.watching.line import DRAIN_EVERY_S, Answered, Exchange, Line, Reader
from tests.unit.watching.desk import Desk
from tests.unit.web.asgi import ask

ROW = {"amount": 120.0, "age": 33, "country": "de"}


async def predict(request: Request) -> Response:
    rows = rows_in(await request.json())
    return JSONResponse({"predictions": [{"prediction": 1, "score": 0.9} for _ in rows]})


async def text(_: Request) -> Response:
    return PlainTextResponse("1")


async def fails(_: Request) -> Response:
    return JSONResponse({"detail": "no"}, status_code=422)


def app_with(**options: Any) -> tuple[ASGIApp, Monitor]:
    inner = Starlette(routes=[Route(f"/{each.__name__}", each, methods=["POST"]) for each in (predict, text, fails)])
    monitor = Monitor(inner, **options)
    return monitor, monitor


def test_rows_of_an_app_reach_the_log_as_they_were_answered(desk: Desk) -> None:
    desk.watch()
    app, monitor = app_with(endpoint="fraud", workspace=desk.workspace.path)
    reply = ask(app, "POST", "/predict", {"rows": [ROW, {**ROW, "age": 34}]})
    assert reply.json == {"predictions": [{"prediction": 1, "score": 0.9}] * 2}
    ask(app, "POST", "/predict", {"instances": [[120.0, 35, "fr"]]})
    assert monitor.flush()
    assert (monitor.counters.rows, monitor.counters.failure) == (3, "")
    desk.workspace.predictions.ingest()
    told = desk.logged("select _row, age, country, _prediction, _score, _path, _latency_s > 0 from log order by age")
    assert [tuple(row) for row in told] == [
        (0, 33, "de", 1, 0.9, "watched", True),
        (1, 34, "de", 1, 0.9, "watched", True),
        (0, 35, "fr", 1, 0.9, "watched", True),
    ]
    assert desk.counted() == 3


def test_other_paths_failed_requests_and_other_formats_are_left_alone(desk: Desk) -> None:
    desk.watch()
    app, monitor = app_with(endpoint="fraud", workspace=desk.workspace.path, path="/predict")
    assert ask(app, "POST", "/text", ROW).body == b"1"
    app_all, monitor_all = app_with(endpoint="fraud", workspace=desk.workspace.path)
    assert ask(app_all, "POST", "/text", ROW).body == b"1"
    assert ask(app_all, "POST", "/fails", ROW).status == 422
    assert ask(app_all, "POST", "/predict", {"rows": [ROW] * 4}, peer="127.0.0.1").status == 200
    small, monitor_small = app_with(endpoint="fraud", workspace=desk.workspace.path, max_body_bytes=100)
    assert ask(small, "POST", "/predict", {"rows": [ROW] * 40}).status == 200
    assert [each.flush() for each in (monitor, monitor_all, monitor_small)] == [True] * 3
    assert [each.counters.rows for each in (monitor, monitor_all, monitor_small)] == [0, 4, 0]


def test_what_an_extractor_raises_is_counted_and_logged_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.watch()
    app, monitor = app_with(endpoint="fraud", workspace=desk.workspace.path, rows=lambda body: body["nothing"])
    with caplog.at_level(logging.ERROR, "mlspine.watching.line"):
        for _ in range(3):
            assert ask(app, "POST", "/predict", ROW).status == 200
        monitor.flush()
    assert monitor.counters.unreadable == 3
    assert len(caplog.records) == 1


def test_rows_wait_while_nothing_is_watched_and_the_oldest_go_beyond_the_bound(tmp_path: Path) -> None:
    app, monitor = app_with(endpoint="fraud", workspace=tmp_path, max_waiting_bytes=3000)
    for _ in range(30):
        assert ask(app, "POST", "/predict", ROW).status == 200
    assert not monitor.flush(0.0)
    assert "nothing is watched as fraud" in monitor.counters.failure
    assert monitor.counters.dropped_rows >= 20


class Sink:
    """Takes rows, or fails in a way it is told."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.taken: list[Answered] = []
        self.dropped_rows = 0

    def spec(self) -> None:
        return None

    def put(self, given: list[Answered], *, dropped_rows: int) -> None:
        if self.failure is not None:
            raise self.failure
        self.taken += given
        self.dropped_rows += dropped_rows


def test_a_full_disk_is_tried_again_and_a_refusal_is_not() -> None:
    sink = Sink()
    line = Line(Reader("m", rows_in, answers_in), sink, max_waiting_bytes=1_000_000)
    exchange = Exchange(json.dumps(ROW).encode(), b'{"prediction": 1}', 1, 0.1)
    sink.failure = OSError(28, "No space left on device")
    line.add(exchange)
    assert not line.flush(0.0)
    sink.failure = None
    assert line.flush(5.0)
    assert (line.counters.rows, line.counters.dropped_rows) == (1, 0)
    sink.failure = Invalid("not you")
    line.add(exchange)
    assert line.flush(5.0)
    sink.failure = None
    line.add(exchange)
    assert line.flush(5.0)
    assert (line.counters.rows, line.counters.dropped_rows, sink.dropped_rows) == (2, 1, 1)


def test_rows_sent_by_http_carry_ids_so_that_a_lost_answer_doubles_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.watch()
    desk.clock.now_ms = now_ms()
    sent: list[Any] = []

    def post(self: Any, path: str, body: Any, *, timeout_s: float) -> bytes:
        sent.append(body["rows"])
        receipt = desk.workspace.watching.record(path.split("/")[2], body["rows"])
        if len(sent) == 1:
            raise Unavailable("the answer was lost on the way")
        return msgspec.json.encode(receipt)

    monkeypatch.setattr("mlspine.remote.ApiClient.post", post)
    app, monitor = app_with(endpoint="fraud", url="http://127.0.0.1:1", token="t")
    ask(app, "POST", "/predict", {"rows": [ROW, ROW]})
    assert monitor.flush(10.0)
    assert len(sent) == 2
    assert desk.logged() == 2


def test_it_says_what_it_was_given_wrongly() -> None:
    inner: Callable[..., Any] = predict
    with pytest.raises(Invalid, match="both a workspace and a url"):
        Monitor(inner, endpoint="m", workspace=".", url="http://x", token="t")
    with pytest.raises(Invalid, match="with a token"):
        Monitor(inner, endpoint="m", url="http://x")


def test_its_own_thread_hands_rows_on_without_being_asked(desk: Desk) -> None:
    desk.watch()
    app, monitor = app_with(endpoint="fraud", workspace=desk.workspace.path)
    ask(app, "POST", "/predict", {"rows": [ROW]})

    async def wait() -> None:
        for _ in range(200):
            if monitor.counters.rows:
                return
            await asyncio.sleep(DRAIN_EVERY_S / 5)

    asyncio.run(wait())
    assert monitor.counters.rows == 1
