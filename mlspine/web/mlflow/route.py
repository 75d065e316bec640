"""One line of the MLflow wire: a method and path, what it takes, who answers it and how that is run."""

from __future__ import annotations

import re
import typing
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from mlspine.core.errors import Invalid
from mlspine.core.public import Permission
from mlspine.core.types import Actor
from mlspine.web.mlflow.messages import Empty, Message
from mlspine.workspace import Workspace

# read: beside others, in a thread. commit: a few statements, together with others' (see tracking/committer.py);
# synced: on disk when answered. alone: in a thread with transactions of its own, since it takes its time.
Way = Literal["read", "commit", "synced", "alone"]
Answer = Callable[[Workspace, Any, Actor | None], Message]

_MISSING = re.compile(r"Object missing required field `(\w+)`(?: - at `\$\.?(.*)`)?")
_NULL = re.compile(r"Expected `.*`, got `null` - at `\$\.(.*)`")


class Route(NamedTuple):
    """`path` stands below /api/, with {names} of parameters; `about` is the field that names a registered model."""

    method: str
    path: str
    takes: type[Message]
    answer: Answer
    permission: Permission = "read"
    way: Way = "read"
    about: str = ""


class Reader:
    """Makes the message a route takes out of a query or a JSON body."""

    def __init__(self, takes: type[Message]) -> None:
        self._takes = takes
        self._decoder = msgspec.json.Decoder(takes, strict=False)
        fields = msgspec.structs.fields(takes)
        self._lists = {field.name for field in fields if _is_list(field.type)}
        self._known = {field.name for field in fields}
        self._texts = [field.name for field in fields if field.required and _is_text(field.type)]

    def from_query(self, query: str, path: Mapping[str, str]) -> Message:
        values: dict[str, Any] = {}
        for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
            if name in self._lists:
                values.setdefault(name, []).append(value)
            elif name in self._known:
                values.setdefault(name, value)
        return self._checked(lambda: msgspec.convert(values | dict(path), self._takes, strict=False))

    def from_body(self, body: bytes, path: Mapping[str, str]) -> Message:
        if not path:
            return self._checked(lambda: self._decoder.decode(body or b"{}"))
        return self._checked(lambda: msgspec.convert(_object(body) | dict(path), self._takes, strict=False))

    def _checked(self, read: Callable[[], Any]) -> Message:
        try:
            message: Message = read()
        except msgspec.ValidationError as exc:
            raise _told(str(exc)) from exc
        except msgspec.DecodeError as exc:
            raise Invalid(f"the body is not JSON: {exc}", hint="send one JSON object") from exc
        except RecursionError as exc:
            raise Invalid("the body is nested too deep", hint="send one plain JSON object") from exc
        except UnicodeDecodeError as exc:
            raise Invalid("the body is not UTF-8", hint="send one JSON object in UTF-8") from exc
        for name in self._texts:
            if getattr(message, name) == "":
                raise _missing(name)
        return message


def _object(body: bytes) -> dict[str, Any]:
    found = msgspec.json.decode(body or b"{}")
    if not isinstance(found, dict):
        raise msgspec.ValidationError("Expected `object`")
    return found


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) is list or any(typing.get_origin(each) is list for each in typing.get_args(kind))


def _is_text(kind: Any) -> bool:
    return kind is str or str in typing.get_args(kind)


def _told(problem: str) -> Invalid:
    found = _MISSING.match(problem)
    if found:
        where = f"{found[2]}." if found[2] else ""
        return _missing(f"{where}{found[1]}")
    found = _NULL.match(problem)
    if found:
        return _missing(found[1])
    return Invalid(f"Invalid value supplied: {problem}", hint="see the field's type in MLflow's REST reference")


def _missing(name: str) -> Invalid:
    return Invalid(f"Missing value for required parameter '{name}'.")


__all__ = ["Answer", "Empty", "Reader", "Route", "Way"]
