"""Runs: made, renamed, tagged, ended, nested, deleted, restored."""

from __future__ import annotations

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from step import salted, step

T0 = 1_600_000_000_000
NOBODY = "0" * 32


def main() -> None:
    client = MlflowClient()
    experiment = client.create_experiment(salted("runs"))
    first = step("create", client.create_run, experiment, start_time=T0, run_name="first", tags={"a": "1", "b": ""})
    run = first.info.run_id
    step("create without a name", client.create_run, experiment, start_time=T0 + 1)
    step("create named by a tag", client.create_run, experiment, start_time=T0 + 2, tags={"mlflow.runName": "by tag"})
    step(
        "create with two equal names",
        client.create_run,
        experiment,
        start_time=T0 + 3,
        run_name="same",
        tags={"mlflow.runName": "same"},
    )
    step(
        "create with two names",
        client.create_run,
        experiment,
        start_time=T0 + 3,
        run_name="this",
        tags={"mlflow.runName": "that"},
    )
    step(
        "create with a note and a user",
        client.create_run,
        experiment,
        start_time=T0 + 4,
        run_name="noted",
        tags={"mlflow.note.content": "a note", "mlflow.user": "ada", "mlflow.source.type": "NOTEBOOK"},
    )
    step("create in an absent experiment", client.create_run, "999999")
    step("create now", lambda: client.create_run(experiment, run_name="now").info.start_time > T0)
    child = step(
        "create nested",
        client.create_run,
        experiment,
        start_time=T0 + 5,
        run_name="child",
        tags={"mlflow.parentRunId": run},
    )
    step("the parent", client.get_parent_run, child.info.run_id)
    step("no parent", client.get_parent_run, run)
    step("get", client.get_run, run)
    step("get an absent one", client.get_run, NOBODY)

    step("tag", client.set_tag, run, "a", "2")
    step("tag with a number", client.set_tag, run, "number", 1.5)
    step("tag with a path", client.set_tag, run, "x/y z", "w")
    step("tag with a path that leads up", client.set_tag, run, "x/../y", "w")
    step("tag with a slash in front", client.set_tag, run, "/x", "w")
    step("tag with other characters", client.set_tag, run, "a&b", "w")
    step("tag with a long key", client.set_tag, run, "k" * 250, "w")
    step("tag with a longer key", client.set_tag, run, "k" * 251, "w")
    step("tag with a long value", client.set_tag, run, "long", "v" * 8000)
    step("tag with a longer value", client.set_tag, run, "longer", "v" * 8001)
    step("tag an absent one", client.set_tag, NOBODY, "a", "b")
    step("delete a tag", client.delete_tag, run, "a")
    step("delete an absent tag", client.delete_tag, run, "a")
    step("delete a tag of an absent one", client.delete_tag, NOBODY, "a")
    step("rename by tag", client.set_tag, run, "mlflow.runName", "renamed by tag")
    step("renamed by tag", client.get_run, run)
    step("rename by update", client.update_run, run, name="renamed by update")
    step("renamed by update", client.get_run, run)
    step("rename to nothing", client.update_run, run, name="")
    step("not renamed", lambda: client.get_run(run).info.run_name)
    step("set a status", client.update_run, run, status="SCHEDULED")
    step("set a status nobody knows", client.update_run, run, status="SLEEPING")
    step("scheduled", lambda: client.get_run(run).info.status)
    step("end", client.set_terminated, run, "FAILED", T0 + 1000)
    step("ended", lambda: dict(client.get_run(run).info))
    step("end again", client.set_terminated, run, "FINISHED", T0 + 2000)
    step("write after the end", client.log_param, run, "late", "yes")
    step("run again", client.update_run, run, status="RUNNING")
    step("after all of it", client.get_run, run)
    step("update an absent one", client.update_run, NOBODY, status="FINISHED")

    step("delete", client.delete_run, run)
    step("deleted", client.get_run, run)
    step("delete again", client.delete_run, run)
    step("metric of a deleted one", client.log_metric, run, "m", 1.0, timestamp=T0)
    step("param of a deleted one", client.log_param, run, "p", 1)
    step("tag of a deleted one", client.set_tag, run, "a", "b")
    step("delete a tag of a deleted one", client.delete_tag, run, "b")
    step("batch of a deleted one", client.log_batch, run, params=[], metrics=[], tags=[])
    step("rename a deleted one", client.update_run, run, name="again")
    step("end a deleted one", client.set_terminated, run)
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        step(f"search view {view}", client.search_runs, [experiment], f"attributes.start_time < {T0 + 100}", view)
    step("restore", client.restore_run, run)
    step("restored", client.get_run, run)
    step("restore again", client.restore_run, run)
    step("delete an absent one", client.delete_run, NOBODY)
    step("restore an absent one", client.restore_run, NOBODY)


if __name__ == "__main__":
    main()
