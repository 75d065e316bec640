create table access_token (
    id text primary key,
    name text not null,
    secret_sha256 text not null,
    role text not null,
    scope text not null,
    created_at_ms bigint not null,
    created_by text not null,
    expires_at_ms bigint not null,
    last_used_at_ms bigint not null,
    revoked_at_ms bigint not null
);

-- A name stands for one token at a time, so that the ledger's "client:NAME" says who it was.
create unique index access_token_holder on access_token (name) where revoked_at_ms = 0;
