-- How far each spool file has been turned into segments; committed together with them.
create table spool_position (
    name text primary key,
    next_offset bigint not null,
    damaged_bytes bigint not null
);

-- The Parquet files that count. A file in the blob store without a row here is left over and is swept.
create table segment (
    key text primary key,
    kind text not null,
    endpoint text not null,
    release_hash text not null,
    rows bigint not null,
    size_bytes bigint not null,
    first_event_at_ms bigint not null,
    last_event_at_ms bigint not null,
    first_received_at_ms bigint not null,
    last_received_at_ms bigint not null
);

create index segment_endpoint on segment (endpoint, kind, last_event_at_ms);

-- Profiles by hour of event time.
create table sub_window (
    endpoint text not null,
    release_hash text not null,
    start_at_ms bigint not null,
    rows bigint not null,
    inputs bytea not null,
    outputs bytea not null,
    inputs_reference_id text not null,
    outputs_reference_id text not null,
    primary key (endpoint, release_hash, start_at_ms)
);

-- Every row ever ingested, and where those went that are no longer in a segment.
create table logged (
    endpoint text not null,
    release_hash text not null,
    rows bigint not null,
    expired_rows bigint not null,
    forgotten_rows bigint not null,
    dropped_rows bigint not null,
    last_event_at_ms bigint not null,
    last_received_at_ms bigint not null,
    primary key (endpoint, release_hash)
);

-- The score baseline of a release that was shipped without one, taken from its first rows.
create table learned_reference (
    endpoint text not null,
    release_hash text not null,
    reference bytea not null,
    rows bigint not null,
    learned_at_ms bigint not null,
    primary key (endpoint, release_hash)
);
