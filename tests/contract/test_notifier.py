"""What every Notifier must do: deliver the alert's document, or say why not within a bounded time."""

from __future__ import annotations

import email.message
import email.policy
import http.server
import io
import json
import logging
import shlex
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlspine.backends.notify import CommandNotifier, WebhookNotifier, check_notifier, make_notifier
from mlspine.core.errors import Invalid, MissingExtra, Unavailable
from mlspine.core.types import Alert
from tests.listener import answering

# Apprise loads every plugin it has, and some of them import what Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

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
    "owner": "",
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
    with answering(hook.server):
        yield hook
        hook.stall.set()


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


@pytest.mark.parametrize("text", ["", "pager", "command:", "command:'", "http:///path", "://x", "slack://"])
def test_what_is_no_sink_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        make_notifier(text)


# ---------------------------------------------------------------- through Apprise


class MailServer:
    """A mail server on this machine that takes one message after another, as plain SMTP."""

    def __init__(self) -> None:
        self.received: list[tuple[list[str], email.message.EmailMessage]] = []
        self.refuses = False
        outer = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                to: list[str] = []
                self.say("220 ready")
                for line in self.rfile:
                    word = line.decode().strip()
                    if word.upper().startswith("QUIT"):
                        self.say("221 bye")
                        return
                    if word.upper().startswith("RCPT TO:"):
                        to.append(word[8:].strip(" <>"))
                        self.say("550 no such mailbox secret-mailbox" if outer.refuses else "250 ok")
                    elif word.upper() == "DATA":
                        self.say("354 go on")
                        text = b"".join(iter(self.rfile.readline, b".\r\n"))
                        message = email.message_from_bytes(text, policy=email.policy.default)
                        outer.received.append((to, message))
                        self.say("250 taken")
                    else:
                        self.say("250 ok")

            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation)
        self.port = self.server.server_address[1]


@pytest.fixture
def mail() -> Iterator[MailServer]:
    mail = MailServer()
    with answering(mail.server):
        yield mail


@pytest.fixture
def our_log() -> Iterator[io.StringIO]:
    """Everything that reaches the root logger, where the processes' own handler sits."""
    text = io.StringIO()
    handler, root = logging.StreamHandler(text), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(before)
    root.removeHandler(handler)


def test_json_goes_through_apprise_and_http_stays_ours(hook: Hook) -> None:
    notifier = make_notifier(hook.url.replace("http://", "json://"))
    notifier.send(ALERT)
    ((kind, document),) = hook.received
    assert kind == "application/json"
    assert (document["title"], document["type"]) == ("churn: temp went up", "failure")
    assert document["message"] == "CRITICAL: mean 1.0 -> 2.0\nNext: mlspine status churn"
    assert notifier.name == "json:127.0.0.1"


def test_mail_arrives_with_title_cause_and_command(mail: MailServer) -> None:
    make_notifier(f"mailto://localhost:{mail.port}?from=mlspine@example.org&to=team@example.org").send(ALERT)
    ((to, message),) = mail.received
    assert to == ["team@example.org"]
    assert message["Subject"] == "churn: temp went up"
    body = message.get_body(("plain", "html"))
    assert body is not None
    assert "mean 1.0 -> 2.0" in body.get_content()
    assert "mlspine status churn" in body.get_content()


def test_a_mail_server_that_refuses_is_unavailable_without_any_secret(mail: MailServer, our_log: io.StringIO) -> None:
    mail.refuses = True
    url = f"mailto://localhost:{mail.port}?from=mlspine@example.org&to=secret-mailbox@example.org"
    with pytest.raises(Unavailable) as caught:
        make_notifier(url).send(ALERT)
    assert str(caught.value).startswith("mailto:localhost")
    assert "secret-mailbox" not in str(caught.value) + our_log.getvalue()


@pytest.mark.parametrize("status", [400, 500])
def test_apprise_that_fails_says_why_and_no_secret(
    hook: Hook, status: int, our_log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    hook.status = status
    with pytest.raises(Unavailable, match=f"error={status}") as caught:
        make_notifier(hook.url.replace("http://", "json://user:hunter22@")).send(ALERT)
    told = str(caught.value) + our_log.getvalue() + "".join(capsys.readouterr())
    assert "secret-token" not in told
    assert "hunter22" not in told


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops", "slack"),
        ("ntfy://a-topic-that-is-a-secret", "ntfy"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544", "tgram"),
        ("mailtos://me:password@mail.example.org?to=you@example.org", "mailtos:mail.example.org"),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "discord"),
    ],
)
def test_a_sink_is_called_by_scheme_and_server_at_most(url: str, name: str) -> None:
    assert make_notifier(url).name == name
    check_notifier(url)


def test_a_url_that_apprise_cannot_read_is_refused_without_its_secret() -> None:
    with pytest.raises(Invalid, match="cannot read the nosuch:// URL") as caught:
        check_notifier("nosuch://hunter22/x")
    assert "hunter22" not in str(caught.value)


def test_without_apprise_the_sink_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    notifier = make_notifier("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ")
    with pytest.raises(MissingExtra) as caught:
        notifier.send(ALERT)
    assert caught.value.hint == "pip install 'mlspine[alerts]'"
