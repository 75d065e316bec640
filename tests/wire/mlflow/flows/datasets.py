"""Datasets as inputs of runs, and what searching by them finds."""

from __future__ import annotations

from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.tracking import MlflowClient
from step import salted, step

T0 = 1_600_000_000_000
NOBODY = "0" * 32


def given(name: str, digest: str, *, context: str = "", **fields: str) -> DatasetInput:
    known = {"source_type": "local", "source": '{"uri": "/data/x.csv"}', **fields}
    tags = [InputTag("mlflow.data.context", context)] if context else []
    return DatasetInput(Dataset(name=name, digest=digest, **known), tags)


def names(runs: Any) -> list[str]:
    return sorted(each.info.run_name for each in runs)


def main() -> None:
    client = MlflowClient()
    experiment = client.create_experiment(salted("datasets"))
    other = client.create_experiment(salted("other datasets"))

    one = client.create_run(experiment, start_time=T0, run_name="one").info.run_id
    two = client.create_run(experiment, start_time=T0 + 1, run_name="two").info.run_id
    far = client.create_run(other, start_time=T0, run_name="far").info.run_id
    schema = '{"mlflow_colspec": [{"type": "double", "name": "x"}]}'
    flights = given("flights", "abc123", context="training", schema=schema, profile='{"num_rows": 3}')
    step("log", client.log_inputs, one, [flights])
    step("logged", client.get_run, one)
    step("the same again", client.log_inputs, one, [flights])
    step("the same in another context", client.log_inputs, one, [given("flights", "abc123", context="testing")])
    step("after the same again", client.get_run, one)
    step(
        "the same to another run, told otherwise", client.log_inputs, two, [given("flights", "abc123", source="other")]
    )
    step("two more at once", client.log_inputs, two, [given("weather", "w1", context="eval"), given("weather", "w2")])
    step("of the second run", client.get_run, two)
    step("the same in another experiment", client.log_inputs, far, [flights])
    step("of the far run", client.get_run, far)
    step("none", client.log_inputs, two, [])
    step("to an absent run", client.log_inputs, NOBODY, [flights])
    step("a long name", client.log_inputs, two, [given("n" * 501, "d")])
    step("a long digest", client.log_inputs, two, [given("n", "d" * 37)])
    step("no name", client.log_inputs, two, [given("", "d")])
    client.delete_run(two)
    step("to a deleted run", client.log_inputs, two, [flights])
    client.restore_run(two)
    for text in (
        "dataset.name = 'flights'",
        "datasets.name = 'flights'",
        "dataset.name != 'flights'",
        "dataset.digest = 'w1'",
        "dataset.digest LIKE 'w%'",
        "dataset.context = 'training'",
        "dataset.context != 'training'",
        "dataset.name IN ('weather', 'nothing')",
        "dataset.name NOT IN ('weather')",
        "dataset.name ILIKE 'FLI%'",
        "dataset.name LIKE 'FLI%'",
        "dataset.name = 'flights' AND dataset.context = 'eval'",
        "dataset.name = 'weather' AND dataset.context = 'eval'",
        "dataset.source = 'x'",
        "dataset.name > 'a'",
        "dataset.name IS NULL",
    ):
        step(text, client.search_runs, [experiment], text, show=names)


if __name__ == "__main__":
    main()
