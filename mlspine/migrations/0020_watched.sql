-- Rows that somebody else's server answered, told apart by their own ids: 64-bit digests, eight bytes each, by
-- the hour of event time (bucket 0 to 23 of its day), or of rows without one by the day they came (24 and up).
create table known_row (
    endpoint text not null,
    day bigint not null,
    bucket bigint not null,
    received_day bigint not null,
    digests bytea not null,
    primary key (endpoint, day, bucket)
);

-- While old rows of an endpoint are being read in, its hours are not over: nothing is judged before this moment.
create table filling (
    endpoint text primary key,
    until_ms bigint not null
);

-- Where the log of somebody else's server lies, which of its columns mean what, and when it is read next.
create table watched_source (
    endpoint text primary key,
    text text not null,
    names text not null,
    every_s bigint not null,
    next_due_at_ms bigint not null,
    read_at_ms bigint not null,
    rows bigint not null,
    duplicates bigint not null,
    refused bigint not null,
    problem text not null
);

-- How far each of its files was read, so that an unchanged one is not opened and one that grew is read on.
create table watched_file (
    endpoint text not null,
    name text not null,
    mark text not null,
    rows bigint not null,
    digest text not null,
    content text not null,
    read_at_ms bigint not null,
    primary key (endpoint, name)
);
