"""Group commit: each part has its own end, all share one transaction, and nobody hears of it before it is stored."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from mlspine.core.errors import Conflict, Unavailable
from mlspine.ports import Database, Transaction
from mlspine.tracking.committer import AT_ONCE, Committer, TooMany

PATIENCE_S = 30.0


class FailedError(Exception):
    """Raised by the tests themselves."""


class Watched:
    """A database of which a test sees the transactions, holds them up or makes their end fail."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.synced: list[bool] = []
        self.open = threading.Event()
        self.open.set()
        self.at_commit: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def write(self, *, synced: bool = True) -> Iterator[Transaction]:
        assert self.open.wait(PATIENCE_S)
        with self._db.write(synced=synced) as tx:
            yield tx
            self.at_commit()
        self.synced.append(synced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.fixture
def noted(db: Database) -> Iterator[Database]:
    with db.write() as tx:
        tx.execute("drop table if exists note")
        tx.execute("create table note (no bigint primary key, word text not null unique)")
    yield db
    with db.write() as tx:
        tx.execute("drop table note")


@pytest.fixture
def watched(noted: Database) -> Watched:
    return Watched(noted)


@pytest.fixture
def committer(watched: Watched) -> Iterator[Committer]:
    with contextlib.closing(Committer(watched, most_waiting=1000)) as committer:
        yield committer
        watched.open.set()


_numbers = itertools.count()


def note(db: Database, word: str) -> int:
    number = next(_numbers)
    with db.write(synced=False) as tx:
        tx.execute("insert into note (no, word) values (:no, :word)", no=number, word=word)
    return number


def words(db: Database) -> list[str]:
    return [row["word"] for row in db.read("select word from note order by no")]


def submitted(committer: Committer, write: Callable[[], Any], *, synced: bool = False) -> Future[Any]:
    told: Future[Any] = Future()

    def done(result: Any, error: BaseException | None) -> None:
        if error is None:
            told.set_result(result)
        else:
            told.set_exception(error)

    committer.submit(write, done, synced=synced)
    return told


def test_a_part_is_told_what_it_made(committer: Committer, noted: Database) -> None:
    assert submitted(committer, lambda: ("made", note(noted, "a"))).result(PATIENCE_S)[0] == "made"
    assert words(noted) == ["a"]


def test_parts_that_wait_together_are_one_transaction_in_the_order_they_came(
    committer: Committer, watched: Watched, noted: Database
) -> None:
    watched.open.clear()
    first = submitted(committer, partial(note, noted, "first"))  # taken alone, and held up
    while committer._waiting:
        pass
    told = [submitted(committer, partial(note, noted, word)) for word in "hgfedcba"]
    watched.open.set()
    numbers = [each.result(PATIENCE_S) for each in (first, *told)]
    assert numbers == sorted(numbers)
    assert words(noted) == ["first", *"hgfedcba"]
    assert len(watched.synced) == 2


def test_a_part_that_fails_leaves_the_others_alone(committer: Committer, watched: Watched, noted: Database) -> None:
    def fails() -> None:
        note(noted, "undone")
        raise FailedError("of its own")

    watched.open.clear()
    told = [
        submitted(committer, partial(note, noted, "a")),
        submitted(committer, fails),
        submitted(committer, partial(note, noted, "a")),  # there already
        submitted(committer, partial(note, noted, "b")),
    ]
    watched.open.set()
    assert isinstance(told[0].result(PATIENCE_S), int)
    with pytest.raises(FailedError, match="of its own"):
        told[1].result(PATIENCE_S)
    with pytest.raises(Conflict):
        told[2].result(PATIENCE_S)
    assert isinstance(told[3].result(PATIENCE_S), int)
    assert words(noted) == ["a", "b"]


def test_nobody_is_told_before_it_is_stored(committer: Committer, watched: Watched, noted: Database) -> None:
    at_commit, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        at_commit.set()
        assert go_on.wait(PATIENCE_S)

    watched.at_commit = hold
    told = submitted(committer, partial(note, noted, "a"))
    assert at_commit.wait(PATIENCE_S)
    assert not told.done()
    with ThreadPoolExecutor(1) as reader:
        assert reader.submit(words, noted).result(PATIENCE_S) == []
    go_on.set()
    told.result(PATIENCE_S)
    assert words(noted) == ["a"]


def test_a_commit_that_fails_is_told_to_everybody_and_stores_nothing(
    committer: Committer, watched: Watched, noted: Database
) -> None:
    def fail() -> None:
        raise FailedError("at the commit")

    watched.at_commit = fail
    watched.open.clear()
    told = [submitted(committer, partial(note, noted, word)) for word in "abc"]
    watched.open.set()
    for each in told:
        with pytest.raises(FailedError, match="at the commit"):
            each.result(PATIENCE_S)
    assert words(noted) == []
    watched.at_commit = lambda: None
    submitted(committer, partial(note, noted, "later")).result(PATIENCE_S)
    assert words(noted) == ["later"]


def test_one_part_that_must_be_synced_makes_the_transaction_synced(
    committer: Committer, watched: Watched, noted: Database
) -> None:
    submitted(committer, partial(note, noted, "a")).result(PATIENCE_S)
    submitted(committer, partial(note, noted, "b"), synced=True).result(PATIENCE_S)
    assert watched.synced == [False, True]


def test_everything_of_many_threads_is_stored_once(committer: Committer, noted: Database) -> None:
    def send(thread: int) -> None:
        for number in range(30):
            submitted(committer, partial(note, noted, f"{thread}-{number}")).result(PATIENCE_S)

    with ThreadPoolExecutor(8) as threads:
        for sent in [threads.submit(send, thread) for thread in range(8)]:
            sent.result(PATIENCE_S)
    assert sorted(words(noted)) == sorted(f"{thread}-{number}" for thread in range(8) for number in range(30))


def test_a_transaction_has_a_bound_and_the_rest_goes_into_the_next(
    committer: Committer, watched: Watched, noted: Database
) -> None:
    watched.open.clear()
    told = [submitted(committer, partial(note, noted, str(number))) for number in range(AT_ONCE + 2)]
    watched.open.set()
    for each in told:
        each.result(PATIENCE_S)
    assert len(watched.synced) >= 2
    assert len(words(noted)) == AT_ONCE + 2


def test_who_comes_when_too_many_wait_is_sent_away_at_once(watched: Watched, noted: Database) -> None:
    watched.open.clear()
    with contextlib.closing(Committer(watched, most_waiting=2)) as committer:
        first = submitted(committer, partial(note, noted, "a"))
        while committer._waiting:
            pass
        waiting = [submitted(committer, partial(note, noted, word)) for word in "bc"]
        with pytest.raises(TooMany, match="2 writes wait"):
            submitted(committer, partial(note, noted, "d"))
        watched.open.set()
        for each in (first, *waiting):
            each.result(PATIENCE_S)
    assert words(noted) == ["a", "b", "c"]


def test_closing_stores_what_waits_and_takes_no_more(watched: Watched, noted: Database) -> None:
    watched.open.clear()
    committer = Committer(watched)
    told = [submitted(committer, partial(note, noted, word)) for word in "abc"]
    watched.open.set()
    committer.close()
    assert all(each.done() for each in told)
    assert words(noted) == ["a", "b", "c"]
    with pytest.raises(Unavailable, match="closed"):
        submitted(committer, partial(note, noted, "d"))


def test_a_caller_who_cannot_be_told_stops_nobody(
    committer: Committer, noted: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def deaf(_: Any, __: BaseException | None) -> None:
        raise FailedError("gone")

    committer.submit(partial(note, noted, "a"), deaf)
    submitted(committer, partial(note, noted, "b")).result(PATIENCE_S)
    assert words(noted) == ["a", "b"]
    assert "could not be told" in caplog.text
