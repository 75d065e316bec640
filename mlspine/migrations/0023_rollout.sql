-- Canaries and watched switches: what was asked for, how far it came, how it ended.
create table rollout (
    id text primary key,
    endpoint text not null,
    kind text not null,             -- canary | watch
    version bigint not null,
    release_hash text not null,
    against bigint not null,       -- the version it is held against
    against_hash text not null,
    plan text not null,             -- JSON: the plan of a canary; of a watch the record of the release before
    state text not null,            -- open | promoted | passed | returned | aborted | inconclusive | invalid | ended
    step bigint not null,
    step_at_ms bigint not null,
    revision bigint not null,      -- the endpoint's revision that made the step (or the switch) so
    started_at_ms bigint not null,
    started_by text not null,
    ends_at_ms bigint not null,
    closed_at_ms bigint not null default 0,
    why text not null default '',
    bound double precision not null default -1, -- mean disagreement that is taken; -1: not measured yet
    agreement double precision not null default 1,
    crashes bigint not null default 0
);
create index rollout_open on rollout (endpoint, state);

-- Requests of each arm by minute of each step; arm: older | newer.
create table rollout_minute (
    rollout text not null references rollout (id) on delete cascade,
    step bigint not null,
    at_ms bigint not null,
    arm text not null,
    requests bigint not null,
    failures bigint not null,
    failed_again bigint not null,
    slow bigint not null,
    slow_again bigint not null,
    broken bigint not null,
    primary key (rollout, step, at_ms, arm)
);

-- How the answers of both differed on the same rows.
create table rollout_compared (
    rollout text primary key references rollout (id) on delete cascade,
    requests bigint not null,
    rows bigint not null,
    flips bigint not null,
    difference double precision not null,
    difference_squared double precision not null,
    dropped bigint not null
);

-- Up to where each process's own counts are in the tables above: a look is counted once, whoever dies in between.
create table rollout_mark (
    rollout text not null references rollout (id) on delete cascade,
    source text not null,           -- process, its start, revision, role
    counts text not null,
    primary key (rollout, source)
);
