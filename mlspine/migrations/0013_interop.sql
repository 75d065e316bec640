-- What was brought from other stores: a second run brings only what is not there yet, a killed one goes on.
create table imported (
    source text not null,
    kind text not null,
    foreign_id text not null,
    our_id text not null,
    at_ms bigint not null,
    state text not null,
    primary key (source, kind, foreign_id)
);

-- The same for what was taken to other stores.
create table exported (
    target text not null,
    kind text not null,
    our_id text not null,
    foreign_id text not null,
    at_ms bigint not null,
    state text not null,
    primary key (target, kind, our_id)
);
