create table drift_report (
    endpoint text not null,
    release_hash text not null,
    from_at_ms bigint not null,
    to_at_ms bigint not null,
    document text not null,
    primary key (endpoint, release_hash, to_at_ms)
);

create index drift_report_time on drift_report (endpoint, to_at_ms);

-- The hours of event time that have been judged: rows as judged, and rows that arrived for them afterwards.
create table judged_hour (
    endpoint text not null,
    release_hash text not null,
    start_at_ms bigint not null,
    rows bigint not null,
    late_rows bigint not null,
    primary key (endpoint, release_hash, start_at_ms)
);

create table alert (
    id text primary key,
    endpoint text not null,
    cause text not null,
    opened_at_ms bigint not null,
    cleared_at_ms bigint not null,
    document text not null
);

create unique index alert_open on alert (endpoint, cause) where cleared_at_ms = 0;

create index alert_time on alert (endpoint, opened_at_ms);

-- What was known of a window's quality at a moment: later labels add a row, none is changed.
create table performance_report (
    endpoint text not null,
    release_hash text not null,
    period text not null,
    from_at_ms bigint not null,
    to_at_ms bigint not null,
    as_of_ms bigint not null,
    document text not null,
    primary key (endpoint, release_hash, period, from_at_ms, as_of_ms)
);
