"""Laws of searches: what parses also runs, finds what the conditions say, and pages give each row once in order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Invalid
from mlspine.ports import Database
from mlspine.search import EXPERIMENTS, LOGGED_MODELS, MODEL_VERSIONS, REGISTERED_MODELS, RUNS, build, fetch_page
from mlspine.search.grammar import Condition, SortItem, parse_filter
from mlspine.search.order import sort_items
from tests.unit.search.stored import Run, put, search

DIALECTS = (RUNS, EXPERIMENTS, REGISTERED_MODELS, MODEL_VERSIONS, LOGGED_MODELS)
in_one_store = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = SqliteDatabase(tmp_path_factory.mktemp("store") / "store.db")
    database.migrate(migrations.scripts())
    yield database
    database.close()


# ---------------------------------------------------------------- any text

WORDS = """
    metrics params tags attributes run dataset run_id run_name status start_time name experiment_id creation_time
    version_number source_path model_id metrics.a params.`b c` tags."d" dataset.context . , ( ) ` ' " '' -- ; = != == <>
    < <= > >= LIKE ilike IN NOT IS NULL AND OR asc DESC 'x' "y" '%_' 1 -2.5 1e999 1e5 nan 9223372036854775808
    99999999999999999999999999 \\ \\' ('a','b') ('1',)
"""
words = st.sampled_from(WORDS.split())
conditions_like = st.builds(
    lambda *parts: " ".join(parts),
    st.sampled_from(
        ["metrics.a", "params.`b c`", "tags.d", "start_time", "status", "run_id", "name", "dataset.name", "model_id"]
    ),
    st.sampled_from(["=", "!=", "<", ">=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL", "=="]),
    st.sampled_from(["", "'x'", "1", "-1e999", "('a', 'b')", '"%_\\"', "99999999999999999999999999", "'1'"]),
)
any_text = (
    st.text(max_size=40)
    | st.lists(words, max_size=12).map(" ".join)
    | st.lists(words, max_size=12).map("".join)
    | st.lists(conditions_like, max_size=4).map(" AND ".join)
)


@given(text=any_text, order=any_text, token=any_text, dialect=st.sampled_from(DIALECTS))
@in_one_store
def test_any_text_runs_or_is_refused(store: Database, text: str, order: str, token: str, dialect: Any) -> None:
    for asked in ({"filter": text}, {"order_by": [order]}, {"page_token": token}):
        try:
            query = build(dialect, **asked)
        except Invalid:
            continue
        fetch_page(query, store.read, columns="1")


marked = st.text(st.characters(exclude_characters="`\0", exclude_categories=["Cs"]), max_size=10).map("zq{}".format)


@given(key=marked, value=marked, order=marked)
def test_no_word_of_the_caller_stands_in_the_sql(key: str, value: str, order: str) -> None:
    quoted = "'" + value.replace("\\", "").replace("'", "''") + "'"
    asked: dict[str, Any] = {
        "filter": f"params.`{key}` = {quoted} AND tags.`{key}` LIKE {quoted} AND run_id IN ({quoted}) AND"
        f" dataset.name ILIKE {quoted} AND metrics.`{key}` != 4711 AND status != {quoted}",
        "order_by": [f"metrics.`{order}` DESC", f"params.`{order}`"],
        "within": [4712],
    }
    last = {f"sort_{at}": each for at, each in enumerate((0, 4713.5, quoted, 4714, quoted))}
    query = build(RUNS, **asked, page_token=build(RUNS, **asked).token_after(last))
    for part in query.parts:
        sql = query.sql(part, columns="r.id")
        assert "zq" not in sql
        assert "471" not in sql
        assert set(re.findall(r":\w+", sql)) <= {f":{name}" for name in query.params} | {":page_rows"}


# ---------------------------------------------------------------- conditions

