"""The soak in small: it runs, it finds what is planted, and a few hundred of its inputs do no harm."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tests.http_cases import GOOD, LIVE, ask
from tests.serving_harness import Inference, endpoint, inference, make_release
from tests.soak import parser
from tests.soak.crowd import idle, slowloris
from tests.soak.mutating import mutated, parts
from tests.soak.parser import Echo, answered, check
from tests.soak.sockets import documented, mutate


@pytest.fixture(scope="module", params=["asgi", "own"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    folder: Path = tmp_path_factory.mktemp("soak")
    X = pd.DataFrame(np.random.default_rng(2).normal(size=(50, 2)), columns=["a", "b"])
    release = make_release(folder, LinearRegression().fit(X, 2 * X["a"] + X["b"]), X)
    settings = {"MLSPINE_SERVING__HTTP": request.param}
    with inference(folder, endpoint("prices", release), settings=settings) as it:
        yield it


@pytest.mark.parametrize("block", range(4))
def test_mutated_requests_are_answered_alike_however_they_arrive(block: int) -> None:
    for seed in range(block * 200, block * 200 + 200):
        dice = random.Random(seed)
        raw = mutated(dice)
        check(raw, parts(raw, dice))


def test_requests_of_one_connection_are_all_echoed_in_order() -> None:
    said, closed = answered([GOOD["chunked"] + LIVE, LIVE], Echo(late=True))
    assert said.count(b"HTTP/1.1 200") == 3
    assert said.index(b"POST") < said.index(b"GET")
    assert not closed


class Forgetful(Echo):
    """Forgets the end of every body."""

    def read(self, route: Any, scope: Any, body: bytes, done: Any) -> None:
        super().read(route, scope, body[:-1], done)


def test_a_difference_between_servers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    check(GOOD["plain"], [GOOD["plain"]])
    monkeypatch.setattr(parser, "WARM", Forgetful())
    with pytest.raises(AssertionError, match="met others"):
        check(GOOD["plain"], [GOOD["plain"]])


def test_a_fault_of_ours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Echo, route: Any, scope: Any, body: bytes, done: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(Echo, "read", broken)
    with pytest.raises((AssertionError, RuntimeError)):
        check(LIVE, [LIVE])


def test_a_second_of_mutated_requests_over_sockets_does_no_harm(running: Inference) -> None:
    told = mutate(running.port, seconds=1.0, seed=1, alive=lambda: running.process.poll() is None)
    assert told.sent > 20
    assert (told.fives, told.faults) == (0, [])
    assert set(told.statuses) & {200, 400}


def test_what_the_document_allows_does_no_harm(running: Inference) -> None:
    told = documented(running.port, seconds=1.0, alive=lambda: running.process.poll() is None)
    assert told.statuses[200]
    assert (told.fives, told.faults) == (0, [])


def test_a_crowd_of_slow_and_of_silent_clients_leaves_others_alone(running: Inference) -> None:
    slow = slowloris(running.port, ask(), clients=50, seconds=1.0)
    assert (slow.clients, slow.failed) == (50, 0)
    silent = idle(running.port, ask(), clients=200)
    assert (silent.clients, silent.ended, silent.failed) == (200, 0, 0)
