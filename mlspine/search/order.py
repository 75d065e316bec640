"""Sort items -> ORDER BY, and the condition "after this row" by which the next page begins where the last one ended.

Every order ends with the dialect's ties, so no two rows are equal in it. Rows without a value come last in both
directions; a metric is sorted by its NaN flag first, so NaN stands between the numbers and the rows without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mlspine.core.errors import Invalid
from mlspine.core.types import Struct
from mlspine.search.fields import Dialect, Keyed, ValueType
from mlspine.search.grammar import SortItem, parse_order
from mlspine.search.sql import DatasetFilter, Parameters, narrowing, value_rows

MOST_ITEMS = 20  # SQLite joins at most 64 tables

SortValue = str | int | float | None


class Term(Struct, frozen=True, kw_only=True):
    """One expression rows are sorted by."""

    sql: str
    type: ValueType
    descending: bool = False
    nullable: bool = False


class Sorting(Struct, frozen=True, kw_only=True):
    """The terms, first to last, and the joins they need."""

    terms: tuple[Term, ...]
    joins: tuple[str, ...] = ()


def sort_items(order_by: Sequence[str | SortItem], dialect: Dialect) -> tuple[SortItem, ...]:
    """The items asked for, or the dialect's own, and its ties behind them. Raises Invalid."""
    asked = list(order_by) or list(dialect.default_order)
    if len(asked) > MOST_ITEMS:
        raise Invalid(f"{len(asked)} items in order_by", hint=f"at most {MOST_ITEMS} are taken")
    items = [each if isinstance(each, SortItem) else parse_order(each, dialect) for each in asked]
    fields = [msgspec.structs.replace(each, descending=False) for each in items]
    twice = next((each for each in fields if fields.count(each) > 1), None)
    if twice:
        raise Invalid(f"`order_by` contains duplicate fields: {twice.key[:60]!r}", hint="name each field once")
    ties = [parse_order(each, dialect) for each in dialect.ties]
    return (*items, *(each for each in ties if msgspec.structs.replace(each, descending=False) not in fields))


def sorting(
    items: Sequence[SortItem], dialect: Dialect, params: Parameters, *, datasets: Sequence[DatasetFilter] = ()
) -> Sorting:
    """The terms of some sort items; values under keys are joined in as s0, s1, ... by the place of their item."""
    terms: list[Term] = []
    joins = []
    for at, item in enumerate(items):
        field = dialect.field(item.kind, item.key)
        if isinstance(field, Keyed):
            row = f"s{at}"
            only = narrowing(datasets, params) + narrowing(_dataset_of(item), params)
            rows = value_rows(field, params.add(item.key), row, narrowed=only)
            joins.append(f"left join {field.table} {row} on {rows}")
            if field.type == "number":
                terms.append(Term(sql=f"{row}.is_nan", type="number", nullable=True))
            terms.append(Term(sql=f"{row}.value", type=field.type, descending=item.descending, nullable=True))
        else:
            term = Term(sql=field.sql, type=field.type, descending=item.descending, nullable=field.nullable)
            terms.append(term)
    return Sorting(terms=tuple(terms), joins=tuple(joins))


def order_sql(terms: Sequence[Term]) -> str:
    """What stands behind ORDER BY.

    >>> order_sql([Term(sql="r.a", type="text", descending=True, nullable=True), Term(sql="r.b", type="text")])
    'r.a desc nulls last, r.b asc'
    """
    directions = (("desc" if each.descending else "asc") + (" nulls last" if each.nullable else "") for each in terms)
    return ", ".join(f"{each.sql} {direction}" for each, direction in zip(terms, directions, strict=True))


def after_sql(terms: Sequence[Term], last: Sequence[SortValue], params: Parameters) -> str:
    """True for the rows that come after the one with these values."""
    either, equal = [], []
    for term, value in zip(terms, last, strict=True):
        if value is None:  # nothing comes after "absent" but what the next terms put there
            equal.append(f"{term.sql} is null")
            continue
        name = params.add(value)
        beyond = f"{term.sql} {'<' if term.descending else '>'} {name}"
        if term.nullable:
            beyond = f"({beyond} or {term.sql} is null)"
        either.append(" and ".join([*equal, beyond]))
        equal.append(f"{term.sql} = {name}")
    clause = f"({' or '.join(f'({each})' for each in either)})"
    first, value = terms[0], last[0]
    if first.nullable or value is None:
        return clause
    # Said once more in the form an index can begin at.
    return f"{first.sql} {'<=' if first.descending else '>='} {params.add(value)} and {clause}"


def _dataset_of(item: SortItem) -> list[DatasetFilter]:
    return [DatasetFilter(name=item.dataset_name, digest=item.dataset_digest)] if item.dataset_name else []
