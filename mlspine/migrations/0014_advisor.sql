-- CPU time that answering took, by UTC day.
create table spent (
    day text not null,
    endpoint text not null,
    release_hash text not null,
    requests bigint not null,
    "rows" bigint not null,
    cpu_s double precision not null,
    calls_s double precision not null,
    primary key (day, endpoint, release_hash)
);

-- How long serving processes ran, on how many CPUs, and what they used while nothing was asked.
create table uptime (
    day text not null,
    machine text not null,
    up_s double precision not null,
    cpus bigint not null,
    idle_cpu_s double precision not null,
    primary key (day, machine)
);

-- The counters of each serving process as last added up: only what came after them is added the next time.
create table spent_mark (
    machine text not null,
    process text not null,
    document text not null,
    primary key (machine, process)
);

-- Parts that cost something whether or not they are used: known since when, used last when (0: never).
create table part (
    name text primary key,
    since_at_ms bigint not null,
    used_at_ms bigint not null
);
