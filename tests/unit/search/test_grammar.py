"""What a filter and an order may say, and what is said back when they may not."""

from __future__ import annotations

import pytest

from mlspine.core.errors import Invalid
from mlspine.search import EXPERIMENTS, LOGGED_MODELS, MODEL_VERSIONS, REGISTERED_MODELS, RUNS, Condition, Dialect
from mlspine.search.grammar import LONGEST_PATTERN, MOST_CONDITIONS, MOST_VALUES, parse_filter, parse_order, sort_field


def one(text: str, dialect: Dialect = RUNS) -> tuple[str, str, str, object]:
    (condition,) = parse_filter(text, dialect)
    return condition.kind, condition.key, condition.op, condition.value


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_no_filter_is_no_condition(text: str) -> None:
    assert parse_filter(text, RUNS) == ()


def test_conditions_are_joined_by_and_in_any_case() -> None:
    assert parse_filter("params.a = 'x' AND tags.b != 'y' aNd metrics.c<1", RUNS) == (
        Condition(kind="param", key="a", op="=", value="x"),
        Condition(kind="tag", key="b", op="!=", value="y"),
        Condition(kind="metric", key="c", op="<", value=1.0),
    )


@pytest.mark.parametrize(
    ("text", "kind", "key"),
    [
        ("metrics.a > 1", "metric", "a"),
        ("metric.a > 1", "metric", "a"),
        ("`metrics`.a > 1", "metric", "a"),
        ("metrics.a.b > 1", "metric", "a.b"),
        ("metrics.`a b` > 1", "metric", "a b"),
        ('metrics."a b" > 1', "metric", "a b"),
        ('metrics."a`b" > 1', "metric", "a`b"),
        ("metrics.train/loss-1:x > 1", "metric", "train/loss-1:x"),
        ("metrics.5>1", "metric", "5"),
        ("params.Case = 'x'", "param", "Case"),
        ("parameters.é = 'x'", "param", "é"),
        ("parameter.1a = 'x'", "param", "1a"),
        ("tag.mlflow.runName = 'x'", "tag", "mlflow.runName"),
        ("tags.`mlflow.runName` = 'x'", "tag", "mlflow.runName"),
        ("tags.`it's` = 'x'", "tag", "it's"),
        ("run.status = 'x'", "attribute", "status"),
        ("attr.status = 'x'", "attribute", "status"),
        ("attributes.`status` = 'x'", "attribute", "status"),
        ("`start_time` > 1", "attribute", "start_time"),
        ("Created > 1", "attribute", "start_time"),
        ("attribute.created > 1", "attribute", "start_time"),
        ("`Run Name` = 'x'", "attribute", "run_name"),
        ("dataset.name = 'x'", "dataset", "name"),
        ("datasets.context = 'x'", "dataset", "context"),
    ],
)
def test_fields_are_named_in_many_ways(text: str, kind: str, key: str) -> None:
    assert one(text)[:2] == (kind, key)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'a'", "a"),
        ('"a"', "a"),
        ("''", ""),
        ('"it\'s"', "it's"),
        ("'it''s'", "it's"),
        (r"'it\'s'", "it's"),
        (r"'C:\dir\'", "C:\\dir\\"),
        (r"'a\b%'", r"a\b%"),
        ("'a\nb'", "a\nb"),
        ("' AND params.b = '", " AND params.b = "),
    ],
)
def test_texts_stand_in_quotes(written: str, value: str) -> None:
    assert one(f"params.a = {written}")[3] == value


@pytest.mark.parametrize(
    ("written", "value"),
    [("5", 5.0), ("-5", -5.0), (".5", 0.5), ("5.", 5.0), ("1e5", 1e5), ("-1E-5", -1e-5), ("1.5e+2", 150.0)],
)
def test_numbers_stand_bare(written: str, value: float) -> None:
    assert one(f"metrics.a>{written}")[3] == value


def test_times_are_whole_where_they_are_written_whole() -> None:
    assert isinstance(one("start_time > 1700000000000")[3], int)
    assert one("start_time > 1.5")[3] == 1.5
    assert one(f"start_time < {2**70}")[3] == float(2**70)


