-- Whether the live release of a revision runs in an environment built from its lock, rather than in this one.
alter table revision add column own_env bigint not null default 0;
