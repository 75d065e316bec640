"""HTTP/1.1 as RFC 9110 and 9112 have it, asked of both faces of the predictions port over plain sockets.

What a face does not do is named in FALLS_SHORT with the reason, and must then really fail.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from benchmarks.serving.host import usage
from mlspine.web.inference import listen
from tests.http_cases import BODY, CLIENT_FAULTS, CODED, GOOD, HEAD, LENGTH, LIVE, PATH, SMUGGLED, ask
from tests.raw_http import RawClient, chunked, get, post
from tests.serving_harness import Inference, endpoint, inference, make_release

FACES = ("asgi", "own")
PREDICTED = 5.0
MAX_BODY_BYTES = 1 << 20
MAX_CONNECTIONS = 64
SETTINGS = {
    "MLSPINE_SERVING__MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    "MLSPINE_SERVING__MAX_CONNECTIONS": str(MAX_CONNECTIONS),
}

# face -> name of a case or a test -> why it fails there
_UNBOUND = "uvicorn bounds neither the size of a head nor the number of headers when they come in one piece"
_UNTIMED = "uvicorn waits for ever for a head that does not arrive"
_UNREAD = "uvicorn goes on reading and keeps what is asked for and not yet answered"
FALLS_SHORT: dict[str, dict[str, str]] = {
    "asgi": {
        "offer of h2c": "uvicorn loses the body of a request that offers another protocol",
        "test_what_follows_an_offer_of_another_protocol_is_read_as_ever": "uvicorn loses the body, as above",
        "test_a_client_that_has_said_all_is_answered": "uvicorn closes when the client has closed its half",
        "header of a million characters": _UNBOUND,
        "header name of a million characters": _UNBOUND,
        "ten thousand headers": _UNBOUND,
        "test_one_client_too_many_is_told_to_come_again": "uvicorn's own bound is of requests, and counts idle clients",
        "no host": "uvicorn leaves the Host header to the application",
        "two hosts": "uvicorn leaves the Host header to the application",
        "no version": "llhttp takes it for HTTP/0.9, and uvicorn answers",
        "HTTP/0.9": "llhttp knows the version, and uvicorn answers",
        "HTTP/2.0": "llhttp knows the version, and uvicorn answers in HTTP/1.1",
        "test_a_length_that_ends_within_the_body_makes_the_rest_a_request_of_its_own": "uvicorn answers garbage that "
        "follows a request before the request",
        "test_a_head_that_does_not_arrive_ends_the_connection": _UNTIMED,
        "test_a_head_that_arrives_byte_by_byte_for_ever_is_ended": _UNTIMED,
        "test_a_client_that_never_reads_its_answers_is_given_up": "uvicorn waits for ever for a client to read",
        "test_answers_that_are_not_read_stop_the_reading_and_cost_bounded_memory": _UNREAD,
    },
    "own": {},
}


class Face(NamedTuple):
    name: str
    running: Inference

    patience_s: float = 20.0

    def connect(self) -> RawClient:
        return RawClient(self.running.port, timeout_s=self.patience_s)


def prices() -> tuple[Any, pd.DataFrame, np.ndarray]:
    dice = np.random.default_rng(2)
    X = pd.DataFrame(dice.normal(size=(50, 2)), columns=["a", "b"])
    y = (2 * X["a"] + X["b"]).to_numpy()
    return LinearRegression().fit(X, y), X, y


@contextlib.contextmanager
def faced(name: str, folder: Path, *, entry: str = "mlspine.web.inference") -> Iterator[Face]:
    settings = SETTINGS | {"MLSPINE_SERVING__HTTP": name}
    with inference(folder, endpoint("prices", make_release(folder, *prices())), entry=entry, settings=settings) as it:
        yield Face(name, it)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Face]]:
    """Both faces, each started when it is first asked for."""
    with contextlib.ExitStack() as stack:
        started: dict[str, Face] = {}

        def of(name: str) -> Face:
            if name not in started:
                started[name] = stack.enter_context(faced(name, tmp_path_factory.mktemp(name)))
            return started[name]

        yield of


@pytest.fixture
def face(request: pytest.FixtureRequest, faces: Callable[[str], Face]) -> Iterator[Face]:
    found = faces(request.param)
    _known_to_fall_short(request, found.name, request.node.originalname)
    yield found
    with found.connect() as client:  # whatever was sent, the next client is answered
        client.send(LIVE)
        assert client.answer().status == 200


@pytest.fixture(scope="module")
def impatient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Face]:
    with faced(request.param, tmp_path_factory.mktemp("impatient"), entry="tests.impatient") as found:
        yield found._replace(patience_s=3.0)


def _known_to_fall_short(request: pytest.FixtureRequest, face: str, name: str) -> None:
    if name in FALLS_SHORT[face]:
        request.applymarker(pytest.mark.xfail(reason=FALLS_SHORT[face][name], strict=True))


on_both = pytest.mark.parametrize("face", FACES, indirect=True)
impatient_both = pytest.mark.parametrize("impatient", FACES, indirect=True)


def predicted(answer: Any) -> bool:
    return bool(answer.status == 200 and abs(answer.json["predictions"][0]["prediction"] - PREDICTED) < 1e-9)


# ---------------------------------------------------------------- what must be understood


@on_both
@pytest.mark.parametrize("name", GOOD)
def test_a_request_is_understood(face: Face, name: str, request: pytest.FixtureRequest) -> None:
    _known_to_fall_short(request, face.name, name)
    with face.connect() as client:
        client.send(GOOD[name])
        assert predicted(client.answer())


@on_both
@pytest.mark.parametrize("name", [name for name in GOOD if name != "offer of h2c"])
def test_a_request_in_two_parts_split_at_every_byte_is_understood(
    face: Face, name: str, request: pytest.FixtureRequest
) -> None:
    _known_to_fall_short(request, face.name, name)
    raw = GOOD[name]
    with face.connect() as client:
        for at in range(1, len(raw), 1 if len(raw) < 300 else 7):
            client.send(raw[:at], raw[at:])
            assert predicted(client.answer()), at


@on_both
def test_the_same_connection_answers_again(face: Face) -> None:
    with face.connect() as client:
        for _ in range(3):
            client.send(ask())
            assert predicted(client.answer())
            client.send(LIVE)
            assert client.answer().status == 200


@on_both
@pytest.mark.parametrize("packets", [1, 3, 50])
def test_pipelined_requests_are_answered_in_order(face: Face, packets: int) -> None:
    wanted = [str(uuid.UUID(int=at + 1)) for at in range(1500)]
    sent = b"".join(ask(PATH, f"Mlspine-Request-Id: {each}") for each in wanted)
    step = len(sent) // packets + 1
    with face.connect() as client:
        sender = threading.Thread(
            target=client.send, args=[sent[at : at + step] for at in range(0, len(sent), step)], daemon=True
        )
        sender.start()
        got = [client.answer() for _ in wanted]
        sender.join()
    assert [each.headers["mlspine-request-id"] for each in got] == wanted
    assert all(map(predicted, got))


@on_both
def test_pipelined_requests_of_different_kinds_are_answered_in_order(face: Face) -> None:
    kinds = [(ask(), 200), (LIVE, 200), (get("/nowhere"), 404), (ask(body=b"no"), 422), (get(PATH), 405)]
    with face.connect() as client:
        client.send(b"".join(raw for raw, _ in kinds) * 20)
        assert [client.answer().status for _ in range(100)] == [status for _, status in kinds] * 20


@on_both
def test_what_follows_a_whole_request_in_the_packet_waits_for_its_rest(face: Face) -> None:
    raw = ask()
    with face.connect() as client:
        client.send(raw * 400 + raw[:20])
        for _ in range(400):
            assert predicted(client.answer())
        client.send(raw[20:])
        assert predicted(client.answer())


@on_both
def test_connection_close_is_answered_and_closed(face: Face) -> None:
    with face.connect() as client:
        client.send(ask(PATH, "Connection: close") + LIVE)
        answer = client.answer()
        assert predicted(answer)
        assert answer.headers["connection"] == "close"
        assert client.closed()


@on_both
def test_http_1_0_is_answered_and_closed(face: Face) -> None:
    with face.connect() as client:
        client.send(f"POST {PATH} HTTP/1.0\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        assert predicted(client.answer())
        assert client.closed()


@on_both
def test_http_1_0_may_ask_to_keep_the_connection(face: Face) -> None:
    with face.connect() as client:
        client.send(ask(PATH, "Connection: keep-alive", version="HTTP/1.0"))
        answer = client.answer()
        assert predicted(answer)
        if answer.headers.get("connection", "").lower() == "keep-alive":
            client.send(LIVE)
            assert client.answer().status == 200
        else:
            assert client.closed()


@on_both
def test_a_client_that_has_said_all_is_answered(face: Face) -> None:
    with face.connect() as client:
        client.send(ask() * 300)
        client.socket.shutdown(socket.SHUT_WR)
        assert all(predicted(client.answer()) for _ in range(300))
        assert client.closed()


@on_both
def test_expect_100_continue_is_told_to_go_on(face: Face) -> None:
    with face.connect() as client:
        for _ in range(2):
            client.send(get(PATH, f"Content-Length: {len(BODY)}", "Expect: 100-continue", method="POST"))
            assert client.interim() == 100
            client.send(BODY)
            assert predicted(client.answer())


@on_both
def test_a_body_sent_without_waiting_for_continue_is_taken(face: Face) -> None:
    with face.connect() as client:
        client.send(ask(PATH, "Expect: 100-continue"), LIVE)
        assert predicted(client.answer())
        assert client.answer().json == {"live": True}


@on_both
def test_head_has_the_head_of_get_and_no_body(face: Face) -> None:
    with face.connect() as client:
        client.send(LIVE)
        whole = client.answer()
        client.send(get("/health/live", method="HEAD") + LIVE)
        head = client.answer(head_only=True)
        assert (head.status, head.headers["content-length"]) == (200, str(len(whole.body)))
        assert client.answer().body == whole.body


@on_both
def test_head_and_body_of_an_answer_come_in_one_packet(face: Face) -> None:
    with face.connect() as client:
        for raw in (ask(), ask(body=b"{}")):
            client.send(raw)
            packet = client.socket.recv(1 << 16)
            head, _, body = packet.partition(b"\r\n\r\n")
            assert len(body) == int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) > 0


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_both
def test_an_offer_of_web_sockets_is_not_taken(face: Face) -> None:
    with face.connect() as client:
        client.send(
            get(
                "/health/live",
                *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            )
        )
        assert client.answer().status in (200, 400, 426)


@on_both
@pytest.mark.parametrize(("rest", "status"), [(LIVE, 200), (b"no request\r\n\r\n", 400)], ids=["request", "garbage"])
def test_what_follows_an_offer_of_another_protocol_is_read_as_ever(face: Face, rest: bytes, status: int) -> None:
    with face.connect() as client:
        client.send(GOOD["offer of h2c"] + rest)
        assert predicted(client.answer())
        assert client.answer().status == status


# ---------------------------------------------------------------- what is refused, politely


@on_both
@pytest.mark.parametrize("name", CLIENT_FAULTS)
def test_a_clients_fault_is_told_as_such(face: Face, name: str, request: pytest.FixtureRequest) -> None:
    _known_to_fall_short(request, face.name, name)
    raw, wanted = CLIENT_FAULTS[name]
    with face.connect() as client:
        with contextlib.suppress(ConnectionError):  # it may hang up on what it has refused
            client.send(raw)
        assert client.answer().status in wanted


@on_both
def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(face: Face) -> None:
    with face.connect() as client:
        client.send(get(PATH, f"Content-Length: {MAX_BODY_BYTES + 1}", method="POST") + b"[")
        assert client.answer().status == 413
        assert client.closed()


@on_both
def test_a_length_beyond_reason_is_refused(face: Face) -> None:
    with face.connect() as client:
        client.send(get(PATH, "Content-Length: 9223372036854775807", method="POST"))
        client.send(b"[")
        assert client.answer().status in (400, 413)
        assert client.closed()


@on_both
def test_chunks_beyond_the_limit_are_refused(face: Face) -> None:
    with face.connect() as client, contextlib.suppress(ConnectionError):
        client.send(get(PATH, "Transfer-Encoding: chunked", method="POST"))
        part = b"10000\r\n" + b" " * 65536 + b"\r\n"
        client.send(*[part] * (MAX_BODY_BYTES // 65536 + 2))
        assert client.answer().status == 413


@on_both
def test_one_client_too_many_is_told_to_come_again(face: Face) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            client = stack.enter_context(face.connect())
            client.send(LIVE)
            assert client.answer().status == 200
        with face.connect() as one_more:
            one_more.send(LIVE)
            answer = one_more.answer()
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert one_more.closed()
        client.send(ask())
        assert predicted(client.answer())
    _until(lambda: _is_answered(face), "the server has seen the others leave")


def _is_answered(face: Face) -> bool:
    with face.connect() as client, contextlib.suppress(EOFError):
        client.send(LIVE)
        return client.answer().status == 200
    return False


# ---------------------------------------------------------------- what could be read in two ways


@on_both
@pytest.mark.parametrize("name", SMUGGLED)
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(
    face: Face, name: str, request: pytest.FixtureRequest
) -> None:
    _known_to_fall_short(request, face.name, name)
    with face.connect() as client:
        client.send(ask())  # the same connection has asked well before
        assert predicted(client.answer())
        with contextlib.suppress(ConnectionError):
            client.send(SMUGGLED[name])
            client.send(LIVE)
        assert client.answer().status == 400
        assert client.closed()


@on_both
def test_the_same_length_twice_is_refused_or_meant_once(face: Face) -> None:
    with face.connect() as client:
        client.send(HEAD + LENGTH + LENGTH + b"\r\n" + BODY + LIVE)
        first = client.answer()
        if first.status == 400:
            assert client.closed()
        else:
            assert predicted(first)
            assert client.answer().json == {"live": True}


@on_both
def test_a_length_in_a_trailer_is_refused_or_means_nothing(face: Face) -> None:
    with face.connect() as client:
        client.send(CODED + chunked(BODY, trailer=b"Content-Length: 3\r\n") + LIVE)
        first = client.answer()
        if first.status == 400:
            assert client.closed()
        else:
            assert predicted(first)
            assert client.answer().json == {"live": True}


@on_both
def test_a_length_that_ends_within_the_body_makes_the_rest_a_request_of_its_own(face: Face) -> None:
    """The head was seen before with another body behind it; what it says is still what counts."""
    raw = ask()
    with face.connect() as client:
        client.send(raw)
        assert predicted(client.answer())
        client.send(raw + b"rest")
        assert predicted(client.answer())
        client.send(b" / HTTP/1.1\r\n\r\n")
        assert client.answer().status in (400, 404, 405)


@on_both
def test_a_head_seen_before_says_nothing_of_one_that_differs(face: Face) -> None:
    with face.connect() as client:
        for _ in range(2):
            client.send(ask(PATH, "X-Same: 1"))
            assert predicted(client.answer())
        client.send(HEAD + b"X-Same: 1\r\n" + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + BODY)
        assert client.answer().status == 400


# ---------------------------------------------------------------- clients that take their time


@impatient_both
@pytest.mark.parametrize("said", [b"", b"POST / HTTP/1.1\r\nHo"], ids=["nothing", "half a head"])
def test_a_head_that_does_not_arrive_ends_the_connection(
    impatient: Face, said: bytes, request: pytest.FixtureRequest
) -> None:
    _known_to_fall_short(request, impatient.name, request.node.originalname)
    with impatient.connect() as client:
        client.send(said)
        if said:
            with contextlib.suppress(EOFError):
                assert client.answer().status == 408
        assert client.closed()


@impatient_both
def test_a_body_that_does_not_arrive_is_told_408(impatient: Face) -> None:
    for raw in (
        get(PATH, "Content-Length: 9", method="POST") + b"[",
        get(PATH, "Transfer-Encoding: chunked", method="POST") + b"5\r\n[",
    ):
        with impatient.connect() as client:
            client.send(raw)
            assert client.answer().status == 408
            assert client.closed()


@impatient_both
def test_a_head_that_arrives_byte_by_byte_for_ever_is_ended(impatient: Face, request: pytest.FixtureRequest) -> None:
    _known_to_fall_short(request, impatient.name, request.node.originalname)
    with impatient.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: t\r\nX: ")
        assert _ended_while_sending(client, b"a")


def _ended_while_sending(client: RawClient, piece: bytes, *, patience_s: float = 4.0) -> bool:
    """Whether the server closes though something keeps coming."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if select.select([client.socket], [], [], 0.05)[0]:
            with contextlib.suppress(EOFError):
                assert client.answer().status == 408
            return client.closed()
        with contextlib.suppress(ConnectionError):
            client.send(piece)
    return False