def test_numbers_beyond_all_floats_are_the_greatest_as_the_store_keeps_infinity() -> None:
    assert one("metrics.a < 1e999")[3] == pytest.approx(1.7976931348623157e308)
    assert one(f"metrics.a > -{'9' * 5000}")[3] == pytest.approx(-1.7976931348623157e308)


@pytest.mark.parametrize(
    ("text", "op", "value"),
    [
        ("run_id IN ('a', 'b')", "IN", ("a", "b")),
        ("run_id in ('a',)", "IN", ("a",)),
        ('run_id not  in ("a")', "NOT IN", ("a",)),
        ("params.a is null", "IS NULL", None),
        ("params.a IS  not\nNULL", "IS NOT NULL", None),
        ("params.a like '%a_'", "LIKE", "%a_"),
        ("params.a iLike 'a'", "ILIKE", "a"),
    ],
)
def test_comparators_of_words_are_read_in_any_case(text: str, op: str, value: object) -> None:
    assert one(text)[2:] == (op, value)


def test_an_experiment_id_is_a_number_written_in_quotes() -> None:
    assert one("experiment_id = '12'", EXPERIMENTS)[3] == 12
    assert one("experiment_id IN ('1', '2')", EXPERIMENTS)[3] == (1, 2)
    with pytest.raises(Invalid, match="expected a whole number in quotes"):
        parse_filter("experiment_id = '1x'", EXPERIMENTS)


