"""What is Postgres' own: a server that goes away, sessions that die, and passwords that are never shown."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from mlspine.backends.postgres import PostgresDatabase
from mlspine.backends.postgres_session import Sessions
from mlspine.core.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from tests.desk import free_port
from tests.postgres import SERVER, postgres_schema, run

SCRIPTS = {"0001_first": "create table item (name text primary key, body text)"}


@pytest.fixture
def url() -> Iterator[str]:
    with postgres_schema() as made:
        yield made


@pytest.fixture
def db(url: str) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(url, patience_s=5.0)
    database.migrate(SCRIPTS)
    yield database
    database.close()


def insert(db: PostgresDatabase, name: str) -> None:
    with db.write() as tx:
        tx.execute("insert into item (name) values (:name)", name=name)


def names(db: PostgresDatabase) -> list[str]:
    return [row["name"] for row in db.read("select name from item order by name")]


def my_pid(db: PostgresDatabase) -> int:
    return int(db.read("select pg_backend_pid() as pid")[0]["pid"])


@pytest.fixture
def named(url: str) -> Iterator[PostgresDatabase]:
    """A database whose sessions can be found: their application name is the schema's."""
    schema = unquote(url).rpartition("=")[2]
    database = PostgresDatabase(f"{url}&application_name={schema}", patience_s=5.0)
    database.migrate(SCRIPTS)
    yield database
    database.close()


def end_sessions_named(url: str) -> int:
    schema = unquote(url).rpartition("=")[2]
    return len(run(f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = '{schema}'"))


def test_reading_opens_one_connection_and_keeps_it(db: PostgresDatabase) -> None:
    assert len({my_pid(db) for _ in range(20)}) == 1


def test_after_a_restart_of_the_server_reading_and_writing_go_on(named: PostgresDatabase, url: str) -> None:
    insert(named, "before")
    for change in (lambda: insert(named, "after"), lambda: names(named)):
        assert end_sessions_named(url) >= 1
        change()
    assert names(named) == ["after", "before"]


def test_a_transaction_the_server_lost_stores_nothing_and_says_so(named: PostgresDatabase, url: str) -> None:
    def change() -> None:
        with named.write() as tx:
            tx.execute("insert into item (name) values ('lost')")
            end_sessions_named(url)
            tx.execute("insert into item (name) values ('too late')")

    with pytest.raises(Unavailable, match=r"connection to .* was lost"):
        change()
    assert names(named) == []


def test_a_connection_lost_while_committing_is_told_as_what_it_is(named: PostgresDatabase, url: str) -> None:
    def change() -> None:
        with named.write() as tx:
            tx.execute("insert into item (name) values ('a')")
            end_sessions_named(url)

    with pytest.raises(Unavailable, match="while a change was being committed") as caught:
        change()
    assert "look whether it is there" in caught.value.hint


def test_a_lock_the_server_lost_lets_its_holder_store_nothing_more(named: PostgresDatabase, url: str) -> None:
    def change() -> None:
        with named.lock("log"):
            insert(named, "under the lock")
            end_sessions_named(url)
            assert names(named) == ["under the lock"]  # reading goes on, on a new connection
            insert(named, "without it")

    with pytest.raises(Unavailable):
        change()
    assert names(named) == ["under the lock"]
    with named.lock("log"):
        insert(named, "again")
    assert names(named) == ["again", "under the lock"]


def test_a_killed_holder_lets_go(url: str, db: PostgresDatabase) -> None:
    script = (
        "import sys; from mlspine.backends.postgres import PostgresDatabase\n"
        "with PostgresDatabase(sys.argv[1]).lock('log'):\n"
        "    print('held', flush=True); sys.stdin.readline()"
    )
    child = subprocess.Popen([sys.executable, "-c", script, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    entered = threading.Event()

    def enter() -> None:
        with db.lock("log"):
            entered.set()

    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.1)
        child.kill()
        thread.join(20)
    assert entered.is_set()


def test_locks_of_two_workspaces_in_one_database_are_apart(db: PostgresDatabase) -> None:
    with postgres_schema() as elsewhere:
        other = PostgresDatabase(elsewhere, patience_s=1.0)
        with db.lock("log"), db.write(), other.lock("log"):
            other.migrate(SCRIPTS)
        other.close()


def test_another_process_that_writes_too_long_is_unavailable(url: str, db: PostgresDatabase) -> None:
    waiter = PostgresDatabase(url, patience_s=0.1)
    with db.write() as tx:
        tx.execute("insert into item (name) values ('held')")
        with pytest.raises(Unavailable, match="another process is writing") as caught:
            insert(waiter, "late")
        assert "nothing of this change was stored" in caught.value.hint
    insert(waiter, "late")
    waiter.close()
    assert names(db) == ["held", "late"]


def test_a_conflict_names_the_columns_and_not_the_values(db: PostgresDatabase) -> None:
    insert(db, "a secret name")
    with pytest.raises(Conflict, match=r"item\.name") as caught:
        insert(db, "a secret name")
    assert "secret" not in str(caught.value)


def test_a_user_who_may_not_change_the_schema_is_denied_with_the_grant(url: str) -> None:
    schema = unquote(url).rpartition("=")[2]
    role = schema.replace("test_", "role_")
    run(f"create role {role} login")
    run(f"grant usage on schema {schema} to {role}")

    def change() -> None:
        reader = PostgresDatabase(url.replace("postgres@", f"{role}@"))
        try:
            reader.migrate(SCRIPTS)
        finally:
            reader.close()

    try:
        with pytest.raises(Denied) as caught:
            change()
        assert "grant" in caught.value.hint
    finally:
        run(f"drop owned by {role}")
        run(f"drop role {role}")


def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    port = free_port()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}/mlspine does not answer") as caught:
        PostgresDatabase(f"postgresql://me:hidden-word@127.0.0.1:{port}/mlspine")
    assert "hidden-word" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_database_that_is_not_there_is_not_found() -> None:
    with postgres_schema(), pytest.raises(NotFound, match="no such database") as caught:
        PostgresDatabase(SERVER.rpartition("/")[0] + "/absent_database")
    assert "createdb" in caught.value.hint


def test_a_schema_that_is_not_there_is_not_found() -> None:
    with postgres_schema(), pytest.raises(NotFound, match="search_path"):
        PostgresDatabase(f"{SERVER}?options=-csearch_path%3Dabsent_schema")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hidden@word@host/db",
        "postgresql://me:hidden/word@host/db",
        "postgresql://me:hidden%zzword@host/db",
        "postgresql://me:hidden-word@host/db?absent=1",
        "postgresql://me:hidden-word@host:port/db",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises((Invalid, Unavailable)) as caught:
        PostgresDatabase(url)
    told = f"{caught.value} {caught.value.__cause__}"
    assert "hidden" not in told
    assert "word" not in told.replace("password", "").replace("PGPASSWORD", "")


def test_the_place_is_named_by_user_host_and_database() -> None:
    sessions = Sessions("postgresql://me:hidden@db.example:6432/ml?sslmode=require")
    assert sessions.where == "postgresql://me@db.example:6432/ml"
    assert "hidden" not in repr(sessions)
