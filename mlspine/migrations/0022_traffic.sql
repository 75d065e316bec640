-- How the requests of an endpoint are divided, and what guards its answers; '' is the default of both.
alter table revision add column traffic text not null default '';
alter table revision add column guards text not null default '';
