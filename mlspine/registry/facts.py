"""What ship found out, in words and JSON: what was captured, and what is missing."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from mlspine.core.columns import row_count
from mlspine.data.schema import example_row, summarise
from mlspine.registry import pickling
from mlspine.registry.evaluate import Evaluation
from mlspine.registry.recipe import GIVE_RECIPE, Written
from mlspine.registry.recognise import questions
from mlspine.registry.release import Built
from mlspine.registry.rows import Table
from mlspine.stats.baseline import Baseline
from mlspine.tracking.code import Code
from mlspine.tracking.surroundings import platform_facts


class Said(NamedTuple):
    """What the person said who ships."""

    owner: str
    owner_assumed: bool
    source: str
    labels: str
    origin: str


class Found(NamedTuple):
    """What ship found out by itself."""

    table: Table
    transformed: bool
    seeds: dict[str, Any]
    code: Code
    built: Built
    evaluation: Evaluation
    evaluated_s: float
    baseline: Baseline
    recipe: Written
    left_behind: tuple[str, ...]


def captured(found: Found, said: Said) -> dict[str, Any]:
    """Everything that was captured, as JSON. Nothing in it names the machine or its user."""
    table, baseline, release = found.table, found.baseline, found.built.release
    facts = {
        "code": msgspec.to_builtins(found.code.state),
        "diff": found.code.diff,
        "script": found.code.script,
        "recipe": {"kind": found.recipe.recipe.kind, "name": found.recipe.name},
        "data": {
            "digest": release.data,
            "rows": row_count(table.columns),
            "columns": len(table.columns),
            "source": said.source,
        },
        "labels_from": said.labels,
        "columns": list(table.columns),
        "time": table.time_column or ("an array" if table.at_ms is not None else ""),
        "key": table.key_column or ("an array" if table.keys is not None else ""),
        "schema": msgspec.to_builtins(summarise(table.input_columns, table.inputs)),
        "example": example_row(table.input_columns, table.inputs),
        "task": release.signature.task,
        "classes": list(release.signature.classes[:100]),
        "metrics": msgspec.to_builtins(found.evaluation.metrics),
        "evaluated_s": round(found.evaluated_s, 3),
        "baseline": {
            "rows": baseline.inputs.rows,
            "sampled": baseline.inputs.rows < row_count(table.columns),
            "outputs_from": baseline.outputs_from,
            "seasonality": baseline.seasonality,
        },
        "importance": baseline.importance,
        "seeds": found.seeds,
        "libraries": release.environment,
        "platform": platform_facts(),
        "freeze": pickling.freeze(),
        "transform": found.transformed,
        "questions": list(_questions(found)),
    }
    # As it will be read back from the store: lists for tuples, and nothing that JSON cannot carry.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(facts))
    return plain


def missing(found: Found, said: Said) -> tuple[str, ...]:
    """What a careful team would have given, each with the words that give it."""
    return tuple(_missing(found, said))


def _missing(found: Found, said: Said) -> list[str]:
    metric = found.evaluation.metrics[0]
    gaps = []
    if metric.status != "ESTIMATED":
        gaps.append(f"quality: {metric.name} is not estimable, {metric.reason}; {metric.opens_with}")
    if not said.owner:
        gaps.append('owner: nobody is named; owner="you@example.org"')
    elif said.owner_assumed:
        gaps.append(f'owner: {said.owner} is assumed from git; owner="{said.owner}"')
    by_chance = [name for name, value in found.seeds["parameters"].items() if value is None]
    if by_chance:
        gaps.append(f"seed: {', '.join(by_chance)} left to chance, so a refit may differ; fix it before fitting")
    if found.recipe.recipe.kind == "none":
        gaps.append(f"recipe: a {found.recipe.name} cannot be fitted again without its author; {GIVE_RECIPE}")
    if not said.labels:
        gaps.append('labels: nobody said where the truth will come from; labels="PATH or SQL"')
    if not said.source:
        gaps.append('source: nobody said where fresh rows come from; source="PATH, SQL or caller"')
    if found.table.at_ms is None:
        gaps.append('time: not calibrated for seasonality; time="COLUMN"')
    elif found.baseline.seasonality:
        gaps.append(f"time: {found.baseline.seasonality}, its rows span too few days")
    if not found.code.state.commit:
        gaps.append("code: not in a git repository with a commit; git init, git add, git commit")
    gaps += [
        f"module: {name} is no installed package and cannot travel with the model; install it where it serves"
        for name in found.left_behind
    ]
    return gaps


def _questions(found: Found) -> tuple[str, ...]:
    # With a transform X is raw by the caller's own word.
    return () if found.transformed else questions(found.table.input_columns, found.table.inputs)
