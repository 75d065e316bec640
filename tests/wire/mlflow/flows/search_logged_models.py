"""Searching logged models: filters, orders, datasets, pages."""

from __future__ import annotations

import math
from typing import Any

from mlflow.tracking import MlflowClient
from step import salted, step

T0 = 1_600_000_000_000
FILTERS = (
    "name = 'one'",
    "name != 'one'",
    "name LIKE 'o%'",
    "name ILIKE 'O%'",
    "name IN ('one', 'two')",
    "name NOT IN ('one')",
    "attributes.name = 'one'",
    "model_type = 'sklearn'",
    "model_type != 'sklearn'",
    "status = 'READY'",
    "status != 'READY'",
    "status = 'LOGGED_MODEL_READY'",
    "status IN ('READY')",
    "source_run_id = '{run}'",
    "source_run_id IN ('{run}')",
    "model_id = '{model}'",
    "model_id IN ('{model}')",
    "model_id != '{model}'",
    "model_id LIKE 'm-%'",
    "creation_timestamp > 0",
    "creation_time > 0",
    "last_updated_timestamp < 0",
    "last_updated_time > 0",
    "metrics.auc > 0.5",
    "metrics.auc >= 0.5",
    "metrics.auc = 0.9",
    "metrics.auc != 0.9",
    "metrics.absent > 0",
    "metrics.`auc` < 1",
    "params.depth = '3'",
    "params.depth != '3'",
    "params.depth LIKE '_'",
    "params.depth ILIKE '3%'",
    "params.depth IS NULL",
    "params.depth IS NOT NULL",
    "tags.team = 'red'",
    "tags.team != 'red'",
    "tags.team IS NULL",
    "tags.team IS NOT NULL",
    "tags.team LIKE 'R%'",
    "tags.team ILIKE 'R%'",
    "metrics.auc > 0.5 AND params.depth = '3'",
    "name = 'one' OR name = 'two'",
    "absent = 'x'",
    "metrics.auc = 'x'",
    "params.depth = 3",
    "params.depth > '3'",
    "name > 'a'",
    "creation_timestamp = 'x'",
    "tags.team IN ('red')",
    "experiment_id = '1'",
    "name IS NULL",
    "(name = 'one')",
    "artifact_uri LIKE '%'",
    "datasets.name = 'x'",
    "name",
)
ORDERS: tuple[tuple[dict[str, Any], ...], ...] = (
    ({"field_name": "name"},),
    ({"field_name": "name", "ascending": False},),
    ({"field_name": "metrics.auc"},),
    ({"field_name": "metrics.auc", "ascending": False},),
    ({"field_name": "metrics.absent"}, {"field_name": "name"}),
    ({"field_name": "creation_timestamp"},),
    ({"field_name": "creation_time", "ascending": False},),
    ({"field_name": "last_updated_timestamp"},),
    ({"field_name": "model_type"}, {"field_name": "name", "ascending": False}),
    ({"field_name": "params.depth"},),
    ({"field_name": "tags.team"},),
    ({"field_name": "absent"},),
    ({"field_name": "attributes.name"},),
    ({"field_name": "metrics.auc", "ascending": False, "dataset_name": "b"},),
    ({"field_name": "metrics.auc", "ascending": True, "dataset_name": "b", "dataset_digest": "b1"},),
    ({"field_name": "status"}, {"field_name": "name"}),
)
DATASETS: tuple[tuple[str, list[dict[str, str]]], ...] = (
    ("metrics.auc > 0.5", [{"dataset_name": "a"}]),
    ("metrics.auc > 0.5", [{"dataset_name": "b"}]),
    ("metrics.auc > 0", [{"dataset_name": "b", "dataset_digest": "b1"}]),
    ("metrics.auc > 0", [{"dataset_name": "b", "dataset_digest": "x"}]),
    ("metrics.auc > 0", [{"dataset_name": "a"}, {"dataset_name": "b"}]),
    ("", [{"dataset_name": "b"}]),
    ("", [{"dataset_digest": "b1"}]),
)


def names(models: Any) -> Any:
    return [[each.name for each in models], bool(models.token)]


def main() -> None:
    client = MlflowClient()
    experiment = client.create_experiment(salted("search logged models"))
    other = client.create_experiment(salted("other logged models"))
    run = client.create_run(experiment, start_time=T0).info.run_id
    fill(client, experiment, other, run)
    by_name = [{"field_name": "name", "ascending": True}]
    everything = step("everything", client.search_logged_models, [experiment], order_by=by_name)
    if not everything:
        return
    for template in FILTERS:
        text = template.replace("{run}", run).replace("{model}", everything[0].model_id)
        step(f"filter: {template}", client.search_logged_models, [experiment], text, order_by=by_name, show=names)
    for number, order in enumerate(ORDERS):
        step(f"order {number}: {order}", client.search_logged_models, [experiment], order_by=list(order), show=names)
    for number, (text, datasets) in enumerate(DATASETS):
        step(
            f"datasets {number}: {text}",
            client.search_logged_models,
            [experiment],
            text,
            datasets,
            order_by=by_name,
            show=names,
        )
    step("in no order", client.search_logged_models, [experiment], show=names)
    step("two experiments", client.search_logged_models, [experiment, other], order_by=by_name, show=names)
    step("an absent experiment", client.search_logged_models, ["999999"], show=names)
    step("no experiment", client.search_logged_models, [], show=names)
    token = None
    for number in (1, 2, 3):
        page = step(
            f"page {number}",
            client.search_logged_models,
            [experiment],
            max_results=2,
            order_by=by_name,
            page_token=token,
            show=names,
        )
        token = page.token if page is not None else None
        if not token:
            break
    step("a token that is none", client.search_logged_models, [experiment], page_token="nonsense", show=names)
    step("none at once", client.search_logged_models, [experiment], max_results=0, show=names)


def fill(client: MlflowClient, experiment: str, other: str, run: str) -> None:
    one = client.create_logged_model(experiment, "one", run, {"team": "red"}, {"depth": "3"}, "sklearn")
    two = client.create_logged_model(experiment, "two", None, {"team": "Red"}, {"depth": "10"}, "lightgbm")
    client.create_logged_model(experiment, "three", run)
    four = client.create_logged_model(experiment, "four", run, {}, {"depth": "3"}, "sklearn")
    client.create_logged_model(other, "elsewhere", None, {"team": "red"})
    client.finalize_logged_model(one.model_id, "READY")
    client.finalize_logged_model(two.model_id, "FAILED")

    # Never two of one model at the same time and step: there MLflow has room for one only, whatever the dataset.
    def measure(model: Any, value: float, at: int, **dataset: str) -> None:
        client.log_metric(run, "auc", value, timestamp=T0 + at, step=1, model_id=model.model_id, **dataset)

    measure(one, 0.9, 9)
    measure(two, 0.5, 9)
    measure(four, math.nan, 9)
    measure(one, 0.3, 1, dataset_name="a", dataset_digest="a1")
    measure(one, 0.8, 2, dataset_name="b", dataset_digest="b1")
    measure(two, 0.95, 2, dataset_name="b", dataset_digest="b1")


if __name__ == "__main__":
    main()
