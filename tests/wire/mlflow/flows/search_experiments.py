"""Searching experiments: filters, orders, pages."""

from __future__ import annotations

from typing import Any

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from step import salted, step

FILTERS = (
    "name = '{x}Alpha'",
    "name != '{x}Alpha'",
    "name LIKE '{x}a%'",
    "name ILIKE '{x}a%'",
    "attribute.name = '{x}beta'",
    "attributes.name = '{x}beta'",
    "attr.name = '{x}beta'",
    "tags.team = 'red'",
    "tag.team = 'red'",
    "tags.team != 'red'",
    "tags.team LIKE 'r%'",
    "tags.team ILIKE 'R%'",
    "tags.`a b` = 'c'",
    "tags.team IS NULL",
    "tags.team IS NOT NULL",
    "creation_time > 0",
    "creation_time < 0",
    "last_update_time > 0",
    "attributes.creation_time >= 0",
    "name LIKE '{x}%' AND tags.team = 'red'",
    "experiment_id = '999999'",
    "experiment_id != '999999'",
    "name = {x}",
    "name > 'a'",
    "name IN ('{x}beta')",
    "name IS NULL",
    "team = 'red'",
    "creation_time = 'x'",
    "creation_time LIKE '1'",
    "name = 'a' OR name = 'b'",
    "(name = 'a')",
    "lifecycle_stage = 'active'",
    "params.x = 'y'",
    "artifact_location = 'x'",
    "name",
    "name =",
    "tags.team IN ('red')",
    "tags.team > 'red'",
    "name LIKE 3",
    "experiment_id IN ('1')",
    "experiment_id = 1",
)
ORDERS = (
    "name",
    "name ASC",
    "name DESC",
    "experiment_id",
    "experiment_id DESC",
    "creation_time",
    "creation_time DESC",
    "last_update_time DESC",
    "attribute.name DESC",
    "tags.team",
    "lifecycle_stage",
    "name UP",
    "absent",
    "",
)


def names(experiments: Any) -> Any:
    return [[each.name for each in experiments], bool(experiments.token)]


def main() -> None:
    client = MlflowClient()
    mark = salted("exp-")
    for name, tags in (
        ("Alpha", {"team": "red"}),
        ("alpha", {"team": "Red", "a b": "c"}),
        ("beta", {"team": "blue"}),
        ("gamma", {}),
        ("gone", {"team": "red"}),
    ):
        made = client.create_experiment(mark + name, tags=tags)
        if name == "gone":
            client.delete_experiment(made)
    mine = f"name LIKE '{mark}%'"
    step("mine", client.search_experiments, filter_string=mine, order_by=["name"])
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        step(f"view {view}", client.search_experiments, view, filter_string=mine, order_by=["name"], show=names)
    for text in FILTERS:
        asked = f"{text.replace('{x}', mark)} AND {mine}"
        step(f"filter: {text}", client.search_experiments, filter_string=asked, order_by=["name"], show=names)
    for text in ORDERS:
        step(f"order: {text}", client.search_experiments, filter_string=mine, order_by=[text], show=names)
    step("the order nobody asked for", client.search_experiments, filter_string=mine, show=names)
    token = None
    for number in (1, 2, 3):
        page = step(
            f"page {number}",
            client.search_experiments,
            filter_string=mine,
            order_by=["name"],
            max_results=2,
            page_token=token,
            show=names,
        )
        token = page.token if page is not None else None
        if not token:
            break
    step("a token that is none", client.search_experiments, filter_string=mine, page_token="nonsense", show=names)
    step("too many at once", client.search_experiments, filter_string=mine, max_results=50001, show=names)
    step("none at once", client.search_experiments, filter_string=mine, max_results=0, show=names)


if __name__ == "__main__":
    main()
