"""Cutting scripts into statements."""

from __future__ import annotations

import sqlite3

import pytest

from mlspine import migrations
from mlspine.backends.sql import statements


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("", []),
        ("  \n-- nothing but words; here\n", []),
        ("select 1", ["select 1;"]),
        ("select 1; select 2;", ["select 1;", "select 2;"]),
        ("select ';'; -- a; b\nselect 2", ["select ';';", "select 2;"]),
        ("select 'it''s; fine';", ["select 'it''s; fine';"]),
        ("/* a; b */ select 1;", ["/* a; b */ select 1;"]),
        (
            "create trigger t after insert on a begin delete from b; delete from c; end; select 1;",
            ["create trigger t after insert on a begin delete from b; delete from c; end;", "select 1;"],
        ),
    ],
)
def test_a_script_is_cut_where_statements_end(script: str, expected: list[str]) -> None:
    assert list(statements(script)) == expected


def test_the_statements_of_every_migration_are_all_of_it() -> None:
    whole, cut = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    for store in (whole, cut):  # what the runner has made before the first script
        store.execute("create table migration (name text primary key, applied_at_ms bigint not null)")
    for script in migrations.scripts().values():
        whole.executescript(script)
        for statement in statements(script):
            cut.execute(statement)
    schema = "select name, sql from sqlite_master order by name"
    assert whole.execute(schema).fetchall() == cut.execute(schema).fetchall()
    whole.close()
    cut.close()
