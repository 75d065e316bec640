"""Requests about logged models as no client sends them."""

from __future__ import annotations

from typing import Any

from step import ask, salted

V2 = "/api/2.0/mlflow"
ABSENT = "m-" + "0" * 32


def main() -> None:
    experiment = (ask("experiment", "POST", f"{V2}/experiments/create", {"name": salted("raw models")}) or {}).get(
        "experiment_id", ""
    )
    models = f"{V2}/logged-models"
    ask("create with nothing", "POST", models, {})
    ask("create by a number", "POST", models, {"experiment_id": int(experiment or 0)})
    ask("create in an absent experiment", "POST", models, {"experiment_id": "999999"})
    ask("create in a word", "POST", models, {"experiment_id": "zero"})
    ask("create with a name of a number", "POST", models, {"experiment_id": experiment, "name": 5})
    ask("create with text for params", "POST", models, {"experiment_id": experiment, "params": "x"})
    ask(
        "create with a param without value",
        "POST",
        models,
        {"experiment_id": experiment, "name": "valueless", "params": [{"key": "a"}]},
    )
    ask(
        "create with a param twice",
        "POST",
        models,
        {
            "experiment_id": experiment,
            "name": "twice",
            "params": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}],
        },
    )
    ask(
        "create with a bad tag",
        "POST",
        models,
        {"experiment_id": experiment, "name": "tag", "tags": [{"key": "a&b", "value": "1"}]},
    )
    ask(
        "create with a long param",
        "POST",
        models,
        {"experiment_id": experiment, "name": "long", "params": [{"key": "a", "value": "v" * 6001}]},
    )
    for name in ("a/b", "a:b", "a.b", "a'b", 'a"b', "a%b", "", " ", "n" * 501):
        ask(f"create {name[:9]!r}", "POST", models, {"experiment_id": experiment, "name": name})
    made = ask("create", "POST", models, {"experiment_id": experiment, "name": "one", "model_type": "t", "unknown": 1})
    one = made["model"]["info"]["model_id"] if made and "model" in made else ABSENT
    one_model(models, one)
    searching(models, experiment)


def one_model(models: str, one: str) -> None:
    ask("get", "GET", f"{models}/{one}")
    ask("get absent", "GET", f"{models}/{ABSENT}")
    ask("get by a run's id", "GET", f"{models}/{'0' * 32}")
    ask("get with the id in the query", "GET", f"{models}/{one}", query=[("model_id", "other")])
    statuses: tuple[Any, ...] = (
        "LOGGED_MODEL_PENDING",
        "READY",
        "LOGGED_MODEL_READY",
        "LOGGED_MODEL_UPLOAD_FAILED",
        "DONE",
        "",
        2,
        None,
    )
    for status in statuses:
        ask(f"finish as {status!r}", "PATCH", f"{models}/{one}", {"model_id": one, "status": status})
    ask("finish with nothing", "PATCH", f"{models}/{one}", {})
    ask("finish without the id", "PATCH", f"{models}/{one}", {"status": "LOGGED_MODEL_READY"})
    ask("finish absent", "PATCH", f"{models}/{ABSENT}", {"model_id": ABSENT, "status": "LOGGED_MODEL_READY"})
    ask("params", "POST", f"{models}/{one}/params", {"model_id": one, "params": [{"key": "a", "value": "1"}]})
    ask("params without the id", "POST", f"{models}/{one}/params", {"params": [{"key": "a", "value": "1"}]})
    ask("params again", "POST", f"{models}/{one}/params", {"model_id": one, "params": [{"key": "a", "value": "1"}]})
    ask("params changed", "POST", f"{models}/{one}/params", {"model_id": one, "params": [{"key": "a", "value": "2"}]})
    ask("params of nothing", "POST", f"{models}/{one}/params", {"model_id": one})
    ask("params without a value", "POST", f"{models}/{one}/params", {"model_id": one, "params": [{"key": "b"}]})
    ask("tags", "PATCH", f"{models}/{one}/tags", {"model_id": one, "tags": [{"key": "a/b c", "value": "1"}]})
    ask("tags of nothing", "PATCH", f"{models}/{one}/tags", {})
    ask("tags without a value", "PATCH", f"{models}/{one}/tags", {"tags": [{"key": "b"}]})
    ask("delete a tag with a slash", "DELETE", f"{models}/{one}/tags/a%2Fb%20c")
    ask("delete a tag", "DELETE", f"{models}/{one}/tags/b", {"model_id": one, "tag_key": "b"})
    ask("delete it again", "DELETE", f"{models}/{one}/tags/b")
    ask("after all of it", "GET", f"{models}/{one}")
    directories = f"{models}/{one}/artifacts/directories"
    ask("files", "GET", directories)
    ask("files leading up", "GET", directories, query=[("artifact_directory_path", "../x")])
    ask("files of an absent one", "GET", f"{models}/{ABSENT}/artifacts/directories")
    ask("delete", "DELETE", f"{models}/{one}")
    ask("get deleted", "GET", f"{models}/{one}")
    ask("finish deleted", "PATCH", f"{models}/{one}", {"model_id": one, "status": "LOGGED_MODEL_READY"})


def searching(models: str, experiment: str) -> None:
    ask("search with nothing", "POST", f"{models}/search", {})
    ask("search by GET", "GET", f"{models}/search", query=[("experiment_ids", experiment)])
    ask(
        "search one at once",
        "POST",
        f"{models}/search",
        {"experiment_ids": [experiment], "max_results": 1, "order_by": [{"field_name": "name", "ascending": True}]},
    )
    for number in (0, -1, 100, 101, 50000, 50001, "x", "5"):
        ask(
            f"search, {number!r} at once",
            "POST",
            f"{models}/search",
            {"experiment_ids": [experiment], "filter": "name = 'nobody'", "max_results": number},
        )
    ask("search, a bad token", "POST", f"{models}/search", {"experiment_ids": [experiment], "page_token": "nonsense"})
    ask("search, order by nothing", "POST", f"{models}/search", {"experiment_ids": [experiment], "order_by": [{}]})
    ask("search, order by text", "POST", f"{models}/search", {"experiment_ids": [experiment], "order_by": ["name"]})
    ask("search, datasets of nothing", "POST", f"{models}/search", {"experiment_ids": [experiment], "datasets": [{}]})


if __name__ == "__main__":
    main()