keys = st.sampled_from(["a", "b c", "x/y", "é", "'"])
values = st.text("aAéÉ%_!' \n", max_size=3)
numbers = st.sampled_from([-1.5, 0.0, 1.0, 2.0, 1e300, 0.1]) | st.floats(allow_nan=True, allow_infinity=False)
times = st.none() | st.integers(0, 4)
datasets = st.lists(
    st.tuples(st.sampled_from(["d", "e"]), st.sampled_from(["1", "2"]), st.none() | st.sampled_from(["train", "eval"])),
    max_size=2,
    unique_by=lambda each: each[:2],
)
runs = st.lists(
    st.builds(
        Run,
        id=st.text("0123456789abcdef", min_size=1, max_size=4),
        name=values,
        status=st.sampled_from(["RUNNING", "FINISHED"]),
        user_id=values,
        start_time=times,
        end_time=times,
        metrics=st.dictionaries(keys, numbers, max_size=4),
        params=st.dictionaries(keys, values, max_size=4),
        tags=st.dictionaries(keys, values, max_size=4),
        datasets=datasets,
    ),
    max_size=8,
    unique_by=lambda run: run.id,
)
quoted = values.map(lambda value: "'" + value.replace("'", "''") + "'")
text_ops = st.sampled_from(["=", "!=", "LIKE", "ILIKE"])
number_ops = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
written_numbers = numbers.filter(math.isfinite).map(repr)
filters = st.lists(
    st.one_of(
        st.builds("metrics.`{}` {} {}".format, keys, number_ops, written_numbers),
        st.builds("{}.`{}` {} {}".format, st.sampled_from(["params", "tags"]), keys, text_ops, quoted),
        st.builds("{}.`{}` IS {}NULL".format, st.sampled_from(["params", "tags"]), keys, st.sampled_from(["", "NOT "])),
        st.builds("{} {} {}".format, st.sampled_from(["run_name", "user_id", "status"]), text_ops, quoted),
        st.builds("{} {} {}".format, st.sampled_from(["start_time", "end_time"]), number_ops, st.integers(-1, 5)),
        st.builds("dataset.name {} 'd'".format, text_ops),
        st.builds("dataset.digest {} ('1', '3')".format, st.sampled_from(["IN", "NOT IN"])),
        st.builds("dataset.context {} 'train'".format, text_ops),
    ),
    max_size=3,
).map(" AND ".join)


def holds(run: Run, condition: Condition) -> bool:
    if condition.kind == "dataset":
        place = ("name", "digest", "context").index(condition.key)
        return any(compare(each[place], condition.op, condition.value) for each in run.datasets)
    return compare(value_of(run, condition.kind, condition.key), condition.op, condition.value)


def value_of(run: Run, kind: str, key: str) -> Any:
    if kind == "attribute":
        return getattr(run, {"run_name": "name", "run_id": "id"}.get(key, key))
    return {"metric": run.metrics, "param": run.params, "tag": run.tags}[kind].get(key)


def compare(have: Any, op: str, value: Any) -> bool:
    if op in ("IS NULL", "IS NOT NULL"):
        return (have is None) == (op == "IS NULL")
    if have is None:
        return False
    if op in ("LIKE", "ILIKE"):
        pattern = "".join({"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in value)
        fold = re.IGNORECASE | re.ASCII if op == "ILIKE" else re.NOFLAG
        return re.fullmatch(pattern, have, re.DOTALL | fold) is not None
    return bool(
        {
            "=": lambda: have == value,
            "!=": lambda: have != value,
            "<": lambda: have < value,
            "<=": lambda: have <= value,
            ">": lambda: have > value,
            ">=": lambda: have >= value,
            "IN": lambda: have in value,
            "NOT IN": lambda: have not in value,
        }[op]()
    )


@given(runs=runs, text=filters)
@in_one_store
def test_conditions_find_what_they_are_true_of(store: Database, runs: list[Run], text: str) -> None:
    conditions = parse_filter(text, RUNS)
    expected = {run.id for run in runs if all(holds(run, each) for each in conditions)}
    assert set(search(store, put(store, runs), text)) == expected


# ---------------------------------------------------------------- orders and pages

orders = st.lists(
    st.one_of(
        st.builds("metrics.`{}`".format, keys),
        st.builds("{}.`{}`".format, st.sampled_from(["params", "tags"]), keys),
        st.sampled_from(["start_time", "end_time", "run_name", "status", "run_id"]),
    ).flatmap(lambda field: st.sampled_from([field, f"{field} DESC"])),
    max_size=3,
    unique_by=lambda item: item.removesuffix(" DESC"),
)


def sorted_by(runs: list[Run], items: tuple[SortItem, ...]) -> list[str]:
    """The ids in order, by stable sorts from the last item to the first."""
    for item in reversed(items):

        def rank(run: Run, item: SortItem = item) -> int:
            value = value_of(run, item.kind, item.key)
            return 2 if value is None else 1 if value != value else 0

        def value(run: Run, item: SortItem = item) -> Any:
            return value_of(run, item.kind, item.key) if rank(run, item) == 0 else 0

        ranked = [[run for run in runs if rank(run) == at] for at in range(3)]
        ranked[0] = sorted(ranked[0], key=value, reverse=item.descending)
        runs = [run for each in ranked for run in each]
    return [run.id for run in runs]


@given(runs=runs, order_by=orders, text=st.just("") | filters, size=st.integers(1, 9))
@in_one_store
def test_pages_of_any_size_give_each_row_once_in_order(
    store: Database, runs: list[Run], order_by: list[str], text: str, size: int
) -> None:
    experiment = put(store, runs)
    whole = search(store, experiment, text, order_by=order_by)
    assert search(store, experiment, text, order_by=order_by, size=size) == whole
    kept = [run for run in runs if all(holds(run, each) for each in parse_filter(text, RUNS))]
    assert whole == sorted_by(kept, sort_items(order_by, RUNS))
