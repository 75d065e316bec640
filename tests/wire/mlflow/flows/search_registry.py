"""Searching registered models and model versions: filters, orders, pages, prompts left out."""

from __future__ import annotations

from typing import Any

from mlflow.tracking import MlflowClient
from step import salted, step, unrecorded

MODELS = (
    "name = '{x}Alpha'",
    "name != '{x}Alpha'",
    "name LIKE '{x}a%'",
    "name ILIKE '{x}a%'",
    "name IN ('{x}Alpha', '{x}beta')",
    "name NOT IN ('{x}Alpha')",
    "tags.team = 'red'",
    "tags.team != 'red'",
    "tags.team LIKE 'R%'",
    "tags.team ILIKE 'R%'",
    "tag.team = 'red'",
    "tags.`a b` = 'c'",
    "name LIKE '{x}%' AND tags.team = 'red'",
    "tags.`mlflow.prompt.is_prompt` = 'true'",
    "tags.`mlflow.prompt.is_prompt` != 'true'",
    "tags.team IS NULL",
    "tags.team IS NOT NULL",
    "name > 'a'",
    "name = {x}",
    "team = 'red'",
    "name = 'a' OR name = 'b'",
    "description = 'x'",
    "creation_timestamp > 0",
    "aliases = 'x'",
    "alias.x = '1'",
    "name",
    "attribute.name = '{x}beta'",
    "run_id = 'x'",
    "version_number = 1",
    "name IS NULL",
    "(name = 'a')",
    "tags.team IN ('red')",
)
MODEL_ORDERS = (
    "name",
    "name DESC",
    "timestamp",
    "last_updated_timestamp DESC",
    "creation_timestamp",
    "creation_timestamp DESC",
    "tags.team",
    "description",
    "name UP",
    "",
    "version_number",
)
VERSIONS = (
    "name = '{x}Alpha'",
    "name != '{x}Alpha'",
    "name LIKE '{x}a%'",
    "name ILIKE '{x}a%'",
    "name IN ('{x}Alpha', '{x}beta')",
    "name NOT IN ('{x}Alpha')",
    "run_id = '{run}'",
    "run_id != '{run}'",
    "run_id IN ('{run}', 'x')",
    "run_id LIKE '%'",
    "run_id IN ()",
    "source_path = '{source}'",
    "source_path != '{source}'",
    "source_path LIKE '%model'",
    "source_path ILIKE '%MODEL'",
    "source_path IN ('x')",
    "version_number = 1",
    "version_number > 1",
    "version_number <= 1",
    "version_number = '1'",
    "version = 1",
    "version_number LIKE '1'",
    "creation_timestamp > 0",
    "last_updated_timestamp < 0",
    "tags.kind = 'tree'",
    "tags.kind != 'tree'",
    "tags.kind LIKE 'T%'",
    "tags.kind ILIKE 'T%'",
    "tags.kind IS NULL",
    "tags.kind IS NOT NULL",
    "tag.`a b` = 'c'",
    "name = '{x}Alpha' AND version_number > 1",
    "name = '{x}Alpha' AND run_id = '{run}' AND tags.kind = 'tree'",
    "current_stage = 'None'",
    "status = 'READY'",
    "alias = 'x'",
    "name > 'a'",
    "name = 'a' OR name = 'b'",
    "source = 'x'",
    "user_id = 'x'",
    "tags.kind IN ('tree')",
)
VERSION_ORDERS = (
    "name",
    "name DESC",
    "version_number",
    "version_number DESC",
    "creation_timestamp",
    "last_updated_timestamp",
    "last_updated_timestamp DESC",
    "tags.kind",
    "run_id",
    "source_path",
    "version",
    "name UP",
    "",
)


def models(found: Any) -> Any:
    return [[each.name for each in found], bool(found.token)]


def versions(found: Any) -> Any:
    return [[f"{each.name} {each.version}" for each in found], bool(found.token)]


