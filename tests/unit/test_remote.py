from __future__ import annotations

import pytest

from mlspine.core.errors import Invalid, NotFound, Unavailable
from mlspine.core.plan import LogSettings
from mlspine.core.public import public, surface
from mlspine.core.types import Actor
from mlspine.remote import error_of, read_call
from mlspine.web.rest_api import RestApi


class Room:
    @public("read")
    def move(self, name: str, *, log: LogSettings | None = None, times: int = 1, actor: Actor) -> list[str]:
        return [f"{actor.name} {name} {times} {log.redact if log else None}"]

    @public("read")
    def missing(self, name: str) -> str:
        raise NotFound(f"no {name}")

    def private(self) -> str:
        return "never over HTTP"


def test_only_marked_methods_are_the_surface() -> None:
    assert [method.name for method in surface(Room)] == ["missing", "move"]


def test_a_call_decodes_travelling_types_and_the_actor_comes_from_the_caller() -> None:
    api = RestApi({"room": Room()})
    answer = api.call("room/move", {"name": "churn", "log": {"enabled": True, "redact": ["a"]}}, Actor(name="ada"))
    assert answer == b"""["ada churn 1 ('a',)"]"""


def test_an_actor_in_the_body_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        RestApi({"room": Room()}).call("room/move", {"name": "churn", "actor": {"name": "eve"}}, Actor(name="ada"))
    assert caught.value.details == ("actor: not an argument of move",)


def test_every_problem_of_a_call_is_told_at_once() -> None:
    move = next(method for method in surface(Room) if method.name == "move")
    with pytest.raises(Invalid) as caught:
        read_call(move, {"times": "often", "nmae": 1})
    assert len(caught.value.details) == 3


def test_an_unknown_path_names_the_nearest() -> None:
    with pytest.raises(NotFound, match="no method /api/room/moove") as caught:
        RestApi({"room": Room()}).call("room/moove", {}, Actor(name="ada"))
    assert "/api/room/move" in caught.value.hint


def test_private_methods_are_not_reachable() -> None:
    with pytest.raises(NotFound):
        RestApi({"room": Room()}).call("room/private", {}, Actor(name="ada"))


def test_an_error_travels_as_the_member_of_the_family_it_was() -> None:
    payload = b'{"error": {"code": "not_found", "message": "no churn", "hint": "try", "details": ["a"]}}'
    error = error_of(payload, 404)
    assert isinstance(error, NotFound)
    assert (error.message, error.hint, error.details) == ("no churn", "try", ("a",))
    assert isinstance(error_of(b"<html>", 502), Unavailable)


def test_openapi_lists_exactly_the_public_methods() -> None:
    document = RestApi({"room": Room()}).openapi("1.0")
    assert sorted(document["paths"]) == ["/api/room/missing", "/api/room/move"]
    schema = document["paths"]["/api/room/move"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["name"]
    assert sorted(schema["properties"]) == ["log", "name", "times"]
