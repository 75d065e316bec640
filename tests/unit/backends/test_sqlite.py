"""What is SQLite's own: durability, refused files, and failures told as causes with a way out."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Corrupt, Denied, NotFound, Unavailable

SCRIPTS = {"0001_first": "create table item (name text primary key, body text)"}
FILLER = "x" * 4000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "store.db", busy_timeout_s=5.0)
    database.migrate(SCRIPTS)
    yield database
    database.close()


def insert(db: SqliteDatabase, name: str, body: str = "") -> None:
    with db.write() as tx:
        tx.execute("insert into item (name, body) values (:name, :body)", name=name, body=body)


def test_what_was_committed_is_brought_to_disk(db: SqliteDatabase) -> None:
    with db.write() as tx:
        assert tx.read("pragma journal_mode") == [{"journal_mode": "wal"}]
        assert tx.read("pragma synchronous") == [{"synchronous": 2}]
        assert tx.read("pragma foreign_keys") == [{"foreign_keys": 1}]


def test_a_wrong_statement_stays_an_error_of_ours(db: SqliteDatabase) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        db.read("select * from absent")
    with pytest.raises(sqlite3.ProgrammingError):
        db.read("select :missing")


def test_a_full_disk_stores_nothing_and_says_so(db: SqliteDatabase, tmp_path: Path) -> None:
    insert(db, "before")
    with db.write() as tx:
        pages = tx.read("pragma page_count")[0]["page_count"]
        tx.read(f"pragma max_page_count = {pages + 2}")

    def fill() -> None:
        for number in range(10):
            insert(db, f"filler-{number}", FILLER)

    with pytest.raises(Unavailable, match="no space left") as caught:
        fill()
    assert str(tmp_path) in caught.value.message
    assert "df -h" in caught.value.hint
    with db.write() as tx:
        tx.read("pragma max_page_count = 100000")
    insert(db, "after")
    names = [row["name"] for row in db.read("select name from item where name not like 'filler%' order by name")]
    assert names == ["after", "before"]


def test_nothing_is_stored_after_sqlite_undid_a_transaction_by_itself(db: SqliteDatabase) -> None:
    """As it may on a full disk; here a trigger makes it. What came next would be stored by itself, at once."""
    with db.write() as tx:
        tx.execute("create table note (word text)")
        tx.execute(
            "create trigger undo before insert on note when new.word = 'undo'"
            " begin select raise(rollback, 'undone'); end"
        )

    def change() -> None:
        with db.write() as tx:
            for word in ("a", "undo", "b"):
                with contextlib.suppress(sqlite3.IntegrityError), tx.attempt():
                    tx.execute("insert into note (word) values (:word)", word=word)

    with pytest.raises(sqlite3.IntegrityError, match="undone"):
        change()
    assert db.read("select word from note") == []
    with db.write() as tx:
        tx.execute("insert into note (word) values ('c')")
    assert db.read("select word from note") == [{"word": "c"}]


def test_a_store_that_may_not_be_written_is_denied_with_the_command(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = SqliteDatabase(path)
    first.migrate(SCRIPTS)
    with first.write() as tx:  # what the file system says of a read-only mount, without needing one
        tx.read("pragma query_only = on")
    with pytest.raises(Denied, match="cannot be written") as caught:
        insert(first, "a")
    first.close()
    assert "chmod u+w" in caught.value.hint


def test_a_damaged_file_is_corrupt_with_the_way_to_save_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(Corrupt, match="damaged") as caught:
        SqliteDatabase(path)
    assert ".recover" in caught.value.hint


def test_a_page_damaged_later_is_corrupt_too(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    db = SqliteDatabase(path)
    db.migrate(SCRIPTS)
    for number in range(50):
        insert(db, f"row-{number}", FILLER)
    db.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(os.path.getsize(path) - 4096))
    again = SqliteDatabase(path)
    with pytest.raises(Corrupt):
        again.read("select * from item order by body")
    again.close()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no folder") as caught:
        SqliteDatabase(tmp_path / "absent" / "store.db")
    assert caught.value.hint == f"mkdir -p {tmp_path / 'absent'}"


def test_a_path_that_is_a_folder_is_denied(tmp_path: Path) -> None:
    with pytest.raises(Denied, match="cannot be opened"):
        SqliteDatabase(tmp_path)


def test_another_process_that_writes_too_long_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    holder, waiter = SqliteDatabase(path), SqliteDatabase(path, busy_timeout_s=0.05)
    holder.migrate(SCRIPTS)
    with holder.write() as tx:
        tx.execute("insert into item (name) values ('held')")
        with pytest.raises(Unavailable, match="another process is writing"):
            insert(waiter, "late")
    insert(waiter, "late")
    holder.close()
    waiter.close()


def test_another_thread_that_writes_too_long_is_unavailable(tmp_path: Path) -> None:
    db = SqliteDatabase(tmp_path / "store.db", busy_timeout_s=0.05)
    db.migrate(SCRIPTS)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            insert(db, "late")
        except Unavailable as exc:
            caught.append(exc)

    with db.write():
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert "another thread" in str(caught[0])
    db.close()


def test_a_context_carried_into_another_thread_does_not_carry_the_transaction(db: SqliteDatabase) -> None:
    seen: list[int] = []
    with db.write() as tx:
        tx.execute("insert into item (name) values ('a')")
        context = copy_context()

        def count() -> None:
            seen.append(db.read("select count(*) as n from item")[0]["n"])

        thread = threading.Thread(target=context.run, args=(count,))
        thread.start()
        thread.join()
    context.run(count)  # and a transaction that has ended is joined by nobody
    assert seen == [0, 1]


def test_readers_are_kept_and_no_more_of_them_than_read_at_once(db: SqliteDatabase) -> None:
    for _ in range(20):
        db.read("select 1")
    assert len(db._idle_readers) == 1


def test_a_killed_writer_leaves_whole_transactions_only(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from mlspine.backends.sqlite import SqliteDatabase
        db = SqliteDatabase(sys.argv[1])
        db.migrate({"0001_first": "create table item (name text primary key, body text)"})
        for number in range(3):
            with db.write() as tx:
                for part in range(2):
                    tx.execute("insert into item (name) values (:name)", name=f"{number}-{part}")
                    if number == 2:
                        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    path = tmp_path / "store.db"
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    db = SqliteDatabase(path)
    assert [row["name"] for row in db.read("select name from item order by name")] == [
        "0-0",
        "0-1",
        "1-0",
        "1-1",
    ]
    assert db.migrate(SCRIPTS) == []
    db.close()


def test_two_processes_may_create_the_same_store_at_once(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        from mlspine import migrations
        from mlspine.backends.sqlite import SqliteDatabase
        sys.stdin.readline()
        db = SqliteDatabase(sys.argv[1])
        print(*db.migrate(migrations.scripts()))
        db.close()
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path / "store.db")]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    applied = [name for process in processes for name in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(applied) == list(migrations.scripts())
