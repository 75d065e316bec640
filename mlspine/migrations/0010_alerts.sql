-- Stretches of time in which alerts of an endpoint ("": of the workspace) are recorded and not sent.
create table silence (
    id text primary key,
    endpoint text not null,
    cause text not null,
    from_at_ms bigint not null,
    until_at_ms bigint not null,
    actor text not null
);

create index silence_until on silence (until_at_ms);
