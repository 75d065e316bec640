"""The forms of a request: small routes, prefixes, methods, content types, bodies that are not JSON."""

from __future__ import annotations

from step import ask, salted

V2 = "/api/2.0/mlflow"


def main() -> None:
    ask("health", "GET", "/health")
    ask("version", "GET", "/version")
    ask("server info", "GET", "/api/3.0/mlflow/server-info")
    ask("for browsers", "GET", "/ajax-api/2.0/mlflow/experiments/get", query=[("experiment_id", "0")])
    ask("for browsers, the third", "GET", "/ajax-api/3.0/mlflow/server-info")
    ask("the third for the second", "GET", "/api/3.0/mlflow/experiments/get", query=[("experiment_id", "0")])
    ask("files for browsers", "GET", "/ajax-api/2.0/mlflow-artifacts/artifacts", query=[("path", "nowhere")])
    ask("unknown route", "GET", f"{V2}/nowhere")
    ask("unknown route, posted", "POST", f"{V2}/experiments/nowhere", {})
    ask("unknown version", "GET", "/api/1.0/mlflow/experiments/get")
    ask("a slash at the end", "GET", f"{V2}/experiments/get/", query=[("experiment_id", "0")])
    for method in ("PUT", "PATCH", "DELETE"):
        ask(f"{method} where POST is meant", method, f"{V2}/experiments/create", {"name": "x"})
    ask("GET where POST is meant", "GET", f"{V2}/experiments/create", query=[("name", "x")])
    ask("POST where GET is meant", "POST", f"{V2}/experiments/get", {"experiment_id": "0"})
    ask("HEAD", "HEAD", f"{V2}/experiments/get", query=[("experiment_id", "0")])
    create = f"{V2}/experiments/create"
    ask("not JSON", "POST", create, data=b"{", headers={"Content-Type": "application/json"})
    ask("a list", "POST", create, data=b"[]", headers={"Content-Type": "application/json"})
    ask("a text", "POST", create, data=b'"x"', headers={"Content-Type": "application/json"})
    ask("null", "POST", create, data=b"null", headers={"Content-Type": "application/json"})
    ask("no body", "POST", create, headers={"Content-Type": "application/json"})
    ask("JSON as text", "POST", create, data=b'{"name": ""}', headers={"Content-Type": "text/plain"})
    ask(
        "JSON in a form",
        "POST",
        create,
        data=b'{"name": ""}',
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    ask("JSON as something", "POST", create, data=b'{"name": ""}', headers={"Content-Type": "application/vnd.api+json"})
    name = salted("with a character set")
    ask(
        "JSON with a character set",
        "POST",
        create,
        data=b'{"name": "%s"}' % name.encode(),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    ask(
        "JSON twice encoded",
        "POST",
        create,
        data=b'"{\\"name\\": \\"\\"}"',
        headers={"Content-Type": "application/json"},
    )
    ask("not UTF-8", "POST", create, data=b'{"name": "\xff"}', headers={"Content-Type": "application/json"})
    ask("a field in camels", "POST", f"{V2}/experiments/delete", {"experimentId": "999999"})
    ask("a body with GET", "GET", f"{V2}/experiments/get", {"experiment_id": "0"})
    ask("a query with POST", "POST", f"{V2}/experiments/delete?experiment_id=999999", {})
    ask(
        "a truth in other letters",
        "GET",
        f"{V2}/experiments/search",
        query=[("max_results", "1"), ("view_type", "active_only")],
    )
    ask("an old prefix", "GET", "/api/2.0/preview/mlflow/experiments/get", query=[("experiment_id", "0")])


if __name__ == "__main__":
    main()
