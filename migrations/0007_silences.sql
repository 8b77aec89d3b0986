-- How often the worker was silent, or nearly so: a claim that was sent before a silence and arrives after it claims nothing.
alter table workers add column silences integer not null default 0;
