-- Versions whose models were taken from another registry, which is told what becomes of them.
create table attached (
    model text not null,
    version bigint not null,
    registry text not null,
    foreign_name text not null,
    foreign_version bigint not null,
    told text not null,
    problem text not null,
    primary key (model, version)
);
