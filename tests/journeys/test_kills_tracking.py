"""kill -9 of control while fifty clients log. Two rounds here; `make soak` runs a hundred and keeps the table."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk, ship_churn
from tests.journeys.kills_tracking import Reads, Round, Writers, run_round
from tests.postgres import postgres_schema
from tests.s3 import KEYS, s3_bucket

WRITERS = 50
KILL_SETTLED_S = 30.0


def rounds(desk: Desk, reads: Reads, count: int, *, seed: int, threads: int = WRITERS) -> list[Round]:
    """The first comes back by itself, started by the inference process; for the others `mlspine up` is typed.

    Inference waits longer from death to death, so that a control that cannot live is not started all day.
    """
    ship_churn(desk)
    desk.mlspine("serve", "churn")
    rng = random.Random(seed)
    writers = Writers(desk.control_port, threads=threads)
    try:
        done = [run_round(desk, writers, reads, rng, by_itself=n == 0) for n in range(count)]
    finally:
        writers.stop()
    assert writers.refused == []
    return done


def _check(done: list[Round]) -> None:
    for each in done:
        assert each.missing == [], each
        assert each.doubled == [], each
        assert each.acknowledged > 0, each
        assert each.sound, each
        assert each.ledger_intact, each
        assert each.back_after_s < KILL_SETTLED_S, each
    assert sum(each.broken for each in done) > 0  # the kills did hit requests on their way


@pytest.fixture
def reads_of_file(desk: Desk) -> Iterator[Reads]:
    desk.mlspine("up")  # which makes the file
    store = desk.folder / ".mlspine" / "store.db"
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)) as connection:
        connection.isolation_level = None
        yield lambda sql, **params: connection.execute(sql, params).fetchall()


def _is_whole(reads: Reads) -> bool:
    return list(map(tuple, reads("pragma integrity_check"))) == [("ok",)]


@pytest.mark.long
@pytest.mark.slow
def test_kills_of_control_under_fifty_clients_lose_and_double_nothing(desk: Desk, reads_of_file: Reads) -> None:
    _check(rounds(desk, reads_of_file, 2, seed=1))
    assert _is_whole(reads_of_file)


@pytest.mark.soak
@pytest.mark.skipif("MLSPINE_SOAK" not in os.environ, reason="100 rounds take a quarter of an hour: make soak")
def test_a_hundred_kills_under_fifty_clients_lose_and_double_nothing(desk: Desk, reads_of_file: Reads) -> None:
    count = min(100, int(os.environ["MLSPINE_SOAK"]))
    done = rounds(desk, reads_of_file, count, seed=count)
    whole = _is_whole(reads_of_file)
    with Path("benchmarks/results/kills_tracking.txt").open("a") as results:
        results.write(_summary("SQLite", done, f"integrity_check {'ok' if whole else 'FAILED'}"))
    _check(done)
    assert whole


@pytest.fixture
def reads_of_postgres(desk: Desk) -> Iterator[Reads]:
    import psycopg

    with postgres_schema() as url, s3_bucket() as (blobs, endpoint):
        desk.env |= KEYS | {
            "MLSPINE_STORE__DATABASE": url,
            "MLSPINE_STORE__BLOBS": blobs,
            "MLSPINE_STORE__ENDPOINT": endpoint,
        }
        with psycopg.connect(url, autocommit=True) as connection:

            def reads(sql: str, **params: Any) -> Sequence[Sequence[Any]]:
                for name in params:
                    sql = sql.replace(f":{name}", f"%({name})s")
                return connection.execute(sql.encode(), params).fetchall()

            yield reads
            desk.mlspine("down", check=False)  # before its schema goes


@pytest.mark.long
@pytest.mark.slow
def test_on_postgres_kills_under_clients_lose_and_double_nothing(desk: Desk, reads_of_postgres: Reads) -> None:
    count = 5 if "MLSPINE_SOAK" in os.environ else 2
    done = rounds(desk, reads_of_postgres, count, seed=7, threads=20)
    if "MLSPINE_SOAK" in os.environ:
        with Path("benchmarks/results/kills_tracking.txt").open("a") as results:
            results.write(_summary("Postgres and S3, 20 writers", done, ""))
    _check(done)


def _summary(store: str, done: list[Round], more: str) -> str:
    back = sorted(each.back_after_s for each in done[1:])
    lines = [
        f"{store}: control killed {len(done)} times under {WRITERS} writers on the MLflow wire",
        f"  {sum(each.acknowledged for each in done)} requests acknowledged between kill and check,"
        f" {sum(each.broken for each in done)} connections broken or refused, and tried again",
        f"  back by itself after {done[0].back_after_s:.2f} s; after `mlspine up` median {back[len(back) // 2]:.2f} s,"
        f" worst {back[-1]:.2f} s",
        f"  acknowledged writes missing: {sum(len(each.missing) for each in done)};"
        f" doubled: {sum(len(each.doubled) for each in done)};"
        f" rounds with a latest metric unlike its points: {sum(not each.sound for each in done)};"
        f" broken ledgers: {sum(not each.ledger_intact for each in done)}; {more}".rstrip("; "),
    ]
    return "\n".join(lines) + "\n\n"
