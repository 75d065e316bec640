"""What an MLflow model directory says of itself, read without a YAML library and without running anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mlspine.core.types import Field, FieldType, Schema, Signature
from mlspine.registry.files import sections

_PINNED = re.compile(
    r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?==([A-Za-z0-9][A-Za-z0-9.+!_-]*)\s*(?:[;#].*)?\Z"
)
_PYTHON = re.compile(r"^python:\s*['\"]?([0-9][0-9A-Za-z.+]*)", re.MULTILINE)
_TYPES: dict[str, tuple[FieldType, str]] = {
    "boolean": ("bool", "bool"),
    "integer": ("int", "int32"),
    "long": ("int", "int64"),
    "float": ("float", "float32"),
    "double": ("float", "float64"),
    "datetime": ("datetime", "datetime64[ns]"),
}


class Described(NamedTuple):
    """flavor: the native one where there is one. environment: versions by distribution, `python` among them."""

    flavor: str
    signature: Signature
    environment: dict[str, str]


def describe(folder: Path) -> Described:
    """What `MLmodel`, `requirements.txt` and `python_env.yaml` say; what they leave out stays empty."""
    document = sections(whole_lines(_text(folder / "MLmodel")))
    flavors = [name for name in _mapping(document, "flavors") if name != "python_function"]
    return Described(
        flavor=flavors[0] if flavors else "python_function",
        signature=Signature(inputs=_schema(_mapping(document, "signature").get("inputs")), task="other"),
        environment=_environment(folder),
    )


def whole_lines(text: str) -> str:
    """YAML with every quoted text on one line, its quotes and escapes undone.

    >>> whole_lines("a: 'it''s\\n  long'\\nb: 1\\n")
    "a: it's long\\nb: 1\\n"
    """
    return "".join(f"{line}\n" for line in _joined(iter(text.splitlines())))


def _joined(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        head, colon, value = line.partition(": ")
        quote = value[:1]
        if not colon or quote not in ("'", '"'):
            yield line
            continue
        while not _is_closed(value, quote):
            following = next(lines, None)
            if following is None:
                break
            # In double quotes a backslash at the end of a line joins without a blank, one at its start keeps blanks.
            broken = quote == '"' and value.endswith("\\")
            value = (value[:-1] if broken else f"{value} ") + following.strip()
        yield f"{head}: {_unquoted(value, quote)}"


def _is_closed(value: str, quote: str) -> bool:
    if quote == "'":
        return len(value) > 1 and (len(value) - len(value.rstrip("'"))) % 2 == (0 if set(value) == {"'"} else 1)
    rest = value[1:]
    return rest.endswith('"') and (len(rest[:-1]) - len(rest[:-1].rstrip("\\"))) % 2 == 0


def _unquoted(value: str, quote: str) -> str:
    if quote == "'":
        return value[1:-1].replace("''", "'")
    plain = re.sub(r"\\x([0-9A-Fa-f]{2})", r"\\u00\1", value).replace("\\ ", " ")
    try:
        return str(json.loads(plain))
    except ValueError:
        return value[1:-1]


# ---------------------------------------------------------------- signature


def _schema(text: Any) -> Schema:
    try:
        columns = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        columns = []
    if not isinstance(columns, list):
        return Schema(fields=())
    fields = tuple(_field(column, place) for place, column in enumerate(columns) if isinstance(column, dict))
    tensor = any(column.get("type") == "tensor" for column in columns if isinstance(column, dict))
    return Schema(fields=fields, container="numpy" if tensor and len(fields) == 1 else "pandas")


def _field(column: dict[str, Any], place: int) -> Field:
    name = str(column.get("name", place))
    if column.get("type") == "tensor":
        spec = column.get("tensor-spec") or {}
        width = (spec.get("shape") or [0])[-1]
        return Field(name=name, type="vector", dtype=str(spec.get("dtype", "")), width=max(int(width), 0))
    kind, dtype = _TYPES.get(str(column.get("type")), ("text", "object"))
    return Field(name=name, type=kind, dtype=dtype, nullable=not column.get("required", True))


# ---------------------------------------------------------------- environment


def _environment(folder: Path) -> dict[str, str]:
    pinned = (_PINNED.match(line) for line in _text(folder / "requirements.txt").splitlines())
    python = _PYTHON.search(_text(folder / "python_env.yaml"))
    return {match[1]: match[2] for match in pinned if match} | ({"python": python[1]} if python else {})


def _mapping(document: dict[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
