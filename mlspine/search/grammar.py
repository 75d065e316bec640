"""The filter and order grammar of MLflow's searches: text -> conditions and sort items.

    filter = [condition {AND condition}]
    condition = field comparator value | field [NOT] IN (text {, text}) | field IS [NOT] NULL
    order = field [ASC | DESC]

Keywords are read in any case. What a field is called and what may be asked of it is the dialect's. More is read than
MLflow's SQL tokenizer reads: keys that are SQL keywords, and keys with / : - without quotes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import msgspec

from mlspine.core.errors import Invalid
from mlspine.core.types import Struct
from mlspine.search.fields import OPERATORS, SHOWN, Column, Dialect, Field, Kind, Ops, ValueType
from mlspine.search.lexer import Token, read_tokens, refuse_unstorable, split_name, unquote

MOST_CONDITIONS = 50  # Postgres plans each as a join of its own, SQLite nests them
MOST_VALUES = 10_000  # of one list: SQLite takes 32,766 parameters
LONGEST_PATTERN = 10_000  # characters of LIKE: SQLite takes 50,000 bytes
LIMIT = 2**63

FILTER_HINT = (
    "a filter is conditions joined by AND, such as metrics.loss < 0.1 AND params.model = 'tree'; there is no OR, and "
    "parentheses only stand behind IN"
)
ORDER_HINT = "an item is one field, then ASC or DESC, such as metrics.loss DESC"

Scalar = str | int | float
Value = Scalar | tuple[Scalar, ...] | None


class Condition(Struct, frozen=True, kw_only=True):
    """One comparison. `op` is in capitals; `value` is None for IS [NOT] NULL and a tuple for [NOT] IN."""

    kind: Kind
    key: str
    op: str
    value: Value


class SortItem(Struct, frozen=True, kw_only=True):
    """One item of an order; a dataset narrows which of a logged model's metrics counts."""

    kind: Kind
    key: str
    descending: bool = False
    dataset_name: str = ""
    dataset_digest: str = ""


def parse_filter(text: str, dialect: Dialect) -> tuple[Condition, ...]:
    """The conditions of a filter, which hold together. Raises Invalid with the place and what is allowed there.

    >>> from mlspine.search.dialects import RUNS
    >>> parse_filter("params.lr = '0.1' and metrics.loss < 2", RUNS)[1]
    Condition(kind='metric', key='loss', op='<', value=2.0)
    """
    try:
        return _conditions(_Reader(read_tokens(text)), dialect)
    except Invalid as exc:
        raise Invalid(f"Invalid clause(s) in filter string: {exc.message}", hint=exc.hint or FILTER_HINT) from exc


def parse_order(text: str, dialect: Dialect) -> SortItem:
    """One item of `order_by`. Raises Invalid.

    >>> from mlspine.search.dialects import RUNS
    >>> parse_order("metrics.`a b` desc", RUNS)
    SortItem(kind='metric', key='a b', descending=True, dataset_name='', dataset_digest='')
    """
    try:
        return _order(_Reader(read_tokens(text)), dialect)
    except Invalid as exc:
        raise Invalid(f"Invalid order_by clause {text[:SHOWN]!r}: {exc.message}", hint=exc.hint or ORDER_HINT) from exc


def sort_field(
    name: str, dialect: Dialect, *, ascending: bool = True, dataset_name: str = "", dataset_digest: str = ""
) -> SortItem:
    """One item of an order that came as fields: a name such as "metrics.a b", unquoted. Raises Invalid."""
    refuse_unstorable(f"{name}{dataset_name}{dataset_digest}")
    if dataset_digest and not dataset_name:
        raise Invalid("Invalid order_by: dataset_digest without dataset_name", hint="name the dataset too")
    word, dot, key = name.partition(".")
    kind, key = dialect.resolve(word, key) if dot else dialect.resolve("", name.strip())
    item = SortItem(
        kind=kind, key=key, descending=not ascending, dataset_name=dataset_name, dataset_digest=dataset_digest
    )
    return _sortable(item, dialect)


def _conditions(reader: _Reader, dialect: Dialect) -> tuple[Condition, ...]:
    if reader.ended():
        return ()
    conditions = [_condition(reader, dialect)]
    while not reader.ended():
        reader.keyword("AND", expected="AND or the end")
        conditions.append(_condition(reader, dialect))
        if len(conditions) > MOST_CONDITIONS:
            raise Invalid(f"more than {MOST_CONDITIONS} conditions", hint="ask in parts")
    return tuple(conditions)


def _order(reader: _Reader, dialect: Dialect) -> SortItem:
    kind, key = _field(reader, dialect)
    direction = "ASC" if reader.ended() else reader.keyword("ASC", "DESC", expected="ASC, DESC or the end")
    if not reader.ended():
        raise reader.unexpected("the end")
    return _sortable(SortItem(kind=kind, key=key, descending=direction == "DESC"), dialect)


def _sortable(item: SortItem, dialect: Dialect) -> SortItem:
    if not dialect.field(item.kind, item.key).sortable:
        raise Invalid(
            f"{dialect.entity} are not sorted by {item.kind} {item.key!r}",
            hint=f"they are by: {', '.join(sorted(dialect.sortable_words))}",
        )
    return item


