"""Which service methods the world may call: the marker, and what follows from a signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def public(method: F) -> F:
    """Mark a service method as callable over HTTP at `POST /api/<room>/<method>` and by the remote proxy."""
    method.__public__ = True  # type: ignore[attr-defined]
    return method


class Surface(typing.NamedTuple):
    """One public method as its signature tells it."""

    name: str
    parameters: dict[str, tuple[Any, Any]]  # name -> (type, default or inspect.Parameter.empty)
    returns: Any
    takes_actor: bool


def surface(service: type) -> Iterator[Surface]:
    """The public methods of a service class, in name order."""
    for name, method in sorted(inspect.getmembers(service, callable)):
        if not getattr(method, "__public__", False):
            continue
        hints = typing.get_type_hints(method)
        signature = inspect.signature(method)
        parameters = {
            key: (hints[key], parameter.default)
            for key, parameter in signature.parameters.items()
            if key not in ("self", "actor")
        }
        yield Surface(name, parameters, hints.get("return", type(None)), "actor" in signature.parameters)