@impatient_both
def test_an_idle_connection_is_closed_without_a_word(impatient: Face) -> None:
    with impatient.connect() as client:
        client.send(LIVE)
        assert client.answer().status == 200
        assert client.closed()


@impatient_both
def test_a_client_that_never_reads_its_answers_is_given_up(impatient: Face, request: pytest.FixtureRequest) -> None:
    _known_to_fall_short(request, impatient.name, request.node.originalname)
    with impatient.connect() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        _stuff(client)
        poll = select.poll()
        poll.register(client.socket, select.POLLHUP | select.POLLERR)
        assert poll.poll(3_000)


# ---------------------------------------------------------------- clients that do not read


MOST_TAKEN_BYTES = 16 << 20  # by the buffers of two sockets and of one connection


def _stuff(client: RawClient) -> int:
    """Ask for pages without reading them until the server takes no more; returns the bytes it took."""
    raw, taken = get("/docs", "X-Long: " + "x" * 2000) * 20, 0
    client.socket.setblocking(False)
    while taken < MOST_TAKEN_BYTES and select.select([], [client.socket], [], 1.0)[1]:
        try:
            taken += client.socket.send(raw)
        except BlockingIOError:
            continue
        except ConnectionError:
            break
    return taken


@on_both
def test_answers_that_are_not_read_stop_the_reading_and_cost_bounded_memory(face: Face) -> None:
    pid = face.running.process.pid
    before = usage([pid]).rss_bytes
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(face.connect())
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            assert _stuff(client) < MOST_TAKEN_BYTES
        with face.connect() as other:
            other.send(ask())
            assert predicted(other.answer())
        assert usage([pid]).rss_bytes - before < 100 << 20


