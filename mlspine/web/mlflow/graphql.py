"""The text of GraphQL, as far as MLflow's pages write it: queries with variables, fragments and aliases. Pure.

Left out: subscriptions, block strings, interfaces, unions, and types written out as descriptions or directives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from mlspine.core.errors import Invalid

T = TypeVar("T")
DEEPEST = 20  # brackets within brackets; beyond it nobody means well

_TOKEN = re.compile(
    r"(?P<skip>[\s,\ufeff]+|#[^\n\r]*)"
    r"|(?P<name>[_A-Za-z][_0-9A-Za-z]*)"
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r'|(?P<text>"(?:[^"\\\n\r]|\\.)*")'
    r"|(?P<sign>\.\.\.|[!$()\[\]{}:=@])"
)
_WORDS = {"true": True, "false": False, "null": None}


class Variable(NamedTuple):
    """A place in an argument that the caller's variables fill."""

    name: str


class Directive(NamedTuple):
    name: str
    arguments: dict[str, Any]


class Field(NamedTuple):
    """A field that is asked for, under the name `key` in the answer."""

    key: str
    name: str
    arguments: dict[str, Any]
    directives: tuple[Directive, ...]
    selections: tuple[Selection, ...]


class Inline(NamedTuple):
    """Fields asked for within a condition; `on` is the type they belong to, "" for the one around them."""

    on: str
    directives: tuple[Directive, ...]
    selections: tuple[Selection, ...]


class Spread(NamedTuple):
    """The place of a named fragment."""

    fragment: str
    directives: tuple[Directive, ...]


Selection = Field | Inline | Spread


class Operation(NamedTuple):
    """`defaults` has every variable that may be given; `needed` are those that must be."""

    kind: str
    name: str
    defaults: dict[str, Any]
    needed: frozenset[str]
    selections: tuple[Selection, ...]


class Document(NamedTuple):
    operations: tuple[Operation, ...]
    fragments: dict[str, Inline]


class Kind(NamedTuple):
    """What a field holds: a scalar or type by name, or a list of them."""

    name: str
    is_list: bool


class FieldKind(NamedTuple):
    kind: Kind
    arguments: frozenset[str]


Schema = dict[str, dict[str, FieldKind]]


def parse_document(text: str) -> Document:
    """The operations and fragments of a request; Invalid when it is not GraphQL."""
    reader = _Reader(text)
    operations: list[Operation] = []
    fragments: dict[str, Inline] = {}
    while not reader.at_end():
        if reader.sees("fragment"):
            reader.take()
            name, _, on = reader.name(), reader.expect("on"), reader.name()
            fragments[name] = Inline(on, reader.directives(), reader.selections())
        else:
            operations.append(reader.operation())
    return Document(tuple(operations), fragments)


def parse_schema(text: str) -> Schema:
    """Types and their fields.

    >>> parse_schema("type Run { id: String! tags: [Tag!] } type Tag { key: String }")["Run"]["tags"].kind
    Kind(name='Tag', is_list=True)
    """
    reader = _Reader(text)
    schema: Schema = {}
    while not reader.at_end():
        reader.expect("type")
        name = reader.name()
        reader.expect("{")
        schema[name] = dict(reader.until("}", reader.field_kind))
    return schema


