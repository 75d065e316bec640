"""Sending flights to an endpoint over HTTP: by departure hour, or one by one from many connections at once.

A small keep-alive client on asyncio's protocols, so that on a small machine the cores are left to the server.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

import msgspec
import numpy as np

from mlspine.core.errors import Unavailable
from mlspine.demo.flights import FEATURES, KEY, TIME

if TYPE_CHECKING:
    import pandas as pd

SENT_COLUMNS = (*FEATURES, KEY, TIME)
FAILURES_KEPT = 5
CONNECT_ATTEMPTS = 20
_VERSION = re.compile(rb'"version":(\d+)')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Request(NamedTuple):
    """One body ready to send, and how many flights are in it."""

    body: bytes
    rows: int


class Answered(NamedTuple):
    """What came of one request. Status 0: the connection was lost before an answer."""

    begun_s: float  # wall clock
    taken_s: float
    status: int
    version: int
    rows: int


class Outcome:
    """All answers of one run, and the first few failures in words."""

    def __init__(self) -> None:
        self.answers: list[Answered] = []
        self.failures: list[str] = []
        self.seconds = 0.0

    @property
    def rows(self) -> int:
        """Flights answered."""
        return sum(answer.rows for answer in self.answers if answer.status == 200)

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(1 for answer in self.answers if answer.status != 200)

    def quantile_s(self, share: float) -> float:
        """Time an answer took, `share` of them took at most that."""
        return float(np.quantile([answer.taken_s for answer in self.answers], share)) if self.answers else 0.0

    def effective_s(self, *, old_version: int, committed_at_ms: int) -> float:
        """From the commit to the last answer begun on the old release, 0 when none was begun after it."""
        begun = [answer.begun_s for answer in self.answers if answer.version == old_version]
        return max(0.0, max(begun) - committed_at_ms / 1000) if begun else 0.0


def by_hour(flights: pd.DataFrame) -> Iterator[Request]:
    """One request per departure hour. flights: ordered by scheduled departure."""
    hours = flights[TIME].dt.tz_localize(None).to_numpy().astype("datetime64[h]")
    cuts = [0, *(np.flatnonzero(hours[1:] != hours[:-1]) + 1).tolist(), len(hours)]
    rows = _rows(flights)
    for start, stop in itertools.pairwise(cuts):
        yield _request([next(rows) for _ in range(stop - start)])


def one_by_one(flights: pd.DataFrame) -> Iterator[Request]:
    """One request per flight."""
    for row in _rows(flights):
        yield _request([row])


def send(
    url: str,
    requests: Iterable[Request],
    *,
    connections: int = 1,
    per_s: float = 0.0,
    answered: Callable[[Answered], None] = lambda _: None,
) -> Outcome:
    """Send every request over that many kept-alive connections; a lost one counts as failed, not sent again.

    per_s: at most so many requests begun per second, 0 for as fast as answers come.
    answered: told of every answer as it comes. Raises Unavailable when nobody listens at `url`.
    """
    crew = _Crew(url, iter(requests), per_s=per_s, answered=answered)
    begun_s = time.perf_counter()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(crew.work(connections))
    crew.outcome.seconds = time.perf_counter() - begun_s
    return crew.outcome


class Hammer:
    """Single-row requests that keep coming in the background while something else is done.

    >>> with Hammer(url, flights, connections=8) as hammer:  # doctest: +SKIP
    ...     hammer.wait_for(3_000)
    ...     promote()
    ...     hammer.wait_for(10_000)
    >>> hammer.outcome.failed, hammer.sent  # doctest: +SKIP
    (0, 10008)
    """

    def __init__(
        self,
        url: str,
        flights: pd.DataFrame,
        *,
        connections: int = 8,
        per_s: float = 0.0,
        answered: Callable[[Answered], None] = lambda _: None,
    ) -> None:
        self.outcome = Outcome()
        self.sent = 0  # flights taken from the front of `flights`
        self._counted = threading.Condition()
        self._answers = 0
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._told = answered
        self._thread = threading.Thread(
            target=self._work, args=(url, flights, connections, per_s), name="hammer", daemon=True
        )

    def __enter__(self) -> Hammer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    @property
    def answers(self) -> int:
        """Requests answered so far."""
        with self._counted:
            return self._answers

    def wait_for(self, answers: int) -> None:
        """Until so many requests were answered in all, or the flights ran out."""
        with self._counted:
            self._counted.wait_for(lambda: self._answers >= answers or not self._thread.is_alive())

    def _work(self, url: str, flights: pd.DataFrame, connections: int, per_s: float) -> None:
        try:
            self.outcome = send(
                url, self._until_stopped(flights), connections=connections, per_s=per_s, answered=self._count
            )
        except BaseException as exc:  # noqa: BLE001 - raised again in the caller's thread
            self._error = exc
        finally:
            with self._counted:
                self._answers = 1 << 62  # nobody waits for a thread that ends
                self._counted.notify_all()

    def _until_stopped(self, flights: pd.DataFrame) -> Iterator[Request]:
        for request in one_by_one(flights):
            if self._stop.is_set():
                return
            self.sent += 1
            yield request

    def _count(self, answer: Answered) -> None:
        self._told(answer)
        with self._counted:
            self._answers += 1
            self._counted.notify_all()


# ---------------------------------------------------------------- bodies


def _rows(flights: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Flights as callers send them: plain JSON values, NaN as null, times in ISO 8601."""
    values = [flights[name].tolist() for name in SENT_COLUMNS if name != TIME]
    leaves = flights[TIME].dt.tz_localize(None).to_numpy().astype("datetime64[s]")
    stamps = np.datetime_as_string(leaves, timezone="UTC")
    names = [name for name in SENT_COLUMNS if name != TIME] + [TIME]
    for row in zip(*values, stamps.tolist(), strict=True):
        yield dict(zip(names, row, strict=True))


