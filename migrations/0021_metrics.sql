-- Counters of the fleet, from which GET /api/v2/metrics is made: docs/protocol.md 7.11.
create table metric_counters (
  -- An incarnation: what this worker has counted since it started. Empty: the sum of the workers that are gone, and what Postgres
  -- counts itself.
  source    text not null,
  series    text not null,
  -- An object of strings, for instance {"tenant_id": "acme"}.
  labels    jsonb not null,
  value     double precision not null,
  first_at  timestamptz not null default now(),
  primary key (source, series, labels)
);

-- How far runs are counted: those that were queued, or have ended, before this time.
create table metric_positions (
  name        text primary key,
  counted_to  timestamptz not null default now()
);
insert into metric_positions (name) values ('runs');

-- For the runs that were queued in a range of time. A run's time never changes, and a block range costs an insert almost nothing.
-- squawk-ignore require-concurrent-index-creation
create index runs_by_queued_at on runs using brin (queued_at) with (pages_per_range = 16, autosummarize = on);
