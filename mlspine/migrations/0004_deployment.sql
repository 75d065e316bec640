create table endpoint (
    name text primary key,
    model text not null,
    created_at_ms bigint not null
);

create table revision (
    endpoint text not null references endpoint (name),
    number bigint not null,
    version bigint not null,
    release_hash text not null,
    cause text not null,
    log text not null,
    created_at_ms bigint not null,
    actor text not null,
    reason text not null,
    rolled_back_from bigint not null,
    primary key (endpoint, number)
);

create table proof (
    release_hash text primary key,
    proved_at_ms bigint not null,
    document text not null
);

create table switch_time (
    endpoint text not null,
    number bigint not null,
    committed_at_ms bigint not null,
    effective_s double precision not null,
    primary key (endpoint, number)
);

create table native_crash (
    release_hash text primary key,
    crashes bigint not null,
    last_at_ms bigint not null
);
