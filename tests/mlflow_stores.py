"""MLflow's SQLite store, written without MLflow, and everything a store holds in a form that two can be compared by."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mlspine.interop.source import Source

RUN, CHILD, OPEN, GONE = (letter * 32 for letter in "abcd")
MODEL = "m-" + "e" * 32
T0 = 1_700_000_000_000
POINTS = 300

_TABLES = """
create table experiments (experiment_id integer primary key, name text unique, artifact_location text,
    lifecycle_stage text, creation_time bigint, last_update_time bigint);
create table experiment_tags (key text, value text, experiment_id integer, primary key (key, experiment_id));
create table runs (run_uuid text primary key, name text, user_id text, status text, start_time bigint, end_time bigint,
    lifecycle_stage text, artifact_uri text, experiment_id integer, deleted_time bigint);
create table params (key text, value text, run_uuid text, primary key (key, run_uuid));
create table tags (key text, value text, run_uuid text, primary key (key, run_uuid));
create table metrics (key text, value float, timestamp bigint, run_uuid text, step bigint, is_nan boolean,
    primary key (key, timestamp, step, run_uuid, value, is_nan));
create table latest_metrics (key text, value float, timestamp bigint, step bigint, is_nan boolean, run_uuid text,
    primary key (key, run_uuid));
create table registered_models (name text primary key, creation_time bigint, last_updated_time bigint,
    description text);
create table registered_model_tags (key text, value text, name text, primary key (key, name));
create table model_versions (name text, version integer, creation_time bigint, last_updated_time bigint,
    description text, user_id text, current_stage text, source text, run_id text, status text, status_message text,
    run_link text, primary key (name, version));
create table model_version_tags (key text, value text, name text, version integer, primary key (key, name, version));
"""
_SINCE_2 = """
create table datasets (dataset_uuid text, experiment_id integer, name text, digest text, dataset_source_type text,
    dataset_source text, dataset_schema text, dataset_profile text, primary key (experiment_id, name, digest));
create table inputs (input_uuid text, source_type text, source_id text, destination_type text, destination_id text,
    primary key (source_type, source_id, destination_type, destination_id));
create table input_tags (input_uuid text, name text, value text, primary key (input_uuid, name));
create table registered_model_aliases (alias text, version integer, name text, primary key (name, alias));
"""
_SINCE_3 = """
alter table inputs add column step bigint not null default 0;
create table logged_models (model_id text primary key, experiment_id integer, name text, artifact_location text,
    creation_timestamp_ms bigint, last_updated_timestamp_ms bigint, status integer, lifecycle_stage text,
    model_type text, source_run_id text, status_message text);
create table logged_model_metrics (model_id text, metric_name text, metric_timestamp_ms bigint, metric_step bigint,
    metric_value float, experiment_id integer, run_id text, dataset_uuid text, dataset_name text, dataset_digest text,
    primary key (model_id, metric_name, metric_timestamp_ms, metric_step, run_id));
create table logged_model_params (model_id text, experiment_id integer, param_key text, param_value text);
create table logged_model_tags (model_id text, experiment_id integer, tag_key text, tag_value text);
"""
_ROWS = f"""
insert into experiments values (0, 'Default', 'mlflow-artifacts:/0', 'active', {T0}, {T0}),
    (1, 'churn', 'mlflow-artifacts:/1', 'active', {T0 + 1}, {T0 + 2}),
    (2, 'gone', 'mlflow-artifacts:/2', 'deleted', {T0 + 3}, {T0 + 4});
insert into experiment_tags values ('team', 'risk', 1);
insert into runs values
    ('{RUN}', 'first', 'maria', 'FINISHED', {T0}, {T0 + 900}, 'active', 'mlflow-artifacts:/1/{RUN}/artifacts', 1, null),
    ('{CHILD}', 'child', 'maria', 'FAILED', {T0 + 1}, {T0 + 9}, 'deleted', 's3://bucket/1/{CHILD}/artifacts', 1,
        {T0 + 99}),
    ('{OPEN}', 'open', 'jo', 'RUNNING', {T0 + 2}, null, 'active', 'mlflow-artifacts:/0/{OPEN}/artifacts', 0, null),
    ('{GONE}', 'put aside', 'jo', 'KILLED', {T0 + 3}, {T0 + 4}, 'deleted', 'mlflow-artifacts:/2/{GONE}/artifacts', 2,
        {T0});