class _Reader:
    """The words of a text, one after the other."""

    def __init__(self, tokens: Iterator[Token]) -> None:
        self._tokens = tokens
        self.token = next(tokens)

    @property
    def word(self) -> str:
        """The word here as a keyword would be written, "" for anything else."""
        return self.token.text.upper() if self.token.kind in ("name", "operator", "punctuation") else ""

    def ended(self) -> bool:
        return self.token.kind == "end"

    def next(self) -> Token:
        token = self.token
        self.token = next(self._tokens, token)
        return token

    def keyword(self, *words: str, expected: str = "") -> str:
        """Take one of these words; raises Invalid where another stands."""
        word = self.word
        if word not in words:
            raise self.unexpected(expected or " or ".join(words))
        self.next()
        return word

    def unexpected(self, expected: str) -> Invalid:
        return Invalid(f"{self.token.shown} at character {self.token.at}, expected {expected}")


def _condition(reader: _Reader, dialect: Dialect) -> Condition:
    kind, key = _field(reader, dialect)
    field = dialect.field(kind, key)
    op = _operator(reader, f"{kind} {key[:SHOWN]!r}", field.ops)
    if op.startswith("IS"):
        return Condition(kind=kind, key=key, op=op, value=None)
    if op.endswith("IN"):
        return Condition(kind=kind, key=key, op=op, value=_list(reader, field))
    value = _value(reader, field, whole=isinstance(field, Column))
    if op.endswith("LIKE") and len(str(value)) > LONGEST_PATTERN:
        raise Invalid(f"a pattern of {len(str(value))} characters", hint=f"{op} takes {LONGEST_PATTERN}")
    return Condition(kind=kind, key=key, op=op, value=value)


def _field(reader: _Reader, dialect: Dialect) -> tuple[Kind, str]:
    if reader.token.kind != "name":
        raise reader.unexpected("a field")
    token = reader.next()
    word, key = split_name(token)
    if not key:
        raise Invalid(f"{token.shown} at character {token.at} has no key")
    try:
        return dialect.resolve(word, key)
    except Invalid as exc:
        raise Invalid(f"{exc.message} at character {token.at}", hint=exc.hint) from exc


def _operator(reader: _Reader, field: str, allowed: Ops) -> str:
    token, op = reader.token, reader.word
    if op == "IS":
        reader.next()
        op = reader.keyword("NOT", "NULL")
        op = f"IS NOT {reader.keyword('NULL')}" if op == "NOT" else "IS NULL"
    elif op == "NOT":
        reader.next()
        op = f"NOT {reader.keyword('IN')}"
    elif op in OPERATORS or token.kind == "operator":
        reader.next()
    else:
        raise reader.unexpected("a comparator")
    if op not in allowed:
        raise Invalid(
            f"Invalid comparator {op!r} for {field} at character {token.at}",
            hint=f"allowed there: {', '.join(sorted(allowed)) or 'nothing, it only sorts'}",
        )
    return op


def _list(reader: _Reader, field: Field) -> tuple[Scalar, ...]:
    reader.keyword("(")
    values: list[Scalar] = []
    while True:
        values.append(_value(reader, field, whole=True))
        if len(values) > MOST_VALUES:
            raise Invalid(f"more than {MOST_VALUES} values in a list", hint="ask in parts")
        if reader.keyword(",", ")") == ")":
            return tuple(values)
        if reader.word == ")":  # a comma may close the list, as in Python's tuples of one
            reader.next()
            return tuple(values)


def _value(reader: _Reader, field: Field, *, whole: bool) -> Scalar:
    kind = field.type
    expected = {"number": "a number", "text": "a quoted text", "id": "a whole number in quotes"}[kind]
    token = reader.token if field.quotes == "as typed" else _requoted(reader.token, kind)
    if token.kind != ("number" if kind == "number" else "text"):
        raise reader.unexpected(expected)
    if kind == "number":
        reader.next()
        return _number(token.text, whole=whole)
    text = unquote(token)
    if kind == "id" and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise reader.unexpected(expected)
    if isinstance(field, Column) and field.known and text not in field.known:
        raise reader.unexpected(f"one of {', '.join(sorted(field.known))}")
    reader.next()
    return int(text) if kind == "id" else text


def _requoted(token: Token, kind: ValueType) -> Token:
    """A number as text, or a quoted number as a number, where the field is of the other kind."""
    if kind == "text" and token.kind == "number":
        return msgspec.structs.replace(token, kind="text", text=f"'{token.text}'")
    if kind == "number" and token.kind == "text":
        inside = next(read_tokens(unquote(token)))
        if inside.kind == "number" and inside.text == unquote(token):
            return msgspec.structs.replace(inside, at=token.at)
    return token


def _number(text: str, *, whole: bool) -> int | float:
    """An int where both the field and what was written are whole; stored infinities are the greatest floats."""
    if whole and text.removeprefix("-").isdigit() and len(text) < 20 and -LIMIT <= int(text) < LIMIT:
        return int(text)
    return max(-sys.float_info.max, min(sys.float_info.max, float(text)))
