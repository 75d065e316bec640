"""Two machines, each with a spool of its own, on one Postgres schema and one bucket."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlspine import migrations
from mlspine.backends.objects import ObjectBlobStore
from mlspine.backends.postgres import PostgresDatabase
from mlspine.core.types import Columns, SubWindow
from mlspine.governance.service import Governance
from mlspine.predictions.segment import MERGE_FILES
from mlspine.predictions.service import Predictions
from mlspine.stats import profile as profiles
from mlspine.stats.profile import Profile, Reference
from tests.postgres import postgres_schema
from tests.s3 import s3_bucket
from tests.unit.predictions.conftest import BASE_MS, HOUR_MS, ME, Log, sample


class Machine(Log):
    """A log whose store is shared: `name` is its machine id, `folder` its own disk."""

    def __init__(self, folder: Path, *, database: str, bucket: tuple[str, str], **options: Any) -> None:
        self.database, self.bucket, self.name = database, bucket, folder.name
        super().__init__(folder, **options)

    def reopen(self) -> Predictions:
        if hasattr(self, "db"):
            self.db.close()
        url, endpoint = self.bucket
        self.db = PostgresDatabase(self.database)  # type: ignore[assignment]
        self.db.migrate(migrations.scripts())
        self.blobs = ObjectBlobStore(  # type: ignore[assignment]
            url, endpoint=endpoint, cache=self.folder / "cache", cache_bytes=100_000_000
        )
        self.governance = Governance(db=self.db, clock=lambda: self.now_ms)
        self.predictions = Predictions(
            db=self.db,
            blobs=self.blobs,
            references_of=lambda _: self.references,
            governance=self.governance,
            spool_dir=self.spool_dir,
            clock=lambda: self.now_ms,
            config=self.config,
            machine=self.name,
        )
        return self.predictions

    def cached(self) -> set[str]:
        return {path.name for path in (self.folder / "cache" / "blobs").rglob("*.parquet")}


@pytest.fixture
def store() -> Iterator[dict[str, Any]]:
    with postgres_schema() as database, s3_bucket() as bucket:
        yield {"database": database, "bucket": bucket}


@pytest.fixture
def machines(tmp_path: Path, store: dict[str, Any]) -> Iterator[tuple[Machine, Machine]]:
    made = tuple(Machine(tmp_path / name, **store) for name in ("a", "b"))
    yield made[0], made[1]
    for machine in made:
        machine.close()


def parts(columns: Columns, sizes: list[int]) -> Iterator[Columns]:
    bounds = itertools.pairwise(itertools.accumulate(sizes, initial=0))
    return ({name: values[begin:end] for name, values in columns.items()} for begin, end in bounds)


def decoded(window: SubWindow, side: str, reference: Reference) -> Profile:
    return profiles.decode(getattr(window, side), reference)


def same(one: Profile, other: Profile) -> None:
    """Counts exactly, moments within 1e-12."""
    assert one.rows == other.rows
    for mine, theirs in zip(one.parts, other.parts, strict=True):
        np.testing.assert_array_equal(mine.counts, theirs.counts)
        np.testing.assert_allclose([mine.mean, mine.m2], [theirs.mean, theirs.m2], rtol=1e-12)
        assert (mine.low, mine.high, mine.names) == (theirs.low, theirs.high, theirs.names)


@pytest.mark.parametrize("learning", [False, True])
def test_profiles_of_two_machines_equal_one_machines_profile_of_the_same_rows(
    tmp_path: Path, store: dict[str, Any], learning: bool
) -> None:
    a, b = (Machine(tmp_path / name, learning=learning, **store) for name in ("a", "b"))
    alone = Log(tmp_path / "alone", learning=learning)
    rows = sample(6_000, seed=3)
    for number, part in enumerate(parts(rows, [1_500, 700, 1_300, 1_000, 900, 600])):
        at_ms = BASE_MS + number % 3 * HOUR_MS
        for log in ((a, b)[number % 2], alone):
            log.answer(part, at_ms=at_ms)
            log.predictions.ingest()
    one, other = a.predictions.sub_windows("shop"), alone.predictions.sub_windows("shop")
    assert [window.rows for window in one] == [window.rows for window in other] == [2_500, 1_600, 1_900]
    learned = a.predictions.learned("shop", one[0].release_hash)
    outputs = learned.reference if learned else a.references.outputs
    assert outputs is not None
    assert (learned is not None) == learning
    for mine, theirs in zip(one, other, strict=True):
        same(decoded(mine, "inputs", a.references.inputs), decoded(theirs, "inputs", a.references.inputs))
        same(decoded(mine, "outputs", outputs), decoded(theirs, "outputs", outputs))
    assert b.predictions.summary("shop").rows == 6_000
    for log in (a, b, alone):
        log.close()


def test_each_machine_reads_its_own_spool_and_both_see_all_rows(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    for machine in machines:
        machine.answer(sample(3))
    assert a.predictions.ingest().rows == 3
    assert b.predictions.ingest().rows == 3
    assert [machine.predictions.ingest().rows for machine in machines] == [0, 0]
    b.reopen()
    assert b.predictions.ingest().rows == 0  # its own positions are still there
    assert a.ask("select count(*) from log") == b.ask("select count(*) from log") == [[6]]


def test_a_machine_that_opens_sweeps_nothing_of_the_other(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    a.answer(sample(5))
    a.predictions.ingest()
    b.predictions.ingest()  # the first one sweeps
    assert b.predictions.housekeep().swept_files == 0
    assert a.ask("select count(*) from log") == [[5]]


def test_a_file_without_a_row_in_the_store_is_swept_by_either(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    a.blobs.put("log/shop/01-orphan.parquet", b"of a killed machine")
    assert b.predictions.housekeep().swept_files == 1
    assert list(a.blobs.list("log/")) == []


def test_files_of_both_machines_are_merged_and_read_on_both(machines: tuple[Machine, Machine]) -> None:
    for number in range(MERGE_FILES):
        machines[number % 2].answer(sample(2, seed=number))
        machines[number % 2].predictions.ingest()
    a, b = machines
    assert a.predictions.summary("shop").segments == 2
    assert a.ask("select count(*), count(distinct _id) from log") == [[2 * MERGE_FILES, MERGE_FILES]]
    assert b.ask("select count(*) from outcomes") == [[2 * MERGE_FILES]]


def test_labels_given_on_one_machine_meet_the_answers_of_the_other(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    request_id = a.answer(sample(2))
    a.predictions.ingest()
    receipt = b.predictions.add_label_table("shop", {"id": [f"{request_id}:0", f"{request_id}:1"], "label": [0, 1]})
    assert receipt.matched == 2
    assert len(a.predictions.labelled("shop")["label"]) == 2


def test_forgetting_reaches_the_other_machines_spool_and_copies(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    b.answer(sample(2), keys=["anna", "ben"])
    b.predictions.ingest()
    assert b.ask("select count(*) from log where _key = 'anna'") == [[1]]
    copies = b.cached()
    b.answer(sample(2), keys=["anna", "ben"])  # answered, and not yet sent in
    receipt = a.predictions.forget("anna", actor=ME)
    assert receipt.rows == 1
    b.predictions.ingest()
    for machine in machines:
        assert machine.ask("select _key, count(*) from log group by 1") == [["ben", 2]]
    assert copies & b.cached() == set()
    assert b"anna" not in b"".join(path.read_bytes() for path in b.spool_dir.glob("*.spool"))
    assert b"anna" not in b"".join(path.read_bytes() for path in (b.folder / "cache").rglob("*.parquet"))


def test_what_a_machines_spool_holds_arrives_when_it_comes_back(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    a.answer(sample(4))
    b.predictions.ingest()  # a is gone; its spool is on its own disk
    b.predictions.housekeep()
    assert b.predictions.summary("shop").rows == 0
    a.writer.close()
    assert a.reopen().ingest().rows == 4
    assert list(a.spool_dir.glob("*.spool")) == []
    assert b.predictions.summary("shop").rows == 4
