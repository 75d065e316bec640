"""From a run to the dataset versions it used, and back."""

from __future__ import annotations

import pytest

from mlspine.core.errors import Invalid, NotFound
from mlspine.core.types import DatasetVersion
from mlspine.data.service import Data
from mlspine.ports import Database
from mlspine.tracking import lineage
from mlspine.tracking.lineage import DatasetUse
from mlspine.tracking.run import DatasetInput
from mlspine.tracking.service import Tracking

JUNE, MAY, SHORT = "0a" * 32, "ff" * 32, "0a0a0a0a"


def used(digest: str, *, name: str = "flights", context: str = "") -> DatasetInput:
    tags = {"mlflow.data.context": context} if context else {}
    return DatasetInput(name=name, digest=digest[:36], source_type="local", source="{}", tags=tags)


@pytest.fixture(autouse=True)
def versions(db: Database) -> None:
    data = Data(db=db)
    for digest in (JUNE, MAY):
        data.record(DatasetVersion(digest=digest, rows=10, columns=2), ())


def test_runs_that_used_a_version_are_found_last_begun_first(tracking: Tracking) -> None:
    other = tracking.create_experiment("other").id
    first = tracking.create_run(0, name="first", start_time_ms=1)
    second = tracking.create_run(other, name="second", start_time_ms=2)
    tracking.log_inputs(first.id, datasets=[used(JUNE, context="training"), used(MAY)])
    tracking.log_inputs(second.id, datasets=[used(JUNE, name="again")])
    expected = [
        DatasetUse(
            run_id=second.id, run_name="second", experiment_id=other, digest=JUNE, dataset_name="again", context=""
        ),
        DatasetUse(
            run_id=first.id, run_name="first", experiment_id=0, digest=JUNE, dataset_name="flights", context="training"
        ),
    ]
    assert tracking.runs_using(JUNE) == tracking.runs_using(JUNE[:36]) == expected


def test_the_versions_a_run_used_are_told_whole(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    tracking.log_inputs(run.id, datasets=[used(JUNE, name="b"), used(MAY, name="a", context="eval"), used(SHORT)])
    found = [(each.dataset_name, each.digest, each.context) for each in tracking.dataset_versions(run.id)]
    assert found == [("a", MAY, "eval"), ("b", JUNE, "")]


def test_a_digest_of_somebody_else_is_no_version_of_ours(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    foreign = "0a" * 17 + "0b"
    tracking.log_inputs(run.id, datasets=[used(SHORT), used(foreign), used(JUNE[:35])])
    assert tracking.dataset_versions(run.id) == []
    assert tracking.runs_using(JUNE) == tracking.runs_using(foreign) == []


def test_a_deleted_run_is_left_out(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    tracking.log_inputs(run.id, datasets=[used(JUNE)])
    tracking.delete_run(run.id)
    assert tracking.runs_using(JUNE) == []


def test_what_cannot_be_a_version_s_digest_is_refused(tracking: Tracking) -> None:
    with pytest.raises(Invalid, match="too short"):
        tracking.runs_using(JUNE[:12])
    with pytest.raises(NotFound):
        tracking.dataset_versions("gone")


def test_only_so_many_runs_are_told(tracking: Tracking, db: Database) -> None:
    for number in range(3):
        tracking.log_inputs(tracking.create_run(0, name=f"n{number}", start_time_ms=number).id, datasets=[used(JUNE)])
    assert [each.run_name for each in lineage.runs_using(db, JUNE, limit=2)] == ["n2", "n1"]
