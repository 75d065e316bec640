"""What every wire does for one endpoint: read a body into rows, write an answer, tell an error."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol

from mlspine.core.types import Schema, Signature
from mlspine.serving.request import Answer
from mlspine.serving.rows import RowCodec, Table
from mlspine.web.exchange import Reply, Scope


class Told(NamedTuple):
    """An error as any wire may tell it: `code` of the family or of HTTP, and the words."""

    status: int
    code: str
    message: str
    hint: str = ""
    details: tuple[str, ...] = ()


class Subject(Protocol):
    """What a wire needs to know of the endpoint it speaks for."""

    name: str
    version: int
    release_hash: str
    path: str
    codec: RowCodec
    signature: Signature


class Speaker(Protocol):
    """One wire for one endpoint. `context` carries what writing needs to know of the reading."""

    ERRORS: ClassVar[dict[str, int]]  # code of the error family -> status

    def read(self, body: bytes, scope: Scope) -> tuple[Table, Any]:
        """The rows of a request body; raises Invalid, or Refused for what HTTP itself turns away."""
        ...

    def write(self, request_id: str, answer: Answer, context: Any) -> Reply:
        """The reply to a request that was answered."""
        ...

    @staticmethod
    def error(told: Told) -> Reply:
        """An error in this wire's own shape."""
        ...


def numeric_only(schema: Schema) -> bool:
    """Whether every column holds one number per row, so that rows may come as a bare matrix."""
    return all(field.type in ("float", "int", "bool") for field in schema.fields)