class _Reader:
    """Descends through the tokens of a text."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def at_end(self) -> bool:
        return self._at == len(self._tokens)

    def sees(self, *words: str) -> bool:
        return not self.at_end() and self._tokens[self._at] in words

    def take(self) -> str:
        if self.at_end():
            raise _odd("the text ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def expect(self, word: str) -> str:
        found = self.take()
        if found != word:
            raise _odd(f"{word!r} was expected, not {found[:40]!r}")
        return found

    def name(self) -> str:
        found = self.take()
        if not (found[0].isalpha() or found[0] == "_"):
            raise _odd(f"a name was expected, not {found[:40]!r}")
        return found

    def until(self, end: str, read: Callable[[], T]) -> list[T]:
        """What stands before the closing sign, at least one."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise _odd(f"it is nested more than {DEEPEST} deep")
        found = [read()]
        while not self.sees(end):
            found.append(read())
        self.take()
        self._depth -= 1
        return found

    # ------------------------------------------------------------ requests

    def operation(self) -> Operation:
        if self.sees("{"):
            return Operation("query", "", {}, frozenset(), self.selections())
        kind = self.take()
        if kind not in ("query", "mutation"):
            raise _odd(f"a query was expected, not {kind[:40]!r}")
        name = "" if self.sees("(", "@", "{") else self.name()
        variables = []
        if self.sees("("):
            self.take()
            variables = self.until(")", self.variable)
        for directive in self.directives():
            if directive.name != "component":  # the pages' word for which part of them asks
                raise _odd(f"directive @{directive.name} is unknown here")
        needed = frozenset(name for name, _, is_needed in variables if is_needed)
        defaults = {name: default for name, default, _ in variables}
        return Operation(kind, name, defaults, needed, self.selections())

    def variable(self) -> tuple[str, Any, bool]:
        self.expect("$")
        name, _ = self.name(), self.expect(":")
        _, is_needed = self.kind()
        default = None
        if self.sees("="):
            self.take()
            default, is_needed = self.value(), False
        return name, default, is_needed

    def selections(self) -> tuple[Selection, ...]:
        self.expect("{")
        return tuple(self.until("}", self.selection))

    def selection(self) -> Selection:
        if self.sees("..."):
            self.take()
            if self.sees("{", "@"):
                return Inline("", self.directives(), self.selections())
            name = self.name()
            if name == "on":
                return Inline(self.name(), self.directives(), self.selections())
            return Spread(name, self.directives())
        key = name = self.name()
        if self.sees(":"):
            self.take()
            name = self.name()
        return Field(key, name, self.arguments(), self.directives(), self.selections() if self.sees("{") else ())

    def arguments(self) -> dict[str, Any]:
        if not self.sees("("):
            return {}
        self.take()
        return dict(self.until(")", self.pair))

    def pair(self) -> tuple[str, Any]:
        name, _ = self.name(), self.expect(":")
        return name, self.value()

    def directives(self) -> tuple[Directive, ...]:
        found = []
        while self.sees("@"):
            self.take()
            found.append(Directive(self.name(), self.arguments()))
        return tuple(found)

    def value(self) -> Any:
        token = self.take()
        if token == "$":
            return Variable(self.name())
        if token in ("[", "{"):
            end, read = ("]", self.value) if token == "[" else ("}", self.pair)
            found: list[Any] = []
            if self.sees(end):
                self.take()
            else:
                found = self.until(end, read)
            return found if token == "[" else dict(found)
        if token[0].isalpha() or token[0] == "_":
            return _WORDS.get(token, token)
        try:
            return msgspec.json.decode(token)
        except msgspec.DecodeError as exc:
            raise _odd(f"a value was expected, not {token[:40]!r}") from exc

    # ------------------------------------------------------------ types

    def kind(self) -> tuple[Kind, bool]:
        """A kind, and whether it must be given."""
        if self.sees("["):
            self.take()
            kind = Kind(self.kind()[0].name, is_list=True)
            self.expect("]")
        else:
            kind = Kind(self.name(), is_list=False)
        is_needed = self.sees("!")
        if is_needed:
            self.take()
        return kind, is_needed

    def field_kind(self) -> tuple[str, FieldKind]:
        name = self.name()
        arguments: list[str] = []
        if self.sees("("):
            self.take()
            arguments = self.until(")", self.argument_kind)
        self.expect(":")
        return name, FieldKind(self.kind()[0], frozenset(arguments))

    def argument_kind(self) -> str:
        name, _ = self.name(), self.expect(":")
        self.kind()
        return name


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _odd(f"it cannot be read at {text[at : at + 40]!r}")
        if match.lastgroup != "skip":
            found.append(match[0])
        at = match.end()
    return found


def _odd(problem: str) -> Invalid:
    return Invalid(f"this is no GraphQL request: {problem}", hint="send one query with its variables")
