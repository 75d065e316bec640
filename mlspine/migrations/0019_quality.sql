-- The range of ids in a file, so that labels read only the files they can be of, and whether it holds keys (the keys
-- themselves name people and stay in the files). Null: not known, written before; '' as the last id: none at all.
-- settled: labels that came before these predictions have been counted.
alter table segment add column first_id text;

alter table segment add column last_id text;

alter table segment add column keyed bigint;

alter table segment add column settled bigint not null default 0;

-- Labels of an endpoint that wait for their prediction, and how often its labels have changed. No row: to be counted.
create table label_state (
    endpoint text primary key,
    parked_labels bigint not null,
    changes bigint not null
);

-- Labelled rows per release and day of event time, how long their first labels took, and the change that last
-- touched the day. Days older than every change need not be measured again.
create table label_day (
    endpoint text not null,
    release_hash text not null,
    start_at_ms bigint not null,
    labelled_rows bigint not null,
    delays text not null,
    changed bigint not null,
    primary key (endpoint, release_hash, start_at_ms)
);

-- What was known of each window when its quality was last measured.
create table measured_window (
    endpoint text not null,
    release_hash text not null,
    period text not null,
    from_at_ms bigint not null,
    to_at_ms bigint not null,
    changed bigint not null,
    predicted_rows bigint not null,
    labelled_rows bigint not null,
    phase bigint not null,
    primary key (endpoint, release_hash, period, from_at_ms)
);
