"""The artifact proxy over real sockets: streamed, whole or absent, in parts, and safe to click."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from mlspine import migrations
from mlspine.artifacts import Artifacts
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Denied, MlspineError
from mlspine.core.ids import digest_bytes, now_ms
from mlspine.core.public import Permission
from mlspine.web.mlflow import artifacts as proxy
from mlspine.web.mlflow.artifacts import ArtifactProxy
from tests.desk import free_port

ROOT = "/api/2.0/mlflow-artifacts"
MAX_BYTES = 30_000_000
LARGE = bytes(range(256)) * 20_000  # five pieces


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """The proxy behind uvicorn on a free port; errors travel as status and message."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = SqliteDatabase(folder / "store.db")
        self.db.migrate(migrations.scripts())
        self.artifacts = Artifacts(
            db=self.db, blobs=FileBlobStore(folder / "blobs"), drafts=folder / "drafts", clock=now_ms
        )
        self.forbidden: set[Permission] = set()
        self.routes = ArtifactProxy(self.artifacts, max_bytes=MAX_BYTES, authorise=self.authorise).routes()
        self.port = free_port()
        config = uvicorn.Config(self.app, port=self.port, interface="asgi3", log_config=None, lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)

    def authorise(self, request: Request, permission: Permission) -> None:
        if permission in self.forbidden:
            raise Denied(f"needs {permission}")

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        below = scope["path"].removeprefix("/api/")
        keys = [key for key in self.routes if key[0] == scope["method"] and below.startswith(key[1])]
        try:
            answer = await self.routes[keys[0]](Request(scope, receive), below.removeprefix(keys[0][1]))
        except MlspineError as exc:
            answer = proxy._json({"message": exc.message}, exc.http_status)
        await answer(scope, receive, send)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, ROOT + path, body, given)
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): each for name, each in answer.getheaders()}, answer.read())

    def drafts(self) -> int:
        return len(list((self.folder / "drafts").glob("*")))

    def until(self, holds: Any) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline, "it never came to be"
            time.sleep(0.01)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("artifacts"))
    server.thread.start()
    server.until(lambda: server.server.started)
    yield server
    server.server.should_exit = True
    server.thread.join(20)
    server.db.close()


def test_what_was_put_comes_back(server: Server) -> None:
    for name, body in (("small.txt", b"hello"), ("large.bin", LARGE), ("empty", b"")):
        put = server.ask("PUT", f"/artifacts/1/a/{name}", body)
        assert (put.status, put.json) == (200, {})
        got = server.ask("GET", f"/artifacts/1/a/{name}")
        assert (got.status, got.body) == (200, body)
        assert got.headers["content-length"] == str(len(body))
    assert server.ask("GET", "/artifacts/1/a/small.txt").headers["content-type"].startswith("text/plain")
    assert server.drafts() == 0


def test_a_body_of_unknown_length_is_taken(server: Server) -> None:
    pieces = (bytes([n]) * 300_000 for n in range(10))
    assert server.ask("PUT", "/artifacts/chunked", pieces).status == 200
    got = server.ask("GET", "/artifacts/chunked").body
    assert hashlib.sha256(got).digest() == hashlib.sha256(b"".join(bytes([n]) * 300_000 for n in range(10))).digest()


def test_a_second_put_replaces_the_first(server: Server) -> None:
    etags = []
    for body in (b"one", b"two"):
        server.ask("PUT", "/artifacts/again", body)
        got = server.ask("GET", "/artifacts/again")
        assert got.body == body
        etags.append(got.headers["etag"])
    assert etags == [f'"{digest_bytes(body)}"' for body in (b"one", b"two")]


def test_a_directory_is_listed_by_names_relative_to_it(server: Server) -> None:
    for name in ("model/MLmodel", "model/data/model.pkl", "ü b.txt"):
        server.artifacts.put(f"9/run/artifacts/{name}", name.encode())
    assert server.ask("GET", "/artifacts?path=9/run/artifacts").json == {
        "files": [
            {"path": "model", "is_dir": True},
            {"path": "ü b.txt", "is_dir": False, "file_size": 8},
        ]
    }
    assert server.ask("GET", "/artifacts?path=9/run/artifacts/model/").json["files"][0] == {
        "path": "MLmodel",
        "is_dir": False,
        "file_size": 13,
    }
    for nothing in ("9/run/artifacts/model/MLmodel", "absent"):
        assert server.ask("GET", f"/artifacts?path={nothing}").json == {}
    assert {each["path"] for each in server.ask("GET", "/artifacts").json["files"]} >= {"9"}
    assert server.ask("GET", "/artifacts?path=../..").status == 422
    assert server.ask("GET", "/artifactsx").status == 404


