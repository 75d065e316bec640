"""Sources: what a text means, and the rows it gives, whichever form they lie in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from mlspine.core.columns import row_count
from mlspine.core.errors import Invalid, NotFound, Unavailable
from mlspine.data.source import anchored, file_marks, opened, parse_source, read_source
from tests.needs import need

POSTGRES = "postgresql://postgres@127.0.0.1:5432/test"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "a.csv").write_text("id,temp,city,at\n1,1.5,Oslo,2024-01-01T10:00:00\n2,,Rome,\n")
    (tmp_path / "fresh" / "b.csv").write_text("id,temp,city,at\n3,2.5,,2024-01-02T10:00:00\n")
    return tmp_path


@pytest.fixture
def table() -> Iterator[str]:
    """A table in a real Postgres, gone afterwards."""
    psycopg = pytest.importorskip("psycopg")
    try:
        session = psycopg.connect(POSTGRES, connect_timeout=2, autocommit=True)
    except psycopg.OperationalError as exc:
        need("postgres", False, f"no server at 127.0.0.1:5432: {exc}")
    with session:
        session.execute("drop schema if exists feed_test cascade")
        session.execute("create schema feed_test")
        session.execute(
            "create table feed_test.orders as select n as id, case when n % 7 = 0 then null else n / 4.0 end as price,"
            " 'city ' || n as city, n % 2 = 0 as paid,"
            " timestamptz '2024-01-01 00:00:00+02' + n * interval '1 hour' as at"
            " from generate_series(1, 25000) n"
        )
        yield "feed_test.orders"
        session.execute("drop schema feed_test cascade")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("fresh/*.csv", "path"),
        ("/data/x.parquet", "path"),
        ("  select * from 'a.csv';", "sql"),
        ("from 'a.csv'", "sql"),
        ("postgresql://me@host/db?table=sales", "postgres"),
        ("env:ORDERS_URL", "postgres"),
        ("caller", "caller"),
    ],
)
def test_a_text_is_one_of_four_kinds(text: str, kind: str) -> None:
    assert parse_source(text).kind == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fresh", "give a path or glob"),
        ("s3://bucket/x.parquet", "s3:// is no source"),
        ("select 1; drop table x", "2 statements"),
        ("select from where", "no SQL"),
        ("postgresql://me@host/db", "one table, or one query"),
        ("postgresql://me@host/db?table=a#delete from a", "one table, or one query"),
        ("postgresql://me@host/db#delete from a", "begins with 'delete'"),
    ],
)
def test_anything_else_is_refused_with_the_forms_there_are(text: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_source(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "text", ["postgresql://me:geheim@h/db?table=a", "postgresql://me@h/db?table=a&password=geheim"]
)
def test_a_password_is_not_taken_and_not_repeated(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_source(text)
    assert "geheim" not in str(refused.value)
    assert "PGPASSWORD" in refused.value.hint


def test_relative_paths_are_kept_as_seen_from_the_folder_of_the_workspace(tmp_path: Path) -> None:
    at = {"cwd": tmp_path / "notebooks", "root": tmp_path}
    assert anchored("fresh/*.csv", **at) == "notebooks/fresh/*.csv"
    assert anchored("../fresh/*.csv", **at) == "fresh/*.csv"
    assert anchored("/data/x.csv", **at) == "/data/x.csv"
    assert anchored("select 1", **at) == "select 1"
    assert anchored("caller", **at) == "caller"


def test_all_files_of_a_glob_are_read_in_order(root: Path) -> None:
    columns = read_source(parse_source("fresh/*.csv"), root=root)
    assert columns["id"].tolist() == [1, 2, 3]
    assert columns["id"].dtype == np.int64
    np.testing.assert_array_equal(columns["temp"], [1.5, np.nan, 2.5])
    assert columns["city"].tolist() == ["Oslo", "Rome", None]
    assert columns["at"].dtype == np.dtype("datetime64[us]")
    assert np.isnat(columns["at"]).tolist() == [False, True, False]


def test_parquet_and_json_lines_hold_the_same_rows(root: Path) -> None:
    csv = read_source(parse_source("fresh/*.csv"), root=root)
    for ending, how in (("parquet", "format parquet"), ("jsonl", "format json")):
        duckdb.sql(f"copy (from read_csv('{root}/fresh/*.csv')) to '{root}/x.{ending}' ({how})")
        other = read_source(parse_source(f"x.{ending}"), root=root)
        for name in ("id", "temp", "city"):
            np.testing.assert_array_equal(other[name], csv[name])


def test_vectors_decimals_and_categories_travel(root: Path) -> None:
    sql = "select [1.0::double, n] as v, (n / 3)::decimal(9, 2) as d, 'a'::enum('a', 'b') as c from range(3) t(n)"
    columns = read_source(parse_source(sql), root=root)
    assert columns["v"].tolist() == [[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]
    assert columns["d"].tolist() == [0.0, 0.33, 0.67]
    assert columns["c"].tolist() == ["a", "a", "a"]


def test_sql_finds_relative_files_from_the_root(root: Path) -> None:
    columns = read_source(parse_source("select id from 'fresh/a.csv' where temp is null"), root=root)
    assert columns["id"].tolist() == [2]


def test_what_is_read_piece_by_piece_is_what_there_was_when_it_was_opened(root: Path) -> None:
    with opened(parse_source("select n from range(10) t(n)"), root=root) as table:
        assert table.rows == 10
        assert [table.chunk(at, at + 4)["n"].tolist() for at in (0, 4, 8)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_missing_file_is_told_with_what_lies_there(root: Path) -> None:
    with pytest.raises(NotFound) as missing:
        read_source(parse_source("fresh/aa.csv"), root=root)
    assert "did you mean a.csv?" in missing.value.hint
    with pytest.raises(NotFound) as nothing:
        read_source(parse_source("fresh/*.parquet"), root=root)
    assert str(root / "fresh") in str(nothing.value)


def test_a_file_that_is_not_what_it_says_is_told_with_its_name(root: Path) -> None:
    (root / "fresh" / "broken.parquet").write_text("no parquet at all")
    with pytest.raises(Invalid, match=r"fresh/broken\.parquet cannot be read"):
        read_source(parse_source("fresh/broken.parquet"), root=root)


def test_unknown_columns_in_sql_are_told_in_the_words_of_the_database(root: Path) -> None:
    with pytest.raises(Invalid) as refused:
        read_source(parse_source("select tmp from 'fresh/a.csv'"), root=root)
    assert "tmp" in refused.value.message
    assert str(root) in refused.value.hint


def test_rows_that_come_with_requests_cannot_be_read(root: Path) -> None:
    with pytest.raises(Invalid, match="come with requests"):
        read_source(parse_source("caller"), root=root)


def test_a_files_mark_changes_with_the_file_and_only_then(root: Path) -> None:
    source = parse_source("fresh/*.csv")
    before = file_marks(source, root=root)
    assert file_marks(source, root=root) == before
    (root / "fresh" / "b.csv").write_text("id,temp,city,at\n")
    after = file_marks(source, root=root)
    assert [Path(name).name for name in before if before[name] != after[name]] == ["b.csv"]
    assert file_marks(parse_source("select 1"), root=root) == {}


def test_what_is_text_to_the_model_is_read_as_text(root: Path) -> None:
    (root / "zip.csv").write_text("zip,n\n7001,1\n7002,2\n")
    source = parse_source("zip.csv")
    assert read_source(source, root=root)["zip"].tolist() == [7001, 7002]
    assert read_source(source, root=root, texts={"zip", "absent"})["zip"].tolist() == ["7001", "7002"]


def test_only_some_files_of_a_glob_can_be_read(root: Path) -> None:
    with opened(parse_source("fresh/*.csv"), root=root, files=[root / "fresh" / "b.csv"]) as table:
        assert table.chunk(0, 10)["id"].tolist() == [3]


def test_a_postgres_table_is_read_whole_with_its_types(table: str, tmp_path: Path) -> None:
    columns = read_source(parse_source(f"{POSTGRES}?table={table}"), root=tmp_path)
    assert row_count(columns) == 25_000
    assert columns["id"].dtype == np.int64
    assert columns["price"][0] == 0.25
    assert int(np.isnan(columns["price"]).sum()) == 25_000 // 7
    assert columns["city"][-1] == "city 25000"
    assert columns["paid"].dtype == np.bool_
    assert columns["at"][0] == np.datetime64("2023-12-31T23:00:00")


def test_a_postgres_query_may_come_from_the_environment(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = POSTGRES.replace("postgres@", "postgres:unused@")
    monkeypatch.setenv("ORDERS", f"{url}#select id from {table} where id <= 3 order by id")
    assert read_source(parse_source("env:ORDERS"), root=tmp_path)["id"].tolist() == [1, 2, 3]
    monkeypatch.setenv("ORDERS", f"{url}#select nothing from {table}")
    with pytest.raises(Invalid) as refused:
        read_source(parse_source("env:ORDERS"), root=tmp_path)
    assert "unused" not in str(refused.value)
    monkeypatch.delenv("ORDERS")
    with pytest.raises(Invalid, match="is not set"):
        read_source(parse_source("env:ORDERS"), root=tmp_path)


def test_a_source_cannot_write_to_postgres(table: str, tmp_path: Path) -> None:
    url = f"{POSTGRES}#with gone as (delete from {table} returning 1) select * from gone"
    with pytest.raises(Invalid, match="refuses"):
        read_source(parse_source(url), root=tmp_path)
    assert row_count(read_source(parse_source(f"{POSTGRES}?table={table}"), root=tmp_path)) == 25_000


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(Unavailable, match="cannot be reached"):
        read_source(parse_source("postgresql://me@127.0.0.1:1/db?table=a"), root=tmp_path)