@on_both
def test_answers_that_are_read_late_are_all_there(face: Face) -> None:
    raw = get("/docs")
    with face.connect() as client:
        sender = threading.Thread(target=client.send, args=[raw * 2000], daemon=True)
        sender.start()
        sender.join(1.0)  # until the buffers are full, or not
        got = [client.answer() for _ in range(2000)]
        sender.join()
    assert {(each.status, len(each.body)) for each in got} == {(200, len(got[0].body))}


# ---------------------------------------------------------------- the end


class Held:
    """A model that waits, while the file `hold` is there, and says that it does."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def predict(self, X: Any) -> Any:
        hold, here = Path(self.folder) / "hold", Path(self.folder) / "here"
        while hold.exists():
            here.touch()
            time.sleep(0.01)
        return np.asarray(X)[:, 0] * 1.0


@pytest.mark.parametrize("name", FACES)
def test_requests_under_way_at_sigterm_are_answered_and_connections_closed(tmp_path: Path, name: str) -> None:
    X = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0)})
    release = make_release(tmp_path, Held(str(tmp_path)), X, X["a"], placement="worker")
    settings = SETTINGS | {"MLSPINE_SERVING__HTTP": name}
    with inference(tmp_path, endpoint("held", release), settings=settings) as running, contextlib.ExitStack() as stack:
        idle, busy, late = (stack.enter_context(RawClient(running.port)) for _ in range(3))
        idle.send(LIVE)
        assert idle.answer().status == 200
        (tmp_path / "hold").touch()
        busy.send(post("/endpoints/held/predict", BODY))
        _until((tmp_path / "here").exists, "the model was asked")
        if name == "own":  # uvicorn waits for it until its patience ends
            late.send(post("/endpoints/held/predict", BODY)[:-5])
        running.process.send_signal(signal.SIGTERM)
        assert idle.closed()
        (tmp_path / "hold").unlink()
        answer = busy.answer()
        assert (answer.status, answer.json["predictions"]) == (200, [{"prediction": 1.5}])
        assert busy.closed()
        assert late.closed()
        assert running.process.wait(20) == 0


def _until(true: Callable[[], bool], what: str, *, patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
        time.sleep(0.01)
