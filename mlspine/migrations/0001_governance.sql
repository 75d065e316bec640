create table ledger (
    seq bigint primary key,
    at_ms bigint not null,
    actor text not null,
    action text not null,
    subject text not null,
    reason text not null,
    facts text not null,
    previous_hash text not null,
    entry_hash text not null
);

create index ledger_subject on ledger (subject, seq);

-- The newest line, kept apart: it hands out the next number, and a ledger cut short no longer agrees with it.
create table ledger_head (
    id bigint primary key,
    seq bigint not null,
    entry_hash text not null
);
