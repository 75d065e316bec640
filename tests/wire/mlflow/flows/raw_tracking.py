"""Requests about experiments and runs as no client sends them: fields missing, of the wrong type, unknown."""

from __future__ import annotations

from typing import Any

from step import ask, salted

V2 = "/api/2.0/mlflow"
T0 = 1_600_000_000_000
NOBODY = "0" * 32

# Every route with one request that is right but for the names in it; each field is then left out, spoilt, doubled.
POSTS: dict[str, dict[str, Any]] = {
    "experiments/delete": {"experiment_id": "999999"},
    "experiments/restore": {"experiment_id": "999999"},
    "experiments/update": {"experiment_id": "999999", "new_name": "x"},
    "experiments/set-experiment-tag": {"experiment_id": "999999", "key": "a", "value": "b"},
    "experiments/delete-experiment-tag": {"experiment_id": "999999", "key": "a"},
    "runs/delete": {"run_id": NOBODY},
    "runs/restore": {"run_id": NOBODY},
    "runs/update": {"run_id": NOBODY, "status": "FINISHED", "end_time": T0, "run_name": "x"},
    "runs/log-metric": {"run_id": NOBODY, "key": "m", "value": 1.0, "timestamp": T0, "step": 0},
    "runs/log-parameter": {"run_id": NOBODY, "key": "p", "value": "1"},
    "runs/set-tag": {"run_id": NOBODY, "key": "t", "value": "1"},
    "runs/delete-tag": {"run_id": NOBODY, "key": "t"},
    "runs/log-batch": {"run_id": NOBODY, "metrics": [], "params": [], "tags": []},
    "runs/log-inputs": {"run_id": NOBODY, "datasets": []},
    "runs/outputs": {"run_id": NOBODY, "models": []},
    "runs/log-model": {"run_id": NOBODY, "model_json": "{}"},
    "runs/search": {
        "experiment_ids": ["999999"],
        "filter": "",
        "run_view_type": "ALL",
        "max_results": 5,
        "order_by": [],
    },
    "experiments/search": {
        "filter": "name = 'nobody'",
        "view_type": "ALL",
        "max_results": 1,
        "order_by": ["experiment_id"],
    },
}
GETS: dict[str, dict[str, str]] = {
    "experiments/get": {"experiment_id": "999999"},
    "experiments/get-by-name": {"experiment_name": "nobody"},
    "runs/get": {"run_id": NOBODY},
    "metrics/get-history": {"run_id": NOBODY, "metric_key": "m"},
    "artifacts/list": {"run_id": NOBODY, "path": ""},
}
WRONG = {"nothing": None, "a number": 7, "text": "seven", "a list": [], "an object": {}, "true": True, "empty text": ""}


def main() -> None:
    creating()  # first, so that there is more than one experiment to find
    for path, body in POSTS.items():
        spoilt(path, body)
    for path, query in GETS.items():
        ask(f"GET {path}", "GET", f"{V2}/{path}", query=query.items())
        for field in query:
            rest = [(name, value) for name, value in query.items() if name != field]
            ask(f"GET {path} without {field}", "GET", f"{V2}/{path}", query=rest)
            ask(f"GET {path} with empty {field}", "GET", f"{V2}/{path}", query=[*rest, (field, "")])
            ask(f"GET {path} with two {field}", "GET", f"{V2}/{path}", query=[*query.items(), (field, "other")])
    experiments()
    reading()


def spoilt(path: str, body: dict[str, Any]) -> None:
    ask(f"{path}", "POST", f"{V2}/{path}", body)
    ask(f"{path} with nothing", "POST", f"{V2}/{path}", {})
    ask(f"{path} with more", "POST", f"{V2}/{path}", {**body, "unknown": {"a": 1}})
    for field in body:
        ask(
            f"{path} without {field}",
            "POST",
            f"{V2}/{path}",
            {each: value for each, value in body.items() if each != field},
        )
        for name, value in WRONG.items():
            ask(f"{path}, {field} is {name}", "POST", f"{V2}/{path}", {**body, field: value})


