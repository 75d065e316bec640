"""Which service methods the world may call, and what a caller must be allowed to do: the marker on each."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

# What a method asks of its caller; which role may do what stands in governance/access.py.
Permission = Literal["read", "ship", "label", "operate", "approve", "administer"]


def public(permission: Permission) -> Callable[[F], F]:
    """Mark a service method as callable over HTTP at `POST /api/<room>/<method>` and by the remote proxy.

    permission: what a caller's token must allow. Reading is "read"; bringing in a release "ship"; adding
    outcomes "label"; changing traffic or alerts "operate"; signing "approve"; the rest "administer".
    """

    def mark(method: F) -> F:
        method.__public__ = permission  # type: ignore[attr-defined]
        return method

    return mark


class Surface(typing.NamedTuple):
    """One public method as its signature tells it."""

    name: str
    parameters: dict[str, tuple[Any, Any]]  # name -> (type, default or inspect.Parameter.empty)
    returns: Any
    takes_actor: bool
    permission: Permission


def surface(service: type) -> Iterator[Surface]:
    """The public methods of a service class, in name order."""
    for name, method in sorted(inspect.getmembers(service, callable)):
        permission = getattr(method, "__public__", None)
        if permission is None:
            continue
        hints = typing.get_type_hints(method, include_extras=True)
        signature = inspect.signature(method)
        parameters = {
            key: (hints[key], parameter.default)
            for key, parameter in signature.parameters.items()
            if key not in ("self", "actor")
        }
        takes_actor = "actor" in signature.parameters
        yield Surface(name, parameters, hints.get("return", type(None)), takes_actor, permission)
