-- Cases with expected answers, and predictions drawn for a person to look at.
create table sentinel (
    id text primary key,
    model text not null,
    document text not null,
    removed_at_ms bigint not null default 0
);

create index sentinel_model on sentinel (model, removed_at_ms);

create table review_sample (
    id text primary key,
    endpoint text not null,
    drawn_at_ms bigint not null,
    document text not null
);

create index review_sample_endpoint on review_sample (endpoint, drawn_at_ms);

create table review_item (
    sample_id text not null,
    place bigint not null,
    prediction_id text not null,
    inclusion double precision not null,
    why text not null,
    prediction text not null,
    verdict text,
    reviewer text not null default '',
    reviewed_at_ms bigint not null default 0,
    skipped bigint not null default 0,
    primary key (sample_id, place)
);
