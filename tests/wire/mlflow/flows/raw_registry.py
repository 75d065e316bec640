"""Requests to the registry as no client sends them: fields missing or of the wrong type, other methods, odd names."""

from __future__ import annotations

from typing import Any

from step import ask, salted

V2 = "/api/2.0/mlflow"
NOBODY = "0" * 32


def routes(name: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        ("GET", "registered-models/get", {"name": name}),
        ("PATCH", "registered-models/update", {"name": name, "description": "words"}),
        ("POST", "registered-models/set-tag", {"name": name, "key": "a", "value": "b"}),
        ("DELETE", "registered-models/delete-tag", {"name": name, "key": "a"}),
        ("POST", "registered-models/get-latest-versions", {"name": name, "stages": ["None"]}),
        ("GET", "registered-models/get-latest-versions", {"name": name, "stages": "None"}),
        ("POST", "registered-models/alias", {"name": name, "alias": "x", "version": "1"}),
        ("GET", "registered-models/alias", {"name": name, "alias": "x"}),
        ("DELETE", "registered-models/alias", {"name": name, "alias": "x"}),
        ("GET", "model-versions/get", {"name": name, "version": "1"}),
        ("PATCH", "model-versions/update", {"name": name, "version": "1", "description": "words"}),
        ("GET", "model-versions/get-download-uri", {"name": name, "version": "1"}),
        ("POST", "model-versions/set-tag", {"name": name, "version": "1", "key": "a", "value": "b"}),
        ("DELETE", "model-versions/delete-tag", {"name": name, "version": "1", "key": "a"}),
        (
            "POST",
            "model-versions/transition-stage",
            {"name": name, "version": "1", "stage": "Staging", "archive_existing_versions": False},
        ),
        ("POST", "model-versions/create", {"name": name, "source": "s3://bucket/model"}),
        ("POST", "registered-models/rename", {"name": name, "new_name": name}),
        ("DELETE", "model-versions/delete", {"name": name, "version": "2"}),
    ]


def main() -> None:
    name = salted("raw model")
    ask("create", "POST", f"{V2}/registered-models/create", {"name": name})
    ask("version", "POST", f"{V2}/model-versions/create", {"name": name, "source": "s3://bucket/model"})
    ask("second version", "POST", f"{V2}/model-versions/create", {"name": name, "source": "s3://bucket/model"})
    for method, path, fields in routes(name):
        label = f"{method} {path}"
        send(label, method, path, fields)
        send(f"{label} with nothing", method, path, {})
        send(f"{label} with more", method, path, {**fields, "unknown": "x"})
        for field in fields:
            rest = {each: value for each, value in fields.items() if each != field}
            send(f"{label} without {field}", method, path, rest)
            for kind, value in {"a number": 7, "empty text": "", "an object": {}}.items():
                if method == "GET" and kind == "an object":
                    continue
                send(f"{label}, {field} is {kind}", method, path, {**fields, field: value})
        send(f"{label} of an absent model", method, path, {**fields, "name": salted("absent")})
    creating(name)
    searching()
    ask("delete with nothing", "DELETE", f"{V2}/registered-models/delete", {})
    ask("delete by the query", "DELETE", f"{V2}/registered-models/delete", query=[("name", name)])
    ask("delete by the body", "DELETE", f"{V2}/registered-models/delete", {"name": name})


def send(label: str, method: str, path: str, fields: dict[str, Any]) -> None:
    if method == "GET":
        ask(label, method, f"{V2}/{path}", query=[(name, str(value)) for name, value in fields.items()])
    else:
        ask(label, method, f"{V2}/{path}", fields)


