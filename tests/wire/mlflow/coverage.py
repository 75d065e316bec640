"""Which routes were asked, and which errors they gave: the table of `benchmarks/results/mlflow_wire.txt`. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from tests.wire.mlflow.compare import Difference, route, status

MLFLOW, PROXY = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts"
# Every route a client must find, as MLflow spells it; {} is an id or a path.
ROUTES = (
    *(
        f"POST {MLFLOW}/experiments/{verb}"
        for verb in ("create", "search", "delete", "restore", "update", "set-experiment-tag", "delete-experiment-tag")
    ),
    *(f"GET {MLFLOW}/experiments/{verb}" for verb in ("get", "get-by-name", "search")),
    *(
        f"POST {MLFLOW}/runs/{verb}"
        for verb in (
            "create",
            "update",
            "delete",
            "restore",
            "search",
            "log-metric",
            "log-parameter",
            "log-batch",
            "set-tag",
            "delete-tag",
            "log-inputs",
            "outputs",
            "log-model",
        )
    ),
    f"GET {MLFLOW}/runs/get",
    f"GET {MLFLOW}/metrics/get-history",
    f"GET {MLFLOW}/metrics/get-history-bulk-interval",
    f"GET {MLFLOW}/artifacts/list",
    "GET /health",
    "GET /version",
    "GET /api/3.0/mlflow/server-info",
    f"POST {MLFLOW}/logged-models",
    f"GET {MLFLOW}/logged-models/{{}}",
    f"PATCH {MLFLOW}/logged-models/{{}}",
    f"DELETE {MLFLOW}/logged-models/{{}}",
    f"POST {MLFLOW}/logged-models/{{}}/params",
    f"PATCH {MLFLOW}/logged-models/{{}}/tags",
    f"DELETE {MLFLOW}/logged-models/{{}}/tags/{{}}",
    f"POST {MLFLOW}/logged-models/search",
    f"GET {MLFLOW}/logged-models/{{}}/artifacts/directories",
    *(f"{verb} {PROXY}/artifacts/{{}}" for verb in ("PUT", "GET", "DELETE")),
    f"GET {PROXY}/artifacts",
    *(f"POST {PROXY}/mpu/{verb}/{{}}" for verb in ("create", "complete", "abort")),
    *(
        f"POST {MLFLOW}/registered-models/{verb}"
        for verb in ("create", "rename", "get-latest-versions", "set-tag", "alias")
    ),
    *(f"GET {MLFLOW}/registered-models/{verb}" for verb in ("get", "search", "get-latest-versions", "alias")),
    *(f"DELETE {MLFLOW}/registered-models/{verb}" for verb in ("delete", "delete-tag", "alias")),
    f"PATCH {MLFLOW}/registered-models/update",
    *(f"POST {MLFLOW}/model-versions/{verb}" for verb in ("create", "transition-stage", "set-tag")),
    *(f"GET {MLFLOW}/model-versions/{verb}" for verb in ("get", "search", "get-download-uri")),
    *(f"DELETE {MLFLOW}/model-versions/{verb}" for verb in ("delete", "delete-tag")),
    f"PATCH {MLFLOW}/model-versions/update",
)


def never_asked(steps: Iterable[dict[str, Any]]) -> list[str]:
    """The routes that no flow exercises."""
    asked = {route(exchange) for step in steps for exchange in step["exchanges"]}
    return [each for each in ROUTES if each not in asked]


def table(theirs: list[dict[str, Any]], ours: list[dict[str, Any]], left: list[Difference]) -> str:
    """One line per route: how often asked, what each server answered, how many differences are left."""
    answers = _answers(theirs), _answers(ours)
    open_at = Counter(
        each.where.partition(" ")[0] + " " + each.where.split(" ")[1] for each in left if " /" in each.where
    )
    lines = [f"{'route':62} {'asked':>6}  answers (ours in brackets where they differ)"]
    for each in ROUTES:
        here, there = answers[0].get(each, Counter()), answers[1].get(each, Counter())
        said = ", ".join(f"{code} {count}" for code, count in sorted(here.items()))
        other = (
            "" if here == there else " [" + ", ".join(f"{code} {count}" for code, count in sorted(there.items())) + "]"
        )
        lines.append(f"{each:62} {sum(here.values()):>6}  {said}{other}{'  OPEN' if open_at[each] else ''}")
    return "\n".join(lines)


def _answers(steps: Iterable[dict[str, Any]]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for step in steps:
        for exchange in step["exchanges"]:
            found[route(exchange)][status(exchange)] += 1
    return found
