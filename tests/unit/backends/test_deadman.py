"""The sign of life against a real listener; time is the scheduler's injected clock."""

from __future__ import annotations

import http.server
import logging
import queue
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from mlspine.backends.deadman import DeadManPing
from mlspine.core.config import Config, MonitoringConfig
from mlspine.core.errors import Invalid
from mlspine.core.plan import ProcessState
from mlspine.scheduler import Scheduler
from tests.listener import answering

STATE = ProcessState(process="inference-0", pid=1, started_at_ms=0, plan=1, ready=True, endpoints={})


class Watcher:
    """What watches somewhere else: notes each ping; answers with a status, or not before `go` is set."""

    def __init__(self) -> None:
        self.pings: queue.Queue[str] = queue.Queue()
        self.status = 200
        self.go = threading.Event()
        self.go.set()
        watcher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                watcher.pings.put(self.path)
                watcher.go.wait(10)
                self.send_response(watcher.status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/ping/secret"


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher()
    with answering(watcher.server):
        yield watcher
        watcher.go.set()


class Machine:
    """A scheduler over a workspace whose inference answers, or not, as the test says."""

    def __init__(self, url: str) -> None:
        self.now_s = 0.0
        self.served: list[str] = ["churn"]
        self.states: tuple[ProcessState, ...] = (STATE,)
        self.alerts: list[str] = []
        nothing = SimpleNamespace(
            raise_alert=lambda *_, cause, **__: self.alerts.append(cause),
            clear_alert=lambda *_: False,
            check=list,
        )
        workspace: Any = SimpleNamespace(
            config=Config(monitoring=MonitoringConfig(deadman_url=url)),
            monitoring=nothing,
            predictions=SimpleNamespace(ingest=list, housekeep=list),
            processes=SimpleNamespace(supervise=list, observe=lambda: self.states),
            deployment=SimpleNamespace(answers=lambda: bool(self.served)),
        )
        self.scheduler = Scheduler(Whole(workspace), clock_s=lambda: self.now_s)  # type: ignore[arg-type]

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.scheduler.run_due()


class Whole:
    """A workspace with the parts given; every other room does nothing, whatever is asked of it."""

    def __init__(self, parts: Any) -> None:
        self.__dict__.update(vars(parts))

    def __getattr__(self, name: str) -> Any:
        return _Idle()


class _Idle:
    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def expect_ping(watcher: Watcher) -> None:
    assert watcher.pings.get(timeout=10) == "/ping/secret"
    if watcher.go.is_set():
        settle()


def test_a_machine_that_is_well_pings_every_30_seconds(watcher: Watcher) -> None:
    machine = Machine(watcher.url)
    for _ in range(3):
        machine.pass_time(30.0)
        expect_ping(watcher)
    machine.pass_time(29.0)
    assert watcher.pings.empty()


@pytest.mark.parametrize("states", [(), (msgspec.structs.replace(STATE, ready=False),)])
def test_a_machine_whose_inference_does_not_answer_is_silent_within_the_minute(
    watcher: Watcher, states: tuple[ProcessState, ...]
) -> None:
    machine = Machine(watcher.url)
    machine.pass_time(0.0)
    expect_ping(watcher)
    machine.states = states
    for _ in range(600):
        machine.pass_time(1.0)
    assert watcher.pings.empty()
    machine.states = (STATE,)
    machine.pass_time(30.0)
    expect_ping(watcher)


def test_a_machine_that_serves_nothing_yet_is_well(watcher: Watcher) -> None:
    machine = Machine(watcher.url)
    machine.served, machine.states = [], ()
    machine.pass_time(0.0)
    expect_ping(watcher)


def test_a_scheduler_that_stands_still_pings_no_more(watcher: Watcher) -> None:
    machine = Machine(watcher.url)
    machine.pass_time(0.0)
    expect_ping(watcher)
    machine.now_s += 3600.0  # the loop hangs: time goes on and nothing is run
    assert watcher.pings.empty()


def test_a_watcher_that_does_not_answer_holds_nobody_up(watcher: Watcher) -> None:
    ping = DeadManPing(watcher.url)
    watcher.go.clear()
    assert ping.beat()
    expect_ping(watcher)
    assert not ping.beat()
    watcher.go.set()
    ping.wait(10)
    assert ping.beat()
    ping.wait(10)


def test_failures_are_logged_once_without_the_secret_and_so_is_their_end(
    watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    ping = DeadManPing(watcher.url)
    watcher.status = 500
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            ping.beat()
            ping.wait(10)
        watcher.status = 200
        for _ in range(2):
            ping.beat()
            ping.wait(10)
    assert [record.getMessage() for record in caplog.records] == [
        "the dead-man ping fails",
        "the dead-man ping arrives again",
    ]
    assert all("secret" not in str(record.__dict__) for record in caplog.records)


def test_a_watcher_that_fails_raises_no_alert(watcher: Watcher) -> None:
    watcher.server.shutdown()
    watcher.server.server_close()
    machine = Machine(watcher.url)
    for _ in range(5):
        machine.pass_time(30.0)
        settle()
    assert machine.alerts == []


@pytest.mark.parametrize("url", ["ftp://x/y", "watcher.example.org", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="deadman_url"):
        DeadManPing(url)


def settle() -> None:
    """Until the ping under way has ended, so that the next may begin."""
    for thread in threading.enumerate():
        if thread.name == "deadman":
            thread.join(10)
