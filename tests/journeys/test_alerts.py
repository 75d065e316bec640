"""Being told: a real process dies, a real listener hears of it; then somebody wants quiet."""

from __future__ import annotations

import http.server
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.desk import Desk, ship_churn
from tests.listener import answering

WAIT_S = 60.0


class Listener:
    """A web server that keeps every JSON document it is sent."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                listener.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(listener.status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}/hook/hunter22"

    def titles(self) -> list[str]:
        return [document["title"] for document in self.received]


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    with answering(listener.server):
        yield listener


def kill_inference(desk: Desk) -> None:
    pid = json.loads((desk.folder / ".mlspine/run/inference-0.json").read_bytes())["pid"]
    os.kill(pid, signal.SIGKILL)


def wait_for(desk: Desk, count: int) -> list[dict[str, Any]]:
    """The alerts ever opened, once there are `count`."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found: list[dict[str, Any]] = desk.mlspine("alerts", "--all", "--json").json
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


@pytest.mark.long
@pytest.mark.slow
def test_a_death_is_told_once_through_both_roads_and_not_while_silenced(desk: Desk, listener: Listener) -> None:
    ship_churn(desk)
    desk.mlspine("serve", "churn", "--notify", f"http://{listener.address}", "--notify", f"json://{listener.address}")
    tested = desk.mlspine("alerts", "test")
    assert "took it" in tested.out
    assert listener.titles() == ["mlspine: a test alert, nothing is wrong"] * 2
    listener.received.clear()
    kill_inference(desk)
    (death,) = wait_for(desk, 1)
    assert death["cause"] == "process:inference-0"
    deadline = time.monotonic() + WAIT_S
    while len(listener.received) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert listener.titles() == ["inference-0 died and was restarted"] * 2
    while desk.mlspine("alerts", "--json").json and time.monotonic() < deadline:
        time.sleep(0.2)
    quiet = desk.mlspine("alerts", "silence", "workspace", "--for", "1h", "--reason", "we test")
    assert "End it sooner: mlspine alerts unsilence workspace" in quiet.out
    kill_inference(desk)
    (_, second) = wait_for(desk, 2)
    assert second["delivered"] == {}
    assert len(listener.received) == 2
    assert "hunter22" not in json.dumps(wait_for(desk, 2)) + desk.mlspine("status", "--json").out
    for log in (desk.folder / ".mlspine/run").glob("*.log"):
        assert "hunter22" not in log.read_text()
    assert (desk.folder / ".mlspine/run/options.json").stat().st_mode & 0o077 == 0
    assert [line["reason"] for line in ledger(desk) if line["action"] == "silence"] == ["we test"]


@pytest.mark.slow
def test_a_sink_that_fails_the_test_is_an_exit_code_and_evidence(desk: Desk, listener: Listener) -> None:
    listener.status = 500
    desk.mlspine("up", "--notify", f"json://{listener.address}")
    failed = desk.mlspine("alerts", "test", check=False)
    assert failed.code == 1
    assert "json:127.0.0.1" in failed.out
    assert "error=500" in failed.out
    assert "hunter22" not in failed.out + failed.err


def test_what_can_never_be_told_stops_up_before_anything_starts(desk: Desk) -> None:
    refused = desk.mlspine("up", "--notify", "nosuch://hunter22", check=False)
    assert refused.code == 2
    assert "cannot read the nosuch:// URL" in refused.err
    assert "hunter22" not in refused.err
    assert not (desk.folder / ".mlspine/run/control.json").exists()


def test_slips_are_told_with_what_would_be_right(desk: Desk) -> None:
    assert desk.mlspine("alerts").out == "no open alert\n"
    assert desk.mlspine("alerts", "ack", "churn", check=False).code == 4
    assert "is no duration" in desk.mlspine("alerts", "silence", "workspace", "--for", "soon", check=False).err
    assert desk.mlspine("alerts", "silences").out == "nothing is silenced\n"
    desk.mlspine("alerts", "silence", "workspace", "--for", "30m")
    assert "silent: the workspace itself until" in desk.mlspine("alerts", "silences").out
    desk.mlspine("alerts", "unsilence", "workspace")
    assert "Only the log" in desk.mlspine("alerts", "test").out
    assert "Usage" in desk.mlspine("alerts", "--help").out


def ledger(desk: Desk) -> list[dict[str, Any]]:
    return [json.loads(line) for line in desk.mlspine("ledger", "--json").out.splitlines()]
