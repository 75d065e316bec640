-- What a model is called and said to be. newest: the highest number a version ever had, so that none is given twice.
alter table model add column description text not null default '';
alter table model add column updated_at_ms bigint not null default 0;
alter table model add column newest bigint not null default 0;

update model set
    updated_at_ms = created_at_ms,
    newest = (select coalesce(max(v.version), 0) from model_version v where v.model = model.name);

-- Two versions of a model may be of one release, or of none here: MLflow counts on each registration.
create table model_version_now (
    model text not null references model (name),
    version bigint not null,
    release_hash text not null,
    stage text not null,
    created_at_ms bigint not null,
    updated_at_ms bigint not null,
    owner text not null,
    owner_assumed bigint not null,
    tier text not null,
    message text not null,
    description text not null,
    origin text not null,
    trusted bigint not null,
    bare bigint not null,
    flavor text not null,
    source text not null,
    location text not null,
    run_id text not null,
    run_link text not null,
    model_id text not null,
    metric text not null,
    missing text not null,
    captured text not null,
    bulk text not null,
    primary key (model, version)
);

insert into model_version_now
    (model, version, release_hash, stage, created_at_ms, updated_at_ms, owner, owner_assumed, tier, message,
     description, origin, trusted, bare, flavor, source, location, run_id, run_link, model_id, metric, missing, captured, bulk)
    select model, version, release_hash, stage, created_at_ms, created_at_ms, owner, owner_assumed, tier, message,
     message, origin, trusted, 0, flavor, '', '', '', '', '', metric, missing, captured, bulk
    from model_version;

drop table model_version;

alter table model_version_now rename to model_version;

create index model_version_by_release on model_version (release_hash);
create index model_version_by_update on model_version (updated_at_ms);

create table model_tag (
    model text not null references model (name),
    key text not null,
    value text not null,
    primary key (model, key)
);

create table model_version_tag (
    model text not null references model (name),
    version bigint not null,
    key text not null,
    value text not null,
    primary key (model, version, key)
);

-- The word of a second person for one release; used_at_ms: 0 until a change of stage or alias stood on it.
create table approval (
    id text primary key,
    subject text not null,
    version bigint not null,
    release_hash text not null,
    actor text not null,
    reason text not null,
    at_ms bigint not null,
    used_at_ms bigint not null,
    used_for text not null
);

create index approval_by_release on approval (subject, release_hash, used_at_ms);
