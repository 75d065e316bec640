"""What a dialect is: the fields a search may name, what may be asked of them, and where they lie in the store.

An entity (run, experiment, ...) is one table; beside its columns it has values under keys (params, tags, metrics)
in tables of their own, and columns of things it is linked to (the datasets of a run).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Struct

Kind = Literal["attribute", "metric", "param", "tag", "dataset"]
ValueType = Literal["text", "number", "id"]  # id: a whole number that is written as quoted digits
Quotes = Literal["as typed", "either"]  # either: a number may stand in quotes, and a text of digits without
Ops = frozenset[str]

EQUAL: Ops = frozenset({"=", "!="})
LIKE: Ops = EQUAL | {"LIKE", "ILIKE"}
LISTED: Ops = frozenset({"IN", "NOT IN"})
PRESENT: Ops = frozenset({"IS NULL", "IS NOT NULL"})
COMPARED: Ops = EQUAL | {">", ">=", "<", "<="}
OPERATORS: Ops = LIKE | LISTED | PRESENT | COMPARED

SHOWN = 60  # characters of what was written that a message repeats

KIND_WORDS: dict[str, Kind] = {
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
}


class Column(Struct, frozen=True, kw_only=True):
    """A field with a fixed name. `through`: FROM and WHERE that lead to it where it is no column of the entity."""

    sql: str
    type: ValueType = "text"
    ops: Ops = LIKE  # none: it only sorts
    sortable: bool = True
    nullable: bool = False
    quotes: Quotes = "as typed"
    known: frozenset[str] = frozenset()  # the only values there are, where they are few
    through: str = ""


class Keyed(Struct, frozen=True, kw_only=True):
    """Values under keys the user chose: a table with `key` and `value`, and for numbers `is_nan`.

    link: its columns that name the entity, and the entity's own. scope: its column that repeats the entity's scope;
    then an index over (scope, key, is_nan, value) is known to exist. latest: where one key has several rows, the
    columns by which the greatest of them counts, written with {row} for the row.
    """

    table: str
    link: tuple[tuple[str, str], ...]
    type: ValueType = "text"
    ops: Ops = LIKE
    sortable: bool = True
    quotes: Quotes = "as typed"
    scope: str = ""
    latest: str = ""


Field = Column | Keyed


class Dialect(Struct, frozen=True, kw_only=True):
    """The search of one entity. `table` has its alias: "run r". `scope`: the column that `within` narrows.

    default_order counts when the caller gives none; ties are added to every order unless it has them.
    hidden: FROM and WHERE of the tags (alias h) by which prompts are left out of what was not asked for prompts.
    """

    entity: str
    table: str
    columns: Mapping[str, Column]
    keyed: Mapping[str, Keyed]
    linked: Mapping[str, Column] = {}  # what `dataset.` names
    aliases: Mapping[str, str] = {}
    scope: str = ""
    default_order: tuple[str, ...] = ()
    ties: tuple[str, ...]
    default_results: int
    most_results: int = 50_000
    clamps_results: bool = False  # too great a page is answered by a smaller one instead of a refusal
    hidden: str = ""

    def resolve(self, word: str, key: str) -> tuple[Kind, str]:
        """The kind and the field's own name for what was written `word.key`, or `key` alone (word "").

        Raises Invalid with the names that exist.
        """
        kind = KIND_WORDS.get(word) if word else "attribute"
        if kind is None or not (kind in self.keyed or self._named(kind)):
            known = ["attribute", *self.keyed, *(["dataset"] if self.linked else [])]
            raise Invalid(f"Invalid entity type {word[:SHOWN]!r}", hint=f"{self.entity} have: {', '.join(known)}")
        if kind in self.keyed:
            return kind, key
        named = self._named(kind)
        key = self.aliases.get(key, key) if kind == "attribute" else key
        if key not in named:
            near = closest(key[:SHOWN], named)
            raise Invalid(
                f"Invalid {kind} key {key[:SHOWN]!r} specified",
                hint=f"{self.entity} have: {', '.join(sorted(named))}" + (f"; did you mean {near}?" if near else ""),
            )
        return kind, key

    @property
    def sortable_words(self) -> set[str]:
        """What an order may name: fields by name, keyed values as "metric.KEY"."""
        keyed = {f"{kind}.KEY" for kind, each in self.keyed.items() if each.sortable}
        return keyed | {name for name, each in self.columns.items() if each.sortable}

    def column(self, kind: Kind, key: str) -> Column:
        return self._named(kind)[key]

    def field(self, kind: Kind, key: str) -> Field:
        return self.keyed[kind] if kind in self.keyed else self.column(kind, key)

    def page_size(self, max_results: int | None) -> int:
        """How many rows a page has; raises Invalid outside 1..most_results."""
        if max_results is None:
            return self.default_results
        if max_results < 1 or (max_results > self.most_results and not self.clamps_results):
            raise Invalid(
                f"Invalid value {max_results} for parameter 'max_results': {self.entity} come 1 to {self.most_results}"
                " at a time",
                hint="ask for the next page with page_token",
            )
        return min(max_results, self.most_results)

    def _named(self, kind: Kind) -> Mapping[str, Column]:
        return self.columns if kind == "attribute" else self.linked if kind == "dataset" else {}
