-- Where fresh rows and late labels come from, where said after ship; it overrides what was said there.
create table feed (
    model text not null,
    role text not null,
    text text not null,
    declared_at_ms bigint not null,
    declared_by text not null,
    primary key (model, role)
);

-- What was read last and what came of it, so that an unchanged feed costs nothing.
create table feed_memory (
    model text not null,
    role text not null,
    document text not null,
    primary key (model, role)
);

-- When something new was there: the rhythm a stale feed is told by.
create table feed_arrival (
    model text not null,
    role text not null,
    at_ms bigint not null,
    primary key (model, role, at_ms)
);

-- Batch scoring at fixed times. A run is claimed by moving next_due_at_ms on, so no due time runs twice.
create table schedule (
    id text primary key,
    ref text not null,
    input text not null,
    output text not null,
    every_s bigint not null,
    created_at_ms bigint not null,
    created_by text not null,
    next_due_at_ms bigint not null,
    running_due_at_ms bigint not null,
    started_at_ms bigint not null,
    pid bigint not null,
    machine text not null,
    ended_at_ms bigint not null,
    result text not null,
    failed bigint not null
);
