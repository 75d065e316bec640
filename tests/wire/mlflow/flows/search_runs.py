"""Searching runs: the whole grammar, every order, pages."""

from __future__ import annotations

import itertools
import math
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from step import salted, step, unrecorded

T0 = 1_600_000_000_000

RUNS: tuple[tuple[str, dict[str, float], dict[str, str], dict[str, str]], ...] = (
    ("Alpha", {"m": 1.0, "rate": 0.1}, {"p": "a", "depth": "3"}, {"team": "red"}),
    ("alpha", {"m": 2.0, "rate": 0.2}, {"p": "A", "depth": "10"}, {"team": "Red"}),
    ("beta_1", {"m": -3.5}, {"p": "b"}, {"team": "blue", "note": ""}),
    ("beta%1", {"m": math.nan, "rate": 1e-9}, {"p": "it's"}, {"a b": "blank"}),
    ("", {"m": 2.0}, {"p": 'say "hi"', "x-y/z": "odd"}, {}),
    ("gamma", {"m": 1e300, "a b": 5.0}, {}, {"team": "blue", "mlflow.note.content": "long words"}),
    ("delta", {"rate": 0.2}, {"p": "100%"}, {"x.y": "dotted"}),
    ("epsilon", {"m": math.inf}, {"p": "b\\c"}, {"team": "ünï"}),
)
NUMBERS = [f"metrics.m {sign} {number}" for sign in (">", ">=", "=", "!=", "<", "<=") for number in ("2", "1.0")]
TEXTS = [
    f"params.p {sign}"
    for sign in (
        "= 'a'",
        "!= 'a'",
        "LIKE 'a'",
        "LIKE '%A%'",
        "ILIKE 'a'",
        "ILIKE '%A%'",
        "LIKE '_'",
        "LIKE 'b%'",
        "LIKE '100\\%'",
        "LIKE '%\\c'",
        "IS NULL",
        "IS NOT NULL",
    )
]
GOOD = (
    "",
    "metrics.rate > 1e-10",
    "metrics.m > -4",
    "metrics.m < -1.5e0",
    "metrics.absent > 0",
    "metrics.absent != 0",
    "metrics.`a b` = 5",
    'metrics."a b" = 5',
    "metric.m = 2",
    "metrics.m=2",
    "metrics.m>1 and metrics.m<3",
    "tags.team = 'red'",
    "tag.team = 'red'",
    "tags.team != 'red'",
    "tags.team ILIKE 'RED'",
    "tags.note = ''",
    "tags.absent IS NULL",
    "tags.team is not null",
    "tags.`a b` = 'blank'",
    "tags.\"a b\" = 'blank'",
    "tags.x.y = 'dotted'",
    "tags.`x.y` = 'dotted'",
    "tags.mlflow.note.content LIKE 'long%'",
    "tags.`mlflow.runName` = 'gamma'",
    "tags.team = 'ünï'",
    "param.p = 'a'",
    "parameters.p = 'a'",
    "parameter.p = 'a'",
    "params.depth = '3'",
    'params.p = "a"',
    'params.p = "it\'s"',
    "params.p = 'it''s'",
    "params.`x-y/z` = 'odd'",
    "params.p = 'say \"hi\"'",
    "params.absent != 'x'",
    "params.absent = 'x'",
    "attributes.run_name = 'alpha'",
    "attribute.run_name = 'alpha'",
    "attr.run_name = 'alpha'",
    "run.run_name = 'alpha'",
    "run_name = 'alpha'",
    "`run name` = 'alpha'",
    "attributes.`run name` = 'alpha'",
    "attributes.`Run name` = 'alpha'",
    "run_name LIKE 'beta_1'",
    "run_name LIKE 'beta\\_1'",
    "run_name ILIKE 'ALPHA'",
    "run_name LIKE 'alpha'",
    "run_name != 'alpha'",
    "status = 'RUNNING'",
    "status = 'FINISHED'",
    "status != 'RUNNING'",
    "status LIKE 'RUN%'",
    "attributes.status = 'running'",
    "user_id = 'nobody'",
    "attributes.user_id LIKE '%'",
    "artifact_uri LIKE '%artifacts'",
    f"start_time > {T0 + 3}",
    f"attributes.start_time = {T0 + 2}",
    f"created > {T0 + 5}",
    f"attributes.created <= {T0 + 1}",
    f"attributes.Created <= {T0 + 1}",
    f"end_time = {T0 + 1001}",
    f"end_time != {T0 + 1001}",
    f"end_time > {T0}",
    "run_id = 'nobody'",
    "run_id != 'nobody'",
    "run_id IN ('nobody')",
    "run_id NOT IN ('nobody')",
    "attributes.run_id LIKE '%'",
    "metrics.m > 0 AND params.p = 'a' AND tags.team = 'red' AND run_name = 'Alpha'",
    "metrics.m > 0 And params.p = 'a'",
    "metrics.m > 0 AND metrics.rate > 0.15",
    "params.p != 'a' AND params.depth = '10'",
    "  metrics.m   >   0  ",
)
BAD = (
    "metrics.m",
    "metrics.m >",
    "> 2",
    "m > 2 3",
    "metrics.m > 'a'",
    "metrics.m = '2'",
    "metrics.m LIKE '2'",
    "metrics.m IS NULL",
    "params.p = a",
    "params.p = 3",
    "params.p > 'a'",
    "params.p IN ('a', 'b')",
    "params.p NOT IN ('a')",
    "tags.team IN ('red')",
    "status IN ('RUNNING')",
    "status > 'A'",
    "experiment_id = '1'",
    "attributes.experiment_id = '1'",
    "lifecycle_stage = 'active'",
    "start_time = 'x'",
    "start_time LIKE '1'",
    "absent = 'x'",
    "attributes.absent = 'x'",
    "things.x = 'y'",
    "a.b.c = 1",
    "metrics.m > 1 OR metrics.m < 0",
    "(metrics.m > 1)",
    "metrics.m > 1 AND (params.p = 'a')",
    "metrics.m > 1 AND",
    "AND metrics.m > 1",
    "metrics.m > 1, params.p = 'a'",
    "metrics.m > 1; params.p = 'a'",
    "metrics.m == 2",
    "metrics.m <> 2",
    "metrics. = 2",
    "metrics = 2",
    "params.p = 'a",
    "params.`p = 'a'",
    "run_id IN ()",
    "run_id IN 'x'",
    "run_id IN (1)",
    "run_id IN ('a' 'b')",
    "params.p IS",
    "params.p IS 'a'",
    "params.p NOT NULL",
    "params.p NOT LIKE 'a'",
    "NOT params.p = 'a'",
    "metrics.m BETWEEN 1 AND 2",
    "'a' = params.p",
    "2 < metrics.m",
    "metrics.m > nan",
    "metrics.m > inf",
    "metrics.m > NULL",
    "metrics.m > 1 metrics.m < 3",
    "run_name = alpha",
    "params.p = ''",
    "params.Case = 'a'",
    "-- x",
    "metrics.m > 1 -- x",
    "metrics.m > 1 /* x */",
    "metrics.m > 0x1",
    "user_id IS NULL",
    "start_time IS NULL",
    "end_time IS NULL",
    "run_name IN ('alpha')",
    "run_name > 'a'",
)
ORDERS: tuple[tuple[str, ...], ...] = (
    (),
    ("metrics.m",),
    ("metrics.m ASC",),
    ("metrics.m DESC",),
    ("metrics.m desc",),
    ("metrics.absent DESC",),
    ("metrics.`a b` DESC",),
    ("metrics.rate DESC", "metrics.m ASC"),
    ("params.p",),
    ("params.p DESC",),
    ("params.depth ASC",),
    ("params.depth DESC",),
    ("tags.team",),
    ("tags.team DESC",),
    ("tag.`a b`",),
    ("attributes.start_time",),
    ("start_time DESC",),
    ("attribute.start_time ASC",),
    ("run_name",),
    ("attributes.run_name DESC",),
    ("status", "run_name"),
    ("end_time",),
    ("end_time DESC",),
    ("created DESC",),
    ("user_id", "start_time DESC"),
    ("tags.`mlflow.runName` DESC",),
    ("parameters.depth", "start_time ASC"),
    ("metrics.m", "metrics.m DESC"),
    ("start_time ASC", "start_time DESC"),
    ("attributes.`Run name`",),
)
BAD_ORDERS = (
    "m",
    "metrics.m UP",
    "metrics.m ASC DESC",
    "things.m",
    "attributes.absent",
    "",
    "metrics.m, metrics.rate",
    "metrics.m ASC, metrics.rate DESC",
    "metrics",
    "dataset.name",
    "experiment_id",
    "metrics.m NULLS LAST",
)


