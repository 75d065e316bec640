"""Ids of rows that are in the log, on every store: known once, within their hour, whatever the order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mlspine import migrations
from mlspine.ports import Database
from mlspine.predictions.known import (
    DAY_MS,
    HOUR_MS,
    KnownRows,
    digests_of,
    drop_known_before,
    filling_until,
    set_filling,
)
from mlspine.watching import store
from mlspine.watching.names import Names
from mlspine.watching.store import WatchedFile, WatchedSource
from tests.contract.test_database import BACKENDS

NOW_MS = 20_000 * DAY_MS


@pytest.fixture(params=sorted(BACKENDS))
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    open_: Callable[[], Database]
    with BACKENDS[request.param](tmp_path) as open_:
        database = open_()
        database.migrate(migrations.scripts())
        yield database
        database.close()


def test_a_row_is_known_with_its_id_and_hour_and_one_without_a_time_by_its_id(db: Database) -> None:
    ids = digests_of([f"r{i}" for i in range(500)])
    at = NOW_MS + np.arange(500) * HOUR_MS // 3
    timed = np.arange(500) % 5 > 0
    assert KnownRows(db, "m").unknown(ids, event_at_ms=at, timed=timed).all()
    with db.write() as tx:
        half = slice(0, 250)
        KnownRows(tx, "m").add(tx, ids[half], event_at_ms=at[half], timed=timed[half], now_ms=NOW_MS)
    fresh = KnownRows(db, "m").unknown(ids, event_at_ms=at, timed=timed)
    assert fresh.tolist() == [False] * 250 + [True] * 250
    assert KnownRows(db, "other").unknown(ids, event_at_ms=at, timed=timed).all()
    other_hour = KnownRows(db, "m").unknown(ids[1:2], event_at_ms=at[1:2] + HOUR_MS, timed=timed[1:2])
    assert other_hour.tolist() == [True]


def test_a_row_twice_in_one_request_is_one(db: Database) -> None:
    ids = digests_of(["a", "b", "a", "a"])
    at, timed = np.full(4, NOW_MS), np.ones(4, dtype=bool)
    assert KnownRows(db, "m").unknown(ids, event_at_ms=at, timed=timed).tolist() == [True, True, False, False]


def test_ids_go_with_the_outcomes_they_are_of(db: Database) -> None:
    ids, at, timed = digests_of(["a"]), np.array([NOW_MS]), np.array([True])
    with db.write() as tx:
        KnownRows(tx, "m").add(tx, ids, event_at_ms=at, timed=timed, now_ms=NOW_MS)
        assert drop_known_before(tx, NOW_MS // DAY_MS) == 0
        assert drop_known_before(tx, NOW_MS // DAY_MS + 1) == 1
    assert KnownRows(db, "m").unknown(ids, event_at_ms=at, timed=timed).all()


def test_filling_is_remembered_until_it_is_over(db: Database) -> None:
    assert filling_until(db, "m") == 0
    for until in (5, 9, 0):
        with db.write() as tx:
            set_filling(tx, "m", until)
        assert filling_until(db, "m") == until


def test_sources_and_files_come_back_as_they_were_stored(db: Database) -> None:
    source = WatchedSource(endpoint="m", text="s3://b/*.csv", names=Names(score="p"), every_s=60, next_due_at_ms=7)
    file = WatchedFile(name="a.csv", mark="10 2", rows=3, digest="10 x", content="x", whole=False)
    with db.write() as tx:
        store.put_source(tx, source)
        store.put_file(tx, "m", file, 5)
    assert store.find_source(db, "m") == source
    assert store.files(db, "m") == {"a.csv": file}
    assert [each.endpoint for each in store.due_sources(db, 7)] == ["m"]
    assert store.due_sources(db, 6) == []
    with db.write() as tx:
        store.drop_file(tx, "m", "a.csv")
    assert store.files(db, "m") == {}
