"""What every Database must do. A backend joins by adding its place to BACKENDS: a context for one test in which
a factory opens the same store again and again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Conflict
from mlspine.ports import Database
from tests.postgres import postgres_schema


@contextlib.contextmanager
def sqlite_file(folder: Path) -> Iterator[Callable[[], Database]]:
    yield lambda: SqliteDatabase(folder / "store.db")


@contextlib.contextmanager
def fresh_schema(folder: Path) -> Iterator[Callable[[], Database]]:
    with postgres_schema() as url:
        from mlspine.backends.postgres import PostgresDatabase

        yield lambda: PostgresDatabase(url)


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Callable[[], Database]]]] = {
    "sqlite": sqlite_file,
    "postgres": fresh_schema,
}

SCRIPTS = {
    "0001_first": """
        -- a first table; with a semicolon in this comment
        create table item (
            name text primary key,
            size bigint not null,
            share double precision,
            body bytea
        );
        create index item_size on item (size);
    """,
    "0002_second": "create table tag (item text not null references item (name), word text not null);",
}


class FailedError(Exception):
    """Raised by the tests themselves."""


@pytest.fixture(params=sorted(BACKENDS))
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    opened: list[Database] = []

    with BACKENDS[request.param](tmp_path) as factory:

        def open_one() -> Database:
            opened.append(factory())
            return opened[-1]

        yield open_one
        for database in opened:
            database.close()


@pytest.fixture
def db(open_database: Callable[[], Database]) -> Database:
    database = open_database()
    database.migrate(SCRIPTS)
    return database


def add(db: Database, name: str, size: int = 1) -> None:
    with db.write() as tx:
        tx.execute("insert into item (name, size) values (:name, :size)", name=name, size=size)


def names(db: Database) -> list[str]:
    return [row["name"] for row in db.read("select name from item order by name")]


# ---------------------------------------------------------------- values


def test_every_kind_of_value_comes_back_as_it_went_in(db: Database) -> None:
    row = {"name": "zoë's; -- 'x'", "size": 2**62, "share": 0.1, "body": b"\x00\xff"}
    with db.write() as tx:
        tx.execute("insert into item (name, size, share, body) values (:name, :size, :share, :body)", **row)
    assert db.read("select name, size, share, body from item") == [row]


def test_null_and_truth_values_can_be_parameters(db: Database) -> None:
    with db.write() as tx:
        tx.execute("insert into item (name, size, share) values (:a, :b, :c)", a="x", b=True, c=None)
    assert db.read("select size, share from item") == [{"size": 1, "share": None}]


def test_a_parameter_may_stand_twice_and_may_be_called_sql(db: Database) -> None:
    add(db, "a")
    assert db.read("select name from item where name = :sql or name = :sql", sql="a") == [{"name": "a"}]


def test_reading_nothing_is_an_empty_list(db: Database) -> None:
    assert db.read("select * from item") == []


def test_execute_tells_how_many_rows_changed(db: Database) -> None:
    for name in "abc":
        add(db, name)
    with db.write() as tx:
        assert tx.execute("update item set size = 9 where name <> 'a'") == 2
        assert tx.execute("delete from item where size = 100") == 0


def test_upsert_and_returning_are_spoken(db: Database) -> None:
    with db.write() as tx:
        for size in (1, 2):
            rows = tx.read(
                "insert into item (name, size) values ('a', :size)"
                " on conflict (name) do update set size = excluded.size returning size",
                size=size,
            )
    assert rows == [{"size": 2}]


def test_sums_of_whole_numbers_are_whole_and_averages_are_floats(db: Database) -> None:
    for name, size in (("a", 1), ("b", 2)):
        add(db, name, size)
    row = db.read("select sum(size) as total, avg(size) as middle, count(*) as n from item")[0]
    assert row == {"total": 3, "middle": 1.5, "n": 2}
    assert isinstance(row["total"], int)
    assert isinstance(row["middle"], float)


def test_text_sorts_and_compares_by_bytes(db: Database) -> None:
    for name in ("é", "b", "a-2", "A", "a1", "a", "a 3"):
        add(db, name)
    assert names(db) == ["A", "a", "a 3", "a-2", "a1", "b", "é"]
    assert db.read("select min(name) as least from item where name > :floor", floor="Z") == [{"least": "a"}]


def test_like_tells_case_apart(db: Database) -> None:
    for name in ("tree", "Tree", "É", "é"):
        add(db, name)
    found = {p: db.read("select name from item where name like :p", p=p) for p in ("T%", "%EE", "É")}
    assert found == {"T%": [{"name": "Tree"}], "%EE": [], "É": [{"name": "É"}]}


def test_colons_and_percent_signs_in_texts_comments_and_casts_are_no_parameters(db: Database) -> None:
    add(db, "100% :sure")
    rows = db.read(
        "select name, cast(7 % 4 as bigint) as rest -- 50 % :no\n from item"
        " where name like '100% :s%' and name = :name /* :nor this, 5 % */",
        name="100% :sure",
    )
    assert rows == [{"name": "100% :sure", "rest": 3}]


# ---------------------------------------------------------------- transactions


def test_a_transaction_is_stored_whole(db: Database) -> None:
    with db.write() as tx:
        tx.execute("insert into item (name, size) values ('a', 1)")
        tx.execute("insert into item (name, size) values ('b', 1)")
    assert names(db) == ["a", "b"]


def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    def change() -> None:
        with db.write() as tx:
            tx.execute("insert into item (name, size) values ('a', 1)")
            raise FailedError

    with pytest.raises(FailedError):
        change()
    assert names(db) == []
    add(db, "b")  # and the next one works
    assert names(db) == ["b"]


def test_reads_inside_a_transaction_see_its_changes(db: Database) -> None:
    with db.write() as tx:
        tx.execute("insert into item (name, size) values ('a', 1)")
        assert names(db) == ["a"]
        assert tx.read("select count(*) as n from item") == [{"n": 1}]


def test_an_inner_write_joins_the_outer_one(db: Database) -> None:
    def change() -> None:
        with db.write():
            add(db, "inner")
            assert names(db) == ["inner"]
            raise FailedError

    with pytest.raises(FailedError):
        change()
    assert names(db) == []


def test_a_failure_inside_undoes_the_whole_even_when_it_was_caught(db: Database) -> None:
    def change() -> None:
        with db.write():
            add(db, "outer")
            try:
                with db.write():
                    add(db, "inner")
                    raise FailedError
            except FailedError:
                pass

    with pytest.raises(FailedError):
        change()
    assert names(db) == []


def test_a_statement_that_failed_undoes_the_whole_even_when_it_was_caught(db: Database) -> None:
    add(db, "known")

    def change() -> None:
        with db.write() as tx:
            tx.execute("insert into item (name, size) values ('a', 1)")
            with contextlib.suppress(Conflict):
                tx.execute("insert into item (name, size) values ('known', 1)")

    with pytest.raises(Conflict):
        change()
    assert names(db) == ["known"]


# ---------------------------------------------------------------- parts that may fail alone


def test_a_part_that_fails_alone_is_undone_and_the_rest_is_stored(db: Database) -> None:
    with db.write() as tx:
        add(db, "before")
        with pytest.raises(FailedError), tx.attempt():  # noqa: PT012  the part is what fails
            add(db, "inside")
            assert names(db) == ["before", "inside"]
            raise FailedError
        assert names(db) == ["before"]
        add(db, "after")
    assert names(db) == ["after", "before"]


def test_a_statement_that_fails_inside_a_part_undoes_that_part_alone(db: Database) -> None:
    with db.write() as tx:
        add(db, "a")
        with pytest.raises(Conflict), tx.attempt():  # noqa: PT012  the part is what fails
            add(db, "b")
            add(db, "a")
        add(db, "c")
    assert names(db) == ["a", "c"]


def test_a_failure_that_was_caught_inside_a_part_still_undoes_the_part(db: Database) -> None:
    with db.write() as tx:
        add(db, "a")
        with pytest.raises(Conflict), tx.attempt():  # noqa: PT012  the part is what fails
            add(db, "b")
            with contextlib.suppress(Conflict):
                add(db, "a")
        add(db, "c")
    assert names(db) == ["a", "c"]


def test_parts_nest_and_the_inner_one_fails_alone_too(db: Database) -> None:
    with db.write() as tx:
        with tx.attempt():
            add(db, "outer")
            with pytest.raises(FailedError), tx.attempt():  # noqa: PT012  the part is what fails
                add(db, "inner")
                raise FailedError
            add(db, "beside")
        with pytest.raises(FailedError), tx.attempt():  # noqa: PT012  the part is what fails
            with tx.attempt():
                add(db, "kept by the inner part")
            raise FailedError
    assert names(db) == ["beside", "outer"]


def test_a_failure_outside_the_parts_undoes_them_too(db: Database) -> None:
    def change() -> None:
        with db.write() as tx:
            with tx.attempt():
                add(db, "a")
            with contextlib.suppress(FailedError), db.write():
                raise FailedError
            with tx.attempt():
                add(db, "b")

    with pytest.raises(FailedError):
        change()
    assert names(db) == []


def test_many_parts_of_one_transaction_each_have_their_own_end(db: Database) -> None:
    with db.write() as tx:
        for number in range(50):
            with contextlib.suppress(FailedError), tx.attempt():
                add(db, f"{number:02}")
                if number % 2:
                    raise FailedError
    assert names(db) == [f"{number:02}" for number in range(0, 50, 2)]


# ---------------------------------------------------------------- synced or not


def test_what_need_not_be_synced_is_stored_too(open_database: Callable[[], Database], db: Database) -> None:
    with db.write(synced=False) as tx:
        tx.execute("insert into item (name, size) values ('a', 1)")
        with db.write(synced=False):
            add_loosely(db, "b")
    add(db, "c")
    assert names(open_database()) == ["a", "b", "c"]


def test_what_need_not_be_synced_may_join_what_must(db: Database) -> None:
    with db.write():
        add_loosely(db, "a")
    assert names(db) == ["a"]


def test_what_must_be_synced_may_not_join_what_need_not(db: Database) -> None:
    with db.write(synced=False):
        add_loosely(db, "a")
        with pytest.raises(RuntimeError, match="make the outer one synced"):
            add(db, "b")
    assert names(db) == ["a"]


def add_loosely(db: Database, name: str) -> None:
    with db.write(synced=False) as tx:
        tx.execute("insert into item (name, size) values (:name, 1)", name=name)


def test_other_threads_do_not_see_or_join_an_open_transaction(db: Database) -> None:
    seen: list[list[str]] = []

    def read_elsewhere() -> None:
        seen.append(names(db))

    with db.write() as tx:
        tx.execute("insert into item (name, size) values ('a', 1)")
        thread = threading.Thread(target=read_elsewhere)
        thread.start()
        thread.join()
    assert seen == [[]]
    assert names(db) == ["a"]


def test_writers_of_many_threads_take_turns(db: Database) -> None:
    add(db, "counter", 0)

    def count() -> None:
        for _ in range(25):
            with db.write() as tx:
                size = tx.read("select size from item")[0]["size"]
                tx.execute("update item set size = :size", size=size + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db.read("select size from item") == [{"size": 100}]


def test_two_openings_of_one_store_see_each_other(open_database: Callable[[], Database], db: Database) -> None:
    other = open_database()
    add(other, "a")
    assert names(db) == ["a"]
    add(db, "b")
    assert names(other) == ["a", "b"]


# ---------------------------------------------------------------- locks


def waiting_for(db: Database, name: str) -> tuple[threading.Thread, threading.Event]:
    """A thread that waits for the lock, and the sign that it has got it."""
    entered = threading.Event()

    def enter() -> None:
        with db.lock(name):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    return thread, entered


@pytest.mark.parametrize("same", [True, False])
def test_a_lock_has_one_holder_over_threads_and_openings(
    open_database: Callable[[], Database], db: Database, same: bool
) -> None:
    other = db if same else open_database()
    with db.lock("log"):
        with db.lock("log"):
            thread, entered = waiting_for(other, "log")
        assert not entered.wait(0.1)  # the inner one did not let go of the outer
    thread.join(10)
    assert entered.is_set()


def test_locks_of_other_names_are_others(open_database: Callable[[], Database], db: Database) -> None:
    with db.lock("log"):
        thread, entered = waiting_for(open_database(), "judging")
        thread.join(10)
        assert entered.is_set()


def test_an_error_inside_lets_go_of_the_lock(db: Database) -> None:
    with pytest.raises(FailedError), db.lock("log"):
        raise FailedError
    thread, entered = waiting_for(db, "log")
    thread.join(10)
    assert entered.is_set()


def test_reading_and_writing_go_on_under_locks(open_database: Callable[[], Database], db: Database) -> None:
    with db.lock("judging"), db.lock("log"):
        add(db, "a")
        add(open_database(), "b")  # a lock keeps nobody from writing: it is its holders' agreement
        assert names(db) == ["a", "b"]
    add(db, "c")
    assert names(db) == ["a", "b", "c"]


def test_a_lock_is_taken_before_writing_never_inside(db: Database) -> None:
    with pytest.raises(RuntimeError, match="before"), db.write(), db.lock("log"):
        pass
    with db.lock("log"), db.write(), db.lock("log"):
        pass  # held already


# ---------------------------------------------------------------- refusals


def test_a_second_row_of_one_key_is_a_conflict(db: Database) -> None:
    add(db, "a")
    with pytest.raises(Conflict, match=r"item\.name"):
        add(db, "a")


def test_a_reference_to_nothing_is_a_conflict(db: Database) -> None:
    def change() -> None:
        with db.write() as tx:
            tx.execute("insert into tag (item, word) values ('absent', 'x')")

    with pytest.raises(Conflict):
        change()


def test_reading_cannot_write(db: Database) -> None:
    with pytest.raises(Exception):  # noqa: B017  each backend has its own word for it
        db.read("insert into item (name, size) values ('a', 1)")
    assert names(db) == []


# ---------------------------------------------------------------- migrations


def test_migrations_run_once_in_name_order(open_database: Callable[[], Database]) -> None:
    database = open_database()
    assert database.migrate(dict(reversed(SCRIPTS.items()))) == ["0001_first", "0002_second"]
    assert database.migrate(SCRIPTS) == []
    add(database, "a")
    assert open_database().migrate(SCRIPTS) == []
    assert names(database) == ["a"]


def test_a_later_release_applies_only_what_is_new(db: Database) -> None:
    more = {**SCRIPTS, "0003_third": "create table third (a text)"}
    assert db.migrate(more) == ["0003_third"]


def test_a_failing_script_leaves_nothing_of_itself_and_runs_again_once_mended(
    open_database: Callable[[], Database],
) -> None:
    database = open_database()
    broken = {**SCRIPTS, "0003_third": "create table third (a text); create table third (a text);"}
    with pytest.raises(Exception, match="third"):
        database.migrate(broken)
    assert database.migrate({**SCRIPTS, "0003_third": "create table third (a text);"}) == ["0003_third"]
    assert database.read("select * from third") == []


def test_a_store_of_a_newer_release_is_refused_with_the_way_out(db: Database) -> None:
    db.migrate({**SCRIPTS, "0009_future": "create table future (a text)"})
    with pytest.raises(Conflict, match=r"newer mlspine.*0009_future") as caught:
        db.migrate(SCRIPTS)
    assert "pip install --upgrade mlspine" in caught.value.hint


def test_the_whole_schema_applies(open_database: Callable[[], Database]) -> None:
    database = open_database()
    scripts = migrations.scripts()
    assert list(scripts) == sorted(scripts)
    assert database.migrate(scripts) == list(scripts)