def names(runs: Any) -> list[str]:
    return [each.info.run_name for each in runs]


def main() -> None:
    client = MlflowClient()
    experiment = client.create_experiment(salted("search"))
    ids = [make(client, experiment, number, *row) for number, row in enumerate(RUNS)]
    step("everything", client.search_runs, [experiment])
    for text in dict.fromkeys((*GOOD, *NUMBERS, *TEXTS, *BAD)):
        step(f"filter: {text}", client.search_runs, [experiment], text, order_by=["attributes.start_time"], show=names)
    some = f"'{ids[1]}', '{ids[3]}'"
    step("some of them", client.search_runs, [experiment], f"run_id IN ({some})", show=names)
    step("all but some", client.search_runs, [experiment], f"attributes.run_id NOT IN ({some})", show=names)
    step("one of them", client.search_runs, [experiment], f"run_id = '{ids[2]}'", show=names)
    for order in ORDERS:
        step(f"order: {', '.join(order)}", client.search_runs, [experiment], order_by=list(order), show=names)
    for text in BAD_ORDERS:
        step(f"bad order: {text}", client.search_runs, [experiment], order_by=[text], show=names)
    ties(client)
    pages(client, experiment)


def ties(client: MlflowClient) -> None:
    """Runs that start at the same time come by their ids, which are chance."""
    found: list[str] = []

    def look() -> None:
        experiment = client.create_experiment(salted("ties"))
        for _ in range(6):
            client.create_run(experiment, start_time=T0)
        found.extend(each.info.run_id for each in client.search_runs([experiment]))

    unrecorded(look)
    step("runs of one time come by id", lambda: [len(found), found == sorted(found)])


