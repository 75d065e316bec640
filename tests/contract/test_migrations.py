"""A store of any earlier version goes forward with all its rows, and a store of a later one is refused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlspine import migrations
from mlspine.backends.sql import statements
from mlspine.core.errors import Conflict
from mlspine.ports import Database, Row
from tests.contract.test_database import BACKENDS

SCRIPTS = migrations.scripts()
VALUES: dict[str, Any] = {"text": "1", "bigint": 1, "double": 0.5, "bytea": b"1"}
_CREATED = re.compile(r"create table (\w+) \((.*)\)[^()]*;\Z", re.DOTALL)
_ADDED = re.compile(r"alter table (\w+) add column (\w+) (\w+)")
_COLUMN = re.compile(r'"?(\w+)"? (text|bigint|double|bytea)\b')


@pytest.fixture(params=sorted(BACKENDS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    with BACKENDS[request.param](tmp_path) as opened:
        yield opened


def columns_of(scripts: dict[str, str]) -> dict[str, dict[str, str]]:
    """Column -> type of every table as these scripts leave them, those that others refer to first."""
    found: dict[str, dict[str, str]] = {}
    for statement in (each for script in scripts.values() for each in statements(script)):
        plain = re.sub(r"--[^\n]*", "", statement)
        if created := _CREATED.match(plain):
            lines = (line.strip() for line in created[2].splitlines())
            found[created[1]] = {known[1]: known[2] for line in lines if (known := _COLUMN.match(line))}
        elif added := _ADDED.match(plain):
            found[added[1]][added[2]] = added[3]
        elif dropped := re.match(r"drop table (\w+)", plain):
            del found[dropped[1]]
        elif renamed := re.match(r"alter table (\w+) rename to (\w+)", plain):
            found[renamed[2]] = found.pop(renamed[1])
    return found


def fill(db: Database, tables: dict[str, dict[str, str]]) -> dict[str, list[Row]]:
    """One row in every table, each naming the one row of those it refers to; what was there already stays."""
    with db.write() as tx:
        for table, columns in tables.items():
            row = {name: VALUES[kind] for name, kind in columns.items()}
            names, places = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
            tx.execute(f"insert into {table} ({names}) values ({places})", **row)
    return {table: db.read(f"select * from {table}") for table in tables}


@pytest.mark.parametrize("seen", range(1, len(SCRIPTS)), ids=list(SCRIPTS)[:-1])
def test_a_store_of_an_earlier_version_goes_forward_with_all_its_rows(store: Callable[[], Database], seen: int) -> None:
    earlier = dict(list(SCRIPTS.items())[:seen])
    with contextlib.closing(store()) as db:
        db.migrate(earlier)
        before = fill(db, columns_of(earlier))
    with contextlib.closing(store()) as db:
        assert db.migrate(SCRIPTS) == list(SCRIPTS)[seen:]
        for table, rows in before.items():
            after = db.read(f"select * from {table}")
            assert len(after) >= len(rows), table
            for row in rows:
                assert any(row.items() <= each.items() for each in after), (table, row, after)
        assert db.migrate(SCRIPTS) == []


def test_every_table_of_the_store_was_filled(store: Callable[[], Database]) -> None:
    """What the test above knows of the tables is what the store has."""
    with contextlib.closing(store()) as db:
        db.migrate(SCRIPTS)
        tables = columns_of(SCRIPTS)
        for table, rows in fill(db, tables).items():
            assert set(rows[0]) == set(tables[table]), table
    created = set(re.findall(r"create table (\w+)", "\n".join(SCRIPTS.values())))
    assert created - set(tables) == {"model_version_now"}


@pytest.mark.parametrize("seen", [1, len(SCRIPTS)])
def test_a_store_of_a_later_version_is_refused_with_the_way_out(store: Callable[[], Database], seen: int) -> None:
    known = dict(list(SCRIPTS.items())[:seen])
    with contextlib.closing(store()) as db:
        db.migrate({**SCRIPTS, "9999_later": "create table later (x bigint);"})
    with contextlib.closing(store()) as db:
        with pytest.raises(Conflict, match="9999_later") as refused:
            db.migrate(known)
        assert refused.value.hint == "upgrade this installation: pip install --upgrade mlspine"
        assert db.read("select x from later") == []
