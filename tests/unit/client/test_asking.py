"""What the client does about servers that are slow, busy, broken or gone."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest

from mlspine import Client
from mlspine.client.retries import LONGEST_WAIT_S, Backoff
from mlspine.core.errors import Denied, Invalid, NotFound, Unavailable
from tests.desk import free_port
from tests.unit.client.scripted import ANSWER, answer, cut_short, hang_up, reset, scripted

BUSY = {"error": {"code": "unavailable", "message": "too many", "hint": "wait", "details": []}}


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def timer(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def client(url: str, clock: Clock | None = None, **options: Any) -> Client:
    clock = clock or Clock()
    return Client(url, endpoint="e", sleep=clock.sleep, timer=clock.timer, **options)


def test_a_busy_server_is_asked_again_with_the_same_id_and_not_before_it_said() -> None:
    clock = Clock()
    with scripted(reset, answer(BUSY, 503, Retry_After="2"), answer()) as server, client(server.url, clock) as asking:
        assert asking.predict([[1.0]]).predictions == [1]
    assert len(server.ids) == 3
    assert len(set(server.ids)) == 1
    assert uuid.UUID(server.ids[0]).version == 7
    assert clock.slept[0] < 1.0
    assert 2.0 <= clock.slept[1] <= 3.0


def test_retries_end_and_the_last_refusal_is_raised() -> None:
    clock = Clock()
    with (
        scripted(answer(BUSY, 503)) as server,
        client(server.url, clock, retries=2) as asking,
        pytest.raises(Unavailable, match="too many") as told,
    ):
        asking.predict([[1.0]])
    assert told.value.hint == "wait"
    assert len(server.asked) == 3
    assert len(clock.slept) == 2


def test_no_wait_goes_beyond_the_deadline() -> None:
    clock = Clock()
    with (
        scripted(answer(BUSY, 503, Retry_After="60")) as server,
        client(server.url, clock, deadline_s=5.0) as asking,
        pytest.raises(Unavailable, match="too many"),
    ):
        asking.predict([[1.0]])
    assert clock.slept == []


def test_an_answer_that_does_not_come_is_given_up_at_the_deadline() -> None:
    released = threading.Event()
    with scripted(lambda _: released.wait(20)) as server, Client(server.url, endpoint="e") as asking:
        with pytest.raises(Unavailable, match="did not answer within the deadline"):
            asking.predict([[1.0]], deadline_s=0.05)
        released.set()
    assert len(server.asked) == 1


def test_an_answer_in_drops_is_given_up_at_the_deadline() -> None:
    released = threading.Event()

    def dripping(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "400")
        handler.end_headers()
        for _ in range(400):
            if released.wait(0.005):
                return
            handler.wfile.write(b" ")

    with scripted(dripping) as server, Client(server.url, endpoint="e") as asking:
        with pytest.raises(Unavailable, match="did not answer within the deadline"):
            asking.predict([[1.0]], deadline_s=0.1)
        released.set()


def test_an_answer_that_ends_too_early_is_asked_for_again() -> None:
    with scripted(cut_short, answer()) as server, client(server.url) as asking:
        assert asking.predict([[1.0]]).predictions == [1]
    assert len(set(server.ids)) == 1


def test_connections_are_kept_and_one_closed_meanwhile_costs_no_retry() -> None:
    clock = Clock()
    with scripted(answer(), hang_up, answer()) as server, client(server.url, clock, retries=0) as asking:
        for _ in range(4):
            asking.predict([[1.0]])
    assert server.connections == 2
    assert clock.slept == []


def test_a_connection_idle_for_long_is_not_used_again() -> None:
    clock = Clock()
    with scripted(answer()) as server, client(server.url, clock) as asking:
        asking.predict([[1.0]])
        clock.now_s += 61
        asking.predict([[1.0]])
        asking.predict([[1.0]])
    assert server.connections == 2


def test_threads_share_a_client_and_its_connections() -> None:
    with scripted(answer()) as server, client(server.url, connections=2) as asking:
        got: list[list[Any]] = []
        threads = [threading.Thread(target=lambda: got.append(asking.predict([[1.0]]).predictions)) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        before = server.connections
        asking.predict([[1.0]])
        assert server.connections == before
    assert got == [[1]] * 8
    assert len(set(server.ids)) == 9


def test_a_server_that_is_not_there_is_told_after_the_retries() -> None:
    clock = Clock()
    url = f"http://127.0.0.1:{free_port()}"
    with client(url, clock) as asking, pytest.raises(Unavailable, match="cannot be asked") as told:
        asking.predict([[1.0]])
    assert len(clock.slept) == 3
    assert "mlspine status" in told.value.hint
    assert not Client(url).ready()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (422, {"error": {"code": "invalid", "message": "m", "hint": "h", "details": ["d"]}}, Invalid),
        (400, {"error": "words"}, Invalid),
        (404, {"error": {"code": "not_found", "message": "m"}}, NotFound),
        (403, b"<html>", Denied),
        (302, b"", Invalid),
        (500, b"oops", Unavailable),
    ],
)
def test_errors_of_every_wire_are_members_of_the_family(status: int, body: Any, kind: type[Exception]) -> None:
    with scripted(answer(body, status)) as server, client(server.url) as asking, pytest.raises(kind):
        asking.predict([[1.0]])
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id": 1}', b"<html>"])
def test_an_answer_of_somebody_else_is_told_as_such(body: bytes) -> None:
    with scripted(answer(body)) as server, client(server.url) as asking:
        with pytest.raises(Unavailable, match="not as mlspine does"):
            asking.predict([[1.0]])
        with pytest.raises(Unavailable, match="not as mlspine does"):
            asking.endpoints()


def test_prefix_headers_and_identity_are_sent() -> None:
    mine = str(uuid.uuid4())
    with scripted(answer()) as server, client(server.url + "/behind/", headers={"Authorization": "x"}) as asking:
        asking.predict({"a": 1}, key="Zoë", event_time=1000, request_id=mine.upper())
    ((path, headers, body),) = server.asked
    assert path == "/behind/endpoints/e/predict"
    assert headers["authorization"] == "x"
    assert headers["mlspine-request-id"] == mine
    assert headers["mlspine-event-time"] == "1000"
    assert headers["mlspine-key"].encode("latin-1").decode() == "Zoë"
    assert body == b'{"rows":[{"a":1}]}'


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("ftp://x", {}, "no address"),
        ("http://", {}, "no address"),
        ("http://x?y=1", {}, "no address"),
        ("http://x", {"request_id": "order 66"}, "no UUID"),
        ("http://x", {"key": "a\nb"}, "one line"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is(url: str, options: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        client(url).predict([[1.0]], **options)


def test_several_endpoints_or_none_are_not_guessed_among() -> None:
    for names in ([], ["a", "b"]):
        with (
            scripted(answer({"endpoints": [{"name": name} for name in names]})) as server,
            Client(server.url) as asking,
            pytest.raises(Invalid, match=f"{len(names)} endpoints are served"),
        ):
            asking.predict([[1.0]])


def test_the_only_endpoint_is_found_once() -> None:
    listed = answer({"endpoints": [{"name": "e"}]})
    with scripted(listed, answer()) as server, Client(server.url) as asking:
        asking.predict([[1.0]])
        asking.predict([[1.0]])
    assert [path for path, _, _ in server.asked] == ["/endpoints", "/endpoints/e/predict", "/endpoints/e/predict"]


def test_waits_double_up_to_a_bound_and_never_come_before_the_server_said() -> None:
    waits = Backoff(dice=lambda: 1.0)
    spans = [waits.next_s() for _ in range(10)]
    assert spans[:3] == pytest.approx([0.05, 0.1, 0.2])
    assert spans[-1] == LONGEST_WAIT_S
    assert Backoff(dice=lambda: 0.0).next_s(retry_after="3") == 3.0
    assert Backoff(dice=lambda: 0.0).next_s(retry_after="Wed, 21 Oct 2026 07:28:00 GMT") == 0.025


def test_an_answer_offers_ids_and_rows_of_labels() -> None:
    with (
        scripted(answer(ANSWER | {"predictions": [{"prediction": 1}, {"prediction": 0}]})) as server,
        client(server.url) as asking,
    ):
        told = asking.predict([[1.0], [2.0]])
    assert len(told) == 2
    assert told.ids == [f"{ANSWER['id']}:0", f"{ANSWER['id']}:1"]
    assert told.labels([None, "yes"]) == [{"id": told.ids[1], "label": "yes"}]
    with pytest.raises(ValueError):
        told.labels([1])


def test_a_number_the_model_did_not_give_is_nan() -> None:
    rows = [
        {"prediction": 1, "score": None, "probabilities": {"a": None, "b": 0.5}},
        {"prediction": 0, "score": 0.5, "probabilities": {"a": 0.5, "b": 0.5}},
    ]
    with scripted(answer(ANSWER | {"predictions": rows})) as server, client(server.url) as asking:
        told = asking.predict([[1.0], [2.0]])
    assert told.scores == pytest.approx([float("nan"), 0.5], nan_ok=True)
    assert told.probabilities is not None
    assert list(told.probabilities[0].values()) == pytest.approx([float("nan"), 0.5], nan_ok=True)