def test_delete_takes_a_file_or_a_directory(server: Server) -> None:
    for name in ("a", "b/c", "b/d"):
        server.artifacts.put(f"del/{name}", b"")
    for path in ("del/a", "del/b", "del/b"):
        gone = server.ask("DELETE", f"/artifacts/{path}", b"{}")
        assert (gone.status, gone.json) == (200, {})
    assert server.ask("GET", "/artifacts?path=del").json == {}
    assert server.ask("GET", "/artifacts/del/a").status == 404


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=10-", 10, None), ("bytes=-7", -7, None), ("bytes=1000000-4000000", 10**6, 4 * 10**6)],
)
def test_a_range_of_a_file_is_sent(server: Server, asked: str, first: int, last: int | None) -> None:
    server.artifacts.put("ranges", LARGE)
    got = server.ask("GET", "/artifacts/ranges", Range=asked)
    wanted = LARGE[first:] if last is None else LARGE[first : last + 1]
    assert (got.status, got.body) == (206, wanted)
    begin = first % len(LARGE)
    assert got.headers["content-range"] == f"bytes {begin}-{begin + len(wanted) - 1}/{len(LARGE)}"
    assert got.headers["content-length"] == str(len(wanted))


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=0-1", "bytes=5-4", "bytes=-", "bytes=a-b", "bytes 0-1"])
def test_what_is_no_single_range_is_answered_with_the_whole_file(server: Server, asked: str) -> None:
    server.artifacts.put("whole", b"0123456789")
    got = server.ask("GET", "/artifacts/whole", Range=asked)
    assert (got.status, got.body) == (200, b"0123456789")


def test_a_range_outside_the_file_is_told_its_size(server: Server) -> None:
    server.artifacts.put("short", b"0123456789")
    server.artifacts.put("empty", b"")
    for path, asked, size in (("short", "bytes=10-", 10), ("short", "bytes=-0", 10), ("empty", "bytes=0-", 0)):
        got = server.ask("GET", f"/artifacts/{path}", Range=asked)
        assert (got.status, got.headers["content-range"]) == (416, f"bytes */{size}")


def test_who_has_the_file_is_told_so(server: Server) -> None:
    server.artifacts.put("known", b"content")
    etag = server.ask("GET", "/artifacts/known").headers["etag"]
    for given in (etag, f'"other", W/{etag}', "*"):
        got = server.ask("GET", "/artifacts/known", If_None_Match=given)
        assert (got.status, got.body) == (304, b"")
    assert server.ask("GET", "/artifacts/known", If_None_Match='"other"').body == b"content"
    assert server.ask("GET", "/artifacts/known", Range="bytes=0-1", If_Range=etag).status == 206
    assert server.ask("GET", "/artifacts/known", Range="bytes=0-1", If_Range='"other"').body == b"content"


def test_head_tells_the_size_and_sends_nothing(server: Server) -> None:
    server.artifacts.put("head", LARGE)
    got = server.ask("HEAD", "/artifacts/head")
    assert (got.status, got.body, got.headers["content-length"]) == (200, b"", str(len(LARGE)))
    assert got.headers["accept-ranges"] == "bytes"
    assert server.ask("HEAD", "/artifacts/absent").status == 404


