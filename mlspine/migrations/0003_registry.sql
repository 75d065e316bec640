create table model (
    name text primary key,
    created_at_ms bigint not null
);

create table model_version (
    model text not null references model (name),
    version bigint not null,
    release_hash text not null,
    stage text not null,
    created_at_ms bigint not null,
    owner text not null,
    owner_assumed bigint not null,
    tier text not null,
    message text not null,
    origin text not null,
    trusted bigint not null,
    flavor text not null,
    metric text not null,
    missing text not null,
    captured text not null,
    bulk text not null,
    primary key (model, version),
    unique (model, release_hash)
);

create table model_alias (
    model text not null references model (name),
    alias text not null,
    version bigint not null,
    primary key (model, alias)
);
