"""What every Notifier must do: deliver the alert's document, or say why not within a bounded time."""

from __future__ import annotations

import http.server
import json
import logging
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlspine.backends.notify import CommandNotifier, WebhookNotifier, make_notifier
from mlspine.core.errors import Invalid, Unavailable
from mlspine.core.types import Alert

ALERT = Alert(
    id="1",
    endpoint="churn",
    cause="drift:temp:up",
    severity="CRITICAL",
    title="churn: temp went up",
    why="mean 1.0 -> 2.0",
    action="mlspine status churn",
    opened_at_ms=1,
    updated_at_ms=2,
)
DOCUMENT = {
    "version": 1,
    "title": "churn: temp went up",
    "message": "mean 1.0 -> 2.0 Next: mlspine status churn",
    "severity": "CRITICAL",
    "endpoint": "churn",
    "cause": "drift:temp:up",
    "why": "mean 1.0 -> 2.0",
    "action": "mlspine status churn",
    "at": 2,
}


class Hook:
    """A webhook on this machine that answers with a set status, or not at all while `stall` is clear."""

    def __init__(self) -> None:
        self.status = 200
        self.stall = threading.Event()
        self.stall.set()
        self.received: list[tuple[str, Any]] = []
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.received.append((self.headers["Content-Type"], json.loads(body)))
                hook.stall.wait(10)
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/services/secret-token"


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hook
    hook.stall.set()
    hook.server.shutdown()
    hook.server.server_close()
    thread.join()


def python(code: str) -> str:
    return f"command:{sys.executable} -c '{code}'"


def test_the_webhook_receives_the_document(hook: Hook) -> None:
    make_notifier(hook.url).send(ALERT)
    assert hook.received == [("application/json", DOCUMENT)]


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_webhook_that_refuses_is_unavailable_with_its_answer(hook: Hook, status: int) -> None:
    hook.status = status
    with pytest.raises(Unavailable, match=f"answered {status}"):
        make_notifier(hook.url).send(ALERT)


def test_a_webhook_that_does_not_answer_is_given_up(hook: Hook) -> None:
    hook.stall.clear()
    with pytest.raises(Unavailable, match="timed out"):
        WebhookNotifier(hook.url, timeout_s=0.1).send(ALERT)


def test_a_webhook_that_is_not_there_is_unavailable(hook: Hook) -> None:
    with pytest.raises(Unavailable, match="refused"):
        make_notifier("http://127.0.0.1:1/x").send(ALERT)


def test_the_secret_part_of_a_url_is_in_no_name_and_no_message(hook: Hook) -> None:
    hook.status = 500
    notifier = make_notifier(hook.url)
    with pytest.raises(Unavailable) as caught:
        notifier.send(ALERT)
    assert "secret-token" not in notifier.name + str(caught.value)


def test_the_command_reads_the_document_on_its_input(tmp_path: Path) -> None:
    out = tmp_path / "told me.json"
    copy = "import shutil, sys; shutil.copyfileobj(sys.stdin, open(sys.argv[1], 'w'))"
    notifier = CommandNotifier(shlex.join([sys.executable, "-c", copy, str(out)]))
    notifier.send(ALERT)
    assert json.loads(out.read_text()) == DOCUMENT


def test_a_command_that_fails_is_unavailable_with_its_last_words() -> None:
    with pytest.raises(Unavailable, match="exit code 3: no pager today"):
        make_notifier(python('import sys; print("no pager today", file=sys.stderr); sys.exit(3)')).send(ALERT)


def test_a_command_that_hangs_is_stopped() -> None:
    with pytest.raises(Unavailable, match=r"did not end within 0.2 s"):
        CommandNotifier(f"{sys.executable} -c 'import time; time.sleep(60)'", timeout_s=0.2).send(ALERT)


def test_a_command_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="could not be started"):
        make_notifier("command:/absent/program --page").send(ALERT)


@pytest.mark.parametrize(("severity", "level"), [("INFO", "INFO"), ("WARNING", "WARNING"), ("CRITICAL", "ERROR")])
def test_the_log_takes_the_alert_at_its_level(severity: Any, level: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        make_notifier("log").send(msgspec.structs.replace(ALERT, severity=severity))
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (level, "alert: churn: temp went up")
    assert record.__dict__["why"] == "mean 1.0 -> 2.0"


@pytest.mark.parametrize("text", ["", "ftp://x", "pager", "command:", "command:'", "http:///path"])
def test_what_is_no_sink_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        make_notifier(text)