def make(client: MlflowClient, experiment: str, number: int, name: str, metrics: Any, params: Any, tags: Any) -> str:
    run = client.create_run(experiment, start_time=T0 + number, run_name=name or "unnamed").info.run_id
    client.log_batch(
        run,
        metrics=[Metric(key, value, T0, 0) for key, value in metrics.items()],
        params=[Param(key, value) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    if number % 2:
        client.set_terminated(run, "FAILED" if number == 3 else "FINISHED", T0 + 1000 + number)
    return run


def pages(client: MlflowClient, experiment: str) -> None:
    for order in (["metrics.m DESC"], ["params.p ASC"], ["attributes.run_name"]):
        token = None
        for number in itertools.count(1):
            page = step(
                f"page {number} by {order[0]}",
                client.search_runs,
                [experiment],
                max_results=3,
                order_by=order,
                page_token=token,
                show=lambda page: [names(page), bool(page.token)],
            )
            token = page.token if page is not None else None
            if not token:
                break
    step(
        "a whole page", client.search_runs, [experiment], max_results=8, show=lambda page: [len(page), bool(page.token)]
    )
    step("a token that is none", client.search_runs, [experiment], page_token="nonsense", show=names)
    step("no experiment", client.search_runs, [], show=names)
    step("an absent experiment", client.search_runs, ["999999"], show=names)
    step("an absent one among others", client.search_runs, ["999999", experiment], "run_name = 'gamma'", show=names)
    step("too many at once", client.search_runs, [experiment], max_results=50001, show=names)
    step("as many as may be", client.search_runs, [experiment], "run_name = 'gamma'", max_results=50000, show=names)
    step("none at once", client.search_runs, [experiment], max_results=0, show=names)
    step("fewer than none", client.search_runs, [experiment], max_results=-1, show=names)


if __name__ == "__main__":
    main()
