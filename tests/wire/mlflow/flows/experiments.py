"""Experiments: made, found, renamed, tagged, deleted, restored, and what that does to their runs."""

from __future__ import annotations

from typing import Any

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from step import salted, step

LONG_AGO_MS = 1_600_000_000_000


def as_id(experiment_id: str) -> dict[str, str]:
    return {"experiment_id": experiment_id}


def names(experiments: Any) -> list[str]:
    return [each.name for each in experiments]


def main() -> None:
    client = MlflowClient()
    step("the default experiment", client.get_experiment, "0")
    first, second = salted("first"), salted("second")
    tags = {"team": "fraud", "mlflow.note.content": "two words\nand a line"}
    one = step("create", client.create_experiment, first, tags=tags, show=as_id)
    step("get", client.get_experiment, one)
    step("get by name", client.get_experiment_by_name, first)
    step("get by a name nobody has", client.get_experiment_by_name, salted("nobody"))
    step("get an absent one", client.get_experiment, "999999")
    step("create with a taken name", client.create_experiment, first)
    two = step("create elsewhere", client.create_experiment, second, artifact_location="s3://bucket/there", show=as_id)
    step("get the one elsewhere", client.get_experiment, two)
    step("create with an empty name", client.create_experiment, "")
    step("create with a long name", client.create_experiment, salted("n" * 500), show=as_id)
    step("create with a longer name", client.create_experiment, salted("n" * 501))

    step("tag", client.set_experiment_tag, one, "stage", "draft")
    step("tag again", client.set_experiment_tag, one, "stage", "final")
    step("tag with a number", client.set_experiment_tag, one, "number", 7)
    step("tag with a slash", client.set_experiment_tag, one, "a/b c.d-e_f:g", "x")
    step("tag with nothing", client.set_experiment_tag, one, "empty", "")
    step("tag an absent one", client.set_experiment_tag, "999999", "a", "b")
    step("tag with a long value", client.set_experiment_tag, two, "long", "v" * 5001)
    step("get with tags", client.get_experiment, one)

    step("rename", client.rename_experiment, one, salted("first renamed"))
    step("get renamed", client.get_experiment, one)
    step("rename to a taken name", client.rename_experiment, one, second)
    step("rename an absent one", client.rename_experiment, "999999", salted("x"))
    step("rename to the same name", client.rename_experiment, two, second)

    run = client.create_run(two, start_time=LONG_AGO_MS, run_name="kept").info.run_id
    gone = client.create_run(two, start_time=LONG_AGO_MS + 1, run_name="already gone").info.run_id
    client.delete_run(gone)
    step("delete", client.delete_experiment, two)
    step("get deleted", client.get_experiment, two)
    step("get deleted by name", client.get_experiment_by_name, second)
    step("delete again", client.delete_experiment, two)
    step("delete an absent one", client.delete_experiment, "999999")
    step("the run of a deleted one", client.get_run, run)
    step("write to the run of a deleted one", client.log_metric, run, "m", 1.0, timestamp=LONG_AGO_MS)
    step("create a run in a deleted one", client.create_run, two)
    step("create with the name of a deleted one", client.create_experiment, second)
    step("rename a deleted one", client.rename_experiment, two, salted("other"))
    step("tag a deleted one", client.set_experiment_tag, two, "a", "b")
    ours = f"name LIKE '{salted('%')}'"
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        step(f"search view {view}", client.search_experiments, view, filter_string=ours, order_by=["name"], show=names)
        step(f"runs of a deleted one, view {view}", client.search_runs, [two], run_view_type=view)
    step("restore", client.restore_experiment, two)
    step("get restored", client.get_experiment, two)
    step("the run of a restored one", client.get_run, run)
    step("the run that was deleted before", client.get_run, gone)
    step("restore again", client.restore_experiment, two)
    step("restore an absent one", client.restore_experiment, "999999")


if __name__ == "__main__":
    main()
