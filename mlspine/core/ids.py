"""Time-ordered ids, content digests and the references people type."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Literal

import msgspec
from blake3 import blake3

from mlspine.core.errors import Invalid

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
# Words that are routes or command words where an endpoint name could stand.
RESERVED_NAMES = frozenset({"v1", "v2", "ping", "health", "invocations", "metrics", "docs", "endpoints", "version"})
SHORT_HASH = 12
LONGEST_MODEL_NAME = 256


def now_ms() -> int:
    """Milliseconds since 1970, UTC. Services take their clock as an argument and default to this one."""
    return time.time_ns() // 1_000_000


def uuid7(at_ms: int | None = None) -> str:
    """A time-ordered unique id (RFC 9562, version 7) in its usual text form.

    >>> len(uuid7()), uuid7(0)[:14]
    (36, '00000000-0000-')
    """
    at_ms = now_ms() if at_ms is None else at_ms
    tail = bytearray(os.urandom(10))
    tail[0] = 0x70 | (tail[0] & 0x0F)
    tail[2] = 0x80 | (tail[2] & 0x3F)
    text = (at_ms.to_bytes(6, "big") + bytes(tail)).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def digest_bytes(data: bytes | memoryview) -> str:
    """BLAKE3 of some bytes as 64 hexadecimal digits."""
    return blake3(data).hexdigest()


def digest_file(path: Path) -> str:
    """BLAKE3 of a file, read through a memory map when it is large."""
    hasher = blake3()
    hasher.update_mmap(path)
    return hasher.hexdigest()


def digest_json(value: object) -> str:
    """BLAKE3 of a value's canonical JSON: sorted keys, no blanks, so equal values hash alike."""
    return digest_bytes(msgspec.json.encode(value, order="sorted"))


def check_name(name: str, *, what: str = "model") -> str:
    """The name itself, or Invalid when it cannot stand in a URL or would shadow a route."""
    if not isinstance(name, str) or not NAME_PATTERN.match(name):
        raise Invalid(
            f"{what} name {name!r} cannot be used",
            hint="use 1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit; e.g. name=\"churn\"",
        )
    if name.lower() in RESERVED_NAMES:
        raise Invalid(f"{what} name {name!r} is reserved for a route", hint=f'choose another, e.g. "{name}-model"')
    return name


def check_model_name(name: str) -> str:
    """The name itself, or Invalid when no registered model may have it: "/" and ":" stand between the parts of
    references. To be served it needs the stricter form of `check_name`.

    >>> check_model_name("Churn, June (eu)")
    'Churn, June (eu)'
    """
    if not name.strip(" .") or {"/", ":"} & set(name) or len(name) > LONGEST_MODEL_NAME or not name.isprintable():
        raise Invalid(
            f"Invalid name {name[:LONGEST_MODEL_NAME]!r} for a model",
            hint=f"use 1 to {LONGEST_MODEL_NAME} printable characters without '/' and ':'; e.g. churn",
        )
    return name


class ModelRef(msgspec.Struct, frozen=True):
    """What `NAME`, `NAME:VERSION` or `NAME@ALIAS` means."""

    name: str
    kind: Literal["name", "version", "alias"]
    version: int = 0
    alias: str = ""


def parse_model_ref(text: str) -> ModelRef:
    """Read `churn`, `churn:3` or `churn@champion`; raises Invalid with the three forms otherwise.

    >>> parse_model_ref("churn:3")
    ModelRef(name='churn', kind='version', version=3, alias='')
    """
    name, colon, number = text.rpartition(":")
    if colon:
        if not (number.isascii() and number.isdigit()) or len(number) > 18 or int(number) < 1:
            raise Invalid(
                f"{number!r} in {text!r} is not a version number",
                hint=f"e.g. {name}:1; see: mlspine models {name}",
            )
        return ModelRef(check_model_name(name), "version", version=int(number))
    name, at, alias = text.rpartition("@")
    if at:
        if not alias:
            raise Invalid(f"no alias after '@' in {text!r}", hint=f"e.g. {name}@champion")
        return ModelRef(check_model_name(name), "alias", alias=alias)
    return ModelRef(check_model_name(text), "name")
