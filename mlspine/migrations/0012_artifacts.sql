-- The files of runs and models: what each is called, and the content it has. Content lies in the blob store.
create table artifact (
    path text primary key,
    digest text not null,
    size_bytes bigint not null,
    created_at_ms bigint not null
);

create index artifact_by_digest on artifact (digest);

-- Content that no artifact has any more, and since when: collected once it has been so for a while.
create table artifact_leftover (
    digest text primary key,
    since_at_ms bigint not null
);
