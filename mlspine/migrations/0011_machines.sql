-- The machines that use this store, and when each was last heard of. stopped_at_ms: 0 while it runs.
create table machine (
    id text primary key,
    name text not null,
    url text not null,
    version text not null,
    started_at_ms bigint not null,
    last_seen_at_ms bigint not null,
    stopped_at_ms bigint not null
);

-- Times in which a machine's control process was away, written when it came back.
create table outage (
    machine text not null,
    from_at_ms bigint not null,
    to_at_ms bigint not null,
    cause text not null,
    answered bigint not null,
    primary key (machine, from_at_ms)
);

-- Who does something for all until when: the schedule.
create table lease (
    name text primary key,
    holder text not null,
    until_at_ms bigint not null
);

-- Subjects forgotten, by digest: rows of theirs that another machine had not sent in yet are left out.
create table forgotten (
    key_digest text primary key,
    forgotten_at_ms bigint not null
);

-- Which store this is: a bucket is bound to one.
create table store_identity (
    one bigint primary key,
    id text not null
);
