"""The MLflow wire without a server, and our own programs' line to it, in the process and over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mlspine.core.errors import Denied, Invalid, NotFound, Unavailable, Unidentified
from mlspine.web.mlflow.direct import DirectWire
from mlspine.web.mlflow.line import Line, ServerLine, StoreLine
from tests.listener import answering

FILES = "/api/2.0/mlflow-artifacts/artifacts/"


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DirectWire]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    wire = DirectWire(tmp_path / ".mlspine")
    yield wire
    wire.close()


def _json(answer: tuple[int, bytes]) -> tuple[int, Any]:
    return answer[0], json.loads(answer[1])


def test_reads_and_writes_are_answered_as_on_the_wire(wire: DirectWire) -> None:
    status, made = _json(wire.call("POST", "/api/2.0/mlflow/experiments/create", body=b'{"name": "a"}'))
    assert (status, made) == (200, {"experiment_id": "1"})
    status, got = _json(wire.call("GET", "/api/2.0/mlflow/experiments/get", query="experiment_id=1"))
    assert (status, got["experiment"]["name"]) == (200, "a")


def test_errors_have_mlflows_shape_and_status(wire: DirectWire) -> None:
    wire.call("POST", "/api/2.0/mlflow/experiments/create", body=b'{"name": "a"}')
    again = _json(wire.call("POST", "/api/2.0/mlflow/experiments/create", body=b'{"name": "a"}'))
    assert (again[0], again[1]["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")
    nothing = _json(wire.call("GET", "/api/2.0/mlflow/nothing"))
    assert (nothing[0], nothing[1]["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    assert wire.call("POST", "/api/2.0/mlflow/experiments/create", body=b"{")[0] == 400


def test_a_write_that_fails_leaves_nothing(wire: DirectWire) -> None:
    made = _json(wire.call("POST", "/api/2.0/mlflow/runs/create", body=b'{"experiment_id": "0"}'))[1]
    run_id = made["run"]["info"]["run_id"]
    params = [{"key": "a", "value": "1"}, {"key": "not/../good", "value": "1"}]
    body = json.dumps({"run_id": run_id, "params": params}).encode()
    assert wire.call("POST", "/api/2.0/mlflow/runs/log-batch", body=body)[0] == 400
    assert wire.workspace.tracking.run(run_id).params == {}


def test_a_mistake_of_ours_is_an_answer_and_no_traceback(wire: DirectWire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(wire.workspace.tracking), "run", lambda *_: 1 / 0)
    status, told = _json(wire.call("GET", "/api/2.0/mlflow/runs/get", query="run_id=a"))
    assert (status, told["error_code"]) == (500, "INTERNAL_ERROR")


class Passing(BaseHTTPRequestHandler):
    """Hands what it is asked to a store, as the control port does, and wants a token."""

    wire: DirectWire

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path, _, query = self.path.partition("?")
        files = self.wire.workspace.artifacts
        if self.headers["Authorization"] != "Bearer right":
            status, told = 401, b'{"error_code": "UNAUTHENTICATED", "message": "this needs a token\\n  make one"}'
        elif path.startswith(FILES) and self.command == "PUT":
            files.put(path.removeprefix(FILES).replace("%20", " "), body)
            status, told = 200, b"{}"
        elif path.startswith(FILES):
            with files.open(path.removeprefix(FILES).replace("%20", " ")) as source:
                status, told = 200, source.read()
        else:
            status, told = self.wire.call(self.command, path, query=query, body=body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the standard library's names

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(params=["store", "server"])
def line(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """Both lines to one store."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if request.param == "store":
        store = StoreLine(tmp_path / ".mlspine")
        yield store
        store.close()
        return
    Passing.wire = DirectWire(tmp_path / ".mlspine")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    with answering(server):
        yield ServerLine(f"http://127.0.0.1:{server.server_address[1]}", "right")
    Passing.wire.close()


def test_both_lines_say_the_same(line: Line, tmp_path: Path) -> None:
    run = line.post("runs/create", experiment_id="0")["run"]["info"]
    line.post("runs/log-batch", run_id=run["run_id"], metrics=[{"key": "a", "value": 1.5, "timestamp": 1}])
    assert line.get("runs/get", run_id=run["run_id"])["run"]["data"]["metrics"][0]["value"] == 1.5
    (tmp_path / "large").write_bytes(b"x" * 300_000)
    line.put_file(f"{run['artifact_uri']}/a b/large", tmp_path / "large")
    line.put_file(f"{run['artifact_uri']}/small", b"y")
    assert line.read_file(f"{run['artifact_uri']}/a b/large") == b"x" * 300_000
    assert line.read_file(f"{run['artifact_uri']}/small") == b"y"


def test_both_lines_raise_members_of_the_family(line: Line) -> None:
    with pytest.raises(NotFound, match="not found"):
        line.get("runs/get", run_id="a" * 32)
    with pytest.raises(Invalid, match="Missing value"):
        line.post("experiments/create")
    with pytest.raises(NotFound, match="No endpoint"):
        line.get("nothing/there")


@pytest.mark.parametrize("line", ["server"], indirect=True)
def test_a_token_that_does_not_hold_is_told_with_its_remedy(line: ServerLine) -> None:
    with pytest.raises(Unidentified) as refused:
        ServerLine(line.where, "wrong").get("runs/get", run_id="a")
    assert (refused.value.message, refused.value.hint) == ("this needs a token", "make one")
    assert isinstance(refused.value, Denied)


def test_a_server_that_is_gone_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="did not answer"):
        ServerLine("http://127.0.0.1:9", "").get("runs/get", run_id="a")