def _request(rows: list[dict[str, object]]) -> Request:
    return Request(msgspec.json.encode({"rows": rows}), len(rows))  # msgspec writes NaN as null


# ---------------------------------------------------------------- connections


class _Crew:
    """What the connections of one run share: the requests still to send, and the outcome."""

    def __init__(
        self, url: str, requests: Iterator[Request], *, per_s: float, answered: Callable[[Answered], None]
    ) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.url = parts.hostname or "127.0.0.1", parts.port or 80, url
        self.head = (
            f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\ncontent-length: "
        ).encode()
        self.outcome = Outcome()
        self._requests = requests
        self._answered = answered
        self._per_s = per_s
        self._begun_s = time.perf_counter()
        self._begun = 0
        self.exhausted = False

    async def work(self, connections: int) -> None:
        self._begun_s = time.perf_counter()
        await asyncio.gather(*(self._keep_calling() for _ in range(connections)))

    async def _keep_calling(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.exhausted:
            _, caller = await self._connect(loop)
            await caller.closed.wait()

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> tuple[asyncio.BaseTransport, _Caller]:
        for attempt in range(CONNECT_ATTEMPTS):
            try:
                return await loop.create_connection(lambda: _Caller(self), self.host, self.port)
            except OSError as exc:
                failure = exc
                await asyncio.sleep(0.05 * (attempt + 1))
        raise Unavailable(f"nobody answers at {self.url}: {failure}", hint="see what runs: mlspine status") from failure

    def take(self) -> Request | None:
        request = next(self._requests, None)
        if request is None:
            self.exhausted = True
        return request

    def wait_s(self) -> float:
        """How long the next request has to wait for its turn."""
        if not self._per_s:
            return 0.0
        due_s = self._begun_s + self._begun / self._per_s
        self._begun += 1
        return due_s - time.perf_counter()

    def record(self, answer: Answered, body: bytes) -> None:
        if answer.status != 200 and len(self.outcome.failures) < FAILURES_KEPT:
            self.outcome.failures.append(f"{answer.status or 'lost'}: {body[:300].decode(errors='replace')}")
        self.outcome.answers.append(answer)
        self._answered(answer)


class _Caller(asyncio.Protocol):
    """One kept-alive connection: one request on its way at a time."""

    def __init__(self, crew: _Crew) -> None:
        self.closed = asyncio.Event()
        self._crew = crew
        self._transport: asyncio.WriteTransport | None = None
        self._request: Request | None = None
        self._begun_s = self._begun_at_s = 0.0
        self._buffer = b""
        self._needed = 0  # bytes of the whole answer, 0 while its head is incomplete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is none by inheritance
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._needed:
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            length = _LENGTH.search(self._buffer, 0, head)
            self._needed = head + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) >= self._needed:
            self._finish(int(self._buffer[9:12]), self._buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._request is not None:
            self._record(0, str(exc or "the server closed the connection").encode())
        self.closed.set()

    def _next(self) -> None:
        wait_s = self._crew.wait_s()
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        transport = self._transport
        assert transport is not None
        if transport.is_closing():
            return
        request = self._crew.take()
        if request is None:
            transport.close()
            return
        self._request, self._buffer, self._needed = request, b"", 0
        self._begun_at_s, self._begun_s = time.time(), time.perf_counter()
        transport.write(b"%b%d\r\n\r\n%b" % (self._crew.head, len(request.body), request.body))

    def _finish(self, status: int, answer: bytes) -> None:
        self._record(status, answer)
        assert self._transport is not None
        if b"\r\nconnection: close" in answer[:400].lower():
            self._transport.close()
        else:
            self._next()

    def _record(self, status: int, answer: bytes) -> None:
        request, self._request = self._request, None
        assert request is not None
        version = _VERSION.search(answer)
        taken_s = time.perf_counter() - self._begun_s
        self._crew.record(
            Answered(self._begun_at_s, taken_s, status, int(version[1]) if version else 0, request.rows),
            answer,
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if os.name == "nt":
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
