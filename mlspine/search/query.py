"""A search as a store asks for it: filter, order and page token -> SQL -> a page of rows and the next token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mlspine.core.errors import Invalid
from mlspine.core.types import Struct
from mlspine.search.fields import Dialect, Keyed
from mlspine.search.grammar import MOST_VALUES, SortItem, parse_filter
from mlspine.search.order import Sorting, SortValue, Term, after_sql, order_sql, sort_items, sorting
from mlspine.search.page import fingerprint, read_token, write_token
from mlspine.search.sql import DatasetFilter, Parameters, conditions_sql

Row = dict[str, Any]


class Part(Struct, frozen=True, kw_only=True):
    """One statement of a query, without what is selected."""

    joins: tuple[str, ...]
    where: tuple[str, ...]
    order: str


class Query(Struct, frozen=True, kw_only=True):
    """A search ready to run. Its parts follow each other: the next is asked when the page is not full yet."""

    table: str
    parts: tuple[Part, ...]
    terms: tuple[Term, ...]
    params: Mapping[str, str | int | float]
    page_rows: int
    fingerprint: str

    def sql(self, part: Part, *, columns: str, where: Sequence[str] = ()) -> str:
        """The statement of a part; `:page_rows` is left for the number of rows."""
        selected = [columns, *(f"{each.sql} as sort_{at}" for at, each in enumerate(self.terms))]
        clauses = [*where, *part.where] or ["1 = 1"]
        return (
            f"select {', '.join(selected)} from {' '.join([self.table, *part.joins])}"
            f" where {' and '.join(clauses)} order by {part.order} limit :page_rows"
        )

    def token_after(self, row: Row) -> str:
        return write_token(self.fingerprint, [row[f"sort_{at}"] for at in range(len(self.terms))])


def build(
    dialect: Dialect,
    *,
    filter: str = "",  # noqa: A002  the protocol's own word
    order_by: Sequence[str | SortItem] = (),
    page_token: str = "",
    max_results: int | None = None,
    within: Sequence[int] | None = None,
    datasets: Sequence[DatasetFilter] = (),
) -> Query:
    """The query of one page.

    within: the experiments asked, for entities that lie in one; None: all, empty: no row. datasets: logged models
    with metrics on them, and only those metrics count. Raises Invalid, with the place where it was the text.
    """
    page_rows = dialect.page_size(max_results)
    conditions, items = parse_filter(filter, dialect), sort_items(order_by, dialect)
    mark = fingerprint(dialect.entity, conditions, items, datasets)
    params = Parameters()
    where = [*_scope(dialect, within, params), *conditions_sql(conditions, dialect, params, datasets=datasets)]
    sorted_by = sorting(items, dialect, params, datasets=datasets)
    last = read_token(page_token, mark, sorted_by.terms) if page_token else None
    if within is not None and len(within) == 1 and not conditions and _has_index(items[0], dialect):
        parts = _numbers_first(items[0], dialect, sorted_by, where, last, params, within[0])
    else:
        parts = [_whole(sorted_by, where, last, params)]
    return Query(
        table=dialect.table,
        parts=tuple(parts),
        terms=sorted_by.terms,
        params=params.values,
        page_rows=page_rows,
        fingerprint=mark,
    )


def fetch_page(
    query: Query, read: Callable[..., list[Row]], *, columns: str, where: Sequence[str] = (), **params: object
) -> tuple[list[Row], str]:
    """The rows of the page, and the token of the next one, "" when there is none.

    columns: what to select of the dialect's table, beside which rows carry sort_0, sort_1, ... where: further
    conditions of the store, with their params; names like p0 are the query's.
    """
    rows: list[Row] = []
    for part in query.parts:
        missing = query.page_rows + 1 - len(rows)  # one more row than asked tells whether there is a next page
        sql = query.sql(part, columns=columns, where=where)
        rows += read(sql, **query.params, **params, page_rows=missing)
        if len(rows) > query.page_rows:
            return rows[:-1], query.token_after(rows[-2])
    return rows, ""


def _scope(dialect: Dialect, within: Sequence[int] | None, params: Parameters) -> list[str]:
    if within is None:
        return []
    if not dialect.scope:
        raise ValueError(f"{dialect.entity} lie in no experiment")
    if len(within) > MOST_VALUES:
        raise Invalid(f"{len(within)} experiments in one search", hint=f"at most {MOST_VALUES}: search in parts")
    return [f"{dialect.scope} in {params.add_all(within)}"] if within else ["1 = 0"]


def _whole(sorted_by: Sorting, where: Sequence[str], last: Sequence[SortValue] | None, params: Parameters) -> Part:
    after = [after_sql(sorted_by.terms, last, params)] if last is not None else []
    return Part(joins=sorted_by.joins, where=(*where, *after), order=order_sql(sorted_by.terms))


def _has_index(item: SortItem, dialect: Dialect) -> bool:
    field = dialect.field(item.kind, item.key)
    return isinstance(field, Keyed) and bool(field.scope)


def _numbers_first(
    item: SortItem,
    dialect: Dialect,
    sorted_by: Sorting,
    where: Sequence[str],
    last: Sequence[SortValue] | None,
    params: Parameters,
    experiment: int,
) -> list[Part]:
    """Rows with a number under the metric, read in the order of its index, and then the rest.

    Best 100 of 100,000 runs on SQLite: 0.2 ms, against 84 ms when all are joined and sorted. Not where there are
    conditions (380 ms when few rows pass them) or several experiments (250 ms, as one index range is sorted no more).
    """
    field = dialect.keyed[item.kind]
    flag, number, *others = sorted_by.terms
    indexed = f"s0.{field.scope} = {params.add(experiment)}"
    terms = (msgspec.structs.replace(number, nullable=False), *others)
    first = Part(
        joins=(sorted_by.joins[0].removeprefix("left "), *sorted_by.joins[1:]),
        where=(*where, indexed, f"{flag.sql} = 0", *([after_sql(terms, last[1:], params)] if last else [])),
        order=order_sql(terms),
    )
    rest = _whole(sorted_by, [*where, f"({flag.sql} <> 0 or {flag.sql} is null)"], None, params)
    return [first, rest] if last is None or last[0] == 0 else [_whole(sorted_by, rest.where, last, params)]