@pytest.mark.parametrize("name", ['a"b;c.html', "ü\u202egnp.exe", "50%; x=y.svg", "page.html"])
def test_no_file_is_a_page_of_this_server_or_a_header(server: Server, name: str) -> None:
    server.artifacts.put(f"names/{name}", b"<script>")
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    got = server.ask("GET", f"/artifacts/names/{quoted}")
    assert got.body == b"<script>"
    kept = got.headers["content-disposition"]
    assert kept.startswith("attachment; filename=")
    assert kept.isascii()
    assert kept.count('"') == 2
    assert got.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["../x", "a/..%2fb", "%2e%2e/x", "a/%252e%252e/b", "/etc/passwd", "a%5cb", "a%00b", ""]
)
def test_no_path_leaves_the_root(server: Server, path: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        got = server.ask(method, f"/artifacts/{path}", b"x" if method == "PUT" else None)
        assert got.status == 422, got
        assert got.json["message"].startswith("Invalid path")
    assert server.drafts() == 0


def test_a_file_cannot_lie_in_a_file(server: Server) -> None:
    server.artifacts.put("f/file", b"")
    for path in ("f", "f/file/below"):
        got = server.ask("PUT", f"/artifacts/{path}", b"x")
        assert (got.status, "Invalid path" in got.json["message"]) == (422, True)
    assert server.drafts() == 0


def test_a_file_beyond_the_limit_is_refused_whether_or_not_its_size_was_told(server: Server) -> None:
    endless = (bytes(1_000_000) for _ in range(MAX_BYTES // 1_000_000 + 1))
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.putrequest("PUT", f"{ROOT}/artifacts/too-large")
        connection.putheader("Content-Length", str(MAX_BYTES + 1))
        connection.endheaders()  # nothing of it has to be sent to hear the answer
        assert connection.getresponse().status == 422
    got = server.ask("PUT", "/artifacts/too-large", endless)
    assert (got.status, got.json["message"]) == (422, "the file is larger than 30,000,000 bytes")
    assert server.artifacts.find("too-large") is None
    assert server.drafts() == 0


def test_a_sender_who_hangs_up_half_way_leaves_nothing(server: Server) -> None:
    server.artifacts.put("half", b"old")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        line.sendall(f"PUT {ROOT}/artifacts/half HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n".encode())
        line.sendall(bytes(5_000_000))
        server.until(lambda: server.drafts() == 1)
    server.until(lambda: server.drafts() == 0)
    assert server.ask("GET", "/artifacts/half").body == b"old"


def test_a_sender_who_falls_silent_is_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "IDLE_S", 0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        line.sendall(f"PUT {ROOT}/artifacts/silent HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf".encode())
        assert line.recv(1000).startswith(b"HTTP/1.1 503 ")
    assert server.artifacts.find("silent") is None
    assert server.drafts() == 0


def test_a_reader_who_hangs_up_half_way_leaves_no_file_open(server: Server) -> None:
    server.artifacts.put("unread", os.urandom(20_000_000))

    def held() -> bool:
        links = Path("/proc/self/fd").glob("*")
        return any("/blobs/artifacts/" in os.path.realpath(link) for link in links)

    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        line.sendall(f"GET {ROOT}/artifacts/unread HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        line.recv(1000)
        server.until(held)
    server.until(lambda: not held())


def test_who_may_only_read_changes_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.artifacts.put("guarded", b"x")
    monkeypatch.setattr(server, "forbidden", {"ship"})
    assert server.ask("PUT", "/artifacts/guarded", b"y").status == 403
    assert server.ask("DELETE", "/artifacts/guarded").status == 403
    assert server.ask("GET", "/artifacts/guarded").body == b"x"
    monkeypatch.setattr(server, "forbidden", {"read"})
    for path in ("/artifacts/guarded", "/artifacts?path=x"):
        assert server.ask("GET", path).status == 403


@pytest.mark.parametrize("step", ["create", "complete", "abort"])
def test_multipart_is_declined_so_that_clients_send_one_put(server: Server, step: str) -> None:
    got = server.ask("POST", f"/mpu/{step}/1/a", b"{}")
    assert (got.status, got.json["error_code"]) == (501, "NOT_IMPLEMENTED")
    # what clients before 3.18 look for
    assert got.json["message"].startswith("Multipart upload is not supported for the current artifact repository")


def test_the_files_of_releases_are_neither_replaced_nor_deleted(server: Server) -> None:
    server.artifacts.put("releases/abc/model.pkl", b"as shipped")
    for method in ("PUT", "DELETE"):
        assert server.ask(method, "/artifacts/releases/abc/model.pkl", b"other").status == 403
    assert server.ask("DELETE", "/artifacts/releases").status == 403
    assert server.ask("GET", "/artifacts/releases/abc/model.pkl").body == b"as shipped"
