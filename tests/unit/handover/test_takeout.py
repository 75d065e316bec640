"""What is taken out: every table with its types, and the script that verifies the ledger."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import duckdb

from mlspine import migrations
from mlspine.backends.snapshot import LEFT_OUT, tables
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.handover.takeout import columns_of, readme, take_out

SCRIPTS = migrations.scripts()
DOCS = Path(__file__).parents[3] / "docs"


def test_the_columns_of_every_table_are_read_from_the_migrations(tmp_path: Path) -> None:
    db = SqliteDatabase(tmp_path / "store.db")
    db.migrate(SCRIPTS)
    real = {
        name: [row["name"] for row in db.read(f"select name from pragma_table_info('{name}')")]
        for name in tables(SCRIPTS)
    }
    db.close()
    assert {name: list(columns) for name, columns in columns_of(SCRIPTS).items()} == real


def test_tables_keep_bytes_texts_numbers_and_emptiness(tmp_path: Path) -> None:
    db = SqliteDatabase(tmp_path / "store.db")
    db.migrate(SCRIPTS)
    with db.write() as tx:
        tx.execute(
            "insert into learned_reference (endpoint, release_hash, reference, rows, learned_at_ms)"
            " values ('it''s \"a\"', 'r', :reference, 9007199254740993, 1)",
            reference=b"\x00\xff'",
        )
        tx.execute("insert into switch_time (endpoint, number, committed_at_ms, effective_s) values ('a', 1, 2, 0.25)")
    told: list[str] = []
    (tmp_path / "it's").mkdir()
    parts = take_out(
        tmp_path / "it's" / "out",
        copy=tmp_path,
        db=db,
        scripts=SCRIPTS,
        left_out=LEFT_OUT,
        pages={"cards/a.md": "# a"},
        ledger="",
        tell=told.append,
    )
    db.close()
    folder = tmp_path / "it's" / "out" / "tables"
    rows = duckdb.read_parquet(str(folder / "learned_reference.parquet")).fetchall()
    assert rows == [('it\'s "a"', "r", b"\x00\xff'", 9007199254740993, 1)]
    assert duckdb.read_parquet(str(folder / "switch_time.parquet")).fetchall() == [("a", 1, 2, 0.25)]
    empty = duckdb.read_parquet(str(folder / "alert.parquet"))
    assert empty.fetchall() == []
    assert "document" in empty.columns
    assert {path.stem for path in folder.iterdir()} == set(tables(SCRIPTS)) - set(LEFT_OUT)
    page = readme(parts, workspace="/srv/ws", when="2026-01-01", version="1", left_out=LEFT_OUT)
    assert all(f"tables/{path.name}" in page for path in folder.iterdir())
    assert "cards/a.md" in page
    assert told[0] == "tables"


def test_the_script_taken_out_is_the_one_in_the_docs() -> None:
    packaged = resources.files("mlspine.handover").joinpath("verify_ledger.py.txt").read_text(encoding="utf-8")
    assert packaged == (DOCS / "verify_ledger.py").read_text(encoding="utf-8")