def creating() -> None:
    ask("create without a name", "POST", f"{V2}/experiments/create", {})
    ask("create by a number", "POST", f"{V2}/experiments/create", {"name": 7})
    ask("create with bad tags", "POST", f"{V2}/experiments/create", {"name": salted("x"), "tags": [{"value": "a"}]})
    ask("create with text for tags", "POST", f"{V2}/experiments/create", {"name": salted("y"), "tags": "a"})
    ask(
        "create with a tag twice",
        "POST",
        f"{V2}/experiments/create",
        {"name": salted("twice"), "tags": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]},
    )
    ask(
        "create with a local path",
        "POST",
        f"{V2}/experiments/create",
        {"name": salted("l"), "artifact_location": "/etc"},
    )
    ask(
        "create with a fragment",
        "POST",
        f"{V2}/experiments/create",
        {"name": salted("f"), "artifact_location": "s3://a/b#c"},
    )
    ask(
        "create with a query",
        "POST",
        f"{V2}/experiments/create",
        {"name": salted("q"), "artifact_location": "s3://a/b?x=../y"},
    )
    ask(
        "create leading up",
        "POST",
        f"{V2}/experiments/create",
        {"name": salted("u"), "artifact_location": "mlflow-artifacts:/../x"},
    )
    ask("a run of nothing", "POST", f"{V2}/runs/create", {})
    ask("a run in the default experiment", "POST", f"{V2}/runs/create", {"experiment_id": "0", "start_time": T0})
    ask(
        "a run by a number",
        "POST",
        f"{V2}/runs/create",
        {"experiment_id": 0, "start_time": str(T0), "run_name": "numbered"},
    )
    ask("a run by a word", "POST", f"{V2}/runs/create", {"experiment_id": "zero", "start_time": T0})
    ask("a run with text for a time", "POST", f"{V2}/runs/create", {"experiment_id": "0", "start_time": "noon"})
    ask("a run with a fraction for a time", "POST", f"{V2}/runs/create", {"experiment_id": "0", "start_time": 1.5})
    ask(
        "a run with a user",
        "POST",
        f"{V2}/runs/create",
        {"experiment_id": "0", "user_id": "ada", "start_time": T0, "run_name": "of ada"},
    )
    ask(
        "a run with a bad tag",
        "POST",
        f"{V2}/runs/create",
        {"experiment_id": "0", "start_time": T0, "tags": [{"key": "a&b", "value": "x"}]},
    )
    ask(
        "a run with a tag without value",
        "POST",
        f"{V2}/runs/create",
        {"experiment_id": "0", "start_time": T0, "run_name": "n", "tags": [{"key": "a"}]},
    )
    ask("a run without a time", "POST", f"{V2}/runs/create", {"experiment_id": "0", "run_name": "timeless"})
    ask(
        "a run with an empty name",
        "POST",
        f"{V2}/runs/create",
        {"experiment_id": "0", "start_time": T0, "run_name": ""},
    )


def experiments() -> None:
    made = ask(
        "make one", "POST", f"{V2}/experiments/create", {"name": salted("raw"), "tags": [{"key": "a", "value": "1"}]}
    )
    one = (made or {}).get("experiment_id", "")
    ask("get by a number", "GET", f"{V2}/experiments/get", query=[("experiment_id", one), ("unknown", "x")])
    ask("delete a tag", "POST", f"{V2}/experiments/delete-experiment-tag", {"experiment_id": one, "key": "a"})
    ask("delete it again", "POST", f"{V2}/experiments/delete-experiment-tag", {"experiment_id": one, "key": "a"})
    ask("without tags", "GET", f"{V2}/experiments/get", query=[("experiment_id", one)])
    ask(
        "tag by a number",
        "POST",
        f"{V2}/experiments/set-experiment-tag",
        {"experiment_id": int(one or 0), "key": "b", "value": "2"},
    )
    ask(
        "bad tag key",
        "POST",
        f"{V2}/experiments/set-experiment-tag",
        {"experiment_id": one, "key": "a&b", "value": "2"},
    )
    ask(
        "long tag key",
        "POST",
        f"{V2}/experiments/set-experiment-tag",
        {"experiment_id": one, "key": "k" * 251, "value": "2"},
    )
    ask(
        "very long tag value",
        "POST",
        f"{V2}/experiments/set-experiment-tag",
        {"experiment_id": one, "key": "v", "value": "v" * 20001},
    )
    ask(
        "search by GET",
        "GET",
        f"{V2}/experiments/search",
        query=[
            ("max_results", "5"),
            ("filter", f"name = '{salted('raw')}'"),
            ("order_by", "name"),
            ("order_by", "experiment_id"),
        ],
    )
    ask("search without a number", "POST", f"{V2}/experiments/search", {"filter": f"name = '{salted('raw')}'"})
    ask("search with a view nobody knows", "POST", f"{V2}/experiments/search", {"max_results": 5, "view_type": "SOME"})
    ask(
        "search with a view by number",
        "POST",
        f"{V2}/experiments/search",
        {"max_results": 5, "view_type": 2, "filter": f"name = '{salted('raw')}'"},
    )
    ask("search with text for a number", "POST", f"{V2}/experiments/search", {"max_results": "many"})
    ask(
        "search with a number as text",
        "POST",
        f"{V2}/experiments/search",
        {"max_results": "5", "filter": f"name = '{salted('raw')}'"},
    )
    ask("list, which is no more", "GET", f"{V2}/experiments/list")