insert into params values ('depth', '3', '{RUN}'), ('blank', '', '{RUN}'), ('depth', '4', '{CHILD}');
insert into tags values ('mlflow.runName', 'first', '{RUN}'), ('näme', 'wért', '{RUN}'),
    ('mlflow.parentRunId', '{RUN}', '{CHILD}');
with recursive steps (n) as (select 0 union all select n + 1 from steps where n < {POINTS - 1})
insert into metrics select 'loss', 1.0 / (1 + n), {T0} + n, '{RUN}', n, 0 from steps;
insert into metrics values ('odd', 0, {T0}, '{RUN}', 0, 1), ('odd', 1.7976931348623157e308, {T0}, '{RUN}', 1, 0),
    ('odd', -1.5, {T0}, '{RUN}', -2, 0), ('auc', 0.8, {T0}, '{RUN}', 1, 0), ('auc', 0.9, {T0 + 1}, '{RUN}', 2, 0),
    ('loss', 0, {T0}, '{CHILD}', 0, 1);
insert into latest_metrics values ('loss', 1.0 / {POINTS}, {T0 + POINTS - 1}, {POINTS - 1}, 0, '{RUN}'),
    ('odd', 1.7976931348623157e308, {T0}, 1, 0, '{RUN}'), ('auc', 0.9, {T0 + 1}, 2, 0, '{RUN}'),
    ('loss', 0, {T0}, 0, 1, '{CHILD}');
insert into registered_models values ('forest', {T0 + 10}, {T0 + 20}, 'the forest'), ('two words', {T0}, {T0}, null);
insert into registered_model_tags values ('owner', 'maria', 'forest');
insert into model_versions values
    ('forest', 1, {T0 + 11}, {T0 + 12}, 'first', null, 'Production', 'mlflow-artifacts:/1/{RUN}/artifacts/model',
        '{RUN}', 'READY', null, null),
    ('forest', 2, {T0 + 13}, {T0 + 14}, '', null, 'Deleted_Internal', 'REDACTED-SOURCE-PATH', 'REDACTED-RUN-ID',
        'READY', null, null),
    ('forest', 3, {T0 + 15}, {T0 + 16}, null, 'jo', 'None', 's3://bucket/1/{CHILD}/artifacts/model', '{CHILD}', 'READY',
        null, 'http://x/y');
insert into model_version_tags values ('gate', 'passed', 'forest', 3);
"""
_ROWS_2 = f"""
insert into datasets values ('d1', 1, 'train', 'abc', 'local', '{{}}', '{{"c": 1}}', null);
insert into inputs (input_uuid, source_type, source_id, destination_type, destination_id)
    values ('i1', 'DATASET', 'd1', 'RUN', '{RUN}');
insert into input_tags values ('i1', 'mlflow.data.context', 'training');
insert into registered_model_aliases values ('champion', 1, 'forest'), ('next', 3, 'forest');
"""
_ROWS_3 = f"""
insert into logged_models values ('{MODEL}', 1, 'forest', 'mlflow-artifacts:/1/models/{MODEL}/artifacts', {T0 + 5},
    {T0 + 6}, 2, 'active', 'classifier', '{RUN}', null);
insert into logged_model_metrics values ('{MODEL}', 'auc', {T0}, 1, 0.8, 1, '{RUN}', null, 'train', 'abc'),
    ('{MODEL}', 'auc', {T0 + 1}, 2, 0.9, 1, '{RUN}', null, 'train', 'abc');