@pytest.mark.parametrize(
    ("text", "at", "read"),
    [
        ("params.a = 'x' OR params.b = 'y'", 16, "'OR'"),
        ("(params.a = 'x')", 1, "'('"),
        ("params.a = ('x')", 12, "'('"),
        ("params.a = 'x' params.b = 'y'", 16, "'params.b'"),
        ("params.a = 'x' AND", 19, "the end"),
        ("AND params.a = 'x'", 1, "'AND'"),
        ("NOT params.a = 'x'", 1, "'NOT'"),
        ("params.a =", 11, "the end"),
        ("params.a", 9, "the end"),
        ("params.a = x", 12, "'x'"),
        ("params.a = 5", 12, "'5'"),
        ("params.a 'x'", 10, "'x'"),
        ("'x' = params.a", 1, "'x'"),
        ("metrics.a > 'x'", 13, "'x'"),
        ("metrics.a > nan", 13, "'nan'"),
        ("metrics.a > inf", 13, "'inf'"),
        ("metrics.a > 1_000", 13, "'1_000'"),
        ("metrics.a > 0x10", 13, "'0x10'"),
        ("metrics.a > +5", 13, "'+'"),
        ("metrics.a > 1.2.3", 13, "'1.2.3'"),
        ("params.a == 'x'", 10, "'=='"),
        ("params.a <> 'x'", 10, "'<>'"),
        ("params.a > 'x'", 10, "'>'"),
        ("params.a = 'x", 12, "'"),
        ("params.a = 'x'; params.b = 'y'", 15, "';'"),
        ("params.a = 'x' -- y", 16, "'-'"),
        ("params.`` = 'x'", 1, "params.``"),
        ("params. a = 'x'", 7, "'.'"),
        ("run_id IN ()", 12, "')'"),
        ("run_id IN 'x'", 11, "'x'"),
        ("run_id IN ('x' 'y')", 16, "'y'"),
        ("run_id NOT 'x'", 12, "'x'"),
        ("params.a IS 5", 13, "'5'"),
        ("params.a = 'x\0'", 14, r"'\x00'"),
        ("params.a = '\ud800'", 13, r"'\ud800'"),
        ("Metrics.a > 1", 1, "'Metrics'"),
        ("inputs.a = 'x'", 1, "'inputs'"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, at: int, read: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_filter(text, RUNS)
    assert caught.value.message.startswith("Invalid clause(s) in filter string: ")
    assert f"at character {at}" in caught.value.message
    assert read in caught.value.message
    assert caught.value.hint


def test_an_unknown_name_brings_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(Invalid, match="Invalid attribute key 'statu' specified at character 1") as caught:
        parse_filter("statu = 'x'", RUNS)
    assert "start_time" in caught.value.hint
    assert "did you mean status?" in caught.value.hint


def test_a_long_word_is_not_repeated_whole() -> None:
    with pytest.raises(Invalid) as caught:
        parse_filter(f"{'x' * 100_000} = 1", RUNS)
    assert len(str(caught.value)) < 500


def test_filters_are_bounded() -> None:
    parse_filter(" AND ".join(["params.a = 'x'"] * MOST_CONDITIONS), RUNS)
    with pytest.raises(Invalid, match="more than 50 conditions"):
        parse_filter(" AND ".join(["params.a = 'x'"] * (MOST_CONDITIONS + 1)), RUNS)
    with pytest.raises(Invalid, match="more than 10000 values"):
        parse_filter(f"run_id IN ({', '.join([repr('x')] * (MOST_VALUES + 1))})", RUNS)
    with pytest.raises(Invalid, match="a pattern of 10001 characters"):
        parse_filter(f"params.a LIKE '{'x' * (LONGEST_PATTERN + 1)}'", RUNS)
    with pytest.raises(Invalid, match="1000001 characters"):
        parse_filter(" " * 1_000_001, RUNS)


# ---------------------------------------------------------------- what each search allows


TEXT = {"=", "!=", "LIKE", "ILIKE"}
LISTS = {"IN", "NOT IN"}
NULLS = {"IS NULL", "IS NOT NULL"}
NUMBER = {"=", "!=", ">", ">=", "<", "<="}
FIELDS: list[tuple[Dialect, str, set[str]]] = [
    (RUNS, "metrics.a", NUMBER),
    (RUNS, "params.a", TEXT | NULLS),
    (RUNS, "tags.a", TEXT | NULLS),
    (RUNS, "run_id", TEXT | LISTS),
    (RUNS, "run_name", TEXT),
    (RUNS, "status", TEXT),
    (RUNS, "user_id", TEXT),
    (RUNS, "artifact_uri", TEXT),
    (RUNS, "start_time", NUMBER),
    (RUNS, "end_time", NUMBER),
    (RUNS, "dataset.name", TEXT | LISTS),
    (RUNS, "dataset.digest", TEXT | LISTS),
    (RUNS, "dataset.context", TEXT | LISTS),
    (RUNS, "experiment_id", set()),
    (RUNS, "lifecycle_stage", set()),
    (EXPERIMENTS, "name", TEXT),
    (EXPERIMENTS, "tags.a", TEXT | NULLS),
    (EXPERIMENTS, "creation_time", NUMBER),
    (EXPERIMENTS, "last_update_time", NUMBER),
    (EXPERIMENTS, "experiment_id", {"=", "!="} | LISTS),
    (EXPERIMENTS, "params.a", set()),
    (REGISTERED_MODELS, "name", TEXT | LISTS),
    (REGISTERED_MODELS, "tags.a", TEXT),
    (REGISTERED_MODELS, "creation_timestamp", set()),
    (REGISTERED_MODELS, "metrics.a", set()),
    (MODEL_VERSIONS, "name", TEXT | LISTS),
    (MODEL_VERSIONS, "run_id", TEXT | LISTS),
    (MODEL_VERSIONS, "source_path", TEXT),
    (MODEL_VERSIONS, "version_number", NUMBER),
    (MODEL_VERSIONS, "creation_timestamp", NUMBER),
    (MODEL_VERSIONS, "last_updated_timestamp", NUMBER),
    (MODEL_VERSIONS, "tags.a", TEXT),
    (LOGGED_MODELS, "name", TEXT | LISTS),
    (LOGGED_MODELS, "model_id", TEXT | LISTS),
    (LOGGED_MODELS, "model_type", TEXT | LISTS),
    (LOGGED_MODELS, "status", {"=", "!="} | LISTS),
    (LOGGED_MODELS, "source_run_id", TEXT | LISTS),
    (LOGGED_MODELS, "creation_time", NUMBER),
    (LOGGED_MODELS, "last_updated_timestamp", NUMBER),
    (LOGGED_MODELS, "metrics.a", NUMBER),
    (LOGGED_MODELS, "params.a", TEXT | LISTS | NULLS),
    (LOGGED_MODELS, "tags.a", TEXT | LISTS | NULLS),
]


@pytest.mark.parametrize(("dialect", "field", "allowed"), FIELDS, ids=lambda value: getattr(value, "entity", None))
def test_each_field_takes_its_comparators_and_no_other(dialect: Dialect, field: str, allowed: set[str]) -> None:
    taken = set()
    for op in TEXT | LISTS | NULLS | NUMBER:
        for value in ("", "'1'", "1", "('1')", "'READY'", "('READY')"):
            try:
                parse_filter(f"{field} {op} {value}", dialect)
            except Invalid:
                continue
            taken.add(op)
    assert taken == allowed


@pytest.mark.parametrize("text", ["status = 'LOGGED_MODEL_READY'", "status IN ('READY', 'ready')"])
def test_a_status_that_no_model_can_have_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="expected one of PENDING, READY, UPLOAD_FAILED"):
        parse_filter(text, LOGGED_MODELS)


def test_a_number_stands_with_and_without_quotes_where_mlflow_takes_both() -> None:
    assert parse_filter("params.depth = 3", LOGGED_MODELS) == parse_filter("params.depth = '3'", LOGGED_MODELS)
    assert parse_filter("version_number = '1'", MODEL_VERSIONS) == parse_filter("version_number = 1", MODEL_VERSIONS)
    for text, dialect in (("params.depth = 3", RUNS), ("version_number = 'one'", MODEL_VERSIONS)):
        with pytest.raises(Invalid, match="expected a"):
            parse_filter(text, dialect)


# ---------------------------------------------------------------- orders


@pytest.mark.parametrize(
    ("text", "kind", "key", "descending"),
    [
        ("metrics.a", "metric", "a", False),
        ("metrics.a DESC", "metric", "a", True),
        ("metrics.`a b` desc", "metric", "a b", True),
        ('metrics."a b"  Asc ', "metric", "a b", False),
        ("params.a", "param", "a", False),
        ("tags.`a`", "tag", "a", False),
        ("Created DESC", "attribute", "start_time", True),
        ("attribute.run_id", "attribute", "run_id", False),
    ],
)
def test_orders_name_a_field_and_a_direction(text: str, kind: str, key: str, descending: bool) -> None:
    item = parse_order(text, RUNS)
    assert (item.kind, item.key, item.descending) == (kind, key, descending)


@pytest.mark.parametrize(
    "text",
    ["", "metrics.a foo", "metrics.a DESC NULLS LAST", "metrics.a, metrics.b", "experiment_id", "dataset.name", "a"],
)
def test_other_orders_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="Invalid order_by clause"):
        parse_order(text, RUNS)


def test_what_has_no_order_is_told_with_what_has() -> None:
    with pytest.raises(Invalid, match="registered models are not sorted by tag 'a'") as caught:
        parse_order("tags.a", REGISTERED_MODELS)
    assert "creation_timestamp, last_updated_timestamp, name" in caught.value.hint
    assert parse_order("timestamp DESC", REGISTERED_MODELS).key == "last_updated_timestamp"


def test_an_order_may_come_as_fields() -> None:
    item = sort_field("metrics.a b", LOGGED_MODELS, ascending=False, dataset_name="d", dataset_digest="e")
    assert (item.kind, item.key, item.descending, item.dataset_name, item.dataset_digest) == (
        "metric", "a b", True, "d", "e",
    )  # fmt: skip
    assert sort_field("creation_time", LOGGED_MODELS).key == "creation_timestamp"
    for name, asked in (("params.a", {}), ("nope", {}), ("metrics.a", {"dataset_digest": "e"})):
        with pytest.raises(Invalid):
            sort_field(name, LOGGED_MODELS, **asked)