def reading() -> None:
    made = ask(
        "a run to read", "POST", f"{V2}/runs/create", {"experiment_id": "0", "start_time": T0, "run_name": "to read"}
    )
    run = made["run"]["info"]["run_id"] if made and "run" in made else NOBODY
    points = [{"key": "m", "value": float(n), "timestamp": T0 + n, "step": n} for n in range(40)]
    ask("points", "POST", f"{V2}/runs/log-batch", {"run_id": run, "metrics": points})
    ask("get by the old name", "GET", f"{V2}/runs/get", query=[("run_uuid", run)])
    ask("get by both names", "GET", f"{V2}/runs/get", query=[("run_uuid", run), ("run_id", run)])
    ask("history", "GET", f"{V2}/metrics/get-history", query=[("run_id", run), ("metric_key", "m")])
    ask("history by the old name", "GET", f"{V2}/metrics/get-history", query=[("run_uuid", run), ("metric_key", "m")])
    page = ask(
        "history, a page",
        "GET",
        f"{V2}/metrics/get-history",
        query=[("run_id", run), ("metric_key", "m"), ("max_results", "15")],
    )
    token = (page or {}).get("next_page_token", "")
    ask(
        "history, the next page",
        "GET",
        f"{V2}/metrics/get-history",
        query=[("run_id", run), ("metric_key", "m"), ("max_results", "30"), ("page_token", token)],
    )
    for number in ("0", "-1", "25000", "25001", "x"):
        ask(
            f"history, {number} at once",
            "GET",
            f"{V2}/metrics/get-history",
            query=[("run_id", run), ("metric_key", "none"), ("max_results", number)],
        )
    ask(
        "history, a bad token",
        "GET",
        f"{V2}/metrics/get-history",
        query=[("run_id", run), ("metric_key", "m"), ("page_token", "nonsense")],
    )
    bulk = f"{V2}/metrics/get-history-bulk-interval"
    ask("bulk", "GET", bulk, query=[("run_ids", run), ("metric_key", "m"), ("max_results", "5")])
    ask(
        "bulk of some steps",
        "GET",
        bulk,
        query=[("run_ids", run), ("metric_key", "m"), ("start_step", "10"), ("end_step", "20"), ("max_results", "5")],
    )
    ask(
        "bulk of two runs",
        "GET",
        bulk,
        query=[("run_ids", run), ("run_ids", NOBODY), ("metric_key", "m"), ("max_results", "5")],
    )
    ask("bulk without a number", "GET", bulk, query=[("run_ids", run), ("metric_key", "m")])
    ask("bulk without a key", "GET", bulk, query=[("run_ids", run)])
    ask("bulk without a run", "GET", bulk, query=[("metric_key", "m")])
    ask("bulk of too many", "GET", bulk, query=[("run_ids", run), ("metric_key", "m"), ("max_results", "2501")])
    ask(
        "bulk with half an interval",
        "GET",
        bulk,
        query=[("run_ids", run), ("metric_key", "m"), ("start_step", "10"), ("max_results", "5")],
    )
    ask(
        "bulk backwards",
        "GET",
        bulk,
        query=[("run_ids", run), ("metric_key", "m"), ("start_step", "20"), ("end_step", "10"), ("max_results", "5")],
    )
    ask("files of the run", "GET", f"{V2}/artifacts/list", query=[("run_id", run)])


if __name__ == "__main__":
    main()