insert into logged_model_params values ('{MODEL}', 1, 'depth', '3');
insert into logged_model_tags values ('{MODEL}', 1, 'mlflow.modelVersions', '[{{"name": "forest", "version": 4}}]');
insert into inputs values ('i2', 'RUN_OUTPUT', '{RUN}', 'MODEL_OUTPUT', '{MODEL}', 7),
    ('i3', 'RUN_INPUT', '{CHILD}', 'MODEL_INPUT', '{MODEL}', 0);
insert into model_versions values ('forest', 4, {T0 + 17}, {T0 + 18}, 'of a logged model', null, 'Staging',
    'models:/{MODEL}', '{RUN}', 'READY', null, null);
"""


def write_mlflow_store(folder: Path, *, generation: int = 3) -> str:
    """Make the store of an MLflow server of 1, 2 or 3 with its files in `folder`; returns its URI."""
    scripts = [(_TABLES, _ROWS), (_SINCE_2, _ROWS_2), (_SINCE_3, _ROWS_3)][:generation]
    connection = sqlite3.connect(folder / "mlflow.db")
    connection.executescript("".join(tables for tables, _ in scripts) + "".join(rows for _, rows in scripts))
    connection.close()
    files = {
        f"1/{RUN}/artifacts/model/MLmodel": b"flavors: {}\n",
        f"1/{RUN}/artifacts/e/mpty.txt": b"",
        "0/other": b"x",
    }
    if generation == 3:
        files[f"1/models/{MODEL}/artifacts/MLmodel"] = b"flavors:\n  sklearn: {}\n"
    for path, data in files.items():
        file = folder / "mlartifacts" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return f"sqlite:///{folder}/mlflow.db"


def everything(source: Source) -> dict[tuple[str, ...], Any]:
    """All that a store holds, by kind and name: ids as names, without what a copy cannot have (see docs)."""
    names = dict(_names(source))

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            for foreign, name in names.items():
                value = value.replace(foreign, name)
            return value
        if isinstance(value, dict):
            return {plain(key): plain(each) for key, each in sorted(value.items())}
        if isinstance(value, list | tuple):
            return sorted((plain(each) for each in value), key=repr)
        return value

    found: dict[tuple[str, ...], Any] = {}
    for kind, name, value in _things(source):
        found[kind, plain(name)] = repr(plain(msgspec.to_builtins(value))) if not isinstance(value, bytes) else value
    return found


def _names(source: Source) -> Iterator[tuple[str, str]]:
    for experiment in source.experiments():
        yield f"mlflow-artifacts:/{experiment.id}/", f"mlflow-artifacts:/<{experiment.name}>/"
        for run in source.runs(experiment.id):
            yield run.id, f"<{run.name}>"
        for model in source.logged_models(experiment.id):
            yield model.id, f"<{model.name}>"


_OWN = frozenset(
    {"created_at_ms", "updated_at_ms", "artifact_location", "location", "experiment_id", "model_id", "newest"}
)


def _things(source: Source) -> Iterator[tuple[str, str, Any]]:
    for experiment in source.experiments():
        yield "experiment", experiment.name, _without(experiment, "id")
        for listed in source.runs(experiment.id):
            run = source.whole(listed)
            yield "run", run.id, _without(run)
            yield "points", run.id, [point for page in source.points(run) for point in page]
            yield from _files(source, run)
        for model in source.logged_models(experiment.id):
            yield "logged model", model.id, _without(model)
            yield from _files(source, model)
    for registered in source.registered_models():
        yield "registered model", registered.name, _without(registered)


def _without(value: Any, *more: str) -> Any:
    """A struct as a mapping, without what belongs to the one store only."""
    return _strip(msgspec.to_builtins(value), _OWN.union(more))


def _strip(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: _strip(each, names)
            for key, each in value.items()
            if key not in names or not isinstance(each, int | str)
        }
    return [_strip(each, names) for each in value] if isinstance(value, list | tuple) else value


def _files(source: Source, owner: Any) -> Iterator[tuple[str, str, bytes]]:
    from mlspine.interop.source import NotBrought

    try:
        for file in source.files(owner):
            with source.open(owner, file.path) as data:
                yield "file", f"{owner.id}/{file.path}", data.read()
    except NotBrought:
        return
