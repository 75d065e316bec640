"""The replay client against a small server that can be told to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mlspine.core.errors import Unavailable
from mlspine.demo.flights import FEATURES, KEY, TIME, WEATHER
from mlspine.demo.replay import Answered, Hammer, Outcome, Request, by_hour, one_by_one, send

pd = pytest.importorskip("pandas")


class Server:
    """Answers version `self.version`; every `drop_every`-th request it closes the connection instead."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.requests = self.connections = 0
        self.version = 1
        self.drop_every = self.refuse_every = 0
        self.close_each = False
        self.chunk = 1 << 20
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, "127.0.0.1", 0), self._loop)
        self._server = server.result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/endpoints/flights/predict"

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        # A caller that hung up while it was being accepted leaves its socket to the collector; that is this stand-in
        # server's doing, and must not be put down to whatever test the collector runs in.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self._writers.clear()
            self._tasks.clear()
            gc.collect()

    async def _end(self) -> None:
        self._server.close()
        # Connections still being accepted are the loop's own tasks: they end by themselves, only ours are cancelled.
        while others := asyncio.all_tasks() - {asyncio.current_task(), *self._tasks}:
            await asyncio.wait(others)
        await self._turns()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:  # also of callers whose task was cancelled before it began
            writer.close()
        await self._turns()

    async def _turns(self) -> None:
        """Connections are handed over, and give their sockets back, some turns of the loop later."""
        for _ in range(3):
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._tasks.append(self._loop.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
        body = await reader.readexactly(length)
        self.requests += 1
        self.paths.add(head.split(" ")[1])
        if self.drop_every and self.requests % self.drop_every == 0:
            return False
        status, answer = "200 OK", b'{"id":"x","version":%d,"predictions":[]}' % self.version
        if self.refuse_every and self.requests % self.refuse_every == 0:
            status, answer = "422 Unprocessable", b'{"error":{"message":"rows[0].temp is null"}}'
        else:
            self.rows += msgspec.json.decode(body)["rows"]
        close = "connection: close\r\n" if self.close_each else ""
        whole = f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\n{close}\r\n".encode() + answer
        for start in range(0, len(whole), self.chunk):
            writer.write(whole[start : start + self.chunk])
            await writer.drain()
            if self.chunk < len(whole):
                await asyncio.sleep(0)
        return not self.close_each


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def flights(minutes: list[int]) -> Any:
    """Flights so many minutes after 2013-04-01 00:00 UTC."""
    at = pd.Timestamp("2013-04-01", tz="UTC") + pd.to_timedelta(minutes, unit="min")
    frame = pd.DataFrame(dict.fromkeys(FEATURES, 1.5), index=range(len(minutes)))
    frame = frame.assign(carrier="UA", origin="EWR", dest="ORD", departure_hour=0, departure_minute=0, day_of_week=1)
    return frame.assign(**{KEY: [f"flight {m}" for m in minutes], TIME: at.as_unit("ms"), "temp": float("nan")})


def rows_of(requests: Iterator[Request]) -> list[list[Any]]:
    return [[row[KEY] for row in msgspec.json.decode(request.body)["rows"]] for request in requests]


def test_each_departure_hour_is_one_request_in_order() -> None:
    found = rows_of(by_hour(flights([0, 30, 59, 60, 200])))
    assert found == [["flight 0", "flight 30", "flight 59"], ["flight 60"], ["flight 200"]]


def test_alone_means_one_request_each() -> None:
    assert rows_of(one_by_one(flights([0, 1]))) == [["flight 0"], ["flight 1"]]


def test_a_row_is_sent_as_plain_json_with_nulls_and_its_time() -> None:
    [request] = by_hour(flights([75]))
    [row] = msgspec.json.decode(request.body)["rows"]
    assert row[TIME] == "2013-04-01T01:15:00Z"
    assert row["temp"] is None
    assert row["carrier"] == "UA"
    assert set(row) == {*FEATURES, KEY, TIME}
    assert set(WEATHER) <= set(row)


def test_every_flight_arrives_once(server: Server) -> None:
    outcome = send(server.url, by_hour(flights(list(range(0, 6_000, 7)))), connections=3)
    assert sorted(row[KEY] for row in server.rows) == sorted(f"flight {m}" for m in range(0, 6_000, 7))
    assert (outcome.rows, outcome.failed, len(outcome.answers)) == (858, 0, 100)
    assert server.paths == {"/endpoints/flights/predict"}
    assert server.connections == 3


def test_answers_in_pieces_are_put_together(server: Server) -> None:
    server.chunk = 7
    outcome = send(server.url, one_by_one(flights(list(range(20)))), connections=2)
    assert (outcome.rows, outcome.failed) == (20, 0)


def test_a_server_that_closes_politely_is_called_again(server: Server) -> None:
    server.close_each = True
    outcome = send(server.url, one_by_one(flights(list(range(10)))), connections=2)
    assert (outcome.rows, outcome.failed) == (10, 0)
    assert server.connections >= 10


def test_a_lost_connection_is_a_failed_request_and_the_rest_goes_on(server: Server) -> None:
    server.drop_every = 5
    outcome = send(server.url, one_by_one(flights(list(range(20)))), connections=1)
    assert (outcome.rows, outcome.failed, len(outcome.answers)) == (16, 4, 20)
    assert outcome.failures[0].startswith("lost: ")


def test_a_refused_request_counts_as_failed_with_its_words(server: Server) -> None:
    server.refuse_every = 4
    told: list[Answered] = []
    outcome = send(server.url, one_by_one(flights(list(range(40)))), connections=2, answered=told.append)
    assert (outcome.failed, len(told)) == (10, 40)
    assert len(outcome.failures) == 5
    assert "rows[0].temp is null" in outcome.failures[0]


def test_nobody_listening_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlspine.demo.replay.CONNECT_ATTEMPTS", 1)
    with pytest.raises(Unavailable, match="nobody answers at http"):
        send("http://127.0.0.1:1/x", one_by_one(flights([0])))


def test_the_hammer_goes_on_until_told_and_says_how_far_it_came(server: Server) -> None:
    year = flights(list(range(50_000)))
    with Hammer(server.url, year, connections=4) as hammer:
        hammer.wait_for(200)
    assert hammer.sent == len(hammer.outcome.answers) >= 200
    assert sorted(row[KEY] for row in server.rows) == sorted(year[KEY].iloc[: hammer.sent])


def test_the_hammer_ends_when_flights_run_out(server: Server) -> None:
    with Hammer(server.url, flights([0, 1, 2]), connections=2) as hammer:
        hammer.wait_for(1_000)
    assert hammer.sent == 3


def test_the_hammer_passes_its_failure_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlspine.demo.replay.CONNECT_ATTEMPTS", 1)
    with pytest.raises(Unavailable), Hammer("http://127.0.0.1:1/x", flights([0])) as hammer:
        hammer.wait_for(10)


def test_the_hammer_sees_which_release_answered(server: Server) -> None:
    with Hammer(server.url, flights(list(range(50_000))), connections=2) as hammer:
        hammer.wait_for(50)
        server.version = 2
        hammer.wait_for(500)
    versions = [answer.version for answer in hammer.outcome.answers]
    assert set(versions) == {1, 2}


def test_effective_counts_from_the_commit_to_the_last_answer_begun_on_the_old_release() -> None:
    outcome = Outcome()
    outcome.answers = [
        Answered(begun_s=100.000, taken_s=0.5, status=200, version=1, rows=1),
        Answered(begun_s=100.025, taken_s=0.1, status=200, version=1, rows=1),
        Answered(begun_s=100.020, taken_s=0.1, status=200, version=2, rows=1),
    ]
    assert outcome.effective_s(old_version=1, committed_at_ms=100_010) == pytest.approx(0.015)
    assert outcome.effective_s(old_version=1, committed_at_ms=200_000) == 0.0
    assert outcome.effective_s(old_version=3, committed_at_ms=100_010) == 0.0
