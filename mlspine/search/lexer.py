"""Words of a filter or an order, with the place each began at.

>>> [(each.kind, each.text) for each in read_tokens("metrics.`a b` >= -1e3")]
[('name', 'metrics.`a b`'), ('operator', '>='), ('number', '-1e3'), ('end', '')]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from mlspine.core.errors import Invalid
from mlspine.core.types import Struct
from mlspine.search.fields import SHOWN

TokenKind = Literal["name", "text", "number", "operator", "punctuation", "end"]
LONGEST_TEXT = 1_000_000  # characters: ten thousand run ids in a list fit in

_TOKEN = re.compile(
    r"""
    \s+
    | (?P<number>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    | (?P<name>(?:\w+|`[^`]+`)(?:\.(?:`[^`]*`|"[^"]*"|[\w./:-]+))?)
    | (?P<text>'(?:''|\\'|[^'])*'|"(?:""|\\"|[^"])*")
    | (?P<operator>[=!<>]+)
    | (?P<punctuation>[(),])
    """,
    re.VERBOSE,
)


_NAME = re.compile(r"(?:`(?P<quoted>[^`]+)`|(?P<bare>\w+))(?:\.(?P<key>.+))?", re.DOTALL)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Token(Struct, frozen=True, kw_only=True):
    """A word as it was written; `at` counts characters from 1."""

    kind: TokenKind
    text: str
    at: int

    @property
    def shown(self) -> str:
        return repr(self.text[:SHOWN]) if self.kind != "end" else "the end"


def read_tokens(text: str) -> Iterator[Token]:
    """The words of a text, read as they are asked for, with one of kind "end" behind them.

    Raises Invalid where none begins.
    """
    if len(text) > LONGEST_TEXT:
        raise Invalid(f"{len(text)} characters", hint=f"at most {LONGEST_TEXT} are read")
    refuse_unstorable(text)
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _unreadable(text, at)
        if match.lastgroup:
            yield Token(kind=match.lastgroup, text=match[0], at=at + 1)  # type: ignore[arg-type]
        at = match.end()
    yield Token(kind="end", text="", at=len(text) + 1)


def split_name(token: Token) -> tuple[str, str]:
    """The word before the first dot, "" where there is none, and the key behind it, both without their quotes.

    >>> split_name(Token(kind="name", text='params."a.b"', at=1))
    ('params', 'a.b')
    """
    match = _NAME.fullmatch(token.text)
    head = match["quoted"] or match["bare"] if match else token.text
    if match is None or match["key"] is None:
        return "", head
    key = match["key"]
    return head, key[1:-1] if key[0] in '`"' else key


def unquote(token: Token) -> str:
    r"""The value of a quoted text; a quote inside is written twice or behind a backslash.

    >>> unquote(Token(kind="text", text=r"'it''s \d'", at=1))
    "it's \\d"
    """
    quote = token.text[0]
    return re.sub(rf"{quote}{quote}|\\{quote}", quote, token.text[1:-1])


def refuse_unstorable(text: str) -> None:
    """Raises Invalid for what no text column can hold: NUL, and halves of surrogate pairs."""
    bad = _UNSTORABLE.search(text)
    if bad is not None:
        raise Invalid(f"{bad[0]!r} at character {bad.start() + 1}", hint="no stored text holds it: leave it out")


def _unreadable(text: str, at: int) -> Invalid:
    if text[at] in "'\"`":
        return Invalid(
            f"the quote {text[at]} at character {at + 1} is never closed",
            hint=f"close it, or write it twice inside a text: {text[at] * 2}",
        )
    return Invalid(
        f"{text[at]!r} at character {at + 1}",
        hint="a key with other than letters, digits and _ . / : - goes between backquotes: params.`a b`",
    )
