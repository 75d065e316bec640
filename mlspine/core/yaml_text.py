"""Plain values as YAML text, for files that other people's tools read. Strings are quoted as JSON, which YAML takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def dump(value: Mapping[str, Any]) -> str:
    """A mapping of mappings, lists, strings, numbers and booleans as block YAML, ending in a newline.

    >>> print(dump({"groups": [{"name": "a", "rules": []}], "on": True}), end="")
    groups:
      - name: "a"
        rules: []
    on: true
    """
    return "\n".join(_mapping(value)) + "\n"


def _mapping(value: Mapping[str, Any]) -> Iterator[str]:
    for key, each in value.items():
        if isinstance(each, (Mapping, list, tuple)) and each:
            yield f"{key}:"
            yield from (f"  {line}" for line in _block(each))
        else:
            yield f"{key}: {_scalar(each)}"


def _block(value: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from _mapping(value)
        return
    for each in value:
        if isinstance(each, (Mapping, list, tuple)) and each:
            first, *rest = _block(each)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        else:
            yield f"- {_scalar(each)}"


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
