create table dataset_version (
    digest text primary key,
    "rows" bigint not null,
    "columns" bigint not null,
    source text not null,
    summary text not null,
    created_at_ms bigint not null
);