def creating(name: str) -> None:
    for what, value in {"nothing": None, "a number": 7, "empty text": "", "a list": [], "blank": " "}.items():
        ask(f"create a model named by {what}", "POST", f"{V2}/registered-models/create", {"name": value})
    for odd in ("a/b", "a:b", "a\\b", "a\nb", "..", "."):
        ask(f"create {odd!r}", "POST", f"{V2}/registered-models/create", {"name": salted(odd) if len(odd) > 2 else odd})
    ask(
        "create with tags",
        "POST",
        f"{V2}/registered-models/create",
        {"name": salted("tagged"), "tags": [{"key": "a", "value": "1"}, {"key": "b"}]},
    )
    ask(
        "create with a tag twice",
        "POST",
        f"{V2}/registered-models/create",
        {"name": salted("tagged twice"), "tags": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]},
    )
    ask(
        "create described with nothing",
        "POST",
        f"{V2}/registered-models/create",
        {"name": salted("undescribed"), "description": ""},
    )
    for source in (
        "/etc",
        "file:///etc",
        "../x",
        "x",
        "mlflow-artifacts:/../x",
        "mlflow-artifacts:/a/../b",
        f"runs:/{NOBODY}/m",
        "models:/m-" + NOBODY,
        f"models:/{name}/1",
        f"models:/{name}/99",
        "models:/nobody/1",
        "dbfs:/x",
        "http://x/y",
        "s3://a/../b",
    ):
        ask(f"version of {source}", "POST", f"{V2}/model-versions/create", {"name": name, "source": source})
    ask(
        "version of an absent run",
        "POST",
        f"{V2}/model-versions/create",
        {"name": name, "source": "s3://a/b", "run_id": NOBODY},
    )
    ask(
        "version of another run's uri",
        "POST",
        f"{V2}/model-versions/create",
        {"name": name, "source": f"runs:/{NOBODY}/m", "run_id": "1" * 32},
    )
    ask(
        "version with tags",
        "POST",
        f"{V2}/model-versions/create",
        {"name": name, "source": "s3://a/b", "tags": [{"key": "a", "value": "1"}], "run_link": "x", "description": "y"},
    )
    ask(
        "version with a bad tag",
        "POST",
        f"{V2}/model-versions/create",
        {"name": name, "source": "s3://a/b", "tags": [{"key": "k" * 251, "value": "1"}]},
    )
    ask(
        "archive for text",
        "POST",
        f"{V2}/model-versions/transition-stage",
        {"name": name, "version": "1", "stage": "Production", "archive_existing_versions": "true"},
    )
    ask(
        "no archive given",
        "POST",
        f"{V2}/model-versions/transition-stage",
        {"name": name, "version": "1", "stage": "Archived"},
    )
    ask(
        "download uri of a version by version",
        "GET",
        f"{V2}/model-versions/get-download-uri",
        query=[("name", name), ("version", "3")],
    )
    ask("the model", "GET", f"{V2}/registered-models/get", query=[("name", name)])


def searching() -> None:
    mine = f"name LIKE '{salted('raw')}%'"
    for noun in ("registered-models", "model-versions"):
        ask(
            f"{noun} by GET",
            "GET",
            f"{V2}/{noun}/search",
            query=[("filter", mine), ("order_by", "name DESC"), ("max_results", "1")],
        )
        ask(f"{noun} by POST", "POST", f"{V2}/{noun}/search", {"filter": mine})
        for number in ("0", "-1", "x", "1000", "1001", "200000", "200001"):
            ask(
                f"{noun}, {number} at once",
                "GET",
                f"{V2}/{noun}/search",
                query=[("filter", "name = 'nobody'"), ("max_results", number)],
            )
        ask(f"{noun}, a bad token", "GET", f"{V2}/{noun}/search", query=[("filter", mine), ("page_token", "nonsense")])
        ask(f"{noun}, a bad order", "GET", f"{V2}/{noun}/search", query=[("filter", mine), ("order_by", "absent")])
        ask(f"{noun}, no filter", "GET", f"{V2}/{noun}/search", query=[("filter", ""), ("max_results", "0")])


if __name__ == "__main__":
    main()
