-- What was estimated of a window's quality without its labels, and when: later knowledge adds a row, none is changed.
create table quality_estimate (
    endpoint text not null,
    release_hash text not null,
    period text not null,
    from_at_ms bigint not null,
    metric text not null,
    as_of_ms bigint not null,
    document text not null,
    primary key (endpoint, release_hash, period, from_at_ms, metric, as_of_ms)
);
