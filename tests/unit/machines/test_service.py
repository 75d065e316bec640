"""Machines of one store, with a clock that is told the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mlspine import migrations
from mlspine.core.errors import Conflict
from mlspine.machines.identity import bind, machine_id
from mlspine.machines.service import LEASE_MARGIN_S, LEASE_S, MISSING_AFTER_S, Machines
from mlspine.ports import Database
from tests.contract.test_blobs import folder_of_files
from tests.contract.test_database import BACKENDS

START_MS = 1_700_000_000_000


class Site:
    """Several machines, one store, one clock."""

    def __init__(self, folder: Path, open_database: Callable[[], Database]) -> None:
        self.folder = folder
        self.open_database = open_database
        self.now_ms = START_MS
        self.opened: list[Database] = []

    def machine(self, name: str, *, alone: bool = False, skew_s: float = 0.0) -> Machines:
        database = self.open_database()
        database.migrate(migrations.scripts())
        self.opened.append(database)
        return Machines(
            db=database,
            run_dir=self.folder / name,
            name=name,
            alone=alone,
            clock=lambda: self.now_ms + int(skew_s * 1000),
        )

    def pass_time(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


@pytest.fixture(params=sorted(BACKENDS))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    place: Callable[[Path], AbstractContextManager[Callable[[], Database]]] = BACKENDS[request.param]
    with place(tmp_path) as open_database:
        made = Site(tmp_path, open_database)
        yield made
        for database in made.opened:
            database.close()


def test_one_machine_leads_and_another_takes_over_when_the_lease_has_run_out(site: Site) -> None:
    a, b = site.machine("a"), site.machine("b")
    for each in (a, b):
        each.arrive(answered=False)
    assert (a.beat(), b.beat()) == (True, False)
    site.pass_time(LEASE_S - 1)
    assert not b.beat()  # a has fallen silent, but its lease holds
    assert not a.leads()  # and it stops by itself before the lease ends
    site.pass_time(1.5)
    assert b.beat()
    assert not a.beat()  # back again: it leads no more
    assert [(each.name, each.leads) for each in a.machines()] == [("a", False), ("b", True)]


def test_beating_keeps_the_lease(site: Site) -> None:
    a, b = site.machine("a"), site.machine("b")
    for _ in range(20):
        assert a.beat()
        assert not b.beat()
        site.pass_time(2.0)
        assert a.leads()


@pytest.mark.parametrize("skew_s", [-LEASE_MARGIN_S + 0.5, LEASE_MARGIN_S - 0.5])
def test_clocks_may_differ_by_the_margin_without_two_leaders(site: Site, skew_s: float) -> None:
    a, b = site.machine("a"), site.machine("b", skew_s=skew_s)
    a.beat()
    for _ in range(int(LEASE_S * 4)):
        site.pass_time(0.5)
        assert not (b.beat() and a.leads())
    assert b.leads()


def test_a_clean_stop_gives_the_lease_back_at_once(site: Site) -> None:
    a, b = site.machine("a"), site.machine("b")
    a.arrive(answered=False)
    a.beat()
    a.leave()
    assert not a.leads()
    assert b.beat()
    assert [(each.name, each.stopped, each.missing) for each in b.machines()] == [("a", True, False)]


def test_a_machine_alone_leads_whatever_the_store_says(site: Site) -> None:
    alone = site.machine("a", alone=True)
    assert alone.leads()
    alone.arrive(answered=False)
    assert alone.beat()
    site.pass_time(LEASE_S * 2)
    assert alone.leads()
    assert [each.leads for each in alone.machines()] == [True]


def test_the_time_since_the_last_heartbeat_is_an_outage(site: Site) -> None:
    a = site.machine("a")
    assert a.arrive(answered=False) is None  # the first time there was nothing before
    a.beat()
    site.pass_time(7.25)
    again = site.machine("a")
    outage = again.arrive(answered=True)
    assert outage is not None
    assert (outage.machine, outage.to_at_ms - outage.from_at_ms, outage.cause, outage.answered) == (
        "a",
        7250,
        "killed",
        True,
    )
    again.leave()
    site.pass_time(60.0)
    again.arrive(answered=False)
    assert [(each.cause, each.to_at_ms - each.from_at_ms) for each in again.outages()] == [
        ("stopped", 60_000),
        ("killed", 7250),
    ]
    assert len(again.outages(limit=1)) == 1


def test_a_silent_machine_is_missing_until_it_is_heard_of_again(site: Site) -> None:
    a, b = site.machine("a"), site.machine("b")
    for each in (a, b):
        each.arrive(answered=False)
    site.pass_time(MISSING_AFTER_S + 1)
    b.beat()
    assert [(each.name, each.missing, each.here) for each in b.machines()] == [("a", True, False), ("b", False, True)]
    a.beat()
    assert not any(each.missing for each in b.machines())


def test_a_machine_keeps_its_id_and_two_folders_have_two(tmp_path: Path) -> None:
    first = machine_id(tmp_path / "a")
    assert machine_id(tmp_path / "a") == first
    assert machine_id(tmp_path / "b") != first
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["machine.id"]


def test_a_bucket_belongs_to_the_store_that_used_it_first(site: Site, tmp_path: Path) -> None:
    mine = site.machine("a")._db
    with folder_of_files(tmp_path / "bucket") as open_blobs:
        blobs = open_blobs()
        bind(mine, blobs)
        bind(mine, blobs)
        blobs.put("store-id", b"another")
        with pytest.raises(Conflict, match="belongs to another database"):
            bind(mine, blobs)
