"""Registered models and their versions: made, described, tagged, aliased, staged, copied, renamed, deleted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlflow
from mlflow.tracking import MlflowClient
from step import salted, step


def main() -> None:
    client = MlflowClient()
    run = client.create_run(client.create_experiment(salted("registry")), run_name="trained")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_text("flavors: {}\n")
        client.log_artifacts(run.info.run_id, folder, "model")
    name = models(client)
    versions(client, name, run.info.run_id, f"{run.info.artifact_uri}/model")
    aliases(client, name)
    stages(client, name)
    endings(client, name, "s3://bucket/model")


def models(client: MlflowClient) -> str:
    name = salted("churn")
    step("create", client.create_registered_model, name, tags={"team": "fraud"}, description="who leaves")
    step("create again", client.create_registered_model, name)
    step("create bare", client.create_registered_model, salted("bare"))
    for odd in ("with/slash", "with:colon", "with blank", "ünï", "per%cent", "n" * 240):
        step(f"create {odd}", client.create_registered_model, salted(odd))
        step(f"get {odd}", client.get_registered_model, salted(odd))
    step("create without a name", client.create_registered_model, "")
    step("create with a very long name", client.create_registered_model, salted("n" * 300))
    step("get", client.get_registered_model, name)
    step("get an absent one", client.get_registered_model, salted("absent"))
    step("describe", client.update_registered_model, name, "who leaves, and when")
    step("describe with nothing", client.update_registered_model, salted("bare"), "")
    step("describe an absent one", client.update_registered_model, salted("absent"), "x")
    step("tag", client.set_registered_model_tag, name, "stage", "one")
    step("tag again", client.set_registered_model_tag, name, "stage", "two")
    step("tag with a long key", client.set_registered_model_tag, name, "k" * 251, "x")
    step("tag with a long value", client.set_registered_model_tag, name, "long", "v" * 100_001)
    step("tag an absent one", client.set_registered_model_tag, salted("absent"), "a", "b")
    step("delete a tag", client.delete_registered_model_tag, name, "stage")
    step("delete an absent tag", client.delete_registered_model_tag, name, "stage")
    step("delete a tag of an absent one", client.delete_registered_model_tag, salted("absent"), "a")
    step("after all of it", client.get_registered_model, name)
    return name


def versions(client: MlflowClient, name: str, run: str, source: str) -> None:
    step("version", client.create_model_version, name, source, run, tags={"kind": "tree"}, description="the first")
    step("version without a run", client.create_model_version, name, "s3://bucket/other")
    step("version of a run that is not named", client.create_model_version, name, source)
    step("version with a link", client.create_model_version, name, source, run, run_link="http://elsewhere/run")
    step("version by the run's own uri", client.create_model_version, name, f"runs:/{run}/model", run)
    step("version of another store", client.create_model_version, name, "s3://bucket/model")
    step("version of an absent model", client.create_model_version, salted("absent"), source)
    step("version of a local path", client.create_model_version, name, "/etc")
    step("version of a local file", client.create_model_version, name, "file:///etc")
    step("version of a path that leads up", client.create_model_version, name, f"{source}/../../x", run)
    step("version of nothing", client.create_model_version, name, "")
    step("version of an absent run", client.create_model_version, name, source, "0" * 32)
    step("get version", client.get_model_version, name, "1")
    step("get version by number", client.get_model_version, name, 1)
    step("get an absent version", client.get_model_version, name, "99")
    step("get a version that is no number", client.get_model_version, name, "one")
    step("get version zero", client.get_model_version, name, "0")
    step("get a negative version", client.get_model_version, name, "-1")
    step("get a version of an absent model", client.get_model_version, salted("absent"), "1")
    step("describe version", client.update_model_version, name, "1", "better words")
    step("describe an absent version", client.update_model_version, name, "99", "x")
    step("tag version", client.set_model_version_tag, name, "1", "kind", "forest")
    step("tag an absent version", client.set_model_version_tag, name, "99", "a", "b")
    step("delete a version's tag", client.delete_model_version_tag, name, "1", "kind")
    step("delete a version's absent tag", client.delete_model_version_tag, name, "1", "kind")
    step("download uri", client.get_model_version_download_uri, name, "1")
    step("download uri elsewhere", client.get_model_version_download_uri, name, "4")
    step("download uri of an absent version", client.get_model_version_download_uri, name, "99")
    step("the model with versions", client.get_registered_model, name)
    step("copy", client.copy_model_version, f"models:/{name}/1", salted("copy"))
    step("copy of a copy", client.copy_model_version, f"models:/{salted('copy')}/1", salted("copy two"))
    step("download uri of a copy", client.get_model_version_download_uri, salted("copy"), "1")
    step("download uri of a copy of a copy", client.get_model_version_download_uri, salted("copy two"), "1")
    step("copy of an absent version", client.copy_model_version, f"models:/{name}/99", salted("copy"))
    step(
        "download a version", lambda: Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1/MLmodel")).read_text()
    )
    step("register by the run's uri", lambda: mlflow.register_model(f"runs:/{run}/model", salted("registered")))
    step("register what is absent", lambda: mlflow.register_model(f"runs:/{run}/nothing", salted("registered")))


def aliases(client: MlflowClient, name: str) -> None:
    step("alias", client.set_registered_model_alias, name, "champion", "1")
    step("second alias of one version", client.set_registered_model_alias, name, "Best_of-all", "1")
    step("by alias", client.get_model_version_by_alias, name, "champion")
    step("by alias in other letters", client.get_model_version_by_alias, name, "Champion")
    step("move the alias", client.set_registered_model_alias, name, "champion", "2")
    step("by the moved alias", client.get_model_version_by_alias, name, "champion")
    step("the version it left", client.get_model_version, name, "1")
    step("the model with aliases", client.get_registered_model, name)
    for bad in ("latest", "Latest", "v1", "V12", "v1x", "a b", "a/b", "ü", "", "a" * 255, "a" * 256, "1", "-"):
        step(f"alias {bad}", client.set_registered_model_alias, name, bad, "1")
    step("alias of an absent version", client.set_registered_model_alias, name, "x", "99")
    step("alias of an absent model", client.set_registered_model_alias, salted("absent"), "x", "1")
    step("alias of a version that is no number", client.set_registered_model_alias, name, "x", "one")
    step("by an absent alias", client.get_model_version_by_alias, name, "absent")
    step("by an alias of an absent model", client.get_model_version_by_alias, salted("absent"), "absent")
    step("by the alias latest", client.get_model_version_by_alias, name, "latest")
    step("delete an alias", client.delete_registered_model_alias, name, "champion")
    step("delete the alias again", client.delete_registered_model_alias, name, "champion")
    step("delete an alias of an absent model", client.delete_registered_model_alias, salted("absent"), "x")
    step("download by alias", lambda: Path(mlflow.artifacts.download_artifacts(f"models:/{name}@Best_of-all")).is_dir())


def stages(client: MlflowClient, name: str) -> None:
    move = client.transition_model_version_stage
    step("to staging", move, name, "1", "Staging")
    step("to staging too", move, name, "3", "staging")
    step("to production", move, name, "1", "PRODUCTION")
    step("to production, archiving", move, name, "3", "Production", archive_existing_versions=True)
    step("archived by it", client.get_model_version, name, "1")
    step("to archived, archiving", move, name, "3", "Archived", archive_existing_versions=True)
    step("to none, archiving", move, name, "3", "None", archive_existing_versions=True)
    step("to no stage", move, name, "1", "Nowhere")
    step("an absent version", move, name, "99", "Staging")
    step("back to none", move, name, "1", "None")
    step("latest of every stage", client.get_latest_versions, name)
    step("latest of some stages", client.get_latest_versions, name, ["Production", "none"])
    step("latest of no stage", client.get_latest_versions, name, ["Nowhere"])
    step("latest of an absent model", client.get_latest_versions, salted("absent"))
    step("tag by stage", client.set_model_version_tag, name, None, "found", "by stage", stage="Production")
    step("tagged by stage", client.get_model_version, name, "3")
    step("by stage", lambda: Path(mlflow.artifacts.download_artifacts(f"models:/{name}/Production")).is_dir())
    step("the model with stages", client.get_registered_model, name)


def endings(client: MlflowClient, name: str, source: str) -> None:
    step("rename", client.rename_registered_model, name, salted("churn two"))
    step("the old name", client.get_registered_model, name)
    name = salted("churn two")
    step("the new name", client.get_registered_model, name)
    step("a version under the new name", client.get_model_version, name, "1")
    step("an alias under the new name", client.get_model_version_by_alias, name, "Best_of-all")
    step("rename to a taken name", client.rename_registered_model, name, salted("bare"))
    step("rename to the same name", client.rename_registered_model, name, name)
    step("rename to nothing", client.rename_registered_model, name, "")
    step("rename to a bad name", client.rename_registered_model, name, salted("a/b"))
    step("rename an absent one", client.rename_registered_model, salted("absent"), salted("x"))
    newest = client.create_model_version(name, source).version
    step("delete the newest version", client.delete_model_version, name, newest)
    step("delete the version again", client.delete_model_version, name, newest)
    step("its number is not used again", client.create_model_version, name, source)
    step("delete a version with an alias", client.delete_model_version, name, "1")
    step("get what was deleted", client.get_model_version, name, "1")
    step("the alias of what was deleted", client.get_model_version_by_alias, name, "Best_of-all")
    step("tag what was deleted", client.set_model_version_tag, name, "1", "a", "b")
    step("stage what was deleted", client.transition_model_version_stage, name, "1", "Staging")
    step("the model after deletions", client.get_registered_model, name)
    step("download uri of a copy of what was deleted", client.get_model_version_download_uri, salted("copy"), "1")
    step("delete", client.delete_registered_model, name)
    step("get deleted", client.get_registered_model, name)
    step("a version of the deleted", client.get_model_version, name, "2")
    step("delete again", client.delete_registered_model, name)
    step("create anew", client.create_registered_model, name)
    step("its first version", client.create_model_version, name, source)


if __name__ == "__main__":
    main()
