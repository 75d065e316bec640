from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

from mlspine.core.errors import AlreadyExists, Denied, Invalid, MlspineError, NotFound, Unavailable, Unidentified
from mlspine.interop.connection import ATTEMPTS, Connection
from tests.listener import answering


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Listener:
    """A server that answers what it was told to, in turn, the last answer for ever."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[tuple[int, bytes]] = [(200, b"{}")]
        self.cut_short = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append(Asked(self.command, self.path, dict(self.headers), body))
                status, said = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(said) + (10 if outer.cut_short else 0)))
                self.end_headers()
                self.wfile.write(said)
                self.close_connection = outer.cut_short

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def do_PUT(self) -> None:
                self.answer()

            def log_message(self, *_: object) -> None:
                """Tests print nothing."""

        return Handler


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    with answering(listener.server):
        yield listener


@pytest.fixture
def connect(listener: Listener) -> Iterator[Callable[..., Connection]]:
    made: list[Connection] = []

    def connect(url: str = "", **options: object) -> Connection:
        settings = {"environment": {}, "sleep": lambda seconds: None, "timeout_s": 5.0, **options}
        made.append(Connection(url or listener.url, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield connect
    for each in made:
        each.close()


def refusal(code: str) -> bytes:
    return json.dumps({"error_code": code, "message": "no"}).encode()


def test_name_and_password_are_sent_and_not_shown(listener: Listener, connect: Callable[..., Connection]) -> None:
    connection = connect(listener.url.replace("//", "//maria:p%40ss@"))
    connection.get("/x")
    assert listener.asked[0].headers["Authorization"] == "Basic bWFyaWE6cEBzcw=="
    assert "p%40ss" not in connection.url
    assert "maria" not in connection.url


def test_the_token_of_the_environment_is_sent(listener: Listener, connect: Callable[..., Connection]) -> None:
    connect(environment={"MLFLOW_TRACKING_TOKEN": "t0ken"}).get("/x")
    assert listener.asked[0].headers["Authorization"] == "Bearer t0ken"


def test_a_path_before_the_api_is_kept(listener: Listener, connect: Callable[..., Connection]) -> None:
    connect(f"{listener.url}/tracking/").get("/api/x", {"a": "b c"})
    assert listener.asked[0].path == "/tracking/api/x?a=b+c"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "RESOURCE_DOES_NOT_EXIST", NotFound),
        (400, "RESOURCE_ALREADY_EXISTS", AlreadyExists),
        (400, "INVALID_PARAMETER_VALUE", Invalid),
        (401, "UNAUTHENTICATED", Unidentified),
        (403, "PERMISSION_DENIED", Denied),
        (500, "INTERNAL_ERROR", Unavailable),
    ],
)
def test_what_a_server_refuses_is_one_of_the_family(
    status: int, code: str, kind: type[MlspineError], listener: Listener, connect: Callable[..., Connection]
) -> None:
    listener.answers = [(status, refusal(code))]
    with pytest.raises(kind) as caught:
        connect().get("/x")
    assert type(caught.value) is kind
    assert code in caught.value.message


def test_an_answer_that_is_no_json_is_an_error_too(listener: Listener, connect: Callable[..., Connection]) -> None:
    listener.answers = [(404, b"<html>")]
    with pytest.raises(NotFound) as caught:
        connect().get("/x")
    assert "URL" in caught.value.hint


def test_a_busy_server_is_asked_again(listener: Listener, connect: Callable[..., Connection]) -> None:
    listener.answers = [(503, b""), (429, b""), (200, b'{"a": 1}')]
    assert connect().get("/x") == b'{"a": 1}'
    assert len(listener.asked) == 3


def test_it_gives_up_in_the_end(listener: Listener, connect: Callable[..., Connection]) -> None:
    listener.answers = [(503, b"")]
    with pytest.raises(Unavailable):
        connect().get("/x")
    assert len(listener.asked) == ATTEMPTS


def test_what_may_have_been_done_is_not_asked_for_again(listener: Listener, connect: Callable[..., Connection]) -> None:
    listener.answers = [(500, b""), (200, b"{}")]
    with pytest.raises(Unavailable):
        connect().send("POST", "/runs/create", {}, harmless=False)
    assert len(listener.asked) == 1


def test_what_was_refused_for_now_is_asked_for_again(listener: Listener, connect: Callable[..., Connection]) -> None:
    listener.answers = [(429, b""), (200, b"{}")]
    connect().send("POST", "/runs/create", {}, harmless=False)
    assert len(listener.asked) == 2


def test_a_file_is_sent_whole_again(listener: Listener, connect: Callable[..., Connection]) -> None:
    listener.answers = [(503, b""), (200, b"")]
    connect().put("/x", io.BytesIO(b"content"), 7)
    assert [each.body for each in listener.asked] == [b"content", b"content"]


def test_a_download_that_breaks_off_is_an_error(listener: Listener, connect: Callable[..., Connection]) -> None:
    listener.answers, listener.cut_short = [(200, b"half")], True
    with pytest.raises(Unavailable, match="broke off"), connect().download("/x") as file:
        list(iter(lambda: file.read(2), b""))


def test_nobody_there_is_said_with_what_to_do(connect: Callable[..., Connection]) -> None:
    with pytest.raises(Unavailable) as caught:
        connect("http://127.0.0.1:1").get("/x")
    assert "curl" in caught.value.hint


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a:x", "http://a?b=c", "file:///mlruns"])
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        Connection(url)
