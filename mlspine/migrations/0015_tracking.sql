create table experiment (
    id bigint primary key,
    name text not null unique,
    artifact_location text not null,
    lifecycle_stage text not null,
    created_at_ms bigint not null,
    updated_at_ms bigint not null
);

create table experiment_tag (
    experiment_id bigint not null references experiment (id),
    key text not null,
    value text not null,
    primary key (experiment_id, key)
);

-- Experiment 0 is there from the start: what logs without naming one lands in it.
insert into experiment (id, name, artifact_location, lifecycle_stage, created_at_ms, updated_at_ms)
select 0, 'Default', 'mlflow-artifacts:/0', 'active', coalesce(max(applied_at_ms), 0), coalesce(max(applied_at_ms), 0)
from migration;

-- `no` is what the other tables call a run by: ten million points do not carry 32 letters each.
create table run (
    no bigint primary key,
    id text not null unique,
    experiment_id bigint not null references experiment (id),
    name text not null,
    user_id text not null,
    status text not null,
    start_time_ms bigint,
    end_time_ms bigint,
    lifecycle_stage text not null,
    deleted_at_ms bigint,
    artifact_uri text not null
);

create index run_by_start on run (experiment_id, start_time_ms, id);

create table run_param (
    run_no bigint not null references run (no),
    key text not null,
    value text not null,
    primary key (run_no, key)
) without rowid;

create table run_tag (
    run_no bigint not null references run (no),
    key text not null,
    value text not null,
    primary key (run_no, key)
) without rowid;

-- The latest point of each key, and how many points there are. NaN: is_nan 1, value 0.
create table run_metric (
    run_no bigint not null references run (no),
    key text not null,
    experiment_id bigint not null,
    is_nan bigint not null,
    value double precision not null,
    step bigint not null,
    timestamp_ms bigint not null,
    points bigint not null,
    primary key (run_no, key)
) without rowid;

create index run_metric_by_value on run_metric (experiment_id, key, is_nan, value);

create table metric_point (
    run_no bigint not null references run (no),
    key text not null,
    step bigint not null,
    timestamp_ms bigint not null,
    is_nan bigint not null,
    value double precision not null,
    primary key (run_no, key, step, timestamp_ms, is_nan, value)
) without rowid;

create table run_dataset (
    no bigint primary key,
    experiment_id bigint not null references experiment (id),
    name text not null,
    digest text not null,
    source_type text not null,
    source text not null,
    schema_text text not null,
    profile text not null,
    unique (experiment_id, name, digest)
);

create index run_dataset_by_digest on run_dataset (digest);

create table run_input (
    run_no bigint not null references run (no),
    dataset_no bigint not null references run_dataset (no),
    tags text not null,
    context text, -- of the tags, mlflow.data.context: the one a search can name
    primary key (run_no, dataset_no)
);

create index run_input_by_dataset on run_input (dataset_no);

create table run_model (
    run_no bigint not null references run (no),
    direction text not null,
    model_id text not null,
    step bigint not null,
    primary key (run_no, direction, model_id)
);

create table logged_model (
    id text primary key,
    experiment_id bigint not null references experiment (id),
    name text not null,
    status text not null,
    status_message text not null,
    model_type text not null,
    source_run_id text not null,
    artifact_uri text not null,
    created_at_ms bigint not null,
    updated_at_ms bigint not null,
    deleted_at_ms bigint
);

create index logged_model_by_experiment on logged_model (experiment_id, created_at_ms, id);

create index logged_model_by_run on logged_model (source_run_id);

create table logged_model_param (
    model_id text not null references logged_model (id),
    key text not null,
    value text not null,
    primary key (model_id, key)
);

create table logged_model_tag (
    model_id text not null references logged_model (id),
    key text not null,
    value text not null,
    primary key (model_id, key)
);

-- The latest point of each key and dataset ('' for none), and below all of them.
create table logged_model_metric (
    model_id text not null references logged_model (id),
    key text not null,
    is_nan bigint not null,
    value double precision not null,
    step bigint not null,
    timestamp_ms bigint not null,
    run_id text not null,
    dataset_name text not null,
    dataset_digest text not null,
    primary key (model_id, key, dataset_name, dataset_digest)
);

create table logged_model_point (
    model_id text not null references logged_model (id),
    key text not null,
    timestamp_ms bigint not null,
    step bigint not null,
    dataset_name text not null,
    dataset_digest text not null,
    is_nan bigint not null,
    value double precision not null,
    run_id text not null,
    primary key (model_id, key, timestamp_ms, step, dataset_name, dataset_digest, is_nan, value, run_id)
) without rowid;