def main() -> None:
    client = MlflowClient()
    mark = salted("reg-")
    run = client.create_run(client.create_experiment(salted("search registry")))
    sources = fill(client, mark, run.info.run_id, run.info.artifact_uri)
    mine = f"name LIKE '{mark}%'"
    known = {"x": mark, "run": run.info.run_id, "source": sources[0]}
    step("models in full", client.search_registered_models, mine, order_by=["name"])
    step("versions in full", client.search_model_versions, mine, order_by=["name", "version_number"])
    for template in MODELS:
        text = f"{filled(template, known)} AND {mine}"
        step(f"models: {template}", client.search_registered_models, text, order_by=["name"], show=models)
    for template in VERSIONS:
        text = f"{filled(template, known)} AND {mine}"
        step(
            f"versions: {template}",
            client.search_model_versions,
            text,
            order_by=["name", "version_number"],
            show=versions,
        )
    for text in MODEL_ORDERS:
        step(f"models by {text}", client.search_registered_models, mine, order_by=[text], show=models)
    for text in VERSION_ORDERS:
        step(f"versions by {text}", client.search_model_versions, mine, order_by=[text, "name"], show=versions)
    step("models in no order", client.search_registered_models, mine, show=models)
    step("versions in no order", client.search_model_versions, mine, show=versions)
    client.set_model_version_tag(mark + "Alpha", "1", "touched", "yes")
    step("versions after a tag", client.search_model_versions, mine, show=versions)
    client.transition_model_version_stage(mark + "beta", "1", "Staging")
    step("versions after a stage", client.search_model_versions, mine, show=versions)
    found: list[str] = []
    unrecorded(lambda: found.extend(each.name for each in client.search_registered_models(max_results=1000)))
    step("no filter finds all but the prompt", lambda: [each for each in sorted(found) if each.startswith(mark)])
    pages(client, mine)


def filled(template: str, known: dict[str, str]) -> str:
    for name, value in known.items():
        template = template.replace("{" + name + "}", value)
    return template


def fill(client: MlflowClient, mark: str, run: str, uri: str) -> list[str]:
    sources = [f"{uri}/model", f"{uri}/other"]
    for name, tags in (
        ("Alpha", {"team": "red"}),
        ("alpha", {"team": "Red", "a b": "c"}),
        ("beta", {"team": "blue"}),
        ("gamma", {}),
        ("prompt", {}),
    ):
        client.create_registered_model(mark + name, tags=tags)
    client.create_model_version(mark + "Alpha", sources[0], run, tags={"kind": "tree"})
    client.create_model_version(mark + "Alpha", sources[1], run, tags={"kind": "Tree", "a b": "c"})
    client.create_model_version(mark + "alpha", "s3://bucket/model")
    client.create_model_version(mark + "beta", sources[1], run, description="words")
    client.create_model_version(mark + "prompt", "s3://bucket/prompt")
    client.set_model_version_tag(mark + "prompt", "1", "mlflow.prompt.is_prompt", "true")
    client.set_registered_model_tag(mark + "prompt", "mlflow.prompt.is_prompt", "true")
    client.set_registered_model_alias(mark + "Alpha", "champion", "1")
    return sources


def pages(client: MlflowClient, mine: str) -> None:
    for what, search, show in (
        ("models", client.search_registered_models, models),
        ("versions", client.search_model_versions, versions),
    ):
        token = None
        for number in (1, 2, 3, 4):
            page = step(
                f"{what}, page {number}", search, mine, max_results=2, order_by=["name"], page_token=token, show=show
            )
            token = page.token if page is not None else None
            if not token:
                break
        step(f"{what}, a token that is none", search, mine, page_token="nonsense", show=show)
        step(f"{what}, none at once", search, mine, max_results=0, show=show)
        step(f"{what}, too many at once", search, mine, max_results=1001 if what == "models" else 200001, show=show)


if __name__ == "__main__":
    main()
