"""Page tokens: the sort values of a page's last row, and whose query they belong to.

They hold nothing secret and grant nothing: who alters one moves to another place of the same listing.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from mlspine.core.errors import Invalid
from mlspine.search.grammar import LIMIT, Condition, SortItem
from mlspine.search.lexer import refuse_unstorable
from mlspine.search.order import SortValue, Term
from mlspine.search.sql import DatasetFilter

LONGEST_TOKEN = 1_000_000  # characters: sort values are texts of the store


def fingerprint(
    entity: str, conditions: Sequence[Condition], items: Sequence[SortItem], datasets: Sequence[DatasetFilter]
) -> str:
    """16 hex digits that tell queries apart; spaces and the case of keywords make no difference."""
    document = msgspec.json.encode([entity, conditions, items, datasets])
    return blake2b(document, digest_size=8).hexdigest()


def write_token(query: str, last: Sequence[SortValue]) -> str:
    """The token for what comes after the row with these sort values.

    >>> read_token(write_token("6f", [0.5, "a"]), "6f", [Term(sql="x", type="number"), Term(sql="y", type="text")])
    (0.5, 'a')
    """
    return base64.urlsafe_b64encode(json.dumps([query, *last]).encode()).decode().rstrip("=")


def read_token(token: str, query: str, terms: Sequence[Term]) -> tuple[SortValue, ...]:
    """The sort values in a token; raises Invalid unless it is one of this query's."""
    document = _decoded(token)
    if not isinstance(document, list) or not document or document[0] != query:
        raise _invalid("it belongs to another filter or order, or is none")
    values = document[1:]
    if len(values) != len(terms) or not all(map(_fits, terms, values)):
        raise _invalid("it holds other values than the order asks for")
    return tuple(values)


def _decoded(token: str) -> Any:
    if len(token) > LONGEST_TOKEN:
        raise _invalid(f"it has {len(token)} characters")
    try:
        return json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as exc:
        raise _invalid("it cannot be read") from exc


def _fits(term: Term, value: object) -> bool:
    if value is None:
        return term.nullable
    if term.type == "text":
        return isinstance(value, str) and _storable(value)
    if isinstance(value, int):
        return not isinstance(value, bool) and -LIMIT <= value < LIMIT
    return isinstance(value, float) and value == value and abs(value) != float("inf")


def _storable(text: str) -> bool:
    try:
        refuse_unstorable(text)
    except Invalid:
        return False
    return True


def _invalid(reason: str) -> Invalid:
    return Invalid(f"Invalid page token: {reason}", hint="start again without page_token")
