-- What was exercised or measured about a subject: gate verdicts, drills, feed checks. Append-only.
create table evidence (
    id text primary key,
    kind text not null,
    subject text not null,
    passed bigint not null,
    at_ms bigint not null,
    actor text not null,
    document text not null
);

create index evidence_subject on evidence (subject, kind, at_ms);
